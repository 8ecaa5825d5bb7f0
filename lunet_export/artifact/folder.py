"""An exported folder, opened and verified. NumPy and the standard library only.

There are two kinds, told apart by `model.kind` in the manifest: `Artifact` of one network, `ClassArtifact` of one a
class. Each knows the graphs of its folder, its own part of the manifest and its test vectors; what is common is in
`Folder` and `Description`. `exported/README.md` is the specification.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from re import fullmatch
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.artifact import graph_file
from lunet_export.certificate import Certificate
from lunet_export.checks.class_vectors import ClassVectors
from lunet_export.checks.vectors import Vectors
from lunet_export.errors import ArtifactError, BadInputError, UnreadableError, brief
from lunet_export.files.reading import is_size, read_inside, read_verified, sha256
from lunet_export.files.settled import settled
from lunet_export.flows import KINDS, LUNet
from lunet_export.layers import Kind
from lunet_export.layers.domain import Domain
from lunet_export.preprocessing import Logit
from lunet_export.weights import refuse_classes

FORMAT = "lunet_export"
FORMAT_VERSION = 1
DTYPES = ("float32", "float64")
_SHORTER = {"float32": ("float16",)}  # dtypes that the matrix products alone may have
GRAPHS = ("density", "sampling")
OPTIONAL_GRAPHS = ("sampling_with_log_prob", "random_sampling", "density_estimate")
DRAWING_GRAPHS = ("random_sampling",)
MANIFEST, VECTORS = "manifest.json", "vectors.json"
SIGNATURE = f"{MANIFEST}.sig"  # of `lunet_export.signature`, where the folder was signed
_LARGEST_MANIFEST = 2**24  # bytes; that of ten classes has 2^17
_FIRST_KIND = "lunet"  # of manifests that name none


def sampling_of(number: int) -> str:
    """The name of the sampling graph of a class."""
    return f"sampling_{number}"


def is_ours(file: str) -> bool:
    """Whether an export of either kind may have written a file of that name."""
    graphs = "|".join((*GRAPHS, *OPTIONAL_GRAPHS, r"sampling_\d+"))
    return file in (MANIFEST, VECTORS, SIGNATURE) or fullmatch(rf"({graphs})\.onnx", file) is not None


@dataclass(frozen=True)
class Description:
    """The fields of manifest.json that running needs, of folders of any kind; `document` is the whole of it."""

    kinds: ClassVar[tuple[str, ...]]  # what `model.kind` may be in the manifest
    content: ClassVar[str]  # what such a folder holds, in words
    optional: ClassVar[tuple[str, ...]] = ()  # graphs that may be there or not

    name: str
    dim: int
    dtype: str
    preprocessing: Logit | None
    image_shape: tuple[int, ...] | None
    graphs: tuple[str, ...]  # names of the graphs in the folder
    sha256: Mapping[str, str]  # by file name
    sizes: Mapping[str, int]  # bytes, by file name; empty in folders that are older than these
    document: Mapping[str, Any]

    @classmethod
    def from_json(cls, document: Any) -> Self:  # noqa: ANN401
        """The manifest of a parsed file.

        Raises:
            ArtifactError: It is of another format, version or kind, or a field is missing or of the wrong type.
        """
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ArtifactError(f"Expected a manifest of format {FORMAT!r}; this is another file. Export again.")
        version = document.get("format_version")
        if version != FORMAT_VERSION:
            raise ArtifactError(
                f"Expected format version {FORMAT_VERSION}; got {brief(repr(version))}. "
                "Install the lunet-export that wrote it."
            )
        if not is_sealed(document):
            raise ArtifactError("Expected the manifest that was exported; it was altered afterwards. Export again.")
        if (kind := _kind(document)) not in cls.kinds:
            known = {
                kind: description.content for description in (Manifest, ClassManifest) for kind in description.kinds
            }
            raise ArtifactError(
                f"Expected a folder with {cls.content}; this one holds {known.get(kind, 'something else')}. "
                f"Give another folder, or use {_TAKEN_BY.get(kind, 'the program that wrote it')}."
            )
        try:
            fields = _common(document) | cls._own(document)
            if not set(cls.required(fields)) <= set(fields["graphs"]) <= {*cls.required(fields), *cls.optional}:
                raise ValueError("graphs")
            files = (*(f"{graph}.onnx" for graph in fields["graphs"]), VECTORS)
            if not all(isinstance(fields["sha256"][file], str) for file in files):
                raise ValueError("sha256")
            if fields["sizes"] and not all(is_size(fields["sizes"][file]) for file in files):
                raise ValueError("bytes")
            return cls(**fields)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, BadInputError) as error:
            raise ArtifactError(
                f"Expected a whole manifest; {brief(error, 300)} is missing or wrong. Export again."
            ) from None

    @classmethod
    def required(cls, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """The graphs that must be there, of a manifest with these fields."""
        raise NotImplementedError

    @classmethod
    def _own(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of this kind alone. Raises KeyError, TypeError or ValueError, whose text names the place."""
        raise NotImplementedError


#: What takes a folder of each kind, for one that was given to the wrong command.
_TAKEN_BY = {
    **dict.fromkeys(KINDS, "the commands for one network, or ExportedFlow"),
    "lunet-classes": "the commands check, sample, score, inspect and classify, or ExportedClasses",
}


def _kind(document: Mapping[str, Any]) -> str:
    model = document.get("model")
    return str(model.get("kind", _FIRST_KIND)) if isinstance(model, dict) else _FIRST_KIND


def _common(document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of every kind. Raises KeyError, TypeError, ValueError or BadInputError."""
    model, digests, sizes = document["model"], document["sha256"], document.get("bytes", {})
    name, dim, dtype = model["name"], model["dim"], document["dtype"]
    settings, shape = model["preprocessing"], model["image_shape"]
    preprocessing = None if settings is None else Logit(settings["levels"], settings["margin"])
    if not (isinstance(name, str) and type(dim) is int and dim > 0 and dtype in DTYPES):
        raise ValueError("model.name, model.dim or dtype")
    graphs = tuple(document["graphs"])
    if not isinstance(document["graphs"], dict):
        raise ValueError("graphs")
    image_shape = None if shape is None else tuple(shape)
    if image_shape is not None and (
        not all(type(length) is int and length > 0 for length in image_shape) or prod(image_shape) != dim
    ):
        raise ValueError("model.image_shape")
    if not all(isinstance(entry, dict) for entry in document["graphs"].values()):
        raise ValueError("graphs")
    if document["products"] not in (dtype, *_SHORTER.get(dtype, ())):
        raise ValueError("products")
    checks = document["checks"]
    if not (isinstance(checks, list) and all(isinstance(check, dict) for check in checks)):
        raise ValueError("checks")
    if not isinstance(sizes, dict):
        raise ValueError("bytes")
    return {
        "name": name,
        "dim": dim,
        "dtype": dtype,
        "preprocessing": preprocessing,
        "image_shape": image_shape,
        "graphs": graphs,
        "sha256": digests,
        "sizes": sizes,
        "document": document,
    }


@dataclass(frozen=True)
class Manifest(Description):
    """Of a folder with one network."""

    kinds = tuple(KINDS)
    content = "one network"
    optional = OPTIONAL_GRAPHS

    kind: type[Kind]
    certificate: Certificate | None = None  # None in folders that are older than it
    domain: Domain | None = None  # where the density is defined; None: everywhere, or as the pre-processing says

    @classmethod
    def required(cls, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """As `Description.required`."""
        del fields
        return GRAPHS

    @classmethod
    def _own(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        kind = KINDS[_kind(document)]
        kind.refuse_entry(document["model"], document["graphs"]["sampling"])
        certificate = Certificate.from_json(document["certificate"]) if "certificate" in document else None
        borders = document["model"].get("domain")
        domain = None if borders is None else Domain.from_json(borders, document["model"]["dim"])
        return {"kind": kind, "certificate": certificate, "domain": domain}


@dataclass(frozen=True)
class ClassManifest(Description):
    """Of a folder with one network a class."""

    kinds = ("lunet-classes",)
    content = "a network a class"

    names: tuple[str, ...]
    priors: tuple[float, ...]
    digests: tuple[str, ...]  # of each class's weights
    certificates: tuple[Certificate, ...]

    @classmethod
    def required(cls, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """As `Description.required`."""
        return ("density", *(sampling_of(number) for number in range(len(fields["names"]))))

    @classmethod
    def _own(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        classes = document["classes"]
        if not (isinstance(classes, list) and all(isinstance(entry, dict) for entry in classes)):
            raise ValueError("classes")
        names, priors, digests = (tuple(entry[key] for entry in classes) for key in ("name", "prior", "sha256_weights"))
        refuse_classes(names, priors)
        for number, entry in enumerate(classes):
            LUNet.refuse_entry(entry, document["graphs"][sampling_of(number)])
        if not all(isinstance(digest, str) for digest in digests):
            raise ValueError("classes.sha256_weights")
        certificates = tuple(Certificate.from_json(entry["certificate"]) for entry in classes)
        return {"names": names, "priors": priors, "digests": digests, "certificates": certificates}


def is_sealed(document: Mapping[str, Any]) -> bool:
    """Whether a document has the hash that `sealed` gives it."""
    try:
        return bool(document.get("sha256_manifest") == sealed(document)["sha256_manifest"])
    except RecursionError:  # deeper than any that was written
        return False


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with `sha256_manifest`, the SHA-256 of all its other keys as sorted, compact JSON.

    It tells damage and edits by hand from the manifest that was exported. It is no signature.
    """
    rest = {key: value for key, value in document.items() if key != "sha256_manifest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return {**rest, "sha256_manifest": sha256(text.encode())}


@dataclass(frozen=True)
class Folder:
    """The graphs, their manifest and their test vectors, read into memory and verified against the hashes."""

    manifest: Description
    graphs: Mapping[str, bytes]  # by name
    vectors_json: bytes

    @classmethod
    def described_by(cls) -> type[Description]:
        """The manifest of this kind."""
        raise NotImplementedError

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Read a folder.

        The bytes that are verified are the bytes that are used. Where an export replaces the folder meanwhile, all of
        them are read anew.

        Raises:
            ArtifactError: A file is missing, altered or malformed, or the folder is of another kind.
            UnreadableError: The operating system does not let one be read.
        """
        folder = Path(folder)
        return settled(folder, MANIFEST, lambda: cls.verified(folder, cls.described_by().from_json(_document(folder))))

    @classmethod
    def verified(cls, folder: Path, manifest: Description) -> Self:
        """The content of a folder whose manifest was read.

        Raises:
            ArtifactError: A file is missing, or is not the one that the manifest describes.
            UnreadableError: The operating system does not let one be read.
        """
        graphs = {name: _verified(folder, f"{name}.onnx", manifest) for name in manifest.graphs}
        for name, data in graphs.items():
            operators = graph_file.DRAWING if name in DRAWING_GRAPHS else graph_file.OPERATORS
            graph_file.refuse_strange(data, f"{name}.onnx", operators)
        return cls(manifest, graphs, _verified(folder, VECTORS, manifest))


@dataclass(frozen=True)
class Artifact(Folder):
    """A folder with one network; its graphs are density, sampling, and optional ones."""

    manifest: Manifest

    @classmethod
    def described_by(cls) -> type[Description]:
        """As `Folder.described_by`."""
        return Manifest

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


@dataclass(frozen=True)
class ClassArtifact(Folder):
    """A folder with one network a class; its graphs are density, and sampling_0, sampling_1, .. of the classes."""

    manifest: ClassManifest

    @classmethod
    def described_by(cls) -> type[Description]:
        """As `Folder.described_by`."""
        return ClassManifest

    @cached_property
    def vectors(self) -> ClassVectors:
        """The test vectors, parsed when first asked for.

        Raises:
            ArtifactError: They are malformed.
        """
        document = _json(VECTORS, self.vectors_json)
        return ClassVectors.from_json(document, self.manifest.dim, len(self.manifest.names))


def open_folder(folder: Path | str) -> Artifact | ClassArtifact:
    """Read a folder of either kind.

    Raises:
        ArtifactError: A file is missing, altered or malformed.
        UnreadableError: The operating system does not let one be read.
    """
    folder = Path(folder)

    def read() -> Artifact | ClassArtifact:
        manifest = _manifest(folder)
        if isinstance(manifest, ClassManifest):
            return ClassArtifact.verified(folder, manifest)
        return Artifact.verified(folder, manifest)

    return settled(folder, MANIFEST, read)


def read_manifest(folder: Path) -> Manifest | ClassManifest:
    """The manifest of a folder of either kind, hashes of the other files not yet verified.

    Raises:
        ArtifactError: The folder or its manifest is missing or malformed.
        UnreadableError: The operating system does not let it be read.
    """
    return settled(folder, MANIFEST, lambda: _manifest(folder))


def _manifest(folder: Path) -> Manifest | ClassManifest:
    document = _document(folder)
    kind = _kind(document) if isinstance(document, dict) else _FIRST_KIND
    return ClassManifest.from_json(document) if kind in ClassManifest.kinds else Manifest.from_json(document)


def _document(folder: Path) -> Any:  # noqa: ANN401
    with UnreadableError.instead(folder):
        there = folder.is_dir()
    if not there:
        what = "is none" if folder.exists() else "does not exist"
        raise ArtifactError(f"Expected an exported folder; {folder} {what}. Write one with: lunet-export MODEL.pt")
    return _json(str(folder / MANIFEST), read_inside(folder, MANIFEST, most=_LARGEST_MANIFEST))


def _verified(folder: Path, name: str, manifest: Description) -> bytes:
    return read_verified(folder, name, digest=manifest.sha256[name], size=manifest.sizes.get(name))


def _json(path: str, data: bytes) -> Any:  # noqa: ANN401
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"Expected JSON in {path}; got {brief(error)}. Export again.") from None
