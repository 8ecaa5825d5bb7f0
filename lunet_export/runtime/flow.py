"""`ExportedFlow`: an exported LU-Net to run, with NumPy and ONNX Runtime only."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lunet_export import noise
from lunet_export.artifact import GRAPHS, Artifact
from lunet_export.errors import ArtifactError, BadInputError
from lunet_export.preprocessing import largest_below
from lunet_export.runtime.providers import Provider, open_sessions

Floats = NDArray[np.floating]

#: Inputs and outputs of each graph.
_ENDS = {
    "density": (["x"], ["log_prob", "z"]),
    "sampling": (["z"], ["x"]),
    "sampling_with_log_prob": (["z"], ["log_prob", "x"]),
    "random_sampling": (["shape"], ["x", "z"]),
}

#: Rows given to ONNX Runtime at once; the graphs are made for batches of 1 to 4096.
LARGEST_BATCH = 4096


class ExportedFlow:
    """The model of an exported folder: log p(x), z = encode(x), x = decode(z) and samples, as NumPy arrays.

    Results have the graph's dtype (`dtype`). x is data: for images grey level plus noise in [0, levels).
    log_prob is in nats, in data space. `provider` and `provider_reason` say what runs and why.

    Args:
        source: The folder, or an opened `Artifact`.
        provider: `cpu`, `cuda` (every node there, or an error) or `auto` (CUDA when it runs, else the CPU).
        threads: CPU threads; None leaves it to ONNX Runtime.

    Raises:
        ArtifactError: The folder is missing, altered or malformed.
        ProviderError: The provider that was asked for cannot run.
    """

    def __init__(
        self, source: Path | str | Artifact, *, provider: Provider = "auto", threads: int | None = None
    ) -> None:
        self.artifact = source if isinstance(source, Artifact) else Artifact.open(source)
        self.manifest = self.artifact.manifest
        self.dim, self.dtype = self.manifest.dim, np.dtype(self.manifest.dtype)
        self._threads = threads
        self._others: dict[str, Any] = {}
        graphs = self.artifact.graphs
        sessions, choice = open_sessions([graphs["density"], graphs["sampling"]], provider, threads=threads)
        self._density, self._sampling = sessions
        self.provider, self.provider_reason = choice.name, choice.reason
        for name, session in zip(GRAPHS, sessions, strict=True):
            self._refuse_another(name, session)

    def log_prob(self, x: ArrayLike) -> Floats:
        """log p(x) in nats, (N, D) -> (N,).

        Raises:
            BadInputError: Wrong shape, NaN or infinity, or a number outside [0, levels) for images.
        """
        return self.density(x)[1]

    def encode(self, x: ArrayLike) -> Floats:
        """x -> z, (N, D) -> (N, D). Raises as `log_prob` does."""
        return self.density(x)[0]

    def density(self, x: ArrayLike) -> tuple[Floats, Floats]:
        """z (N, D) and log p(x) (N,) in one run. Raises as `log_prob` does."""
        rows = self._domain(self._rows(x, "x"))

        def run(batch: Floats) -> list[Floats]:
            return self._density.run(["z", "log_prob"], {"x": batch})

        z, log_prob = _in_batches(run, rows, (np.empty((0, self.dim), self.dtype), np.empty(0, self.dtype)))
        return z, log_prob

    def decode(self, z: ArrayLike) -> Floats:
        """z -> x, (N, D) -> (N, D); images are clamped to [0, largest float below levels].

        Raises:
            BadInputError: Wrong shape, NaN or infinity.
        """
        rows = self._rows(z, "z")

        def run(batch: Floats) -> list[Floats]:
            return self._sampling.run(["x"], {"z": batch})

        return _in_batches(run, rows, (np.empty((0, self.dim), self.dtype),))[0]

    def decode_with_log_prob(self, z: ArrayLike) -> tuple[Floats, Floats]:
        """x (N, D) and its log_prob (N,) in nats in one run, for exports made with `--with-log-prob`.

        log_prob is of x before an image is clamped into its domain; `log_prob` gives that of the clamped one.

        Raises:
            BadInputError: The folder has no such graph, or as `decode` does.
        """
        rows, session = self._rows(z, "z"), self._optional("sampling_with_log_prob", "--with-log-prob")

        def run(batch: Floats) -> list[Floats]:
            return session.run(["x", "log_prob"], {"z": batch})

        x, log_prob = _in_batches(run, rows, (np.empty((0, self.dim), self.dtype), np.empty(0, self.dtype)))
        return x, log_prob

    def draw(self, n: int) -> tuple[Floats, Floats]:
        """x (n, D) and the z (n, D) that ONNX Runtime itself drew, for exports made with `--rng`.

        Not reproducible, see the warnings in the manifest; `sample` is.

        Raises:
            BadInputError: The folder has no such graph, or n is outside 1 to 4096.
        """
        if not 1 <= n <= LARGEST_BATCH:
            raise BadInputError(f"Expected from 1 to {LARGEST_BATCH} samples a call; got {n}.")
        session = self._optional("random_sampling", "--rng")
        x, z = session.run(["x", "z"], {"shape": np.array([n, self.dim], dtype=np.int64)})
        return x, z

    def latent(self, n: int, *, seed: int, temperature: float = 1.0) -> Floats:
        """The z that `sample` decodes: temperature times the normal numbers of `lunet_export.noise`, (n, D)."""
        if n < 0:
            raise BadInputError(f"Expected a number of samples of 0 or more; got {n}.")
        if not (np.isfinite(temperature) and temperature >= 0):
            raise BadInputError(f"Expected a temperature of 0 or more; got {temperature}. 1 is the model itself.")
        return (temperature * noise.normal(seed, range(n), self.dim)).astype(self.dtype)

    def sample(self, n: int, *, seed: int, temperature: float = 1.0) -> Floats:
        """n rows of the model, (n, D). Row i depends on seed and i only, on every provider and in every language."""
        return self.decode(self.latent(n, seed=seed, temperature=temperature))

    def sample_and_log_prob(self, n: int, *, seed: int, temperature: float = 1.0) -> tuple[Floats, Floats]:
        """Rows as `sample` draws them and the model's log p of exactly these rows: (n, D), (n,)."""
        x = self.sample(n, seed=seed, temperature=temperature)
        return x, self.log_prob(x)

    def _optional(self, name: str, option: str) -> Any:  # noqa: ANN401
        """The session of an optional graph, opened when first asked for."""
        if name not in self.artifact.graphs:
            raise BadInputError(f"Expected {name}.onnx in the export; it has none. Export again with {option}.")
        if name not in self._others:
            (session,), _ = open_sessions([self.artifact.graphs[name]], self.provider, threads=self._threads)
            self._refuse_another(name, session)
            self._others[name] = session
        return self._others[name]

    def _refuse_another(self, name: str, session: Any) -> None:  # noqa: ANN401
        """The graph's own metadata and tensors must be what the manifest says."""
        rows, p = ["batch", self.dim], self.manifest.preprocessing
        tensors = {"x": rows, "z": rows, "log_prob": ["batch"], "shape": [2]}
        said = {
            "lunet.direction": name,
            "lunet.dim": str(self.dim),
            "lunet.blocks": str(self.manifest.document["model"]["blocks"]),
            "lunet.dtype": str(self.dtype),
            "lunet.products": self.manifest.document["products"],
            "lunet.preprocessing": f"logit levels={p.levels} margin={p.margin!r}" if p else "none",
        }
        metadata = session.get_modelmeta().custom_metadata_map
        ends = (session.get_inputs(), session.get_outputs())
        got = tuple([tensor.name for tensor in end] for end in ends)
        fits = got == _ENDS[name] and all(tensor.shape == tensors[tensor.name] for end in ends for tensor in end)
        if not fits or any(metadata.get(key) != value for key, value in said.items()):
            raise ArtifactError(f"Expected {name}.onnx as the manifest describes it; it is another graph.")

    def _rows(self, array: ArrayLike, name: str) -> Floats:
        rows = np.asarray(array)
        if rows.dtype.kind not in "uif":
            raise BadInputError(f"Expected numbers in {name}; got an array of {rows.dtype}.")
        if rows.ndim != 2 or rows.shape[1] != self.dim:
            hint = f" Add a batch axis: {name}[None]." if rows.shape == (self.dim,) else ""
            raise BadInputError(f"Expected {name} of shape (N, {self.dim}); got {rows.shape}.{hint}")
        with np.errstate(over="ignore"):
            cast = np.ascontiguousarray(rows, dtype=self.dtype)
        if not np.isfinite(cast).all():
            row, column = np.argwhere(~np.isfinite(cast))[0]
            raise BadInputError(
                f"Expected finite {self.dtype} numbers in {name}; row {row}, column {column} is {rows[row, column]}. "
                "Remove or repair that row."
            )
        if name == "x" and self.manifest.preprocessing:
            self._refuse_outside(rows, self.manifest.preprocessing.levels)
        return cast

    def _refuse_outside(self, rows: NDArray[Any], levels: int) -> None:
        outside = (rows < 0) | (rows >= levels)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            raise BadInputError(
                f"Expected x in [0, {levels}): grey level plus noise; row {row}, column {column} is "
                f"{rows[row, column]}. The density is not defined there."
            )

    def _domain(self, rows: Floats) -> Floats:
        """A float64 number just below levels may round up to it in float32; step back."""
        p = self.manifest.preprocessing
        return np.minimum(rows, largest_below(p.levels, self.dtype)) if p else rows


def _in_batches(run: Callable[[Floats], list[Floats]], rows: Floats, empty: tuple[Floats, ...]) -> tuple[Floats, ...]:
    if not len(rows):
        return empty
    if len(rows) <= LARGEST_BATCH:
        return tuple(run(rows))
    parts = [run(rows[start : start + LARGEST_BATCH]) for start in range(0, len(rows), LARGEST_BATCH)]
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))
