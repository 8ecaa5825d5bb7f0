"""Rows of a .csv file, with or without a header line; errors name the line and the column."""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lunet_export.columns import called, chosen

_SCORES = ["row", "log_prob_nats", "bits_per_dim"]  # header of what the command score writes


def read_csv(path: Path, columns: Sequence[str] = ()) -> NDArray[np.generic]:
    """Read the numbers of a file (N, D): int64 if all are whole and below 2^53, else float64.

    Args:
        path: Path of the file.
        columns: Columns to take, in this order, by name or by number counted from one; empty takes all.

    Raises:
        DataError: if a column is missing.
        ValueError: if the file holds no rows, scores of rows, lines of several lengths, or something else than numbers.
    """
    text = path.read_text(encoding="utf-8-sig")
    first, _, rest = text.partition("\n")
    names = _fields(first)
    header = _are_names(names)
    if names[: len(_SCORES)] == _SCORES:
        raise ValueError("it holds scores of rows, as its header says, not rows; give the rows themselves")
    if header:
        text = rest
    if not text.strip():
        raise ValueError("it holds no rows")
    taken = chosen(columns, names if header else None, len(names), path) or None
    try:
        # NumPy would drop rows as comments.
        rows = np.loadtxt(StringIO(text), delimiter=",", ndmin=2, comments=None, quotechar='"', usecols=taken)
    except ValueError as error:
        raise ValueError(_fault(text, names if header else None, taken) or error) from None
    # float64 has already rounded integers beyond 2^53.
    whole = not any(mark in text for mark in ".eEnN") and (np.abs(rows) < 2.0**53).all()
    return rows.astype(np.int64) if whole else rows


def read_names(path: Path) -> tuple[str, ...] | None:
    """Return the names of the columns in the first line of a file; None if that line is numbers."""
    with path.open(encoding="utf-8-sig") as file:
        names = _fields(file.readline())
    return tuple(names) if _are_names(names) else None


def read_words(path: Path, column: str) -> list[str]:
    """Read one column, by name or by number counted from one, of every row that is not empty.

    Raises:
        DataError: if the column is missing.
        ValueError: if a line is too short.
    """
    lines = [row for row in csv.reader(StringIO(path.read_text(encoding="utf-8-sig"))) if row]
    if not lines:
        raise ValueError("it holds no rows")
    names = [field.strip() for field in lines[0]]
    header = _are_names(names)
    (place,) = chosen((column,), names if header else None, len(names), path)
    rows = lines[header:]
    if short := [number for number, row in enumerate(rows, start=1) if len(row) <= place]:
        raise ValueError(f"row {short[0]}, counted from one, has no {called(place, names if header else None)}")
    return [row[place].strip() for row in rows]


def _are_names(fields: list[str]) -> bool:
    return not any(_is_number(field) for field in fields)


def _fault(text: str, names: list[str] | None, taken: list[int] | None) -> str:
    """Return what is wrong with the first bad line; NumPy counts rows differently, and speaks of its own arguments."""
    width = 0
    for number, line in enumerate(text.splitlines(), start=1 if names is None else 2):
        if not line.strip():
            continue
        fields = _fields(line)
        for column, field in enumerate(fields):
            if (taken is None or column in taken) and not _is_number(field):
                told = called(column, names if names and column < len(names) else None)
                return f"line {number}, {told} is {field[:40]!r}, not a number{_cure(field)}"
        width = width or len(fields)
        if len(fields) != width:
            return f"line {number} has {len(fields)} columns where those before have {width}"
    return ""


def _cure(field: str) -> str:
    for mark, name in ((";", "semicolons"), ("\t", "tabs"), (" ", "spaces")):
        if mark in field and all(_is_number(part.replace(",", ".")) for part in field.split(mark) if part):
            return f"; separate columns by commas, not {name}"
    return "; leave its column out by `columns`" if field else "; fill it, or leave its row out"


def _fields(line: str) -> list[str]:
    return [field.strip() for field in next(csv.reader([line]), [])]


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
