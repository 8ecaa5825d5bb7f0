"""Many inputs, in processes that may die: a parent hands out ranges of numbers, and knows which one is being read."""

import json
import multiprocessing
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tests.fuzz.outcome import Outcome

_RANGE = 50  # inputs that are handed out at once
_START = 600.0  # more for a worker that has yet to import what it reads with, and to make good files
_WALL = 240.0  # seconds without a word, after which a worker is ended
_PACKAGES = ("numpy", "torch", "onnx", "onnxruntime", "pyarrow", "nflows", "normflows", "zuko", "hypothesis")

Task = tuple[str, int, int]  # reader, first number, count


@dataclass
class Tally:
    """What became of a reader's inputs."""

    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    mutations: Counter[str] = field(default_factory=Counter)
    findings: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Take note of one."""
        self.inputs += 1
        self.refused += outcome.verdict == "refused"
        self.accepted += outcome.verdict == "accepted"
        self.mutations[outcome.mutation] += 1
        if outcome.finding:
            self.findings.append(outcome)


def shares(readers: Mapping[str, int], inputs: int) -> dict[str, int]:
    """How many inputs each reader gets, by its share; at least one."""
    whole = sum(readers.values())
    return {name: max(1, -(-inputs * share // whole)) for name, share in readers.items()}


def run(
    counts: Mapping[str, int],
    *,
    seed: int,
    workers: int,
    table: str = "tests.fuzz.readers.table",
    seconds: float | None = None,
    wall: float = _WALL,
    minutes: float | None = None,
    on_finding: Callable[[Outcome], None] = lambda outcome: None,
) -> dict[str, Tally]:
    """Give every reader its inputs, numbers 0, 1, ..

    Args:
        counts: Of inputs, by reader.
        seed: Of the campaign.
        workers: Processes.
        table: The module whose READERS are meant.
        seconds: Of the processor for an input, where it is not the usual.
        wall: Seconds after which a silent worker is ended.
        minutes: After which no more inputs are handed out.
        on_finding: Told of every finding.
    """
    tallies = {name: Tally() for name in counts}
    memory = Path("/dev/shm")  # folders are made and removed all the time, which disks are slow at
    scratch = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))
    tasks = _tasks(counts, None if minutes is None else time.monotonic() + 60 * minutes)
    settings = (seed, table, seconds)
    team = [_Worker(scratch / str(number), settings) for number in range(workers)]
    try:
        busy = [worker for worker in team if worker.give(next(tasks, None))]
        while busy:
            ready = wait([worker.connection for worker in busy], timeout=1.0)
            for worker in list(busy):
                if worker.connection in ready:
                    outcome = worker.receive()
                elif time.monotonic() - worker.heard > wall:
                    outcome = worker.end("hang", f"{wall:.0f} s without an answer")
                else:
                    continue
                if outcome is not None:
                    tallies[outcome.reader].add(outcome)
                    if outcome.finding:
                        on_finding(outcome)
                if worker.idle and not worker.give(next(tasks, None)):
                    busy.remove(worker)
    finally:
        for worker in team:
            worker.stop()
        shutil.rmtree(scratch, ignore_errors=True)
    return tallies


def _tasks(counts: Mapping[str, int], end: float | None) -> Iterator[Task]:
    """A range of every reader in turn: what is cut short has seen all of them."""
    first = 0
    while any(count > first for count in counts.values()):
        for name, count in counts.items():
            if end is not None and time.monotonic() > end:
                return
            if count > first:
                yield name, first, min(_RANGE, count - first)
        first += _RANGE


class _Worker:
    """A process that reads inputs, and what is known of it."""

    def __init__(self, scratch: Path, settings: tuple[int, str, float | None]) -> None:
        self._scratch, self._settings = scratch, settings
        self._task: Task | None = None
        self._number = -1  # that is being read
        self._start()

    @property
    def idle(self) -> bool:
        """Its range is done."""
        return self._task is None

    def give(self, task: Task | None) -> bool:
        """Hand out a range, if there is one."""
        self._task = task
        if task:
            self._number = task[1]
            self.heard = time.monotonic() + _START
            self.connection.send(task)
        return task is not None

    def receive(self) -> Outcome | None:
        """The next outcome; None where an input is only begun, or a range done."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return self.end("died", f"exit code {self.process.exitcode}")
        self.heard = time.monotonic()
        if isinstance(message, int):
            self._number = message
            return None
        if message is None:
            self._task = None
            return None
        if isinstance(message, str):
            raise RuntimeError(f"no good input for {message}")
        if message.finding == "memory":  # what the process has had it keeps: the next input would look cheap
            self._renewed(message.number + 1)
        return message

    def end(self, finding: str, detail: str) -> Outcome:
        """Of a worker that is no more, or is ended: what it was reading is the finding. Another one goes on."""
        assert self._task
        outcome = Outcome(self._task[0], self._number, "not told", "refused", finding, detail)
        self._renewed(self._number + 1)
        return outcome

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.connection.close()

    def _renewed(self, first: int) -> None:
        assert self._task
        name, begin, count = self._task
        self.stop()
        self._start()
        left = begin + count - first
        if left > 0:
            self.give((name, first, left))
        else:
            self._task = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_work, args=(other, str(self._scratch), *self._settings), daemon=True)
        self.process.start()
        other.close()
        self.heard = time.monotonic() + _START


def _work(connection: Connection, scratch: str, seed: int, table: str, seconds: float | None) -> None:
    """In a worker: read what is handed out, and say before each input which it is."""
    from importlib import import_module

    from tests.fuzz import guards
    from tests.fuzz.attempt import attempt

    shutil.rmtree(scratch, ignore_errors=True)
    known, made = import_module(table).READERS, {}
    guards.install()
    while True:
        name, first, count = connection.recv()
        if name not in made:
            try:
                made[name] = known[name](Path(scratch) / "good")
                assert made[name].untouched is not None
            except Exception as error:  # the harness's own fault: no campaign goes on
                connection.send(f"{name}: {type(error).__name__}: {error}")
                return
            guards.limit_memory()
        for number in range(first, first + count):
            connection.send(number)
            limit = guards.SECONDS if seconds is None else seconds
            connection.send(attempt(made[name], seed, number, Path(scratch) / "one", limit))
        connection.send(None)


def record(
    tallies: Mapping[str, Tally],
    *,
    seed: int,
    command: Sequence[str],
    seconds: float,
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The campaign as plain values; readers that were not in it keep what an earlier record says of them."""
    readers = {**(before or {}).get("readers", {}), **{name: _of_reader(tally) for name, tally in tallies.items()}}
    for name in tallies:
        readers[name] |= {"seed": seed, "command": " ".join(command)}
    totals = {key: sum(entry[key] for entry in readers.values()) for key in ("inputs", "refused", "accepted")}
    return {
        **totals,
        "findings": sum(len(entry["findings"]) for entry in readers.values()),
        "seconds": round(seconds + (before or {}).get("seconds", 0)),
        "machine": f"{platform.system()} {platform.machine()}, {multiprocessing.cpu_count()} processors",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "readers": readers,
    }


def _of_reader(tally: Tally) -> dict[str, Any]:
    return {
        "inputs": tally.inputs,
        "refused": tally.refused,
        "accepted": tally.accepted,
        "mutations": dict(tally.mutations.most_common(40)),
        "findings": [asdict(outcome) for outcome in tally.findings],
    }


def write(document: Mapping[str, Any], path: Path) -> None:
    """The record as a file."""
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def say(text: str) -> None:
    """On stderr."""
    sys.stderr.write(f"{text}\n")
