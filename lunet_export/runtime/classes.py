"""`ExportedClasses`: an exported mixture of classes, run with NumPy and ONNX Runtime only.

Its folder holds one network per class, or one network of all classes whose context names the class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lunet_export import noise
from lunet_export.artifact import Artifact, Manifest
from lunet_export.checks import reference
from lunet_export.checks.vector_file import MixtureVectors
from lunet_export.classes import Classes
from lunet_export.errors import ArtifactError
from lunet_export.runtime import misfit
from lunet_export.runtime.cuda import CudaOptions
from lunet_export.runtime.exported import Exported
from lunet_export.runtime.graph_runs import finite, finite_rows, validate_no_overflow
from lunet_export.runtime.providers import Provider
from lunet_export.runtime.rows import computing, typed

Floats = NDArray[np.floating]
Integers = NDArray[np.int64]
_Answers = tuple[Floats, Floats, Floats]  # class_log_prob (N, C), log_prob (N,) and posterior (N, C)
_Squares = NDArray[np.float64]  # |z|^2 / D of the sampled rows by the nearest class, or a lower bound of it
_Run = Callable[..., tuple[Floats, ...]]  # of a graph, the names of its outputs, rows, and contexts where it takes any

_DENSITY = ["class_log_prob", "log_prob", "posterior"]


class ExportedClasses(Exported[MixtureVectors]):
    """The mixture of an exported folder with classes: densities, posterior, classes and samples.

    The folder has one network per class, or one whose context names the class (`context_labels`); `ExportedFlow` opens
    the latter too, as p(x | c) with c = 1 in the place of the class and 0 elsewhere.

    p(x) = sum_c pi_c p_c(x) with the classes' `priors` pi_c; log densities are in nats, in data space. Classes are
    numbered 0 .. C - 1 in the order of `names`. Results have the graphs' dtype, classes are int64. x may be a data
    frame of pandas, Polars or pyarrow; the model's `columns` are taken from it by name, in any order. Threads and
    processes may share it as they may share an `ExportedFlow`, and rows that it was not made for give the same
    `RowsWarning`.

    Args:
        source: The folder, or an opened `Artifact`.
        provider: `cpu`, `cuda` (every node there, or an error) or `auto` (CUDA if it runs, else the CPU).
        threads: CPU threads of each session; None takes ONNX Runtime's own choice, or the number of processors that
            this process may use, if these are not all.
        cuda: Device, memory limit, arena and TF32, as `CudaOptions` or as a mapping of its names.

    Raises:
        ArtifactError: if the folder is missing, altered, malformed, or of one network without classes.
        UnreadableError: if the operating system does not let the folder be read.
        ProviderError: if the provider that was asked for cannot run; the sentence names the cause and the cure.
        BadInputError: if the provider is unknown, or `threads` is below 1 or far above the processors.
        OutOfMemoryError: if there is no memory for the sessions.
    """

    _has_classes = True

    def __init__(
        self,
        source: Path | str | Artifact,
        *,
        provider: Provider = "auto",
        threads: int | None = None,
        cuda: CudaOptions | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(source, ("density",), provider=provider, threads=threads, cuda=cuda)
        classes = self.manifest.classes
        if classes is None:  # `validate_kind` has raised
            raise ArtifactError("Expected a folder with classes; this one has none.")
        self._classes, self.names, self.priors = classes, classes.names, classes.priors
        self._networks: _Networks = _OfEach(self.manifest) if self.manifest.names else _GivenClass(classes, self.dtype)

    def number(self, label: int | str) -> int:
        """Return the number of a class, given by its name or its number, Python's or NumPy's, as `classify` gives it.

        Raises:
            BadInputError: if there is no such class, as for True and 1.0.
        """
        return self._classes.number(label)

    def density(self, x: ArrayLike) -> tuple[Floats, Floats, Floats]:
        """Return log p_c(x) (N, C), log p(x) (N,) in nats and the posterior (N, C) in one run.

        log p_c(x) is -infinity if a row is too far from class c for `dtype` and nearer to another class.

        Raises:
            BadInputError: if x has the wrong shape, NaN or infinity, masked entries, or for images numbers outside
                [0, levels).
            OverflowingRowsError: if a row is too far from all classes.
            OutOfMemoryError: if there is no memory for the run.
            ProviderError: if the provider gave up.
        """
        rows = self._rows.data(x)
        answers, squares = self._density(rows)
        made_for = self._rows.made_for
        misfit.warn(made_for.of_rows(typed(x, rows)) or made_for.of_squares(misfit.sample(rows), squares, exact=False))
        return answers

    def _density(self, rows: Floats) -> tuple[_Answers, _Squares]:
        """Return what `density` returns, without a look at whether the model was made for the rows, and |z|^2 / D."""
        answers, squares = self._networks.density(rows, self._raw)
        class_log_prob, log_prob, posterior = answers
        overflown = np.isnan(class_log_prob).any(axis=1) | ~np.isfinite(class_log_prob).any(axis=1)
        overflown |= ~(finite_rows(log_prob) & finite_rows(posterior))
        validate_no_overflow(overflown, answers)
        return answers, squares

    def class_log_prob(self, x: ArrayLike) -> Floats:
        """Return log p_c(x) of every class in nats, (N, D) -> (N, C). Raises as `density` does."""
        return self.density(x)[0]

    def log_prob(self, x: ArrayLike) -> Floats:
        """Return log p(x) of the mixture in nats, (N, D) -> (N,). Raises as `density` does."""
        return self.density(x)[1]

    def posterior(self, x: ArrayLike) -> Floats:
        """Return p(c | x) = pi_c p_c(x) / p(x), (N, D) -> (N, C). Raises as `density` does."""
        return self.density(x)[2]

    def classify(self, x: ArrayLike) -> Integers:
        """Return the number of the class with the largest posterior, (N, D) -> (N,). Raises as `density` does."""
        return self.posterior(x).argmax(axis=1)

    def decode(self, z: ArrayLike, label: int | str) -> Floats:
        """Return x of z by the network of one class, (N, D) -> (N, D).

        Images are clamped to [0, largest float below levels].

        Raises:
            BadInputError: if there is no such class, or z has the wrong shape, NaN or infinity, or masked entries.
            OverflowingRowsError, OutOfMemoryError, ProviderError: as `density` does.
        """
        number = self.number(label)
        return finite((self._decoded(self._rows.latents(z), number),))[0]

    def decode_with_log_prob(self, z: ArrayLike, label: int | str) -> tuple[Floats, Floats]:
        """Return x (N, D) and its log p_c (N,) in nats by the network of one class.

        For exports made with `--with-log-prob`. log p_c belongs to x before an image is clamped into its domain; column
        c of `class_log_prob` belongs to the clamped x.

        Raises:
            BadInputError: if the folder has no such graph, or as `decode` does.
        """
        number, rows = self.number(label), self._rows.latents(z)
        graph, context = self._networks.sampling("sampling_with_log_prob", number)
        self._session(graph, "`with_log_prob=True`")
        x, log_prob = self._in_batches(graph, ["x", "log_prob"], rows, context)
        return x, log_prob

    def labels(self, n: int, *, seed: int, first: int = 0) -> Integers:
        """Return the classes of the n rows that `sample` draws from the mixture, by the priors, (n,).

        Raises:
            BadInputError, OutOfMemoryError: as `sample` does.
        """
        rows = noise.rows_of(n, first)
        with computing(f"{len(rows)} rows"):
            return noise.classes(seed, rows, self.priors)

    def sample(
        self, n: int, *, seed: int, label: int | str | None = None, temperature: float = 1.0, first: int = 0
    ) -> Floats:
        """Return n rows of one class, or of the mixture with the classes of `labels`, (n, D), from row `first` on.

        Row i depends on seed, i and its class only, on every provider and in every language.

        Raises:
            BadInputError: if there is no such class, `n` or `first` is not a whole number of 0 or more, `temperature`
                is not a number of 0 or more, or `seed` is not a whole number in [0, 2^64).
            OverflowingRowsError: as `decode` does.
            OutOfMemoryError: if there is no memory for so many rows.
        """
        z = self.latent(n, seed=seed, temperature=temperature, first=first)
        if label is not None:
            return self.decode(z, label)
        x, labels = np.empty_like(z), self.labels(n, seed=seed, first=first)
        for number in np.unique(labels):
            x[labels == number] = self._decoded(z[labels == number], int(number))
        return finite((x,))[0]

    def _decoded(self, z: Floats, number: int) -> Floats:
        """Return x of one class as its graph gives it, finite or not."""
        graph, context = self._networks.sampling("sampling", number)
        return self._raw(graph, ["x"], z, context)[0]

    def _drawn(self, n: int) -> Floats:
        return self.sample(n, seed=0)

    def _scored(self, x: Floats, context: ArrayLike | None = None) -> tuple[dict[str, Floats], NDArray[np.float64]]:
        self._rows.contexts(context, len(x))  # which raises where there is one
        (_, log_prob, posterior), squares = self._density(self._rows.data(x))
        return {"log_prob": log_prob, "posterior": posterior}, squares

    def _table(
        self, n: int, *, seed: int, temperature: float, first: int, label: int | str | None
    ) -> dict[str, NDArray[Any]]:
        x = self.sample(n, seed=seed, label=label, temperature=temperature, first=first)
        if label is not None:
            return {"x": x}
        return {"x": x, "label": self.labels(n, seed=seed, first=first)}


class _Networks(ABC):
    """The graphs of a folder with classes."""

    @abstractmethod
    def density(self, rows: Floats, run: _Run) -> tuple[_Answers, _Squares]:
        """Return the answers for rows (N, D), finite or not, and |z|^2 / D of the sampled ones.

        `run` is not kept: it holds the flow, whose sessions end with its last reference.
        """

    @abstractmethod
    def sampling(self, graph: str, number: int) -> tuple[str, Floats | None]:
        """Return the graph that samples a class, and the context of all rows if it takes any."""


class _OfEach(_Networks):
    """One network per class; one graph has all densities."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def density(self, rows: Floats, run: _Run) -> tuple[_Answers, _Squares]:
        class_log_prob, log_prob, posterior = run("density", _DENSITY, rows)
        return (class_log_prob, log_prob, posterior), self._squares(class_log_prob)

    def sampling(self, graph: str, number: int) -> tuple[str, Floats | None]:
        return f"{graph}_{number}", None

    def _squares(self, class_log_prob: Floats) -> _Squares:
        """Return a lower bound of |z|^2 / D of the sampled rows by any class's network, (N,).

        log p(x) = -|z|^2 / 2 - D / 2 log 2 pi + log|det|, and the certificates bound log|det| from below. A class
        without a certificate bounds nothing, so its |z|^2 may be 0.
        """
        certificates = [component.certificate for component in self._manifest.components]
        least = np.array([one.data.log_det_min if one else -np.inf for one in certificates])
        with np.errstate(invalid="ignore"):
            gaps = least - misfit.sample(class_log_prob).astype(np.float64)
        gaps[np.isnan(gaps)] = -np.inf  # bounds that float64 cannot hold
        found: _Squares = (2 * gaps / self._manifest.dim - np.log(2 * np.pi)).min(axis=1)
        return found


class _GivenClass(_Networks):
    """One network, whose context names the class: it runs once per class."""

    def __init__(self, classes: Classes, dtype: np.dtype[Any]) -> None:
        self._priors = classes.priors
        self._contexts = classes.contexts(np.arange(len(classes.names))).astype(dtype)

    def density(self, rows: Floats, run: _Run) -> tuple[_Answers, _Squares]:
        log_probs, squares = [], []
        for number in range(len(self._contexts)):
            z, log_prob = run("density", ["z", "log_prob"], rows, self._context(number))
            log_probs.append(log_prob)
            squares.append(misfit.squares(z))
        found = np.stack(log_probs, axis=1)
        exact, dtype = found.astype(np.float64), found.dtype
        with np.errstate(invalid="ignore"):  # rows that are too far from all classes
            log_prob, posterior = (
                reference.mixture_log_prob(exact, self._priors),
                reference.posterior(exact, self._priors),
            )
        return (found, log_prob.astype(dtype), posterior.astype(dtype)), np.minimum.reduce(squares)

    def sampling(self, graph: str, number: int) -> tuple[str, Floats | None]:
        return graph, self._context(number)

    def _context(self, number: int) -> Floats:
        """Return the one context of all rows of a class, (1, K)."""
        return self._contexts[number : number + 1]
