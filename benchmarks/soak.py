"""Does a service that runs for months keep its memory and its answers?

A million calls of `sample` and `log_prob` are made in scenarios, each in its own process: batches of changing sizes,
sessions of changing numbers of threads that are closed and opened again, many Python threads on one flow, one network
per class, float64, forks. As many calls go through lunet.h in C (soak.c). Every answer is compared, bit by bit, with
the first answer of its kind, and the resident memory is noted 200 times. Once the first fifth of the calls has seen all
sizes and threads, memory may grow by a few bytes per call at most.

`python -m benchmarks.soak`, or `make soak`, writes results/soak.json and soak.png; the C part needs gcc.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.memory import resident_bytes
from lunet_export import ExportedClasses, ExportedFlow
from lunet_export.embedding import write_project
from lunet_export.errors import BadInputError, CheckFailedError
from lunet_export.runtime import open_export

ROOT = Path(__file__).parent.parent
SLICES = 200  # after each, the memory is noted
TURNS = 64  # different calls, which are repeated
LARGEST = 64  # rows of a call
WARM = 0.2  # the share of the calls after which memory must be flat
#: Allowed growth after that: bytes per call, and bytes in all, because allocators keep fragments.
PER_CALL, IN_ALL = 16.0, 4 * 2**20

Flow = ExportedFlow | ExportedClasses
Turn = tuple[str, int, int]  # what is called, rows, seed


@dataclass(frozen=True)
class Scenario:
    """What one process does."""

    folder: str
    share: float  # of the calls
    threads: tuple[int | None, ...] = (1,)  # of the sessions, one after another
    callers: int = 1  # Python threads on the one flow, new ones in every slice
    reopened: int = 0  # slices after which the flow is dropped and opened anew; 0: never
    forks: bool = False  # each slice in a child, which leaves


SCENARIOS = {
    "toy2d, one thread": Scenario("exported/toy2d", 0.25),
    "digits, sessions of two threads": Scenario("exported/digits", 0.2, threads=(2,)),
    "digits, 8 callers of one flow": Scenario("exported/digits", 0.25, threads=(2,), callers=8),
    "toy2d, opened anew 100 times": Scenario("exported/toy2d", 0.1, threads=(1, 2, None), reopened=2),
    "digits-classes, 4 callers": Scenario("exported/digits-classes", 0.05, callers=4),
    "float64, 4 callers": Scenario("tests/version1/folders/lunet-leaky-tanh-float64", 0.1, threads=(2,), callers=4),
    "digits, 200 forks": Scenario("exported/digits", 0.05, threads=(2,), forks=True),
}
IN_C = {"C: toy2d, 4 threads, opened anew 20 times": ("exported/toy2d", 0.5), "C: digits": ("exported/digits", 0.5)}


@dataclass(frozen=True)
class Result:
    """What one scenario found."""

    calls: int
    wrong: int  # answers that are not the first one's bits
    curve: list[tuple[int, int]]  # calls so far, resident bytes
    seconds: float
    digests: dict[str, str]  # of all first answers, by the threads of the sessions

    @property
    def slope(self) -> float:
        """Bytes per call, by least squares on the curve after the warm-up."""
        calls, size = np.array(self._warm, dtype=np.float64).T
        return float(np.polyfit(calls, size, 1)[0])

    @property
    def growth(self) -> int:
        """Bytes from the median of the first tenth after the warm-up to the median of the last tenth."""
        sizes = [size for _, size in self._warm]
        few = max(1, len(sizes) // 10)
        return int(np.median(sizes[-few:]) - np.median(sizes[:few]))

    @property
    def _warm(self) -> list[tuple[int, int]]:
        return [(calls, size) for calls, size in self.curve if calls >= WARM * self.calls]

    def assess(self, name: str) -> None:
        """Raise unless every answer was right and the memory flat.

        Raises:
            CheckFailedError: if an answer was wrong or the memory grew.
        """
        if self.wrong:
            raise CheckFailedError(f"Expected the same answers for ever in {name}; {self.wrong} calls gave others.")
        if (self.slope > PER_CALL and self.growth > 2**18) or self.growth > IN_ALL:
            raise CheckFailedError(
                f"Expected flat memory in {name}; it grew by {self.slope:.1f} bytes per call, {self.growth} in all."
            )


def main() -> None:
    """Run all scenarios, write, draw, assess."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1_000_000, help="in Python, and as many in C (default 1000000)")
    parser.add_argument("--seed", type=int, default=0, help="of sizes and samples (default 0)")
    parser.add_argument("--at-once", type=int, default=2, help="processes beside each other (default 2)")
    parser.add_argument("--output", type=Path, default=report.RESULTS, help="folder of the results")
    parser.add_argument("--scenario", help="run this one here and print it")
    options = parser.parse_args()
    if options.scenario:
        scenario = SCENARIOS[options.scenario]
        print(json.dumps(asdict(soak(scenario, int(options.calls * scenario.share), options.seed))))
        return
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.at_once) as pool:
        program = compiled(Path(folder))

        def run(name: str) -> Result:
            if name in SCENARIOS:
                result = in_a_process(name, options.calls, options.seed)
            else:
                model, share = IN_C[name]
                result = in_c(program, ROOT / model, int(options.calls * share), threads=4)
            report.progress(f"{name}: {described(result)}")
            return result

        names = [*SCENARIOS, *IN_C]
        found = dict(zip(names, pool.map(run, names), strict=True))
    facts = {"command": f"python -m benchmarks.soak --calls {options.calls} --seed {options.seed}"}
    facts |= {"machine": report.machine(2), "warm": WARM, "bytes_a_call": PER_CALL, "bytes_in_all": IN_ALL}
    scenarios = {name: {**asdict(r), "slope": r.slope, "growth": r.growth} for name, r in found.items()}
    document = facts | {"scenarios": scenarios}
    report.write(options.output / "soak.json", document)
    draw(options.output / "soak.png", found)
    report.table(rows(document))
    for name, result in found.items():
        result.assess(name)


def soak(scenario: Scenario, calls: int, seed: int, *, change: Callable[[Flow], Flow] = lambda flow: flow) -> Result:
    """Run a scenario in this process; `change` spoils the flow, to show that a fault would be seen.

    Raises:
        BadInputError: if there are fewer calls than slices.
    """
    if calls < SLICES:
        raise BadInputError(f"Expected {SLICES} calls or more for each scenario; got {calls}.")
    turns, threads = schedule(seed), scenario.threads[0]
    flow = opened(scenario, threads)
    rows = [flow.sample(n, seed=number) for _, n, number in turns]
    first: dict[int | None, list[bytes]] = {
        threads: [answer(flow, turn, x) for turn, x in zip(turns, rows, strict=True)]
    }
    flow, begin, wrong, curve = change(flow), time.perf_counter(), 0, []

    def work(start: int, count: int) -> int:
        bad = 0
        for k in range(start, start + count):
            turn = k % TURNS
            bad += answer(flow, turns[turn], rows[turn]) != first[threads][turn]
        return bad

    done = 0
    for number, share in enumerate(parts(calls, SLICES)):
        if scenario.reopened and number and number % scenario.reopened == 0:
            threads = scenario.threads[(number // scenario.reopened) % len(scenario.threads)]
            flow = change(opened(scenario, threads))
            if threads not in first:
                first[threads] = [answer(flow, turn, x) for turn, x in zip(turns, rows, strict=True)]
        if scenario.forks:
            wrong += in_a_fork(lambda count=share, start=done: work(start, count))
        elif scenario.callers == 1:
            wrong += work(done, share)
        else:
            with ThreadPoolExecutor(scenario.callers) as pool:
                counts = parts(share, scenario.callers)
                wrong += sum(pool.map(work, [done + 7 * caller for caller in range(scenario.callers)], counts))
        done += share
        curve.append((done, resident_bytes("VmRSS")))
    digests = {str(key): hashlib.sha256(b"".join(answers)).hexdigest() for key, answers in first.items()}
    return Result(calls, wrong, curve, round(time.perf_counter() - begin, 1), digests)


def schedule(seed: int) -> list[Turn]:
    """Return the calls that are repeated: half of each kind, from 1 to LARGEST rows, small ones more often."""
    rng = np.random.default_rng(seed)
    sizes = np.floor(np.exp(rng.uniform(0, np.log(LARGEST + 1), TURNS))).astype(int)
    return [(("sample", "log_prob")[k % 2], int(n), seed + k) for k, n in enumerate(sizes)]


def opened(scenario: Scenario, threads: int | None) -> Flow:
    """Open the flow of a scenario."""
    return open_export(ROOT / scenario.folder, provider="cpu", threads=threads)


def answer(flow: Flow, turn: Turn, rows: np.ndarray[Any, Any]) -> bytes:
    """Return the bits of one call's answer."""
    kind, n, seed = turn
    return (flow.sample(n, seed=seed) if kind == "sample" else flow.log_prob(rows)).tobytes()


def in_a_fork(work: Callable[[], int]) -> int:
    """Run `work` in a child and return its count, at most 255; a child that dies counts as one."""
    child = os.fork()
    if child == 0:
        os._exit(min(255, work()))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 1


def in_a_process(name: str, calls: int, seed: int) -> Result:
    """Run a scenario in a process of its own, so that the memory is its own."""
    command = [sys.executable, "-m", "benchmarks.soak", "--scenario", name, "--calls", str(calls), "--seed", str(seed)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise CheckFailedError(f"Expected {name} to run to its end; it left with code {done.returncode}.")
    document = json.loads(done.stdout)
    return Result(**{**document, "curve": [tuple(point) for point in document["curve"]]})


def compiled(folder: Path, *flags: str) -> Path:
    """Compile soak.c beside the lunet.h that `lunet-export embed` writes.

    Raises:
        BadInputError: if there is no gcc, or it refuses.
    """
    project, program = folder / "c", folder / "soak"
    write_project("c", ROOT / "exported" / "toy2d", project)
    command = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", f"-I{project}", ROOT / "benchmarks" / "soak.c"]
    try:
        subprocess.run([*map(str, command), "-o", str(program), "-lm", "-ldl", "-pthread", *flags], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BadInputError(f"Expected gcc to compile benchmarks/soak.c; {error}.") from None
    return program


def in_c(program: Path, model: Path, calls: int, *, threads: int) -> Result:
    """Run the program on one model, with the library of the Python package."""
    import onnxruntime

    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.1.*")
    begin = time.perf_counter()
    command = [str(part) for part in (program, model, library, calls, threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1):
        raise CheckFailedError(f"Expected soak.c to run to its end; it left with code {done.returncode}.")
    *lines, last = done.stdout.splitlines()
    curve = [(int(calls), int(size)) for calls, size in map(str.split, lines)]
    seconds = round(time.perf_counter() - begin, 1)
    return Result(curve[-1][0], int(last.split()[1]), curve, seconds, {})


def parts(count: int, many: int) -> list[int]:
    """Split `count` into `many` parts that differ by one at most."""
    return [count * (k + 1) // many - count * k // many for k in range(many)]


def described(result: Result) -> str:
    """Return a line about a scenario."""
    return (
        f"{result.calls} calls in {result.seconds:.0f} s, {result.wrong} wrong, "
        f"{result.curve[-1][1] / 2**20:.1f} MB, {result.slope:+.2f} bytes per call"
    )


def rows(document: Mapping[str, Any]) -> report.Rows:
    """Return a row per scenario: megabytes after a fifth of the calls and at the end, and the slope between."""
    found = [["scenario", "calls", "wrong answers", "MB, warm", "MB, at the end", "bytes per call"]]
    for name, entry in document["scenarios"].items():
        warm = next(size for calls, size in entry["curve"] if calls >= document["warm"] * entry["calls"])
        sizes = (f"{size / 2**20:.1f}" for size in (warm, entry["curve"][-1][1]))
        found.append([name, f"{entry['calls']:,}", str(entry["wrong"]), *sizes, f"{entry['slope']:+.2f}"])
    return found


def draw(path: Path, found: dict[str, Result]) -> None:
    """Draw resident memory over calls, one box per scenario."""
    with report.picture(path, rows=3, columns=3, size=(13, 8)) as (figure, axes):
        for box, (name, result) in zip(axes.flat, found.items(), strict=True):
            calls, sizes = zip(*result.curve, strict=True)
            box.plot(np.array(calls) / 1000, np.array(sizes) / 2**20)
            box.axvspan(0, WARM * result.calls / 1000, color="0.9")
            box.set_title(f"{name}: {result.slope:+.2f} bytes per call", fontsize=9)
            box.set_ylim(0, 1.25 * max(sizes) / 2**20)
        figure.supxlabel("thousand calls (grey: warming up)")
        figure.supylabel("resident memory, MB")


if __name__ == "__main__":
    report.run(main)
