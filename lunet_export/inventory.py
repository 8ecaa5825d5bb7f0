"""The files of a folder, each checked against the manifest: of a flow, of one network per class, or for verifiers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lunet_export import artifact, signature
from lunet_export.errors import ArtifactError
from lunet_export.files.reading import read_inside, sha256
from lunet_export.files.settled import settled
from lunet_export.verification import folder as verifiers


@dataclass(frozen=True)
class Inventory:
    """This is a folder that matches its manifest, as it was read."""

    manifest: str  # name of the manifest's file
    data: bytes  # bytes of the manifest
    document: Mapping[str, Any]  # the manifest, parsed
    sizes: Mapping[str, int]  # number of bytes by file described there; no other file is ever read
    others: tuple[str, ...]  # other files in the folder, which nothing reads
    signature: bytes | None  # signature of the manifest

    @property
    def digests(self) -> Mapping[str, str]:
        """Return the SHA-256 of each file that the manifest describes."""
        known = dict(self.document["sha256"])
        if artifact.README in self.sizes:
            known[artifact.README] = self.document["readme"]["sha256"]
        return {file: known[file] for file in self.sizes}

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the manifest's bytes, which identifies every file."""
        return sha256(self.data)


def take(folder: Path) -> Inventory:
    """Read and verify a folder.

    Raises:
        ArtifactError: if a file is missing, altered or malformed.
    """
    return settled(folder, artifact.MANIFEST, lambda: _take(folder))


def _take(folder: Path) -> Inventory:
    document: Mapping[str, Any]
    if not (folder / artifact.MANIFEST).exists() and (folder / verifiers.DOCUMENT).exists():
        name, signed, document = verifiers.DOCUMENT, verifiers.SIGNATURE, verifiers.VerifierFolder.open(folder).document
        read = {*document["sha256"]}
    else:
        name, signed, opened = artifact.MANIFEST, artifact.SIGNATURE, artifact.open_folder(folder)
        document, read = opened.manifest.document, {artifact.VECTORS, *(f"{graph}.onnx" for graph in opened.graphs)}
    data = read_inside(folder, name)
    if json.loads(data) != document:
        raise ArtifactError(f"Expected {folder / name} to stay unchanged; it changed just now. Try again.")
    described = [file for file in document["sha256"] if file in read]
    if artifact.read_readme(folder, document) is not None:
        described.append(artifact.README)
    return Inventory(
        name,
        data,
        document,
        {file: (folder / file).stat().st_size for file in described},
        tuple(sorted(entry.name for entry in folder.iterdir() if entry.name not in {name, signed, *described})),
        read_inside(folder, signed, most=signature.LARGEST) if (folder / signed).exists() else None,
    )
