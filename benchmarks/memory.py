"""Growth of memory, measured in a fresh process: `growth_of("benchmarks.memory:sampling", PATH, ROWS, THREADS)`."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def resident_bytes(field: str) -> int:
    """Return `VmRSS`, what this process holds now, or `VmHWM`, the most that it ever held.

    It does not use getrusage, whose maximum is inherited from the parent through fork and exec.
    """
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def growth_of(work: str, *arguments: str | float) -> int | None:
    """Return the bytes by which `work`, a `module:function` that returns them, grew its own process; None off Linux."""
    if not _STATUS.exists():
        return None
    command = [sys.executable, "-m", "benchmarks.memory", work, json.dumps(arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parent.parent)
    return int(done.stdout)


def sampling(path: str, rows: int, threads: int) -> int:
    """Open a sampling graph and draw `rows` at once; return the growth over just before the session opens."""
    import numpy as np
    import onnxruntime  # noqa: F401  (its libraries are not the model's)

    from lunet_export.runtime.providers import open_sessions

    before = resident_bytes("VmRSS")
    (session,), _ = open_sessions([Path(path).read_bytes()], "cpu", threads=threads)
    tensor = session.get_inputs()[0]
    z = np.random.default_rng(0).standard_normal((rows, tensor.shape[1]), dtype=np.float32)
    session.run(None, {tensor.name: z})
    return resident_bytes("VmHWM") - before


if __name__ == "__main__":
    module, _, function = sys.argv[1].partition(":")
    print(getattr(importlib.import_module(module), function)(*json.loads(sys.argv[2])))
