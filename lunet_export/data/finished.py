"""The records of the parts of a finished run. They show whether a part was lost, added or rewritten since."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lunet_export.errors import DataError
from lunet_export.files.reading import digest_and_size, is_plain

#: The record of a folder of parts: what makes them, and whether they are complete.
RUN = "_run.json"
LARGEST_DOCUMENT = 2**28  # bytes of the record of a run


@dataclass(frozen=True)
class Recorded:
    """The rows and the hash of a part, as it was written."""

    rows: int
    sha256: str


def recorded_parts(folder: Path) -> dict[str, Recorded] | None:
    """Return the parts of a finished run by the names of their files; None if the folder is not a run.

    Raises:
        DataError: if the run is not complete, or its record is malformed.
    """
    path = folder / RUN
    if not path.exists() and not path.is_symlink():
        return None
    try:
        small = is_plain(path) and path.stat().st_size <= LARGEST_DOCUMENT
        known = json.loads(path.read_bytes()) if small else {}
        complete = known.get("complete") is True
        parts = dict(_recorded(part) for part in known["parts"]) if complete else {}
        whole = sum(part.rows for part in parts.values()) == known["summary"]["rows"] if complete else False
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        complete = whole = False
    if not complete or not whole:
        raise DataError(f"Expected all parts in {folder}; its run is not complete. Finish it with `resume=True` first.")
    return parts


def _recorded(part: Mapping[str, Any]) -> tuple[str, Recorded]:
    file, rows, digest = part["file"], part["rows"], part["sha256"]
    if not (isinstance(file, str) and type(rows) is int and rows >= 0 and isinstance(digest, str)):
        raise ValueError("not a part")
    return file, Recorded(rows, digest)


def validate_files(folder: Path, files: Sequence[Path], parts: Mapping[str, Recorded]) -> None:
    """Raise an error unless the folder holds exactly the files that the run wrote.

    Raises:
        DataError: if a file is missing, a link, or not a part of the run.
    """
    names = {file.name for file in files if is_plain(file)}
    for name in sorted(names ^ parts.keys()):
        if name in names:
            raise DataError(f"Expected only parts of the run in {folder}; {name} is another file. Move it elsewhere.")
        raise DataError(
            f"Expected {name} in {folder}, a part of its run; it is missing or a link. "
            "Make it again with `resume=True`."
        )


def validate_part(path: Path, part: Recorded) -> None:
    """Raise an error unless the file of a part is the one that the run wrote.

    Raises:
        DataError: if the file was altered.
    """
    if not is_plain(path) or digest_and_size(path)[0] != part.sha256:
        raise DataError(f"Expected {path} as its run wrote it; it was altered. Make it again with `resume=True`.")
