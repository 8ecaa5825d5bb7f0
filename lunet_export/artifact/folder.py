"""An exported folder, opened and verified. NumPy and the standard library only.

A folder holds a flow, or a mixture of one flow per class; `model.kind` in the manifest says which. Both are an
`Artifact` with a `Manifest`; that of a mixture has `names` and `priors`, and one sampling graph per class.
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
from lunet_export.classes import Classes, validate_classes
from lunet_export.columns import Names, read_names
from lunet_export.distribution import LUNET_CLASSES, MIXTURE
from lunet_export.errors import ArtifactError, BadInputError, UnreadableError, brief
from lunet_export.files.reading import is_plain, is_size, meant, read_inside, read_verified, sha256
from lunet_export.files.settled import settled
from lunet_export.flows import KINDS
from lunet_export.layers import Context, Kind, validate_unconditional
from lunet_export.layers.domain import Domain
from lunet_export.preprocessing import Logit

FORMAT = "lunet_export"
FORMAT_VERSION = 1
#: Version of mixtures that programs written for version 1 cannot run: of other flows than LU-Nets, or with more graphs.
MIXTURE_VERSION = 2
#: Version of conditional flows, whose graphs have a tensor that programs written for version 1 do not feed.
CONTEXT_VERSION = 2
DTYPES = ("float32", "float64")
_SHORTER = {"float32": ("float16",)}  # further dtypes of the matrix products
GRAPHS = ("density", "sampling")
OPTIONAL_GRAPHS = ("sampling_with_log_prob", "random_sampling", "density_estimate")
DRAWING_GRAPHS = ("random_sampling",)
_OF_CLASSES = ("sampling", "sampling_with_log_prob")  # graphs of which a mixture has one per class
MANIFEST, VECTORS = "manifest.json", "vectors.json"
SIGNATURE = f"{MANIFEST}.sig"  # written by `lunet_export.signature` if the folder is signed
README = "README.md"  # for people; no program needs it
#: The first line of a README.md that an export wrote, which the next export may replace.
README_MARK = "<!-- Written by lunet-export; exporting again replaces this file. -->"
_LARGEST_MANIFEST = 2**24  # bytes; a manifest of ten classes has 2^17
_FIRST_KIND = "lunet"  # kind of manifests that name none
_MIXTURES = (LUNET_CLASSES, MIXTURE)
_CONTENT = {False: "one network", True: "one network per class"}
#: Commands and classes that take each content, for the error of a wrong one.
_TAKEN_BY = {
    False: "the commands for one network, or ExportedFlow",
    True: "the commands check, sample, score, inspect and classify, or ExportedClasses",
}


def graph_names(wanted: Sequence[str], classes: int) -> tuple[str, ...]:
    """Return the names of graphs; with classes, all but the density once per class. A flow has 0 classes."""
    if not classes:
        return tuple(wanted)
    return ("density", *(f"{name}_{number}" for name in wanted if name != "density" for number in range(classes)))


def graph_of(name: str) -> tuple[str, int | None]:
    """Return what a graph computes and its class: (`sampling`, 3) for sampling_3, (`density`, None) for density."""
    kind, _, number = name.rpartition("_")
    return (kind, int(number)) if kind in _OF_CLASSES and number.isdecimal() else (name, None)


def is_ours(file: Path) -> bool:
    """Return whether an export may have written a file, by its name, or a README.md by its first line."""
    graphs = "|".join((*GRAPHS, *OPTIONAL_GRAPHS, *(rf"{name}_\d+" for name in _OF_CLASSES)))
    known = file.name in (MANIFEST, VECTORS, SIGNATURE) or fullmatch(rf"({graphs})\.onnx", file.name) is not None
    return known or is_our_readme(file)


def is_our_readme(file: Path) -> bool:
    """Return whether a file is the README.md of an export, and not one that the owner of the folder wrote."""
    if file.name != README or not is_plain(file):
        return False
    try:
        with file.open("rb") as text:
            return text.readline(len(README_MARK) + 1).rstrip() == README_MARK.encode()
    except OSError:
        return False


@dataclass(frozen=True)
class Component:
    """The flow of a folder, or one flow of a mixture."""

    kind: type[Kind]
    digest: str  # hash of its weights
    certificate: Certificate | None = None  # None for kinds without one, and in older folders
    name: str = ""  # name of its class
    prior: float = 1.0


@dataclass(frozen=True)
class Manifest:
    """The fields of manifest.json that running needs, and the whole file as `document`."""

    name: str
    dim: int
    dtype: str
    preprocessing: Logit | None
    image_shape: tuple[int, ...] | None
    domain: Domain | None  # where the density is defined; None: everywhere, or on [0, levels) with pre-processing
    graphs: tuple[str, ...]  # names of the graphs in the folder
    sha256: Mapping[str, str]  # by file name
    sizes: Mapping[str, int]  # bytes, by file name; empty in older folders
    components: tuple[Component, ...]  # the flow; in a mixture one per class
    document: Mapping[str, Any]
    columns: Names | None = None  # names of the columns of vectors; None without names
    context: Context | None = None  # what each row's context is, without its network; None where there is none

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the classes; an empty tuple for a flow."""
        return tuple(component.name for component in self.components if component.name)

    @property
    def priors(self) -> tuple[float, ...]:
        """Return the prior probabilities of the components."""
        return tuple(component.prior for component in self.components)

    @property
    def classes(self) -> Classes | None:
        """Return the classes of a mixture, or those that the context of a flow names; None for any other flow."""
        if self.names:
            return Classes(self.names, self.priors)
        return None if self.context is None else self.context.classes

    @property
    def kind(self) -> type[Kind]:
        """Return the kind of the flow, or of the first component."""
        return self.components[0].kind

    @property
    def certificate(self) -> Certificate | None:
        """Return the certificate of a flow; None for a mixture, whose `components` have theirs."""
        return None if self.names else self.components[0].certificate

    @property
    def products(self) -> str:
        """Return the dtype of the matrix products."""
        return str(self.document["products"])

    @property
    def assumed(self) -> bool:
        """Return whether something about the model was assumed without proof."""
        provenance = self.document.get("provenance")
        return isinstance(provenance, dict) and bool(provenance.get("assumed"))

    def validate_kind(self, *, classes: bool) -> None:
        """Raise unless the folder holds one network per class (`classes`) or one network.

        One network whose context names classes is either.

        Raises:
            ArtifactError: if it holds the other.
        """
        found = bool(self.names)
        if found != classes and not (classes and self.classes):
            raise ArtifactError(
                f"Expected a folder with {_CONTENT[classes]}; this one holds {_CONTENT[found]}. "
                f"Give another folder, or use {_TAKEN_BY[found]}."
            )

    def validate_unconditional(self, task: str) -> None:
        """Raise where the flow takes a context, for a task that takes none, a noun.

        Raises:
            BadInputError: if it takes one.
        """
        validate_unconditional(self.context, task)

    def repeated(self, graph: str) -> dict[str, str]:
        """Return the metadata of the model that a graph must repeat, besides that of every graph."""
        _, number = graph_of(graph)
        if not self.names:
            context = {} if self.context is None else {"lunet.context": self.context.text}
            return {**self.kind.repeated(self.document["model"]), **context}
        if number is not None:
            return {"lunet.sha256_weights": self.components[number].digest}
        digest = str(self.document["model"].get("sha256_weights"))
        classes = {"lunet.classes": json.dumps(self.names), "lunet.priors": json.dumps(self.priors)}
        return {**classes, "lunet.sha256_weights": digest}

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Return the manifest of a parsed file.

        Raises:
            ArtifactError: if it has another format, version or kind, or a field is missing or has the wrong type.
        """
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ArtifactError(f"Expected a manifest of format {FORMAT!r}; this is another file. Export again.")
        version, kind = document.get("format_version"), _kind(document)
        versions = _versions(document, kind)
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
        """Return the manifest; raise LookupError, TypeError, ValueError or BadInputError that names the place."""
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
        context = Context.from_json(model["context"], "model.context") if _is_conditional(document) else None
        if context is not None and mixture:
            raise ValueError("model.context")
        return cls(
            name,
            dim,
            dtype,
            preprocessing,
            image_shape,
            domain,
            graphs,
            digests,
            sizes,
            components,
            document,
            columns,
            context,
        )


_ALL = (*GRAPHS, *OPTIONAL_GRAPHS)


def _kind(document: Mapping[str, Any]) -> str:
    model = document.get("model")
    return str(model.get("kind", _FIRST_KIND)) if isinstance(model, dict) else _FIRST_KIND


def _is_conditional(document: Mapping[str, Any]) -> bool:
    model = document.get("model")
    return isinstance(model, dict) and model.get("context") is not None


def _versions(document: Mapping[str, Any], kind: str) -> tuple[int, ...]:
    """Return the format versions that a folder of that kind can have."""
    if kind in _MIXTURES:
        return (FORMAT_VERSION, MIXTURE_VERSION)
    return (CONTEXT_VERSION,) if _is_conditional(document) else (FORMAT_VERSION,)


def _only(document: Mapping[str, Any], kind: str) -> Component:
    """Return the flow of a folder with one network; raise KeyError, TypeError or ValueError that names the place."""
    model, written = document["model"], KINDS[kind]
    written.validate_entry(model, document["graphs"]["sampling"])
    certificate = Certificate.from_json(document["certificate"]) if "certificate" in document else None
    return Component(written, str(model.get("sha256_weights")), certificate)


def _classes(document: Mapping[str, Any], kind: str) -> tuple[Component, ...]:
    """Return the flows of a mixture; raise KeyError, TypeError, ValueError or CheckpointError that names the place."""
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
    """Return whether a document has the hash that `sealed` gives it."""
    try:
        return bool(document.get("sha256_manifest") == sealed(document)["sha256_manifest"])
    except RecursionError:  # nested deeper than any manifest that was written
        return False


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document with `sha256_manifest`, the SHA-256 of all its other keys as sorted, compact JSON.

    The hash detects damage and edits by hand. It is not a signature.
    """
    rest = {key: value for key, value in document.items() if key != "sha256_manifest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return {**rest, "sha256_manifest": sha256(text.encode())}


@dataclass(frozen=True)
class Artifact:
    """Graphs, manifest and test vectors, read into memory and verified by their hashes."""

    manifest: Manifest
    graphs: Mapping[str, bytes]  # by name
    vectors_json: bytes

    @cached_property
    def vectors(self) -> Vectors | MixtureVectors:
        """Return the test vectors, parsed on first use, as running does not need them.

        Raises:
            ArtifactError: if they are malformed.
        """
        document, dim, names = _json(VECTORS, self.vectors_json), self.manifest.dim, self.manifest.names
        if names:
            return MixtureVectors.from_json(document, dim, names)
        context = self.manifest.context
        return Vectors.from_json(document, dim, context=0 if context is None else context.dim)

    @cached_property
    def round_trip(self) -> NDArray[np.float64] | None:
        """Return the predicted error of x -> z -> x per density vector, a norm (N,); None in a folder without it.

        Raises:
            ArtifactError: if it has another number of rows than the vectors.
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
    """Read and verify a folder.

    The verified bytes are the bytes that are used. If an export replaces the folder meanwhile, all of them are read
    again.

    Raises:
        ArtifactError: if a file is missing, altered or malformed.
        UnreadableError: if the operating system does not let one be read.
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
    """Return the manifest of a folder, without verifying the hashes of the other files.

    Raises:
        ArtifactError: if the folder or its manifest is missing or malformed.
        UnreadableError: if the operating system does not let it be read.
    """
    return settled(folder, MANIFEST, lambda: Manifest.from_json(_document(folder)))


def made_from(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the entries of the files that a folder was made from, by role. Malformed entries are left out.

    Args:
        document: Content of the manifest.
    """
    provenance = document.get("provenance")
    files = provenance.get("files") if isinstance(provenance, dict) else None
    return {role: file for role, file in files.items() if isinstance(file, dict)} if isinstance(files, dict) else {}


def _document(folder: Path) -> object:
    with UnreadableError.instead(folder):
        there = folder.is_dir()
    if not there:
        what = "is a file" if folder.exists() else "does not exist"
        cure = meant(folder) if what == "does not exist" else ""
        raise ArtifactError(
            f"Expected an exported folder; {folder} {what}.{cure or ' Write one with: lunet-export MODEL.pt'}"
        )
    return _json(str(folder / MANIFEST), read_inside(folder, MANIFEST, most=_LARGEST_MANIFEST))


def read_readme(folder: Path, document: Mapping[str, Any]) -> bytes | None:
    """Return README.md of a folder of any kind, verified by its manifest; None for older folders without one.

    Args:
        folder: Exported folder.
        document: Content of its manifest.json or verifier.json.

    Raises:
        ArtifactError: if it is missing or altered, or its entry in the manifest is malformed.
        UnreadableError: if the operating system does not let it be read.
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


def _json(path: str, data: bytes) -> Any:  # noqa: ANN401 (a file can hold anything)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise ArtifactError(f"{path} is not valid JSON. Export again.") from None
