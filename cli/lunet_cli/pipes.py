"""The path `-`: stdin for rows that are read, stdout for what is written."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lunet_cli import output
from lunet_export.errors import BadInputError, DataError, LunetExportError

if TYPE_CHECKING:
    from lunet_export.data import Dataset

STDIN = "stdin"
#: First bytes of formats that stdin does not take.
_NAMED = {b"PAR1": "Parquet", b"ARROW1": "Arrow", b"PK\x03\x04": ".npz", b"\x1f\x8b": "gzip"}
_NUMPY = b"\x93NUMPY"


def is_piped(path: Path | str | None) -> bool:
    """Return whether a path is `-`."""
    return str(path) == "-"


def is_stream(path: Path | str) -> bool:
    """Return whether rows can be read only once: from stdin, or from another program through a shell's <(...)."""
    return is_piped(path) or str(path) == "/dev/stdin" or Path(path).is_fifo() or Path(path).is_char_device()


@contextmanager
def source_file(data: Path) -> Iterator[Path]:
    """Yield the file of rows. A stream is read to its end; it is .npy if it begins like one, else CSV.

    Raises:
        DataError: if stdin is closed, or a stream holds another format.
    """
    if not is_stream(data):
        yield data
        return
    name = STDIN if is_piped(data) else str(data)
    with tempfile.TemporaryDirectory(prefix="lunet-export-") as folder, _opened(data) as stream:
        begin = stream.read(len(_NUMPY))
        if other := next((form for magic, form in _NAMED.items() if begin.startswith(magic)), None):
            raise DataError(f"Expected .npy or CSV from {name}; got {other}. Save it as a file and give its name.")
        path = Path(folder) / (f"{STDIN}.npy" if begin == _NUMPY else f"{STDIN}.csv")
        with path.open("wb") as file:
            file.write(begin)
            shutil.copyfileobj(stream, file)
        try:
            yield path
        except LunetExportError as error:
            error.args = (str(error).replace(str(path), name), *error.args[1:])
            raise


@contextmanager
def _opened(data: Path) -> Iterator[BinaryIO]:
    if not is_piped(data):
        with data.open("rb") as stream:
            yield stream
        return
    if sys.stdin is None:
        raise DataError("Expected .npy or CSV from stdin, which - is; it is closed. Give a file.")
    if sys.stdin.isatty():
        output.note("reading rows from the terminal until Ctrl-D")
    yield sys.stdin.buffer


def data_set(name: str, load: "Callable[[str], Dataset]") -> "Dataset":
    """Return the data set that `load` makes of a name, a file or a stream.

    Raises:
        DataError: as `load` and `source_file` raise.
    """
    if not is_stream(name):
        return load(name)
    with source_file(Path(name)) as file:
        return replace(load(str(file)), name=STDIN, file=None)


def validate_not_stdout(option: str, folder: Path | None) -> None:
    """Raise BadInputError if a folder would be written to stdout."""
    if is_piped(folder):
        raise BadInputError(f"Expected a folder for {option}; got -, which is stdout. Give its name.")
