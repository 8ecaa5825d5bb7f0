"""What a finished run says of its parts, so that one that was lost, added or rewritten since is noticed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lunet_export.errors import DataError
from lunet_export.files.reading import digest_and_size, is_plain

#: Of a folder of parts: what makes them, and whether they are complete.
RUN = "_run.json"
LARGEST_DOCUMENT = 2**28  # bytes of what is said of a run


@dataclass(frozen=True)
class Recorded:
    """A part, as it was written."""

    rows: int
    sha256: str


def recorded_parts(folder: Path) -> dict[str, Recorded] | None:
    """The parts of a finished run by their files' names; None of a folder that is no run.

    Raises:
        DataError: The run is not complete, or what is said of it is malformed.
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
        raise DataError(
            f"Expected all parts in {folder}; its run is not complete. Go on with it by `resume=True` first."
        )
    return parts


def _recorded(part: Mapping[str, Any]) -> tuple[str, Recorded]:
    file, rows, digest = part["file"], part["rows"], part["sha256"]
    if not (isinstance(file, str) and type(rows) is int and rows >= 0 and isinstance(digest, str)):
        raise ValueError("no part")
    return file, Recorded(rows, digest)


def validate_files(folder: Path, files: Sequence[Path], parts: Mapping[str, Recorded]) -> None:
    """Raise unless the files are those of the run.

    Raises:
        DataError: One is missing, a link, or no part of it.
    """
    names = {file.name for file in files if is_plain(file)}
    for name in sorted(names ^ parts.keys()):
        if name in names:
            raise DataError(f"Expected only the parts of the run in {folder}; {name} is none of them. Take it away.")
        raise DataError(
            f"Expected {name} in {folder}, a part of its run; it is missing, or a link. Make it again by `resume=True`."
        )


def validate_part(path: Path, part: Recorded) -> None:
    """Raise unless the file of a part is the one that the run wrote.

    Raises:
        DataError: It is another.
    """
    if not is_plain(path) or digest_and_size(path)[0] != part.sha256:
        raise DataError(f"Expected {path} as its run wrote it; it is altered. Make it again by `resume=True`.")
