"""`Exported`: the part of running an exported folder that flows and mixtures share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lunet_export.artifact import Artifact, Manifest, graph_of, open_folder
from lunet_export.checks.vector_file import MixtureVectors, Vectors
from lunet_export.columns import listed
from lunet_export.errors import BadInputError
from lunet_export.layers import Context
from lunet_export.pictures import html
from lunet_export.runtime.cuda import CudaOptions
from lunet_export.runtime.graph_runs import Ends, finite, in_batches, validate_graph
from lunet_export.runtime.providers import placement, run
from lunet_export.runtime.rows import Rows
from lunet_export.runtime.sessions import Sessions

Floats = NDArray[np.floating]
V = TypeVar("V", Vectors, MixtureVectors)

#: Inputs and outputs of each graph; a mixture's density has those of `_DENSITY_OF_CLASSES`.
_ENDS: dict[str, Ends] = {
    "density": (["x"], ["log_prob", "z"]),
    "sampling": (["z"], ["x"]),
    "sampling_with_log_prob": (["z"], ["log_prob", "x"]),
    "random_sampling": (["shape"], ["x", "z"]),
    "density_estimate": (["x", "probe"], ["log_prob_estimate", "z"]),
}
_DENSITY_OF_CLASSES: Ends = (["x"], ["class_log_prob", "log_prob", "posterior"])


class Exported(ABC, Generic[V]):
    """The distribution of an exported folder, on its sessions.

    Args:
        source: The folder, or an opened `Artifact`.
        first: Names of the graphs that are opened at once.
        chosen: Keyword arguments of the subclass: provider, threads, cuda, and what else `Sessions` takes.

    Raises:
        ArtifactError: if the folder is missing, altered or malformed, or holds another kind of distribution.
        UnreadableError: if the operating system does not let the folder be read.
        ProviderError: if the provider that was asked for cannot run; the sentence names the cause and the cure.
        BadInputError: if the provider is unknown, or `threads` is below 1 or far above the processors.
        OutOfMemoryError: if there is no memory for the sessions.
    """

    _has_classes: ClassVar[bool]

    def __init__(self, source: Path | str | Artifact, first: tuple[str, ...], **chosen: Any) -> None:  # noqa: ANN401
        self.artifact = source if isinstance(source, Artifact) else open_folder(source)
        self.manifest = manifest = self.artifact.manifest
        manifest.validate_kind(classes=self._has_classes)
        self.dim, self.dtype = manifest.dim, np.dtype(manifest.dtype)
        self.cuda = CudaOptions.of(chosen["cuda"])
        self._entries = {name: _ENDS[graph_of(name)[0]][0][0] for name in self.artifact.graphs}
        self._again = {**chosen, "cuda": self.cuda}
        self._sessions = Sessions(self.artifact.graphs, first, **self._again, prove=partial(_validate_graph, manifest))
        self.provider, self.provider_reason = self._sessions.choice.name, self._sessions.choice.reason
        origin = str(manifest.document["model"].get("source", ""))
        self._rows = Rows(
            self.dim,
            self.dtype,
            manifest.preprocessing,
            manifest.domain,
            origin,
            manifest.columns,
            context=None if self._has_classes else manifest.context,
            assumed=manifest.assumed,
        )

    def __repr__(self) -> str:
        classes = self.manifest.classes
        kind = f", {len(classes.names)} classes" if classes else ""
        return (
            f"{type(self).__name__}({self.manifest.name!r}, {self.manifest.document['model']['kind']}{kind}, "
            f"dim={self.dim}, dtype={self.dtype}, provider={self.provider!r})"
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows: facts of the folder, and a few samples of seed 0.

        Those of a conditional flow are given the middle of the contexts of training, and are left out if their range is
        not known.

        Nothing is raised: an export that was closed, or whose samples cannot be drawn, shows its facts alone.
        """
        try:
            shown = html.samples(self._drawn(html.wanted(self.manifest)), self.manifest, self.columns)
        except Exception:  # Pillow, ONNX Runtime or the device may fail: a picture is not worth a traceback
            shown = ""
        return html.page(f"{type(self).__name__}: {self.manifest.name}", self._facts(), shown)

    def _facts(self) -> dict[str, str]:
        """Return the table of facts of the folder, by name."""
        manifest, shape = self.manifest, self.manifest.image_shape
        model, training = manifest.document["model"], manifest.document.get("training")
        figure = training.get("test") if isinstance(training, dict) else None
        products = f", products in {manifest.products}" if manifest.products != manifest.dtype else ""
        return {
            "kind": str(model.get("kind", manifest.kind.name)),
            **({"classes": ", ".join(manifest.classes.names)} if manifest.classes else {}),
            "dimensions": str(self.dim),
            **({"images": " x ".join(map(str, shape))} if shape else {}),
            **({"columns": listed(self.columns)} if self.columns else {}),
            **({"context": _told(self.context)} if self.context else {}),
            "dtype": f"{self.dtype}{products}",
            "provider": f"{self.provider} ({self.provider_reason})",
            **({"test": f"{figure:.4f} bits/dim"} if isinstance(figure, float) else {}),
            "graphs": ", ".join(f"{name} {size / 1000:,.0f} kB" for name, size in self._sizes().items()),
        }

    def _sizes(self) -> Counter[str]:
        """Return the bytes of the graphs by what they compute, summed over the classes."""
        sizes: Counter[str] = Counter()
        for name, graph in self.artifact.graphs.items():
            sizes[graph_of(name)[0]] += len(graph)
        return sizes

    def __enter__(self) -> Self:
        """Return the export itself; the end of the block closes it."""
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the sessions and their memory on the device; methods raise BadInputError from now on."""
        self._sessions.close()

    def __reduce__(self) -> Any:  # noqa: ANN401
        """Pickle and copy the folder's content and the options; the copy opens sessions of its own."""
        return partial(type(self), **self._again), (self.artifact,)

    @property
    def columns(self) -> tuple[str, ...] | None:
        """Names of the D columns in their order; None for a model without names.

        Data frames of pandas, Polars and pyarrow are read by these names, with their columns in any order.
        """
        return self.manifest.columns

    @property
    def context(self) -> Context | None:
        """What a conditional flow takes beside its rows; None for one that takes no context.

        Its `dim` is the number C of columns, `names` are their names or None, and `low` and `high` (C,) the range that
        training saw, or None where it is not known. `classes` has the names and priors of the classes that it names,
        or is None for any other context.
        """
        return self._rows.context

    @property
    def _parts(self) -> tuple[Exported[V], ...]:
        """The folders that are scored together: this one alone."""
        return (self,)

    @property
    def tf32(self) -> bool:
        """Whether matrix products round their inputs to TF32."""
        return self.provider == "cuda" and self.cuda.tf32

    @property
    def effective_tf32(self) -> str:
        """`on` or `off` on CUDA, as the density session reports it; `not used` on the CPU."""
        if self.provider == "cpu":
            return "not used"
        options = self._sessions["density"].get_provider_options()["CUDAExecutionProvider"]
        return "on" if options["use_tf32"] == "1" else "off"

    @property
    def placement(self) -> dict[str, dict[str, int]]:
        """Number of nodes of each opened graph per execution provider on CUDA, by ONNX Runtime's own account."""
        if self.provider != "cuda":
            return {}
        return {
            graph: {name: len(nodes) for name, nodes in placement(session).items()}
            for graph, session in self._sessions.opened().items()
        }

    @property
    def vectors(self) -> V:
        """Test vectors of the folder, with the tolerances of what runs: TF32 has its own.

        Raises:
            ArtifactError: if they are malformed, or there are none for TF32.
        """
        vectors = cast(V, self.artifact.vectors)
        return vectors.under_tf32(self.manifest.products) if self.tf32 else vectors

    def accepts(self, x: ArrayLike) -> NDArray[np.bool_]:
        """Return for every row (N, D) whether `log_prob` takes it, that is, finite and inside the domain: (N,).

        Rows far out may still overflow, which `log_prob` reports.

        Raises:
            BadInputError: if x has the wrong shape, is not numbers, or has masked entries.
        """
        return self._rows.acceptable(x)

    def dequantize(self, images: ArrayLike, seed: int = 0, *, draw: int = 0, first: int = 0) -> Floats:
        """Return grey levels with uniform noise in [0, 1), (N, D) in `dtype`: the x that `log_prob` takes.

        x = grey + u with the u of `lunet_export.noise`, so that floor(x) = grey. It is the noise that `score` adds:
        the mean of -log_prob / (D ln 2) over rows is an upper bound of the bits per dimension of the images.

        Args:
            images: Grey levels 0 .. levels - 1, (N, D) or images (N, height, width) with D numbers each.
            seed: Seed of the noise, in [0, 2^64).
            draw: Number of the noise draw.
            first: Number of the first row, by which its noise is drawn.

        Raises:
            BadInputError: if the model takes vectors, or the images are of another size, not whole numbers, or outside
                their levels.
            OutOfMemoryError: if there is no memory for a copy.
        """
        return self._rows.dequantized(images, seed=seed, draw=draw, first=first)

    @abstractmethod
    def _drawn(self, n: int) -> Floats:
        """Return n samples of seed 0 to look at, (n, D)."""

    @abstractmethod
    def log_prob(self, x: ArrayLike) -> Floats:
        """Return log p(x) in nats, (N, D) -> (N,)."""

    def latent(self, n: int, *, seed: int, temperature: float = 1.0, first: int = 0) -> Floats:
        """Return the z that `sample` decodes: temperature times the normal numbers of `lunet_export.noise`, (n, D).

        In a mixture, row i is the same whatever its class.

        Raises:
            BadInputError, OutOfMemoryError: as `sample` does.
        """
        return self._rows.normal(n, seed=seed, temperature=temperature, first=first)

    @abstractmethod
    def _scored(self, x: Floats, context: ArrayLike | None = None) -> tuple[dict[str, Floats], NDArray[np.float64]]:
        """Return the scores of rows x (N, D), `log_prob` (N,) first, and |z|^2 / D of a sample of them."""

    @abstractmethod
    def _table(
        self, n: int, *, seed: int, temperature: float, first: int, label: int | str | None
    ) -> dict[str, NDArray[Any]]:
        """Return the columns of n samples: `x` (n, D), and what else describes each; `label` is a mixture's class."""

    def _session(self, graph: str, option: str = "") -> Any:  # noqa: ANN401
        """Return the session of a graph, opened on first use; `option` is that of the export which adds the graph.

        Raises:
            BadInputError: if the folder has no such graph.
        """
        if graph not in self.artifact.graphs:
            raise BadInputError(f"Expected {graph}.onnx in the export; it has none. Export again with {option}.")
        return self._sessions[graph]

    def _in_batches(
        self, graph: str, outputs: list[str], rows: Floats, context: Floats | None = None, **more: Floats
    ) -> tuple[Floats, ...]:
        """Return outputs of a graph for rows, their contexts and more inputs by name; all of them must be finite."""
        return finite(self._raw(graph, outputs, rows, context, **more))

    def _raw(
        self, graph: str, outputs: list[str], rows: Floats, context: Floats | None = None, **more: Floats
    ) -> tuple[Floats, ...]:
        """Return what `_in_batches` returns, finite or not."""
        fed = {self._entries[graph]: rows, **({} if context is None else {"context": context}), **more}
        return in_batches(lambda part: self._run(graph, outputs, part), fed, lambda: self._nothing(outputs))

    def _nothing(self, outputs: list[str]) -> list[Floats]:
        """Return these outputs for no rows."""
        table = np.empty((0, len(self.manifest.components)), self.dtype)
        numbers = dict.fromkeys(("log_prob", "log_prob_estimate"), np.empty(0, self.dtype))
        empty = {**numbers, "class_log_prob": table, "posterior": table}
        return [empty.get(name, self._rows.empty()) for name in outputs]

    def _run(self, graph: str, outputs: list[str], fed: Mapping[str, Floats]) -> list[Floats]:
        return run(self._sessions[graph], outputs, fed)


def _told(context: Context) -> str:
    """Return what a context is, for a table of facts."""
    names = f": {listed(context.names)}" if context.names else ""
    shown = "" if context.low is None else f"; samples are shown given {context.told(context.middle)}, the middle"
    return f"{context.dim} numbers per row{names}{shown}"


def _validate_graph(manifest: Manifest, name: str, session: Any) -> None:  # noqa: ANN401
    kind, number = graph_of(name)
    ends = _DENSITY_OF_CLASSES if manifest.names and number is None else _ENDS[kind]
    widths = {**dict.fromkeys(("class_log_prob", "posterior"), len(manifest.names)), "log_prob": 0}
    if manifest.context is not None:
        (first, *others), outputs = ends
        ends, widths["context"] = ([first, "context", *others], outputs), manifest.context.dim
    validate_graph(
        session, name, manifest, ends=ends, widths={**widths, "log_prob_estimate": 0}, said=manifest.repeated(name)
    )
