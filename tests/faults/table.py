"""The matrix of `benchmarks/results/faults.json` as tables, which `python -m benchmarks.pages` puts into README.md."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

#: What was done, in words.
DONE = {
    "kill -9": "SIGKILL at a file operation, writes torn by half; every third at a random time",
    "Ctrl-C": "SIGINT at such a point",
    "SIGTERM": "SIGTERM at such a point",
    "full disk": "ENOSPC from an operation on, the first write done by half",
    "read-only": "EROFS from an operation on, removals included",
    "folder gone": "the folder is renamed away at an operation",
    "clock jumps": "the clock of the day jumps by up to 10 years, to and fro, at every look",
    "two at once": "the same command twice at once, the second after a random lag",
    "kill -9, cold": "SIGKILL at a random time of a fresh process, imports included",
    "Ctrl-C, cold": "SIGINT at such a time",
    "full disk, mounted": "a tmpfs of 4 to 160 kB",
    "read-only, mounted": "a read-only bind mount",
}


def fault_rows(document: Mapping[str, Any]) -> Sequence[Sequence[str]]:
    """A row per fault."""
    found = [("fault", "what was done", "runs", "exit codes", "what was left", "with leftovers", "same after")]
    for fault in _faults(document):
        cells = document["matrix"][fault].values()
        runs = str(sum(cell["runs"] for cell in cells))
        found.append((fault, DONE[fault], runs, _counts(cells, "exits"), _counts(cells, "left"), *_sums(cells)))
    return found


def command_rows(document: Mapping[str, Any]) -> Sequence[Sequence[str]]:
    """A row per command, a cell per fault."""
    matrix, faults = document["matrix"], _faults(document)
    commands = list(dict.fromkeys(name for fault in faults for name in matrix[fault]))
    commands.sort(key=list(document["operations"]).index)
    found = [("command", "operations", *faults)]
    for name in commands:
        cells = (_cell(matrix[fault].get(name)) for fault in faults)
        found.append((f"`{name}`", str(document["operations"][name]), *cells))
    return found


def _faults(document: Mapping[str, Any]) -> list[str]:
    return [fault for fault in DONE if fault in document["matrix"]]


def _counts(cells: Any, key: str) -> str:
    total: Counter[str] = Counter()
    for cell in cells:
        total.update(cell[key])
    return ", ".join(
        f"{count} {name}" if key == "left" else f"{name}: {count}" for name, count in sorted(total.items())
    )


def _sums(cells: Any) -> tuple[str, str]:
    return str(sum(cell["leftovers"] for cell in cells)), str(sum(cell["same_after"] for cell in cells))


def _cell(cell: dict[str, Any] | None) -> str:
    return "" if cell is None else ", ".join(f"{count} {name}" for name, count in cell["left"].items())
