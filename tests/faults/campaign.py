"""The campaign: every fault on every command that writes, at random points, and what was left each time."""

import copy
import random
import shutil
import signal
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from tests.faults import processes, verdict
from tests.faults.cases import CASES, Case, make_inputs
from tests.faults.processes import Ended, Fault, Zygote

#: The faults by name; of each, how many for a hundred kills.
SHARES = {
    "kill -9": 1.0,
    "Ctrl-C": 0.2,
    "SIGTERM": 0.08,
    "full disk": 0.15,
    "read-only": 0.08,
    "folder gone": 0.08,
    "clock jumps": 0.08,
    "two at once": 0.12,
    "kill -9, cold": 0.03,
    "Ctrl-C, cold": 0.05,
    "full disk, mounted": 0.03,
    "read-only, mounted": 0.02,
}
#: Started as a user does, imports and all, which takes seconds.
_COLD = ("kill -9, cold", "Ctrl-C, cold", "full disk, mounted", "read-only, mounted")
_COLD_COMMANDS = ("train", "export --force", "recalibrate", "score to a folder")
_SMALLEST, _LARGEST = 4, 160  # kB of the mounted disk
#: Turns of the commands that run long on a user's machine, where the others have one.
WEIGHTS = {
    "train": 4,
    "train --force": 3,
    "train --resume": 3,
    "export": 3,
    "export --force": 4,
    "recalibrate": 3,
    "recalibrate --force": 3,
    "score to a folder": 6,
}
_SIGNALS = {"kill -9": signal.SIGKILL, "Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM}
_FULL = (
    'mount -t tmpfs -o size={size}k none "{out}"; cp -a "{kept}/." "{out}"; '
    '"$@"; code=$?; rm -rf "{kept}"/* "{kept}"/.m* "{kept}"/.s*; cp -a "{out}/." "{kept}"; exit $code'
)
_READ_ONLY = 'mount --bind "{out}" "{out}"; mount -o remount,bind,ro "{out}"; exec "$@"'
_AT = {
    "full disk": processes.FULL,
    "read-only": processes.READ_ONLY,
    "folder gone": processes.VANISH,
    "clock jumps": processes.CLOCK,
}
#: Exit codes that are right: 0 where the fault came too late, or touched nothing that matters.
_CODES = {
    "kill -9": (-9, 0),
    "Ctrl-C": (130, 0),
    "SIGTERM": (143, 0),
    "full disk": (4, 0),
    "read-only": (4, 0),
    "folder gone": (4, 2, 0),
    "clock jumps": (0,),
}


@dataclass
class Cell:
    """What became of one command under one fault."""

    runs: int = 0
    exits: Counter = field(default_factory=Counter)
    left: Counter = field(default_factory=Counter)  # nothing, old, new, or part of a run that goes on
    leftovers: int = 0  # runs that left temporary files
    same_after: int = 0  # runs whose repetition gave an unbroken run's files, byte by byte, and no leftovers
    wrong: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For the record."""
        counters = {"exits": dict(sorted(self.exits.items())), "left": dict(sorted(self.left.items()))}
        rest = {"leftovers": self.leftovers, "same_after": self.same_after, "wrong": self.wrong}
        return {"runs": self.runs, **counters, **rest}


@dataclass(frozen=True)
class Unbroken:
    """A command without any fault."""

    old: verdict.Content
    new: verdict.Content
    operations: int
    seconds: float


class Campaign:
    """The commands, their inputs and their unbroken runs; then faults.

    Args:
        scratch: An empty folder.
        zygote: Runs commands; `other` runs a second one at the same time.
        only: Names of the commands; all without it.
    """

    def __init__(self, scratch: Path, zygote: Zygote, other: Zygote, only: tuple[str, ...] = ()) -> None:
        self._base, self._out, self._zygote, self._other = scratch / "base", scratch / "work" / "out", zygote, other
        self._cold = 0.0
        self._base.mkdir()
        self._out.parent.mkdir()
        self.cases = {name: case for name, case in CASES.items() if not only or name in only}
        make_inputs(self._base, self._must)
        self._halve()
        self.unbroken = {name: self._measure(case) for name, case in self.cases.items()}

    def twin(self, scratch: Path, zygote: Zygote, other: Zygote) -> "Campaign":
        """One that works beside this one, on the same inputs."""
        one = copy.copy(self)
        one._out, one._zygote, one._other = scratch / "work" / "out", zygote, other
        one._out.parent.mkdir()
        return one

    def run(self, fault: str, name: str, point: float, *, timed: bool = False) -> tuple[Ended, "Cell"]:
        """One run under one fault; `point` in [0, 1) says when, in operations or in time."""
        case, whole, cell = self.cases[name], self.unbroken[name], Cell(runs=1)
        case.prepare(self._base, self._out)
        if fault in _COLD:
            return self._run_cold(fault, case, whole, cell, point)
        at = 1 + int(point * whole.operations)
        if timed:
            struck = Fault(number=_SIGNALS[fault], after=point * whole.seconds)
        elif fault in _SIGNALS:
            struck = Fault(processes.SIGNAL, at, _SIGNALS[fault])
        else:
            struck = Fault(_AT[fault], at)
        ended = self._zygote.run(case.filled(self._base, self._out), self._out, struck, cwd=self._base)
        self._judge(fault, case, whole, ended, cell)
        where = f"{point * whole.seconds:.3f} s" if timed else f"operation {at} of {whole.operations}"
        cell.wrong = [f"{where}: {reason}" for reason in cell.wrong]
        return ended, cell

    def _run_cold(self, fault: str, case: Case, whole: Unbroken, cell: Cell, point: float) -> tuple[Ended, Cell]:
        arguments, wrapper, struck, where = case.filled(self._base, self._out), (), Fault(), "from the start"
        if fault in ("kill -9, cold", "Ctrl-C, cold"):
            struck = Fault(number=_SIGNALS[fault.removesuffix(", cold")], after=point * self._cold_seconds())
            where = f"{struck.after:.3f} s"
        else:
            kept = self._out.with_suffix(".kept")
            shutil.copytree(self._out, kept)
            size = round(_SMALLEST + point * (_LARGEST - _SMALLEST))
            script = (_FULL if fault == "full disk, mounted" else _READ_ONLY).format(
                out=self._out, kept=kept, size=size
            )
            wrapper, where = ("unshare", "-rm", "sh", "-c", script, "sh"), f"{size} kB"
        ended = processes.cold(arguments, self._base, struck, wrapper=wrapper)
        if wrapper:
            if fault == "full disk, mounted":  # the disk went with the process's mounts, its content was copied
                shutil.rmtree(self._out)
                kept.rename(self._out)
            else:
                shutil.rmtree(kept)
        if fault == "Ctrl-C, cold" and ended.code in (-2, 1, 130) and "lunet" not in ended.err:
            cell.exits["before the first line of ours"] += 1
            ended = Ended(0, "", "", 0)
        self._judge(fault.partition(",")[0], case, whole, ended, cell)
        cell.wrong = [f"{where}: {reason}" for reason in cell.wrong]
        return ended, cell

    def _cold_seconds(self) -> float:
        """How long a cold command takes on this machine, now."""
        if not self._cold:
            begun = monotonic()
            case = CASES["recalibrate"]
            processes.cold(case.filled(self._base, self._out.with_suffix(".cold")), self._base)
            self._cold = monotonic() - begun
        return self._cold

    def at(self, fault: str, name: str, point: float, timed: bool) -> Cell:
        """One line of the plan."""
        if fault == "two at once":
            return self.race(name, point * self.unbroken[name].seconds)
        return self.run(fault, name, point, timed=timed)[1]

    def race(self, name: str, lag: float) -> "Cell":
        """The same command twice at once, the second `lag` seconds later: one of them says that it must not."""
        case, whole, cell = self.cases[name], self.unbroken[name], Cell(runs=1)
        case.prepare(self._base, self._out)
        arguments, found = case.filled(self._base, self._out), []
        late = threading.Timer(lag, lambda: found.append(self._other.run(arguments, self._out, cwd=self._base)))
        late.start()
        found.append(self._zygote.run(arguments, self._out, cwd=self._base))
        late.join()
        codes = sorted(ended.code for ended in found)
        cell.exits[" and ".join(map(str, codes))] += 1
        if codes not in ([0, 0], [0, 2]):
            cell.wrong.append(f"exit codes {codes}")
        if case.last and "--force" not in case.arguments and codes != [0, 2]:
            cell.wrong.append(f"nobody was refused: exit codes {codes}")
        cell.wrong += [reason for ended in found for reason in verdict.torn(ended.err, code=ended.code)]
        left, wrong = verdict.state(self._out, whole.old, whole.new, pieces=case.pieces)
        cell.left[left] += 1
        cell.wrong += wrong
        cell.leftovers = int(bool(verdict.leftovers(self._out)))
        cell.same_after = int(self._same(case, whole))
        if left != "new" and not case.varies:
            cell.wrong.append(f"what is left is {left}")
        if cell.leftovers:
            cell.wrong.append(f"left {verdict.leftovers(self._out)}")
        return cell

    def _judge(self, fault: str, case: Case, whole: Unbroken, ended: Ended, cell: Cell) -> None:
        gone = self._out.with_suffix(".gone")
        cell.exits[str(ended.code)] += 1
        if ended.code not in _CODES[fault]:
            cell.wrong.append(f"exit code {ended.code}: {ended.err[-300:]!r}")
        if ended.code != -9:
            cell.wrong += verdict.torn(ended.err, code=ended.code)
        for folder in (self._out, gone):
            if folder.exists() or folder == self._out:
                left, wrong = verdict.state(folder, whole.old, {} if case.varies else whole.new, pieces=case.pieces)
                if case.varies and left == "part" and not wrong:
                    left = "new"
                cell.left[left if folder != gone else f"{left}, in the folder that went"] += 1
                cell.wrong += wrong
        cell.leftovers = int(bool(verdict.leftovers(self._out)) or bool(verdict.leftovers(gone)))
        if fault in ("Ctrl-C", "SIGTERM", "full disk", "clock jumps") and verdict.leftovers(self._out):
            cell.wrong.append(f"left {verdict.leftovers(self._out)}")
        if gone.exists():
            shutil.rmtree(gone)
            case.prepare(self._base, self._out)
        cell.same_after = int(self._repeated(case, whole, cell))

    def _repeated(self, case: Case, whole: Unbroken, cell: Cell) -> bool:
        """Go on, or do it again; whether all is then as if nothing had happened."""
        there = bool(case.last) and (self._out / case.last).exists()
        again = self._zygote.run(case.again(self._base, self._out), self._out, cwd=self._base)
        if there and again.code == 2 and "exist" in again.err:
            again = self._zygote.run(case.filled(self._base, self._out, "--force"), self._out, cwd=self._base)
        if again.code:
            cell.wrong.append(f"the next run ended with {again.code}: {again.err[-300:]!r}")
            return False
        if not self._same(case, whole):
            now = verdict.content(self._out)
            differ = sorted(name for name in {*now, *whole.new} if now.get(name) != whole.new.get(name))
            cell.wrong.append(f"the next run gave other files: {differ}, left {verdict.leftovers(self._out)}")
            return False
        return True

    def _same(self, case: Case, whole: Unbroken) -> bool:
        now, known = verdict.content(self._out), whole.new
        return ({*now} == {*known} if case.varies else now == known) and not verdict.leftovers(self._out)

    def _measure(self, case: Case) -> Unbroken:
        """Run twice, which must give the same."""
        found = []
        for _ in range(2):
            case.prepare(self._base, self._out)
            old, begun = verdict.content(self._out), monotonic()
            ended = self._zygote.run(case.filled(self._base, self._out), self._out, cwd=self._base)
            assert ended.code == 0, ended
            found.append(Unbroken(old, verdict.content(self._out), ended.operations, monotonic() - begun))
        first, second = found
        assert case.varies or first.new == second.new, sorted(first.new.items() ^ second.new.items())
        return second

    def _must(self, arguments: list[str], cwd: Path) -> None:
        ended = self._zygote.run(arguments, cwd)
        assert ended.code == 0, ended

    def _halve(self) -> None:
        """A training that was killed between its second epoch and its third, for `train --resume`."""
        case = CASES["train"]
        case.prepare(self._base, self._out)
        whole = self._zygote.run(case.filled(self._base, self._out), self._out, cwd=self._base)
        case.prepare(self._base, self._out)
        fault = Fault(processes.SIGNAL, whole.operations * 2 // 3, signal.SIGKILL)
        self._zygote.run(case.filled(self._base, self._out), self._out, fault, cwd=self._base)
        for end in (".pt", ".resume.pt", ".history.json"):
            shutil.copy2(self._out / f"m{end}", self._base / f"half{end}")


def plan(kills: int, seed: int, names: list[str]) -> list[tuple[str, str, float, bool]]:
    """Fault, command, point and whether the point is in time: points drawn with the seed, faults in turns."""
    rng, drawn = random.Random(seed), []
    for fault, share in SHARES.items():
        turns = [name for name in names for _ in range(WEIGHTS.get(name, 1))]
        if fault in _COLD:
            turns = [name for name in names if name in _COLD_COMMANDS]
        if not turns:
            continue
        rng.shuffle(turns)
        for number in range(max(1, round(kills * share))):
            timed = fault in _SIGNALS and number // len(turns) % 3 == 2
            drawn.append((fault, turns[number % len(turns)], rng.random(), timed))
    rng.shuffle(drawn)
    return sorted(drawn, key=lambda one: one[0] != "kill -9")  # first what there is most of


def merge(cells: dict[str, dict[str, Cell]], fault: str, name: str, one: Cell) -> None:
    """Add one run's outcome to the matrix."""
    cell = cells.setdefault(fault, {}).setdefault(name, Cell())
    cell.runs += one.runs
    cell.exits += one.exits
    cell.left += one.left
    cell.leftovers += one.leftovers
    cell.same_after += one.same_after
    cell.wrong += one.wrong
