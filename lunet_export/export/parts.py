"""What becomes a folder, of either kind: written, checked, and only then let appear."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lunet_export import files, parity
from lunet_export.artifact import MANIFEST, README, is_ours, sealed
from lunet_export.columns import called
from lunet_export.errors import BadInputError, CheckFailedError
from lunet_export.files import reading
from lunet_export.parity import Check

_CURE = "Try `solver='auto'` or `dtype='float64'`, or report this model."
_WANTED = frozenset({MANIFEST, "density.onnx"})


class ExportCheckError(CheckFailedError):
    """The graphs were built but are not right; `checks` says where. Nothing was written."""

    def __init__(self, checks: list[Check], cure: str = _CURE) -> None:
        worst = max(checks, key=lambda check: check.difference.ratio)
        gap = worst.difference
        super().__init__(
            f"Expected {worst.name} within {gap.tolerance:.1e}; got {gap.worst:.1e} at row {gap.row} (from 0), "
            f"{called(gap.column)}. Nothing was written. {cure}"
        )
        self.checks = checks


@dataclass
class Parts:
    """The content of a folder before it is one."""

    document: dict[str, Any]  # manifest.json, without its seal
    content: dict[str, bytes]  # the other files that a program reads, by name
    readme: str  # README.md, which says what the document says to people
    name: str = MANIFEST  # the file of the document

    def __post_init__(self) -> None:
        self.document["sha256"] = {name: reading.sha256(data) for name, data in self.content.items()}
        self.document["bytes"] = {name: len(data) for name, data in self.content.items()}
        told = self.readme.encode()
        self.document["readme"] = {"sha256": reading.sha256(told), "bytes": len(told)}
        for graph in self.document["graphs"].values():
            graph["bytes"] = len(self.content[graph["file"]])

    def write(self, folder: Path) -> None:
        """Write all files."""
        for name, data in {**self.content, README: self.readme.encode()}.items():
            (folder / name).write_bytes(data)
        self.write_manifest(folder)

    def write_manifest(self, folder: Path) -> None:
        """Write the document alone."""
        text = json.dumps(sealed(self.document), indent=2, allow_nan=False) + "\n"
        (folder / self.name).write_text(text, encoding="utf-8")


def publish(
    folder: Path,
    parts: Parts,
    check: Callable[[Path], list[Check]],
    *,
    refuse: Callable[[], None],
    cure: str = _CURE,
) -> list[Check]:
    """Write the folder, let `check` judge it where it lies, note the checks, and let it appear.

    Args:
        folder: Where.
        parts: What.
        check: Reads the folder under another name.
        refuse: Raises where a folder exists that is not to be replaced.
        cure: What a user may try where a check fails.

    Raises:
        BadInputError: The folder exists.
        ExportCheckError: A check failed; nothing is left behind.
    """
    with files.whole_folder(folder) as fresh:
        parts.write(fresh)
        checks = check(fresh)
        if not parity.all_passed(checks):
            raise ExportCheckError(checks, cure)
        parts.document["checks"] = [parity.as_json(entry) for entry in checks]
        parts.write_manifest(fresh)
        refuse()  # someone else may have been faster
    return checks


def validate_target(
    folder: Path, *, force: bool, is_ours: Callable[[Path], bool] = is_ours, wanted: frozenset[str] = _WANTED
) -> None:
    """Raise unless `folder` is free or empty, or is an export and nothing else, and `force` is set.

    Args:
        folder: Where something is to be written.
        force: Whether an export may be replaced.
        is_ours: Tells whether a file is of such an export.
        wanted: The files that make a folder such an export.

    Raises:
        BadInputError: It is not.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadInputError(f"Expected a new folder; {folder} is a file. Give another path.")
    entries = [entry for entry in folder.iterdir() if not files.is_unfinished(entry.name)]
    inside, others = {entry.name for entry in entries}, sorted(entry.name for entry in entries if not is_ours(entry))
    if inside and (others or not inside >= wanted):
        raise BadInputError(
            f"Expected a new folder; {folder} exists and holds {(others or sorted(inside))[0]}. Give another path."
        )
    if inside and not force:
        raise BadInputError(f"Expected a new folder; {folder} exists already. Give another path, or `force=True`.")
