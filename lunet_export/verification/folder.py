"""A folder for verifiers, opened and checked against its hashes. It contains:

generator.onnx               z [1, D] -> x [1, D], only Gemm and LeakyRelu; the graph for verifiers
generator_with_log_prob.onnx z [1, D] -> x [1, D], log_prob [1]; the graph for replays, which no verifier needs
merged.onnx                  z [1, D] -> the outputs of a classifier fed with x, if one was given
box-Q.vnnlib                 the latent box of mass Q
query-Q.vnnlib               the box and the negated claim, if there is one
query-Q-CASE.vnnlib          the same for one case of the negated claim, for verifiers without disjunctions
verifier.json                a description of all files, with hashes, and a hash of itself
README.md                    a description for people; nothing reads it, and older folders have none
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from re import fullmatch
from typing import Any, Self

from lunet_export.artifact import graph_file, is_our_readme, is_sealed
from lunet_export.errors import ArtifactError, brief
from lunet_export.files.reading import is_size, read_inside, read_verified
from lunet_export.files.settled import settled
from lunet_export.verification import vnnlib
from lunet_export.verification.vnnlib import Query

FORMAT, FORMAT_VERSION = "lunet_export.verifier", 1
DOCUMENT = "verifier.json"
GENERATOR, WITH_LOG_PROB, MERGED = "generator.onnx", "generator_with_log_prob.onnx", "merged.onnx"
SIGNATURE = f"{DOCUMENT}.sig"  # written by `lunet_export.signature` if the folder is signed
_LARGEST_DOCUMENT = 2**24  # bytes


def is_ours(file: Path) -> bool:
    """Return whether an export for verifiers may have written a file, by its name, or a README.md by its first line."""
    return file.name in (DOCUMENT, SIGNATURE) or _is_content(file.name) or is_our_readme(file)


def _is_content(name: str) -> bool:
    """Return whether a file of that name may be described by hash."""
    queries = fullmatch(r"(box|query)-[-.\w]+\.vnnlib", name) is not None
    return name in (GENERATOR, WITH_LOG_PROB, MERGED) or queries


@dataclass(frozen=True)
class VerifierFolder:
    """These are the graphs and queries of a folder, read into memory and verified against the hashes."""

    path: Path
    document: Mapping[str, Any]
    graphs: Mapping[str, bytes]  # by file
    queries: Mapping[str, Query]  # by file: boxes, and queries if there is a claim

    @property
    def dim(self) -> int:
        """Return the number of dimensions D."""
        return int(self.document["model"]["dim"])

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a folder.

        Raises:
            ArtifactError: if the folder or a file is missing, altered or malformed.
        """
        return settled(path, DOCUMENT, lambda: cls._read(path))

    @classmethod
    def _read(cls, path: Path) -> Self:
        document = _document(path)
        try:
            digests, dim = dict(document["sha256"]), document["model"]["dim"]
            outputs = {GENERATOR: dim, **{graph["file"]: graph["outputs"] for graph in document["graphs"].values()}}
            of = {entry["file"]: GENERATOR for entry in document["boxes"]}
            of |= {entry["file"]: entry["graph"] for entry in document["queries"]}
            if not {GENERATOR, WITH_LOG_PROB} <= set(digests) or not set(of) <= set(digests) or type(dim) is not int:
                raise KeyError("sha256")
            sizes = document.get("bytes", dict.fromkeys(digests))  # older folders have no sizes
            if not all(_is_content(name) and isinstance(digest, str) for name, digest in digests.items()):
                raise KeyError("sha256")
            if not all(size is None or is_size(size) for size in (sizes[name] for name in digests)):
                raise KeyError("bytes")
            content = {
                name: read_verified(path, name, digest=digest, size=sizes[name]) for name, digest in digests.items()
            }
            queries = {name: vnnlib.parse(content[name].decode()) for name in of}
            wrong = [name for name, query in queries.items() if (query.dim, query.outputs) != (dim, outputs[of[name]])]
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise ArtifactError(
                f"Expected a whole {DOCUMENT} in {path}; {brief(error)} is missing or wrong. Export it again."
            ) from None
        for name in (name for name in content if name.endswith(".onnx")):
            graph_file.validate_operators(content[name], name, None if name == MERGED else graph_file.OPERATORS)
        if wrong:
            raise ArtifactError(f"Expected queries of the folder's graphs; {path / wrong[0]} has other sizes.")
        return cls(path, document, {name: content[name] for name in content if name.endswith(".onnx")}, queries)

    def graph_of(self, query: str) -> str:
        """Return the file of the graph that a query asks about."""
        entries = {entry["file"]: entry["graph"] for entry in self.document["queries"]}
        return str(entries.get(query, GENERATOR))

    def choose(self, query: str | None) -> str:
        """Return the query of that name; without one, the only whole query, or the only box if there is no claim.

        Raises:
            ArtifactError: if there is none of that name, or several to choose from.
        """
        if query is not None:
            if query not in self.queries:
                raise ArtifactError(f"Expected a query of {', '.join(self.queries)}; got {query}.")
            return query
        whole = [entry["file"] for entry in self.document["queries"] if entry["case"] is None]
        among = whole or list(self.queries)
        if len(among) != 1:
            raise ArtifactError(
                f"Expected one query in {self.path}; it has {len(among)}. Choose one, such as `query={among[0]!r}`."
            )
        return str(among[0])


def _document(path: Path) -> dict[str, Any]:
    if not (path / DOCUMENT).is_file():
        raise ArtifactError(
            f"Expected a folder for verifiers; {path / DOCUMENT} does not exist. "
            "Make one with: lunet-export export MODEL --for-verifier"
        )
    try:
        document = json.loads(read_inside(path, DOCUMENT, most=_LARGEST_DOCUMENT))
    except (ValueError, RecursionError):
        raise ArtifactError(f"{path / DOCUMENT} is not valid JSON. Export it again.") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ArtifactError(f"Expected {FORMAT} in {path / DOCUMENT}; it is another format. Export it again.")
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"Expected format version {FORMAT_VERSION} in {path / DOCUMENT}; got {brief(repr(version))}. "
            "Install the lunet-export that wrote it."
        )
    if not is_sealed(document):
        raise ArtifactError(f"Expected {path / DOCUMENT} as it was exported; it was altered. Export it again.")
    return document
