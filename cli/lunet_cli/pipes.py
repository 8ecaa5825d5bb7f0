"""`-`: stdin, where rows are read, and stdout, where a text is written."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lunet_cli import output
from lunet_export.errors import BadInputError, DataError, LunetExportError

if TYPE_CHECKING:
    from lunet_export.data import Dataset

STDIN = "stdin"
#: How files begin that are read by their name alone.
_NAMED = {b"PAR1": "Parquet", b"ARROW1": "Arrow", b"PK\x03\x04": ".npz", b"\x1f\x8b": "gzip"}
_NUMPY = b"\x93NUMPY"


def is_piped(path: Path | str | None) -> bool:
    """Return whether a path is `-`."""
    return str(path) == "-"


@contextmanager
def source_file(data: Path) -> Iterator[Path]:
    """Yield the file of rows, where `-` is stdin, read to its end: .npy by how it begins, else CSV.

    Raises:
        DataError: stdin is closed, or holds another format.
    """
    if not is_piped(data):
        yield data
        return
    if sys.stdin is None:
        raise DataError("Expected .npy or CSV from stdin, which - is; it is closed. Give a file.")
    if sys.stdin.isatty():
        output.note("reading rows from the terminal until Ctrl-D")
    with tempfile.TemporaryDirectory(prefix="lunet-export-") as folder:
        begin = sys.stdin.buffer.read(len(_NUMPY))
        if other := next((name for magic, name in _NAMED.items() if begin.startswith(magic)), None):
            raise DataError(f"Expected .npy or CSV from stdin; got {other}. Save it as a file and give its name.")
        path = Path(folder) / (f"{STDIN}.npy" if begin == _NUMPY else f"{STDIN}.csv")
        with path.open("wb") as file:
            file.write(begin)
            shutil.copyfileobj(sys.stdin.buffer, file)
        try:
            yield path
        except LunetExportError as error:
            error.args = (str(error).replace(str(path), STDIN), *error.args[1:])
            raise


def data_set(name: str, load: "Callable[[str], Dataset]") -> "Dataset":
    """Return the data set that `load` makes of a name or file; of `-`, of the rows on stdin.

    Raises:
        DataError: What `load` or `source_file` raises.
    """
    with source_file(Path(name)) as file:
        rows = load(str(file) if is_piped(name) else name)
    return replace(rows, name=STDIN, file=None) if is_piped(name) else rows


def refuse_folder(option: str, folder: Path | None) -> None:
    """Raise BadInputError where a folder is to be written to stdout."""
    if is_piped(folder):
        raise BadInputError(f"Expected a folder for {option}; got -, which is stdout. Give its name.")
