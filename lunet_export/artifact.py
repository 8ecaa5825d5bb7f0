"""`Artifact`: an exported folder, opened and verified. NumPy and the standard library only.

The folder holds `density.onnx`, `sampling.onnx`, `manifest.json` and `vectors.json`, and the optional graphs that were
asked for; `exported/README.md` is its specification.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.certificate import Certificate
from lunet_export.errors import ArtifactError, BadInputError
from lunet_export.files import sha256
from lunet_export.preprocessing import Logit
from lunet_export.vectors import Vectors

FORMAT = "lunet_export"
FORMAT_VERSION = 1
DTYPES = ("float32", "float64")
_SHORTER = {"float32": ("float16",)}  # dtypes that the matrix products alone may have
GRAPHS = ("density", "sampling")
OPTIONAL_GRAPHS = ("sampling_with_log_prob", "random_sampling")
MANIFEST, VECTORS = "manifest.json", "vectors.json"


@dataclass(frozen=True)
class Manifest:
    """The fields of manifest.json that running needs; `document` is the whole of it."""

    name: str
    dim: int
    dtype: str
    preprocessing: Logit | None
    image_shape: tuple[int, ...] | None
    graphs: tuple[str, ...]  # names of the graphs in the folder: GRAPHS, and some of OPTIONAL_GRAPHS
    sha256: Mapping[str, str]  # by file name
    document: Mapping[str, Any]
    certificate: Certificate | None = None  # None in folders that are older than it

    @classmethod
    def from_json(cls, document: Any) -> Self:  # noqa: ANN401
        """The manifest of a parsed file.

        Raises:
            ArtifactError: It is of another format or version, or a field is missing or of the wrong kind.
        """
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ArtifactError(f"Expected a manifest of format {FORMAT!r}; this is another file. Export again.")
        version = document.get("format_version")
        if version != FORMAT_VERSION:
            raise ArtifactError(
                f"Expected format version {FORMAT_VERSION}; got {version!r}. Install the lunet-export that wrote it."
            )
        if document.get("sha256_manifest") != sealed(document)["sha256_manifest"]:
            raise ArtifactError("Expected the manifest that was exported; it was altered afterwards. Export again.")
        try:
            model, digests = document["model"], document["sha256"]
            name, dim, dtype = model["name"], model["dim"], document["dtype"]
            settings, shape = model["preprocessing"], model["image_shape"]
            preprocessing = Logit(settings["levels"], settings["margin"]) if settings else None
            if not (isinstance(name, str) and isinstance(dim, int) and dim > 0 and dtype in DTYPES):
                raise ValueError("model.name, model.dim or dtype")
            graphs = tuple(document["graphs"])
            if not (isinstance(document["graphs"], dict) and {*GRAPHS} <= {*graphs} <= {*GRAPHS, *OPTIONAL_GRAPHS}):
                raise ValueError("graphs")
            if not all(isinstance(digests[file], str) for file in (*(f"{g}.onnx" for g in graphs), VECTORS)):
                raise ValueError("sha256")
            image_shape = tuple(int(length) for length in shape) if shape else None
            if image_shape and prod(image_shape) != dim:
                raise ValueError("model.image_shape")
            if not all(isinstance(entry, dict) for entry in document["graphs"].values()):
                raise ValueError("graphs")
            solver, checks = document["graphs"]["sampling"]["solver"], document["checks"]
            tile = solver.get("tile", "none") if isinstance(solver, dict) else "none"
            if not (isinstance(tile, int | None) and isinstance(solver.get("name"), str)):
                raise ValueError("graphs.sampling.solver")
            blocks, products = model["blocks"], document["products"]
            if type(blocks) is not int or blocks < 1 or products not in (dtype, *_SHORTER.get(dtype, ())):
                raise ValueError("model.blocks or products")
            if not (isinstance(checks, list) and all(isinstance(check, dict) for check in checks)):
                raise ValueError("checks")
            certificate = Certificate.from_json(document["certificate"]) if "certificate" in document else None
        except (KeyError, TypeError, ValueError, BadInputError) as error:
            raise ArtifactError(f"Expected a whole manifest; {error} is missing or wrong. Export again.") from None
        return cls(name, dim, dtype, preprocessing, image_shape, graphs, digests, document, certificate)


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with `sha256_manifest`, the SHA-256 of all its other keys as sorted, compact JSON.

    It tells damage and edits by hand from the manifest that was exported. It is no signature.
    """
    rest = {key: value for key, value in document.items() if key != "sha256_manifest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return {**rest, "sha256_manifest": sha256(text.encode())}


@dataclass(frozen=True)
class Artifact:
    """The graphs, their manifest and their test vectors, read into memory and verified against the hashes."""

    manifest: Manifest
    graphs: Mapping[str, bytes]  # by name: density, sampling, and optional ones
    vectors_json: bytes

    @cached_property
    def vectors(self) -> Vectors:
        """The test vectors, parsed when first asked for: running does not need them.

        Raises:
            ArtifactError: They are malformed.
        """
        return Vectors.from_json(_json(VECTORS, self.vectors_json), self.manifest.dim)

    @cached_property
    def round_trip(self) -> NDArray[np.float64] | None:
        """The predicted error of x -> z -> x of each density vector, a row's norm; None in a folder without it.

        Raises:
            ArtifactError: It is of another number of rows.
        """
        certificate, rows = self.manifest.certificate, len(self.vectors.density.x)
        if certificate is None:
            return None
        if len(certificate.rows.round_trip) != rows:
            raise ArtifactError(
                f"Expected certificate.rows of {rows} rows, as density has in vectors.json; got "
                f"{len(certificate.rows.round_trip)}. Export again."
            )
        return certificate.rows.round_trip

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Read a folder.

        The bytes that are verified are the bytes that are used: nothing is read twice.

        Raises:
            ArtifactError: A file is missing, altered or malformed.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        graphs = {name: _verified(folder, f"{name}.onnx", manifest) for name in manifest.graphs}
        return cls(manifest, graphs, _verified(folder, VECTORS, manifest))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder, hashes of the other files not yet verified.

    Raises:
        ArtifactError: The folder or its manifest is missing or malformed.
    """
    if not folder.is_dir():
        raise ArtifactError(f"Expected an exported folder; {folder} is none. Write one with: lunet-export MODEL.pt")
    return Manifest.from_json(_json(str(folder / MANIFEST), _read(folder, MANIFEST)))


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise ArtifactError(f"Expected {name} in {folder}; it is missing. Export again.") from None


def _verified(folder: Path, name: str, manifest: Manifest) -> bytes:
    data = _read(folder, name)
    expected, got = manifest.sha256[name], sha256(data)
    if expected != got:
        raise ArtifactError(
            f"Expected {folder / name} with SHA-256 {expected[:12]}…; got {got[:12]}…. "
            "The file was altered or damaged after export; export again."
        )
    return data


def _json(path: str, data: bytes) -> Any:  # noqa: ANN401
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"Expected JSON in {path}; got {error}. Export again.") from None
