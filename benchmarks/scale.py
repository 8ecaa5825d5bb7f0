"""What do ten million rows cost, streamed, beside a plain loop, and does it matter that a worker dies?

Rows of 64 float32 numbers, drawn by `sample` from a LU-Net of four blocks with random weights and scored by it:
    loop     a loop of `ExportedFlow.log_prob` over the mapped file, sums kept and no row written: the floor
    local    `score -o FOLDER`: read, scored, written and hashed in parts, one process
    ray      the same by two of Ray's workers, with one thread each
    killed   the same, and one worker is killed (SIGKILL) in the middle
Counts and sums must be those of the loop. Memory is that of a process of its own that scores 1e5, 1e6 and 1e7 rows:
the most anonymous memory that it held, looked up every 20 ms.
`python -m benchmarks.scale FOLDER` needs 6 GB there and writes results/scale.json.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from math import fsum
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from lunet_export.errors import CheckFailedError
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.families.lunet.weights import LUNetWeights
from lunet_export.lu import LUBlock
from lunet_export.runtime import ExportedFlow
from lunet_export.runtime.rows import LARGEST_BATCH
from lunet_export.streaming import Run, SampleJob, ScoreJob, Summary, local, on_ray
from lunet_export.streaming.jobs import Place
from lunet_export.streaming.run import write_rows

DIM, BLOCKS, ROWS = 64, 4, 10_000_000
SIZES = (100_000, 1_000_000, ROWS)
_EVERY = 0.02  # seconds between two looks at the memory


def main() -> None:
    """Draw, score in four ways, look at the memory, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=0)
    parser.add_argument("folder", type=Path, help="for 6 GB of rows and scores")
    parser.add_argument("--rows", type=int, default=ROWS, help="fewer for a trial")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    model, data = options.folder / "model", options.folder / "x.npy"
    if not model.exists():
        export(weights(), model, Provenance("scale"), ExportSettings())
    document: dict[str, Any] = {"command": "python -m benchmarks.scale", "machine": report.machine(options.threads)}
    document |= {"rows": options.rows, "dim": DIM}
    if not data.exists():
        document["sampled"] = timed("sampling", options.rows, lambda: sampled(model, data, options.rows))[0]
    runs = {
        "loop": lambda: loop(model, data, options.threads),
        "local": lambda: streamed(options.folder / "local", model, data, options.threads),
        "ray": lambda: shared(options.folder / "ray", model, data, options.threads, kill=False),
        "killed": lambda: shared(options.folder / "killed", model, data, options.threads, kill=True),
    }
    document["runs"] = {}
    for name, run in runs.items():
        times, answer = timed(name, options.rows, run)
        document["runs"][name] = times | answer
    refuse_wrong(document)
    report.write(options.output / "scale.json", document)
    sizes = [size for size in SIZES if size <= options.rows]
    document["memory"] = [memory(options.folder, model, data, size, options.threads) for size in sizes]
    report.write(options.output / "scale.json", document)
    report.table([HEADER, *lines(document)])
    report.table([["rows", "most anonymous memory, MB"], *memory_lines(document)])


def weights() -> LUNetWeights:
    """Signed diagonals in [0.5, 1.5], faint entries beside them."""
    rng = np.random.default_rng(0)

    def block() -> LUBlock:
        noise = 0.3 * rng.standard_normal((2, DIM, DIM)) / np.sqrt(DIM)
        diagonal = rng.choice([-1.0, 1.0], DIM) * rng.uniform(0.5, 1.5, DIM)
        lower, upper = np.tril(noise[0], -1) + np.eye(DIM), np.triu(noise[1], 1) + np.diag(diagonal)
        return LUBlock(lower, upper, rng.standard_normal(DIM))

    return LUNetWeights(tuple(block() for _ in range(BLOCKS)), 0.1)


def timed(name: str, rows: int, run: Any) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ANN401
    """Seconds and rows a second of one run, and what it gives."""
    report.progress(name)
    begin = time.perf_counter()
    answer = run() or {}
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "rows_per_second": rows / seconds}, answer


def sampled(model: Path, data: Path, rows: int) -> None:
    """Write the rows."""
    job = SampleJob(str(model), rows, place=Place("cpu"))
    write_rows(data, job.work(), 0, rows, job.chunk)


def loop(model: Path, data: Path, threads: int) -> dict[str, Any]:
    """The floor: log p of a batch after the other, and their sum."""
    flow, rows = ExportedFlow(model, provider="cpu", threads=threads), np.load(data, mmap_mode="r")
    step = 16 * LARGEST_BATCH
    sums = [fsum(flow.log_prob(rows[start : start + step]).tolist()) for start in range(0, len(rows), step)]
    return {"count": len(rows), "log_prob": fsum(sums)}


def streamed(folder: Path, model: Path, data: Path, threads: int) -> dict[str, Any]:
    """Parts, one process."""
    run = Run(folder, ScoreJob((str(model),), str(data), place=Place("cpu", threads)))
    local(run, run.begin(resume=False))
    return said(run.finish())


def shared(folder: Path, model: Path, data: Path, workers: int, *, kill: bool) -> dict[str, Any]:
    """Parts, Ray's workers; with `kill`, the first of them dies when a third of the parts are done."""
    run = Run(folder, ScoreJob((str(model),), str(data), place=Place("cpu", 1)))
    done: list[int] = []
    killed: list[int] = []

    def watch(process: int) -> None:
        done.append(process)
        if kill and not killed and len(done) > run.parts // 3:
            os.kill(process, signal.SIGKILL)
            killed.append(process)

    on_ray(run, run.begin(resume=False), workers=workers, on_part=watch)
    return said(run.finish()) | {"workers": workers, "processes": len(set(done)), "killed": len(killed)}


def said(summary: Summary) -> dict[str, Any]:
    """Of a run, for the results."""
    return {"count": summary.rows, "log_prob": summary.sums["log_prob"]}


def refuse_wrong(document: dict[str, Any]) -> None:
    """Raise unless all counts are right, all runs of parts have the same sum, and the loop's is it but for its order.

    Raises:
        CheckFailedError: They have not.
    """
    runs = document["runs"]
    if {run["count"] for run in runs.values()} != {document["rows"]}:
        raise CheckFailedError(f"Expected {document['rows']} rows of every run; got {runs}.")
    if len({runs[name]["log_prob"] for name in ("local", "ray", "killed")}) != 1:
        raise CheckFailedError(f"Expected one sum of all runs of parts; got {runs}.")
    if abs(runs["loop"]["log_prob"] / runs["local"]["log_prob"] - 1) > 1e-12:
        raise CheckFailedError(f"Expected the sum of the loop; got {runs}.")


_CHILD = """
import sys
from pathlib import Path
from benchmarks.scale import streamed
streamed(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
"""


def memory(folder: Path, model: Path, data: Path, rows: int, threads: int) -> dict[str, Any]:
    """The most memory of a process that scores so many rows."""
    report.progress(f"memory of {rows} rows")
    some = folder / f"x-{rows}.npy"
    mapped = np.load(data, mmap_mode="r")
    if rows < len(mapped):
        np.save(some, mapped[:rows])
    arguments = [str(folder / f"memory-{rows}"), str(model), str(some if rows < len(mapped) else data), str(threads)]
    child = subprocess.Popen([sys.executable, "-c", _CHILD, *arguments])
    most = {"RssAnon": 0, "VmRSS": 0}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_EVERY):
            for name, value in _status(child.pid).items():
                most[name] = max(most[name], value)

    watcher = threading.Thread(target=look)
    watcher.start()
    code = child.wait()
    ended.set()
    watcher.join()
    if code:
        raise CheckFailedError(f"Expected {rows} rows to be scored; the process ended with {code}.")
    return {"rows": rows, "anonymous_mb": most["RssAnon"] / 1024, "resident_mb": most["VmRSS"] / 1024}


def _status(process: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name: int(value.split()[0]) for name, value in pairs if name in ("RssAnon", "VmRSS")}


HEADER = ["way", "rows a second", "of the loop's", "seconds", "processes"]


def lines(document: dict[str, Any]) -> list[list[str]]:
    """The rows of the README's table."""
    names = {
        "loop": "plain loop, nothing written",
        "local": "`score -o FOLDER`",
        "ray": "`--engine ray --workers 2`",
        "killed": "the same, a worker killed on the way",
    }
    floor = document["runs"]["loop"]["rows_per_second"]
    found = []
    for name, words in names.items():
        run = document["runs"][name]
        ratio = f"{run['rows_per_second'] / floor:.2f}"
        found.append(
            [words, f"{run['rows_per_second']:,.0f}", ratio, f"{run['seconds']:.0f}", str(run.get("processes", 1))]
        )
    return found


def memory_lines(document: dict[str, Any]) -> list[list[str]]:
    """Of the memory."""
    return [[f"{entry['rows']:,}", f"{entry['anonymous_mb']:.0f}"] for entry in document["memory"]]


if __name__ == "__main__":
    report.run(main)
