"""Growth of peak memory while a sampling graph is opened and run, measured in a fresh process.

    python -m lunet_export.bench.memory FOLDER --batch N

prints it as JSON. NumPy and ONNX Runtime only.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lunet_export.artifact import open_folder
from lunet_export.errors import BadInputError, LunetExportError
from lunet_export.runtime.providers import open_sessions
from lunet_export.runtime.rows import LARGEST_BATCH


@dataclass(frozen=True)
class PeakMemory:
    """This is how far the process's peak resident memory rose from just before the session opened; host memory only."""

    batch: int
    growth_bytes: int
    least_bytes: int  # bytes of the graph's file, of the rows in and of the rows out

    @property
    def ratio(self) -> float:
        """Return the growth over the bytes that every runtime needs."""
        return self.growth_bytes / self.least_bytes


def peak_memory(folder: Path, *, batch: int, threads: int | None = None) -> PeakMemory | None:
    """Measure in a fresh process, so that what this one has loaded or freed does not count.

    Returns:
        The peak, or None if this system does not report it.

    Raises:
        BadInputError: if that process fails.
    """
    command = [sys.executable, "-m", "lunet_export.bench.memory", str(folder), "--batch", str(batch)]
    command += [] if threads is None else ["--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BadInputError(f"Expected to measure memory in a fresh process; it stopped: {reason}")
    found = json.loads(done.stdout)
    return PeakMemory(**found) if found else None


def measure(folder: Path, *, batch: int, threads: int | None) -> PeakMemory | None:
    """Measure in this process, which should be fresh. At most 4096 rows: larger batches are cut into these."""
    artifact, batch = open_folder(folder), min(batch, LARGEST_BATCH)
    graph, dim, dtype = artifact.graphs["sampling"], artifact.manifest.dim, np.dtype(artifact.manifest.dtype)
    of_flow = artifact.manifest.context
    import onnxruntime  # noqa: F401  (its own 30 MB are not the session's)

    before = _peak()
    if before is None:
        return None
    (session,), _ = open_sessions([graph], "cpu", threads=threads)
    # Drawn in the graph's dtype: float64 numbers to cast would be the peak themselves.
    z = np.random.default_rng(0).standard_normal((batch, dim), dtype=dtype)
    context = {} if of_flow is None else {"context": np.resize(of_flow.middle, (batch, of_flow.dim)).astype(dtype)}
    (x,) = session.run(["x"], {"z": z, **context})
    after = _peak()
    return PeakMemory(batch, (after or before) - before, len(graph) + z.nbytes + x.nbytes)


def _peak() -> int | None:
    """Return the peak resident memory of this process in bytes, or None."""
    try:
        # Not ru_maxrss on Linux: a new program inherits the peak of the process that started it.
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: JSON on stdout, null if no peak can be read."""
    parser = argparse.ArgumentParser(prog="python -m lunet_export.bench.memory", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batch", type=int, default=1, help="rows to sample at once")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args(arguments)
    if given.batch < 1:
        parser.error(f"Expected --batch of 1 or more; got {given.batch}.")
    try:
        found = measure(given.folder, batch=given.batch, threads=given.threads)
    except LunetExportError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(found and asdict(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
