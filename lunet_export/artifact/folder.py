"""An exported folder, opened and verified. NumPy and the standard library only.

A folder holds a flow, or a mixture: one flow per class, told apart by `model.kind` in the manifest. Both are an
`Artifact` with a `Manifest`; a mixture's has `names` and `priors`, and a sampling graph per class.
`FORMAT.md` beside this file is the specification.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from re import fullmatch
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.artifact import graph_file
from lunet_export.certificate import Certificate
from lunet_export.checks.vector_file import MixtureVectors, Vectors
from lunet_export.columns import Names, read_names
from lunet_export.distribution import LUNET_CLASSES, MIXTURE, validate_classes
from lunet_export.errors import ArtifactError, BadInputError, UnreadableError, brief
from lunet_export.files.reading import is_plain, is_size, read_inside, read_verified, sha256
from lunet_export.files.settled import settled
from lunet_export.flows import KINDS
from lunet_export.layers import Kind
from lunet_export.layers.domain import Domain
from lunet_export.preprocessing import Logit

FORMAT = "lunet_export"
FORMAT_VERSION = 1
#: Of mixtures that programs written for version 1 would not run: of other flows than LU-Nets, or with more graphs.
MIXTURE_VERSION = 2
DTYPES = ("float32", "float64")
_SHORTER = {"float32": ("float16",)}  # dtypes that the matrix products alone may have
GRAPHS = ("density", "sampling")
OPTIONAL_GRAPHS = ("sampling_with_log_prob", "random_sampling", "density_estimate")
DRAWING_GRAPHS = ("random_sampling",)
_OF_CLASSES = ("sampling", "sampling_with_log_prob")  # graphs that a mixture has one of per class
MANIFEST, VECTORS = "manifest.json", "vectors.json"
SIGNATURE = f"{MANIFEST}.sig"  # of `lunet_export.signature`, where the folder was signed
README = "README.md"  # for people; no program needs it
#: The first line of a README.md that an export wrote, by which the next one may replace it.
README_MARK = "<!-- Written by lunet-export; exporting again replaces this file. -->"
_LARGEST_MANIFEST = 2**24  # bytes; that of ten classes has 2^17
_FIRST_KIND = "lunet"  # of manifests that name none
_MIXTURES = (LUNET_CLASSES, MIXTURE)
_CONTENT = {False: "one network", True: "a network a class"}
#: What takes a folder of each content, for one that was given to the wrong command.
_TAKEN_BY = {
    False: "the commands for one network, or ExportedFlow",
    True: "the commands check, sample, score, inspect and classify, or ExportedClasses",
}


def graph_names(wanted: Sequence[str], classes: int) -> tuple[str, ...]:
    """The graphs of a folder with so many classes, 0 of a flow: of a mixture all but the density once per class."""
    if not classes:
        return tuple(wanted)
    return ("density", *(f"{name}_{number}" for name in wanted if name != "density" for number in range(classes)))


def graph_of(name: str) -> tuple[str, int | None]:
    """What a graph computes, and the number of its class: `sampling`, 3 of sampling_3, `density`, None of density."""
    kind, _, number = name.rpartition("_")
    return (kind, int(number)) if kind in _OF_CLASSES and number.isdecimal() else (name, None)


def is_ours(file: Path) -> bool:
    """Whether an export may have written a file: by its name, and a README.md by its first line."""
    graphs = "|".join((*GRAPHS, *OPTIONAL_GRAPHS, *(rf"{name}_\d+" for name in _OF_CLASSES)))
    known = file.name in (MANIFEST, VECTORS, SIGNATURE) or fullmatch(rf"({graphs})\.onnx", file.name) is not None
    return known or is_our_readme(file)


def is_our_readme(file: Path) -> bool:
    """Whether a file is the README.md of an export. One that its owner wrote, into an older folder say, is not."""
    if file.name != README or not is_plain(file):
        return False
    try:
        with file.open("rb") as text:
            return text.readline(len(README_MARK) + 1).rstrip() == README_MARK.encode()
    except OSError:
        return False


@dataclass(frozen=True)
class Component:
    """A flow of a folder: the only one, or that of a class."""

    kind: type[Kind]
    digest: str  # of its weights
    certificate: Certificate | None = None  # None of kinds that have none, and in folders that are older than it
    name: str = ""  # of its class
    prior: float = 1.0


@dataclass(frozen=True)
class Manifest:
    """The fields of manifest.json that running needs; `document` is the whole of it."""

    name: str
    dim: int
    dtype: str
    preprocessing: Logit | None
    image_shape: tuple[int, ...] | None
    domain: Domain | None  # where the density is defined; None: everywhere, or as the pre-processing says
    graphs: tuple[str, ...]  # names of the graphs in the folder
    sha256: Mapping[str, str]  # by file name
    sizes: Mapping[str, int]  # bytes, by file name; empty in folders that are older than these
    components: tuple[Component, ...]  # the flow; of a mixture one per class
    document: Mapping[str, Any]
    columns: Names | None = None  # names of the columns of vectors; None where there are none

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes; none of a flow."""
        return tuple(component.name for component in self.components if component.name)

    @property
    def priors(self) -> tuple[float, ...]:
        """How frequent the components are."""
        return tuple(component.prior for component in self.components)

    @property
    def kind(self) -> type[Kind]:
        """How the flow is written down."""
        return self.components[0].kind

    @property
    def certificate(self) -> Certificate | None:
        """Of a flow, its certificate; a mixture has one per class, in `components`."""
        return None if self.names else self.components[0].certificate

    @property
    def products(self) -> str:
        """The dtype of the matrix products."""
        return str(self.document["products"])

    @property
    def assumed(self) -> bool:
        """Whether something was taken for granted of the model that no file proves."""
        provenance = self.document.get("provenance")
        return isinstance(provenance, dict) and bool(provenance.get("assumed"))

    def validate_kind(self, *, classes: bool) -> None:
        """Raise unless the folder holds a network per class, or else one network.

        Raises:
            ArtifactError: It holds the other.
        """
        found = bool(self.names)
        if found != classes:
            raise ArtifactError(
                f"Expected a folder with {_CONTENT[classes]}; this one holds {_CONTENT[found]}. "
                f"Give another folder, or use {_TAKEN_BY[found]}."
            )

    def repeated(self, graph: str) -> dict[str, str]:
        """What the metadata of a graph must repeat of the model, beside what every graph's does."""
        _, number = graph_of(graph)
        if not self.names:
            return self.kind.repeated(self.document["model"])
        if number is not None:
            return {"lunet.sha256_weights": self.components[number].digest}
        digest = str(self.document["model"].get("sha256_weights"))
        classes = {"lunet.classes": json.dumps(self.names), "lunet.priors": json.dumps(self.priors)}
        return {**classes, "lunet.sha256_weights": digest}

    @classmethod
    def from_json(cls, document: object) -> Self:
        """The manifest of a parsed file.

        Raises:
            ArtifactError: It is of another format, version or kind, or a field is missing or of the wrong type.
        """
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ArtifactError(f"Expected a manifest of format {FORMAT!r}; this is another file. Export again.")
        version, kind = document.get("format_version"), _kind(document)
        versions = (FORMAT_VERSION, MIXTURE_VERSION) if kind in _MIXTURES else (FORMAT_VERSION,)
        if type(version) is not int or version not in versions:
            raise ArtifactError(
                f"Expected format version {' or '.join(map(str, versions))}; got {brief(repr(version))}. "
                "Install the lunet-export that wrote it."
            )
        if not is_sealed(document):
            raise ArtifactError("Expected the manifest that was exported; it was altered afterwards. Export again.")
        if kind not in (*KINDS, *_MIXTURES):
            raise ArtifactError(
                f"Expected a folder with {' or '.join(_CONTENT.values())}; this one holds something else. "
                "Give another folder, or use the program that wrote it."
            )
        try:
            return cls._of(document, kind)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, BadInputError) as error:
            raise ArtifactError(
                f"Expected a whole manifest; {brief(error, 300)} is missing or wrong. Export again."
            ) from None

    @classmethod
    def _of(cls, document: Mapping[str, Any], kind: str) -> Self:
        """Raises LookupError, TypeError, ValueError or BadInputError, whose text names the place."""
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
        mixture = kind in _MIXTURES
        components = _classes(document, kind) if mixture else (_only(document, kind),)
        classes = len(components) if mixture else 0
        required, optional = (graph_names(names, classes) for names in (GRAPHS, _OF_CLASSES if mixture else _ALL))
        if not set(required) <= set(graphs) <= {*required, *optional}:
            raise ValueError("graphs")
        files = (*(f"{graph}.onnx" for graph in graphs), VECTORS)
        if not all(isinstance(digests[file], str) for file in files):
            raise ValueError("sha256")
        if sizes and not all(is_size(sizes[file]) for file in files):
            raise ValueError("bytes")
        borders = model.get("domain")
        domain = None if borders is None else Domain.from_json(borders, dim)
        columns = read_names(model.get("columns"), dim, "model.columns")
        return cls(
            name, dim, dtype, preprocessing, image_shape, domain, graphs, digests, sizes, components, document, columns
        )


_ALL = (*GRAPHS, *OPTIONAL_GRAPHS)


def _kind(document: Mapping[str, Any]) -> str:
    model = document.get("model")
    return str(model.get("kind", _FIRST_KIND)) if isinstance(model, dict) else _FIRST_KIND


def _only(document: Mapping[str, Any], kind: str) -> Component:
    """The flow of a folder with one. Raises KeyError, TypeError or ValueError, whose text names the place."""
    model, written = document["model"], KINDS[kind]
    written.validate_entry(model, document["graphs"]["sampling"])
    certificate = Certificate.from_json(document["certificate"]) if "certificate" in document else None
    return Component(written, str(model.get("sha256_weights")), certificate)


def _classes(document: Mapping[str, Any], kind: str) -> tuple[Component, ...]:
    """The flows of a mixture. Raises KeyError, TypeError, ValueError or CheckpointError, whose text names the place."""
    classes = document["classes"]
    if not (isinstance(classes, list) and all(isinstance(entry, dict) for entry in classes)):
        raise ValueError("classes")
    names, priors, digests = (tuple(entry[key] for entry in classes) for key in ("name", "prior", "sha256_weights"))
    validate_classes(names, priors)
    if not all(isinstance(digest, str) for digest in digests):
        raise ValueError("classes.sha256_weights")
    found = []
    for number, entry in enumerate(classes):
        own = _FIRST_KIND if kind == LUNET_CLASSES else entry["kind"]
        if own not in KINDS:
            raise ValueError("classes.kind")
        sampling = document["graphs"][graph_names(GRAPHS, len(classes))[1 + number]]
        KINDS[own].validate_entry(entry, sampling)
        known = kind == LUNET_CLASSES or "certificate" in entry
        certificate = Certificate.from_json(entry["certificate"]) if known else None
        found.append(Component(KINDS[own], digests[number], certificate, names[number], priors[number]))
    return tuple(found)


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
class Artifact:
    """The graphs, their manifest and their test vectors, read into memory and verified against the hashes."""

    manifest: Manifest
    graphs: Mapping[str, bytes]  # by name
    vectors_json: bytes

    @cached_property
    def vectors(self) -> Vectors | MixtureVectors:
        """The test vectors, parsed when first asked for: running does not need them.

        Raises:
            ArtifactError: They are malformed.
        """
        document, dim, names = _json(VECTORS, self.vectors_json), self.manifest.dim, self.manifest.names
        return MixtureVectors.from_json(document, dim, names) if names else Vectors.from_json(document, dim)

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


def open_folder(folder: Path | str) -> Artifact:
    """Read a folder.

    The bytes that are verified are the bytes that are used. Where an export replaces the folder meanwhile, all of
    them are read anew.

    Raises:
        ArtifactError: A file is missing, altered or malformed.
        UnreadableError: The operating system does not let one be read.
    """
    return settled(Path(folder), MANIFEST, lambda: _read(Path(folder)))


def _read(folder: Path) -> Artifact:
    manifest = Manifest.from_json(_document(folder))
    graphs = {name: _verified(folder, f"{name}.onnx", manifest) for name in manifest.graphs}
    for name, data in graphs.items():
        operators = graph_file.DRAWING if name in DRAWING_GRAPHS else graph_file.OPERATORS
        graph_file.validate_operators(data, f"{name}.onnx", operators)
    return Artifact(manifest, graphs, _verified(folder, VECTORS, manifest))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder, hashes of the other files not yet verified.

    Raises:
        ArtifactError: The folder or its manifest is missing or malformed.
        UnreadableError: The operating system does not let it be read.
    """
    return settled(folder, MANIFEST, lambda: Manifest.from_json(_document(folder)))


def made_from(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a manifest says of the files that its folder was made from, by what they gave.

    A malformed entry, which no hash depends on, says nothing.

    Args:
        document: The manifest.
    """
    provenance = document.get("provenance")
    files = provenance.get("files") if isinstance(provenance, dict) else None
    return {role: file for role, file in files.items() if isinstance(file, dict)} if isinstance(files, dict) else {}


def _document(folder: Path) -> object:
    with UnreadableError.instead(folder):
        there = folder.is_dir()
    if not there:
        what = "is none" if folder.exists() else "does not exist"
        raise ArtifactError(f"Expected an exported folder; {folder} {what}. Write one with: lunet-export MODEL.pt")
    return _json(str(folder / MANIFEST), read_inside(folder, MANIFEST, most=_LARGEST_MANIFEST))


def read_readme(folder: Path, document: Mapping[str, Any]) -> bytes | None:
    """README.md of a folder of any kind, held against its manifest; None of folders that are older than it.

    Args:
        folder: The folder.
        document: Its manifest.json, or its verifier.json.

    Raises:
        ArtifactError: It is missing or altered, or its entry in the manifest is malformed.
        UnreadableError: The operating system does not let it be read.
    """
    if (entry := document.get("readme")) is None:
        return None
    match entry:
        case {"sha256": str(digest), "bytes": size} if is_size(size):
            return read_verified(folder, README, digest=digest, size=size)
        case _:
            raise ArtifactError(
                "Expected sha256 and bytes of readme in the manifest; one is missing or wrong. Export again."
            )


def _verified(folder: Path, name: str, manifest: Manifest) -> bytes:
    return read_verified(folder, name, digest=manifest.sha256[name], size=manifest.sizes.get(name))


def _json(path: str, data: bytes) -> Any:  # noqa: ANN401 (of a file: anything)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"Expected JSON in {path}; got {brief(error)}. Export again.") from None
