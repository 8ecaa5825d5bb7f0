"""What do ten million rows cost, streamed, beside a plain loop, and does it matter that a worker dies?

Rows of 64 float32 numbers are drawn by `sample` from an LU-Net of four blocks with random weights and scored by it:
    loop     a loop of `ExportedFlow.log_prob` over the mapped file, sums kept and no row written: the floor
    local    `score -o FOLDER`: read, scored, written and hashed in parts, one process
    ray      the same by two of Ray's workers, with one thread each
    killed   the same, and one worker is killed (SIGKILL) in the middle
The four take turns, round after round; times are medians, and so are their ratios to the loop of the same round.
Counts and sums are read from the written parts and must equal those of the loop, bit by bit; the scores of all runs, in
order, must have one SHA-256. Memory is the most anonymous memory of a process of its own that scores 1e5, 1e6 and 1e7
rows, from .npy and from one Parquet file, sampled every 20 ms.
`python -m benchmarks.scale FOLDER` needs 9 GB there and writes results/scale.json.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from math import fsum
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from pyarrow import parquet

from benchmarks import report
from lunet_export.errors import CheckFailedError
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.flows import lunet
from lunet_export.layers import LU, Chain
from lunet_export.runtime import ExportedFlow
from lunet_export.runtime.rows import LARGEST_BATCH
from lunet_export.streaming import Run, SampleJob, ScoreJob, local, on_ray
from lunet_export.streaming.jobs import Place
from lunet_export.streaming.run import write_rows
from lunet_export.streaming.sums import exact_sum

DIM, BLOCKS, ROWS = 64, 4, 10_000_000
SIZES = (100_000, 1_000_000, ROWS)
SOURCES = {"npy": "x.npy", "parquet": "x.parquet"}
_EVERY = 0.02  # seconds between two readings of the memory


def main() -> None:
    """Draw the rows, score them in four ways, measure the memory, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=0)
    parser.add_argument("folder", type=Path, help="for 9 GB of rows and scores")
    parser.add_argument("--rows", type=int, default=ROWS, help="fewer for a trial")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    model, data = options.folder / "model", options.folder / "x.npy"
    if not model.exists():
        export(weights(), model, Provenance("scale"), ExportSettings())
    document: dict[str, Any] = {"command": "python -m benchmarks.scale", "machine": report.machine(options.threads)}
    document |= {"rows": options.rows, "dim": DIM, "rounds": options.rounds}
    report.progress("sampling")
    begin = time.perf_counter()
    sampled(model, data, options.rows)
    seconds = time.perf_counter() - begin
    document["sampled"] = {"seconds": seconds, "rows_per_second": options.rows / seconds}
    out, threads = options.folder / "scores", options.threads
    ways = {
        "loop": lambda: loop(model, data, threads),
        "local": lambda: streamed(out, model, data, threads),
        "ray": lambda: shared(out, model, data, threads, kill=False),
        "killed": lambda: shared(out, model, data, threads, kill=True),
    }
    document["runs"] = compared(ways, out, options.rows, options.rounds)
    validate_answers(document)
    report.write(options.output / "scale.json", document)
    sizes = [size for size in SIZES if size <= options.rows]
    document["memory"] = [memory(options.folder, model, kind, size, threads) for kind in SOURCES for size in sizes]
    report.write(options.output / "scale.json", document)
    report.table(rows(document))
    report.table(memory_rows(document))


def compared(ways: dict[str, Callable[[], dict[str, Any]]], out: Path, rows: int, rounds: int) -> dict[str, Any]:
    """Run every way once per round; return what it gave, and medians of its seconds and of their ratio to the loop's.

    Raises:
        CheckFailedError: if a way gave something else in another round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    answers: dict[str, dict[str, Any]] = {}
    for number in range(rounds):
        for name, way in ways.items():
            report.progress(f"round {number + 1}: {name}")
            begin = time.perf_counter()
            answer = way()
            seconds[name].append(time.perf_counter() - begin)
            if out.exists():
                answer |= read_back(out)
                shutil.rmtree(out)
            if answers.setdefault(name, answer) != answer:
                raise CheckFailedError(f"Expected {answers[name]} of {name} in every round; got {answer}.")
    found = {}
    for name, answer in answers.items():
        ratios = [floor / own for floor, own in zip(seconds["loop"], seconds[name], strict=True)]
        times = {"seconds": median(seconds[name]), "all_seconds": seconds[name], "of_loop": median(ratios)}
        found[name] = {**times, "rows_per_second": rows / times["seconds"], **answer}
    return found


def read_back(folder: Path) -> dict[str, Any]:
    """Return how many rows the written parts hold, their sum, and the SHA-256 of their scores in order."""
    count, sums, digest = 0, [], sha256()
    for path in sorted(folder.glob("part-*.parquet")):
        scores = parquet.read_table(path, columns=["log_prob"])["log_prob"].to_numpy()
        count += len(scores)
        sums += exact_sum(scores)
        digest.update(scores.tobytes())
    return {"count": count, "log_prob": fsum(sums), "sha256": digest.hexdigest()}


def weights() -> Chain:
    """Return weights with signed diagonals in [0.5, 1.5] and small entries beside them."""
    rng = np.random.default_rng(0)

    def block() -> LU:
        noise = 0.3 * rng.standard_normal((2, DIM, DIM)) / np.sqrt(DIM)
        diagonal = rng.choice([-1.0, 1.0], DIM) * rng.uniform(0.5, 1.5, DIM)
        lower, upper = np.tril(noise[0], -1) + np.eye(DIM), np.triu(noise[1], 1) + np.diag(diagonal)
        return LU(lower, upper, rng.standard_normal(DIM))

    return lunet(tuple(block() for _ in range(BLOCKS)), 0.1)


def sampled(model: Path, data: Path, rows: int) -> None:
    """Write the rows in the format of the file's suffix."""
    job = SampleJob(str(model), rows, place=Place("cpu"))
    write_rows(data, job.work(), 0, rows, job.chunk)


def loop(model: Path, data: Path, threads: int) -> dict[str, Any]:
    """Score one batch after the other in a plain loop, and return their sum: the floor."""
    flow, rows = ExportedFlow(model, provider="cpu", threads=threads), np.load(data, mmap_mode="r")
    step = 16 * LARGEST_BATCH
    sums: list[float] = []
    for start in range(0, len(rows), step):
        sums += exact_sum(flow.log_prob(rows[start : start + step]).astype(np.float64))
    return {"count": len(rows), "log_prob": fsum(sums)}


def streamed(folder: Path, model: Path, data: Path, threads: int) -> dict[str, Any]:
    """Score in parts, by one process."""
    run = Run(folder, ScoreJob((str(model),), str(data), place=Place("cpu", threads)))
    local(run, run.begin(resume=False))
    run.finish()
    return {"workers": 1, "killed": 0}


def shared(folder: Path, model: Path, data: Path, workers: int, *, kill: bool) -> dict[str, Any]:
    """Score in parts, by Ray's workers; with `kill`, the worker at the last part of the first third is killed."""
    run = Run(folder, ScoreJob((str(model),), str(data), place=Place("cpu", 1)))
    done: list[int] = []
    killed: list[int] = []

    def watch(process: int) -> None:
        done.append(process)
        if kill and not killed and len(done) > run.parts // 3:
            os.kill(process, signal.SIGKILL)
            killed.append(process)

    on_ray(run, run.begin(resume=False), workers=workers, on_part=watch)
    run.finish()
    return {"workers": workers, "killed": len(killed)}


def validate_answers(document: dict[str, Any]) -> None:
    """Raise unless all counts and sums are those of the loop, and all runs have the same scores in the same order.

    Raises:
        CheckFailedError: if they are not.
    """
    runs = document["runs"]
    if {run["count"] for run in runs.values()} != {document["rows"]}:
        raise CheckFailedError(f"Expected {document['rows']} rows of every run; got {runs}.")
    if len({run["log_prob"] for run in runs.values()}) != 1:
        raise CheckFailedError(f"Expected one sum of all runs; got {runs}.")
    if len({runs[name]["sha256"] for name in ("local", "ray", "killed")}) != 1:
        raise CheckFailedError(f"Expected the same scores of all runs in parts; got {runs}.")


_CHILD = """
import sys
from pathlib import Path
from benchmarks.scale import streamed
streamed(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
"""


def memory(folder: Path, model: Path, kind: str, rows: int, threads: int) -> dict[str, Any]:
    """Return the most memory of a process that scores so many rows of a kind of file."""
    report.progress(f"memory of {rows} rows of {kind}")
    some, out = folder / f"some-{SOURCES[kind]}", folder / "memory"
    sampled(model, some, rows)
    arguments = [str(out), str(model), str(some), str(threads)]
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
    shutil.rmtree(out)
    some.unlink()
    return {"source": kind, "rows": rows, "anonymous_mb": most["RssAnon"] / 1024, "resident_mb": most["VmRSS"] / 1024}


def _status(process: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name: int(value.split()[0]) for name, value in pairs if name in ("RssAnon", "VmRSS")}


def rows(document: Mapping[str, Any]) -> report.Rows:
    """Return a row per way to score the rows."""
    names = {
        "loop": "plain loop, nothing written",
        "local": "`score -o FOLDER`",
        "ray": "`--engine ray --workers 2`",
        "killed": "the same, with one worker killed",
    }
    found = [[f"{document['rows']:,} rows of {document['dim']} numbers", "rows per second", "relative to the loop"]]
    found[0] += ["seconds", "workers"]
    for name, words in names.items():
        run = document["runs"][name]
        restarted = f", and {run['killed']} restarted" if run.get("killed") else ""
        workers = f"{run.get('workers', 1)}{restarted}"
        found.append(
            [words, f"{run['rows_per_second']:,.0f}", f"{run['of_loop']:.2f}", f"{run['seconds']:.0f}", workers]
        )
    return found


def memory_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return a row per kind of source: the peak memory of the process, without mapped files."""
    sizes = dict.fromkeys(entry["rows"] for entry in document["memory"])
    return [
        ["peak memory of the process, MB", *(f"{size:,} rows" for size in sizes)],
        *(
            [words, *(f"{entry['anonymous_mb']:.0f}" for entry in document["memory"] if entry["source"] == kind)]
            for kind, words in {"npy": "from .npy", "parquet": "from one Parquet file"}.items()
        ),
    ]


if __name__ == "__main__":
    report.run(main)
