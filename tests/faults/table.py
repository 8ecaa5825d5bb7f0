"""The matrix of `benchmarks/results/faults.json` as the tables of README.md."""

from collections import Counter
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


def tables(document: dict[str, Any]) -> str:
    """Both of them, in markdown."""
    matrix = document["matrix"]
    faults = [fault for fault in DONE if fault in matrix]
    lines = ["| fault | what was done | runs | exit codes | what was left | with leftovers | same after |"]
    lines.append("|---|---|---:|---|---|---:|---:|")
    for fault in faults:
        cells = matrix[fault].values()
        runs = sum(cell["runs"] for cell in cells)
        figures = (_counts(cells, "exits"), _counts(cells, "left"), *_sums(cells))
        lines.append(f"| {fault} | {DONE[fault]} | {runs} | {' | '.join(figures)} |")
    commands = list(dict.fromkeys(name for fault in faults for name in matrix[fault]))
    commands.sort(key=list(document["operations"]).index)
    lines += ["", f"| command | operations | {' | '.join(faults)} |", f"|---|---:|{'---|' * len(faults)}"]
    for name in commands:
        row = (_cell(matrix[fault].get(name)) for fault in faults)
        lines.append(f"| `{name}` | {document['operations'][name]} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


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
