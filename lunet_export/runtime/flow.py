"""`ExportedFlow`: an exported flow, run with NumPy and ONNX Runtime only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lunet_export.artifact import GRAPHS, Artifact
from lunet_export.checks.vector_file import Vectors
from lunet_export.errors import BadInputError
from lunet_export.runtime import misfit
from lunet_export.runtime.cuda import CudaOptions
from lunet_export.runtime.device import DeviceFlow
from lunet_export.runtime.device_graph import Device
from lunet_export.runtime.exported import Exported
from lunet_export.runtime.graph_runs import finite
from lunet_export.runtime.providers import Provider, run
from lunet_export.runtime.rows import LARGEST_BATCH, typed
from lunet_export.scalars import whole

Floats = NDArray[np.floating]


class ExportedFlow(Exported[Vectors]):
    """The model of an exported folder: log p(x), z = encode(x), x = decode(z) and samples, as NumPy arrays.

    Results have the graph's dtype (`dtype`). x is data, (N, D): for images grey level plus noise in [0, levels). It may
    be a data frame of pandas, Polars or pyarrow; the model's `columns` are taken from it by name, in any order.
    log_prob is in nats, in data space. `provider` and `provider_reason` tell what runs and why.

    A conditional flow, log p(x | c), takes c as `context`: (N, C), one per row, or (C,) or (1, C), one for all rows. It
    may be a data frame whose columns have the names in `context.names`. Contexts outside those of training give a
    `RowsWarning`.

    Threads: any number of them may call any method of one flow at once, and each gets what it would get alone, bit by
    bit. Processes: a flow can be pickled, graphs included, so a spawned process may be given it; a forked process may
    use it except on CUDA, where it gets a `ProviderError`. Both open sessions of their own. With `draw`, flows and
    forks of one process may give the same rows, since ONNX Runtime is seeded once per process; `sample` takes its seed
    from you.

    Rows that the model was not made for (grey levels without noise, images scaled to [0, 1], other units) give a
    `RowsWarning` at your call; `warnings.simplefilter("error", RowsWarning)` makes them an error.

    Args:
        source: The folder, or an opened `Artifact`.
        provider: `cpu`, `cuda` (every node there, or an error) or `auto` (CUDA if it runs, else the CPU).
        threads: CPU threads of each session; None takes ONNX Runtime's own choice, or the number of processors that
            this process may use, if these are not all.
        cuda: Device, memory limit, arena and TF32, as `CudaOptions` or as a mapping of its names.
        cuda_graph: Whether density and sampling on CUDA are captured once per batch size and replayed: the host then
            hands over one graph per run instead of one launch per node. It covers the first 32 batch sizes; the
            optional graphs are never captured, since a graph that draws its own noise would replay the same draw.

    Raises:
        ArtifactError: if the folder is missing, altered or malformed.
        UnreadableError: if the operating system does not let the folder be read.
        ProviderError: if the provider that was asked for cannot run; the sentence names the cause and the cure.
        BadInputError: if `cuda_graph` is given on the CPU, the provider is unknown, or `threads` is below 1 or far
            above the processors.
        OutOfMemoryError: if there is no memory for the sessions.
    """

    _has_classes = False

    def __init__(
        self,
        source: Path | str | Artifact,
        *,
        provider: Provider = "auto",
        threads: int | None = None,
        cuda: CudaOptions | Mapping[str, Any] | None = None,
        cuda_graph: bool = False,
    ) -> None:
        if cuda_graph and provider == "cpu":
            raise BadInputError("Expected a provider of cuda or auto with cuda_graph; got cpu, which has none.")
        super().__init__(source, GRAPHS, provider=provider, threads=threads, cuda=cuda, cuda_graph=cuda_graph)
        device = Device(self.provider, self.cuda.device_id if self.provider == "cuda" else 0)
        captured = cuda_graph and self.provider == "cuda"
        #: The same flow with its rows and results on the device.
        self.on_device = DeviceFlow(self._sessions, device, self._rows, self._rows.normal, captured=captured)

    def close(self) -> None:
        """Release the sessions and their memory on the device; methods raise BadInputError from now on."""
        super().close()
        self.on_device._release()

    def log_prob(self, x: ArrayLike, *, context: ArrayLike | None = None) -> Floats:
        """Return log p(x), or log p(x | c) for the context c of each row, in nats, (N, D) -> (N,).

        Raises:
            BadInputError: if x has the wrong shape, NaN or infinity, masked entries, or numbers outside the domain, [0,
                levels) for images; or if a conditional flow is given no context, another one a context, or one of the
                wrong shape or with NaN or infinity.
            OverflowingRowsError: if a row is so far out that an answer leaves the range of `dtype`.
            OutOfMemoryError: if there is no memory for the run.
            ProviderError: if the provider gave up.
        """
        return self.density(x, context=context)[1]

    def encode(self, x: ArrayLike, *, context: ArrayLike | None = None) -> Floats:
        """Return z of x, (N, D) -> (N, D). Raises as `log_prob` does."""
        return self.density(x, context=context)[0]

    def density(self, x: ArrayLike, *, context: ArrayLike | None = None) -> tuple[Floats, Floats]:
        """Return z (N, D) and log p(x) (N,) in nats in one run. Raises as `log_prob` does."""
        rows = self._rows.data(x)
        z, log_prob = self._density(rows, self._given(context, len(rows)))
        misfit.warn(self._rows.made_for.of_rows(typed(x, rows)) or self._rows.made_for.of_latents(rows, z))
        return z, log_prob

    def _density(self, rows: Floats, context: Floats | None) -> tuple[Floats, Floats]:
        """Return what `density` returns, without a look at whether the model was made for the rows."""
        z, log_prob = self._in_batches("density", ["z", "log_prob"], rows, context)
        return z, log_prob

    def _given(self, context: ArrayLike | None, n: int) -> Floats | None:
        """Return the contexts of n rows as the graphs take them; warn of those that lie outside those of training."""
        found = self._rows.contexts(context, n)
        misfit.warn(self._rows.beyond(found))
        return found

    def decode(self, z: ArrayLike, *, context: ArrayLike | None = None) -> Floats:
        """Return x of z, (N, D) -> (N, D); images are clamped to [0, largest float below levels].

        Raises:
            BadInputError: if z has the wrong shape, NaN or infinity, or masked entries, or a context as in `log_prob`.
            OverflowingRowsError: if a row is so far out that x leaves the range of `dtype`.
            OutOfMemoryError, ProviderError: as `log_prob` does.
        """
        rows = self._rows.latents(z)
        return self._in_batches("sampling", ["x"], rows, self._given(context, len(rows)))[0]

    def decode_with_log_prob(self, z: ArrayLike, *, context: ArrayLike | None = None) -> tuple[Floats, Floats]:
        """Return x (N, D) and its log_prob (N,) in nats in one run, for exports made with `--with-log-prob`.

        log_prob belongs to x before an image is clamped into its domain; `log_prob` gives that of the clamped x.

        Raises:
            BadInputError: if the folder has no such graph, or as `decode` does.
        """
        rows = self._rows.latents(z)
        self._session("sampling_with_log_prob", "`with_log_prob=True`")
        contexts = self._given(context, len(rows))
        x, log_prob = self._in_batches("sampling_with_log_prob", ["x", "log_prob"], rows, contexts)
        return x, log_prob

    def log_prob_estimate(
        self, x: ArrayLike, *, context: ArrayLike | None = None, probe: ArrayLike | None = None, seed: int = 0
    ) -> Floats:
        """Return Hutchinson's estimate of log p(x) in nats along `probe`, for exports with `--hutchinson`.

        (N, D) -> (N,). It is unbiased if E[e e^T] = I. Without `probe` it takes the signs of the normal numbers of
        `seed`: row i then depends on seed and i only.

        Raises:
            BadInputError: if the folder has no such graph, or as `log_prob` does.
        """
        rows = self._rows.data(x)
        misfit.warn(self._rows.made_for.of_rows(typed(x, rows)))
        signs = np.where(self.latent(len(rows), seed=seed) < 0, -1, 1) if probe is None else np.asarray(probe)
        probes = self._rows.probes(signs, len(rows))
        self._session("density_estimate", "`hutchinson=True`")
        contexts = self._given(context, len(rows))
        return self._in_batches("density_estimate", ["log_prob_estimate"], rows, contexts, probe=probes)[0]

    def draw(self, n: int, *, context: ArrayLike | None = None) -> tuple[Floats, Floats]:
        """Return x (n, D) and the z (n, D) that ONNX Runtime itself drew, for exports made with `--rng`.

        It is not reproducible, see the warnings in the manifest; `sample` is.

        Raises:
            BadInputError: if the folder has no such graph, or n is not a whole number from 1 to 4096.
            OverflowingRowsError, OutOfMemoryError, ProviderError: as `decode` does.
        """
        n = whole(n, f"from 1 to {LARGEST_BATCH} samples per call", least=1, most=LARGEST_BATCH)
        session = self._session("random_sampling", "`rng=True`")
        fed: dict[str, NDArray[Any]] = {"shape": np.array([n, self.dim], dtype=np.int64)}
        if (contexts := self._given(context, n)) is not None:
            fed["context"] = contexts
        x, z = finite(tuple(run(session, ["x", "z"], fed)))
        return x, z

    def sample(
        self,
        n: int,
        *,
        seed: int,
        temperature: float = 1.0,
        first: int = 0,
        context: ArrayLike | None = None,
    ) -> Floats:
        """Return n rows of the model, (n, D), from row `first` on.

        Row i depends on seed, i and its context only, on every provider and in every language.

        Raises:
            BadInputError: if `n` or `first` is not a whole number of 0 or more, `temperature` is not a number of 0 or
                more or is so large that z overflows, or `seed` is not a whole number in [0, 2^64); or a context as in
                `log_prob`.
            OverflowingRowsError, ProviderError: as `decode` does.
            OutOfMemoryError: if there is no memory for so many rows.
        """
        return self.decode(self.latent(n, seed=seed, temperature=temperature, first=first), context=context)

    def sample_and_log_prob(
        self, n: int, *, seed: int, temperature: float = 1.0, context: ArrayLike | None = None
    ) -> tuple[Floats, Floats]:
        """Return rows as `sample` draws them, (n, D), and the model's log p of exactly these rows in nats, (n,).

        Raises as `sample` and `log_prob` do.
        """
        x = self.sample(n, seed=seed, temperature=temperature, context=context)
        return x, self._density(self._rows.data(x), self._rows.contexts(context, len(x)))[1]

    def _drawn(self, n: int) -> Floats:
        fed = {"z": self.latent(n, seed=0)}
        if self.context is not None:
            if self.context.low is None:
                self.context.validate_shape(None, n)  # which raises
            fed["context"] = self.context.middle[None].astype(self.dtype)
        found = super()._run("sampling", ["x"], fed)  # so that no batch size is captured
        return finite(tuple(found))[0]

    def _scored(self, x: Floats, context: ArrayLike | None = None) -> tuple[dict[str, Floats], NDArray[np.float64]]:
        z, log_prob = self._density(self._rows.data(x), self._rows.contexts(context, len(x)))
        return {"log_prob": log_prob}, misfit.squares(z)

    def _table(
        self,
        n: int,
        *,
        seed: int,
        temperature: float,
        first: int,
        label: int | str | None,
        context: ArrayLike | None = None,
    ) -> dict[str, NDArray[Any]]:
        del label  # there are no classes
        return {"x": self.sample(n, seed=seed, temperature=temperature, first=first, context=context)}

    def _run(self, graph: str, outputs: list[str], fed: Mapping[str, Floats]) -> list[Floats]:
        if self.on_device.captured and graph in GRAPHS:
            results = self.on_device.to_numpy(graph, fed[self._entries[graph]], fed.get("context"))
            return [results[name] for name in outputs]
        return super()._run(graph, outputs, fed)
