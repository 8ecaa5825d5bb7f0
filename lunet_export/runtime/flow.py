"""`ExportedFlow`: an exported flow to run, with NumPy and ONNX Runtime only."""

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
from lunet_export.runtime.graph_runs import finite, in_batches
from lunet_export.runtime.providers import Provider, run
from lunet_export.runtime.rows import LARGEST_BATCH, typed
from lunet_export.scalars import whole

Floats = NDArray[np.floating]


class ExportedFlow(Exported[Vectors]):
    """The model of an exported folder: log p(x), z = encode(x), x = decode(z) and samples, as NumPy arrays.

    Results have the graph's dtype (`dtype`). x is data, (N, D): for images grey level plus noise in [0, levels). It may
    be a data frame of pandas, Polars or pyarrow, of which the model's `columns` are taken by name, in any order.
    log_prob is in nats, in data space. `provider` and `provider_reason` say what runs and why.

    Threads: any number of them may call any method of one flow at once, and each gets what it would get alone, bit by
    bit. Processes: a flow may be given to one that is spawned, since it can be pickled, graphs and all; and one that is
    forked may use it, but on CUDA, where it gets a `ProviderError`. Both open sessions of their own. With `draw`, flows
    and forks of one process may give the same rows, for ONNX Runtime is seeded once a process; `sample` takes its seed
    from you.

    Rows that the model was not made for (grey levels without noise, images scaled to [0, 1], other units) are a
    `RowsWarning` where you call; `warnings.simplefilter("error", RowsWarning)` makes them an error.

    Args:
        source: The folder, or an opened `Artifact`.
        provider: `cpu`, `cuda` (every node there, or an error) or `auto` (CUDA when it runs, else the CPU).
        threads: CPU threads of each session; None takes ONNX Runtime's own choice, or as many as there are
            processors that this process may use, where these are not all.
        cuda: Device, memory limit, arena and TF32, as `CudaOptions` or as a mapping of its names.
        cuda_graph: On CUDA, density and sampling are captured once for each batch size and replayed: the host then
            hands over one graph a run instead of a launch a node. The first 32 batch sizes; the optional graphs are
            never captured, since a graph that draws its own noise would replay the same draw.

    Raises:
        ArtifactError: The folder is missing, altered or malformed.
        UnreadableError: The operating system does not let it be read.
        ProviderError: The provider that was asked for cannot run; the sentence names the cause and the cure.
        BadInputError: `cuda_graph` on the CPU, an unknown provider, or threads below 1 or far above the processors.
        OutOfMemoryError: There is no memory for the sessions.
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
        """Release the sessions, and the memory of the device with them; methods raise BadInputError from now on."""
        super().close()
        self.on_device._release()

    def log_prob(self, x: ArrayLike) -> Floats:
        """log p(x) in nats, (N, D) -> (N,).

        Raises:
            BadInputError: Wrong shape, NaN or infinity, masked, or a number outside the domain: [0, levels) for images.
            OverflowingRowsError: A row so far out that an answer leaves the range of `dtype`.
            OutOfMemoryError: There is no memory for it.
            ProviderError: The provider gave up.
        """
        return self.density(x)[1]

    def encode(self, x: ArrayLike) -> Floats:
        """x -> z, (N, D) -> (N, D). Raises as `log_prob` does."""
        return self.density(x)[0]

    def density(self, x: ArrayLike) -> tuple[Floats, Floats]:
        """z (N, D) and log p(x) (N,) in one run. Raises as `log_prob` does."""
        rows = self._rows.data(x)
        z, log_prob = self._density(rows)
        misfit.warn(self._rows.made_for.of_rows(typed(x, rows)) or self._rows.made_for.of_latents(rows, z))
        return z, log_prob

    def _density(self, rows: Floats) -> tuple[Floats, Floats]:
        """As `density`, of rows that are not looked at."""
        z, log_prob = self._in_batches("density", ["z", "log_prob"], rows)
        return z, log_prob

    def decode(self, z: ArrayLike) -> Floats:
        """z -> x, (N, D) -> (N, D); images are clamped to [0, largest float below levels].

        Raises:
            BadInputError: Wrong shape, NaN or infinity, or masked.
            OverflowingRowsError: A row so far out that x leaves the range of `dtype`.
            OutOfMemoryError, ProviderError: As `log_prob` does.
        """
        return self._in_batches("sampling", ["x"], self._rows.latents(z))[0]

    def decode_with_log_prob(self, z: ArrayLike) -> tuple[Floats, Floats]:
        """x (N, D) and its log_prob (N,) in nats in one run, for exports made with `--with-log-prob`.

        log_prob is of x before an image is clamped into its domain; `log_prob` gives that of the clamped one.

        Raises:
            BadInputError: The folder has no such graph, or as `decode` does.
        """
        rows = self._rows.latents(z)
        self._session("sampling_with_log_prob", "`with_log_prob=True`")
        x, log_prob = self._in_batches("sampling_with_log_prob", ["x", "log_prob"], rows)
        return x, log_prob

    def log_prob_estimate(self, x: ArrayLike, *, probe: ArrayLike | None = None, seed: int = 0) -> Floats:
        """log p(x) in nats by Hutchinson's estimate of the divergences along `probe`, for exports with `--hutchinson`.

        (N, D) -> (N,). Unbiased where E[e e^T] = I. Without `probe`, the signs of the normal numbers of `seed`: row i
        then depends on seed and i only.

        Raises:
            BadInputError: The folder has no such graph, or as `log_prob` does.
        """
        rows = self._rows.data(x)
        misfit.warn(self._rows.made_for.of_rows(typed(x, rows)))
        signs = np.where(self.latent(len(rows), seed=seed) < 0, -1, 1) if probe is None else np.asarray(probe)
        probes = self._rows.probes(signs, len(rows))
        session = self._session("density_estimate", "`hutchinson=True`")

        def estimate(both: Floats) -> list[Floats]:
            x, probe = (np.ascontiguousarray(part) for part in np.split(both, 2, axis=1))
            return run(session, ["log_prob_estimate"], {"x": x, "probe": probe})

        both = np.concatenate([rows, probes], axis=1)
        return finite(in_batches(estimate, both, lambda: [np.empty(0, self.dtype)]))[0]

    def draw(self, n: int) -> tuple[Floats, Floats]:
        """x (n, D) and the z (n, D) that ONNX Runtime itself drew, for exports made with `--rng`.

        Not reproducible, see the warnings in the manifest; `sample` is.

        Raises:
            BadInputError: The folder has no such graph, or n is no whole number from 1 to 4096.
            OverflowingRowsError, OutOfMemoryError, ProviderError: As `decode` does.
        """
        n = whole(n, f"from 1 to {LARGEST_BATCH} samples a call", least=1, most=LARGEST_BATCH)
        session = self._session("random_sampling", "`rng=True`")
        x, z = finite(tuple(run(session, ["x", "z"], {"shape": np.array([n, self.dim], dtype=np.int64)})))
        return x, z

    def sample(self, n: int, *, seed: int, temperature: float = 1.0, first: int = 0) -> Floats:
        """n rows of the model, (n, D), those from number `first` on.

        Row i depends on seed and i only, on every provider and in every language.

        Raises:
            BadInputError: `n` or `first` is no whole number of 0 or more, the temperature no number of 0 or more, or so
                large that z overflows, or the seed no whole number in [0, 2^64).
            OverflowingRowsError, ProviderError: As `decode` does.
            OutOfMemoryError: There is no memory for so many rows.
        """
        return self.decode(self.latent(n, seed=seed, temperature=temperature, first=first))

    def sample_and_log_prob(self, n: int, *, seed: int, temperature: float = 1.0) -> tuple[Floats, Floats]:
        """Rows as `sample` draws them and the model's log p of exactly these rows: (n, D), (n,). Raises as both do."""
        x = self.sample(n, seed=seed, temperature=temperature)
        return x, self._density(self._rows.data(x))[1]

    def _drawn(self, n: int) -> Floats:
        return finite(tuple(super()._run("sampling", ["x"], self.latent(n, seed=0))))[0]  # no size of batch is captured

    def _scored(self, x: Floats) -> tuple[dict[str, Floats], NDArray[np.float64]]:
        z, log_prob = self._density(self._rows.data(x))
        return {"log_prob": log_prob}, misfit.squares(z)

    def _table(
        self, n: int, *, seed: int, temperature: float, first: int, label: int | str | None
    ) -> dict[str, NDArray[Any]]:
        del label  # there are no classes
        return {"x": self.sample(n, seed=seed, temperature=temperature, first=first)}

    def _run(self, graph: str, outputs: list[str], rows: Floats) -> list[Floats]:
        if self.on_device.captured and graph in GRAPHS:
            results = self.on_device.to_numpy(graph, rows)
            return [results[name] for name in outputs]
        return super()._run(graph, outputs, rows)
