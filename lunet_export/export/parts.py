"""The content of an exported folder of any kind: written, checked, and only then visible."""

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
    """Error of graphs that were built but failed a check. Nothing was written.

    Attributes:
        checks: All checks, of which at least one failed.
    """

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
    readme: str  # README.md, which says for people what the document says
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
    """Write a folder under a temporary name, check it, record the checks, and rename it.

    Args:
        folder: Folder to write.
        parts: Content of the folder.
        check: Function that checks the folder under its temporary name.
        refuse: Function that raises if a folder exists that must not be replaced.
        cure: Advice for the error of a failed check.

    Raises:
        BadInputError: if the folder exists.
        ExportCheckError: if a check failed; then nothing is written.
    """
    with files.whole_folder(folder) as fresh:
        parts.write(fresh)
        checks = check(fresh)
        if not parity.all_passed(checks):
            raise ExportCheckError(checks, cure)
        parts.document["checks"] = [parity.as_json(entry) for entry in checks]
        parts.write_manifest(fresh)
        refuse()  # another process may have written it
    return checks


def validate_target(
    folder: Path, *, force: bool, is_ours: Callable[[Path], bool] = is_ours, wanted: frozenset[str] = _WANTED
) -> None:
    """Raise unless `folder` is missing or empty, or holds only an export and `force` is set.

    Args:
        folder: Folder to write.
        force: Whether an existing export may be replaced.
        is_ours: Function that returns whether a file belongs to such an export.
        wanted: Names of the files that every such export has.

    Raises:
        BadInputError: if the folder must not be written.
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
