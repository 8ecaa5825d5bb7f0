"""Where text goes: results to stdout, progress and complaints to stderr."""

import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer import BadParameter

from lunet_cli.arguments import in_options
from lunet_export.api import progress
from lunet_export.api.progress import note as note
from lunet_export.errors import BadInputError, one_line
from lunet_export.files import make_parents

_WIDE = 200  # columns: no table is shortened; a narrow terminal wraps its lines


def _stdout() -> Console:
    return Console(highlight=False, width=_WIDE)


def say(text: str) -> None:
    """A line of result."""
    _stdout().print(one_line(text), markup=False, soft_wrap=True)


def say_lines(text: str) -> None:
    """Lines of result that were made as such: CSV, Markdown."""
    lines = text.removesuffix("\n").split("\n")
    _stdout().print("\n".join(map(one_line, lines)), markup=False, soft_wrap=True)


def complain(sentence: str) -> None:
    """An error, in one sentence."""
    note(f"lunet-export: {one_line(in_options(sentence))}")


def warn(sentence: str) -> None:
    """What makes a result doubtful, in one sentence; what is dumped by this command says it too, as `warnings`."""
    _tell_once("warnings", sentence, "lunet-export: warning: ")


def remark(sentence: str) -> None:
    """How something was taken that is no plain case, in one sentence; what is dumped says it too, as `notes`."""
    _tell_once("notes", sentence, "lunet-export: note: ")


def _tell_once(kind: str, sentence: str, begin: str) -> None:
    sentence = in_options(sentence)
    if (kind, sentence) not in _told.get():
        _told.set((*_told.get(), (kind, sentence)))
        note(f"{begin}{sentence}")


_held: ContextVar[list[dict[str, Any]] | None] = ContextVar("held", default=None)
_told: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("told", default=())


def dump(document: dict[str, Any]) -> None:
    """A result for machines: JSON, infinities and NaN as null. Inside `held` it waits until the command has ended."""
    documents = _held.get()
    if documents is None:
        write(document)
    else:
        documents.append(document)


@contextmanager
def held() -> Iterator[list[dict[str, Any]]]:
    """Yield a list that what is dumped goes to."""
    documents: list[dict[str, Any]] = []
    before, heard = _held.set(documents), _told.set(())
    try:
        yield documents
    finally:
        _held.reset(before)
        _told.reset(heard)


def release(documents: list[dict[str, Any]]) -> None:
    """Write what was held."""
    while documents:
        write(documents.pop(0))


def write(document: dict[str, Any]) -> None:
    """Write a document to stdout, with `warnings` and `notes` where there were any."""
    beside: dict[str, list[str]] = {}
    for kind, sentence in _told.get():
        beside.setdefault(kind, []).append(sentence)
    sys.stdout.write(json_text(document | beside))


def json_text(document: object) -> str:
    """Return a document as JSON; infinities and NaN become null."""
    return json.dumps(_plain(document), indent=1) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def validate_writable(option: str, path: Path | None) -> None:
    """Raise where the file of an option could not be written: OSError by the system, or what Typer shows."""
    if path is None:
        return
    if str(path) == "-":
        raise BadInputError(f"Expected a file for {option}; got -, which is stdout. Give its name.")
    if path.is_dir():
        raise BadParameter(f"Expected a file for {option}; {path} is a folder.")
    make_parents(path)
    with tempfile.TemporaryFile(dir=path.parent):
        pass


def validate_picture_path(option: str, path: Path | None) -> None:
    """Raise where the file of an option is no PNG, or could not be written."""
    if path is not None and path.suffix != ".png":
        raise BadInputError(f"Expected {option} FILE.png; got {path}.")
    validate_writable(option, path)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of figures; columns after the first are right-aligned."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        grid.add_column(column, justify="right" if number else "left", no_wrap=bool(number))
    _print(grid, rows)


def pairs(rows: Sequence[Sequence[str]]) -> None:
    """Names and what they are, both left-aligned."""
    grid = Table(box=None, pad_edge=False, show_header=False)
    _print(grid, rows)


def _print(grid: Table, rows: Sequence[Sequence[str]]) -> None:
    """Without the spaces that fill every line up to the longest: a narrow terminal would wrap them into empty lines."""
    for row in rows:
        grid.add_row(*(Text(one_line(cell)) for cell in row))
    console = _stdout()
    with console.capture() as printed:
        console.print(grid)
    sys.stdout.write(_FILLING.sub(r"\1", printed.get()))


_FILLING = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$", re.MULTILINE)  # a style may end behind it


@contextmanager
def counting(total: int, text: str) -> Iterator[Callable[[int], None]]:
    """A bar with the time to go; the yielded function is told how many more are done."""
    with progress.bar(total, text) as bar:
        yield lambda more: bar.advance(bar.task_ids[0], more)


@contextmanager
def stages() -> Iterator[Callable[[str], None]]:
    """A spinner on stderr whose text the yielded function sets; no terminal: a line each if LUNET_LOG is set."""
    if not sys.stderr.isatty():
        wanted = progress.interval() is not None
        yield lambda text: note(text) if wanted else None
        return
    with Console(stderr=True).status("starting") as status:
        yield lambda text: status.update(text)
