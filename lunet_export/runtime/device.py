"""`DeviceFlow`: an exported flow whose rows and results stay on the device."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.artifact import GRAPHS
from lunet_export.errors import BadInputError
from lunet_export.runtime import misfit
from lunet_export.runtime.device_graph import DTYPES, Device, DeviceArray, DeviceGraph
from lunet_export.runtime.rows import LARGEST_BATCH, Rows, typed
from lunet_export.runtime.sessions import Sessions
from lunet_export.scalars import whole

if TYPE_CHECKING:
    import onnxruntime

Floats = NDArray[np.floating]
#: Input of a device run: NumPy rows, a `DeviceArray`, an `OrtValue`, or anything with `__dlpack__` on its device.
Given = Any


class DeviceFlow:
    """An exported flow whose rows and results stay on the device, as `ExportedFlow.on_device`.

    Neither rows nor results on the device are checked: NaN goes in and comes out, a row that is too far out for the
    dtype gives NaN or infinity, and x must lie in the domain, for images in [0, levels). A call takes 1 to 4096 rows.
    """

    def __init__(
        self,
        sessions: "Mapping[str, onnxruntime.InferenceSession] | Sessions",
        device: Device,
        rows: Rows,
        latent: Callable[..., Floats],
        *,
        captured: bool,
    ) -> None:
        self.device, self.captured = device, captured
        self._sessions, self._rows, self._latent = sessions, rows, latent
        self._graphs = {name: DeviceGraph(sessions[name], device, captured) for name in GRAPHS}

    def density(self, x: Given, *, context: Given = None) -> tuple[DeviceArray, DeviceArray]:
        """Return z (N, D) and log_prob (N,) in nats of x (N, D).

        The context of a conditional flow is what `ExportedFlow.log_prob` takes, or a tensor of the device: (N, C), or
        (1, C) where no graph is captured.

        Raises:
            BadInputError: if x or the context has the wrong shape, dtype or device, NumPy rows are not ones that
                `ExportedFlow.log_prob` takes, or, with `cuda_graph`, one is a tensor of the device other than this
                flow's `input`.
            ProviderError: if the device gave up.
        """
        results = self._run("density", x, context)
        return results["z"], results["log_prob"]

    def log_prob(self, x: Given, *, context: Given = None) -> DeviceArray:
        """Return log p(x) in nats, (N, D) -> (N,). Raises as `density` does."""
        return self.density(x, context=context)[1]

    def encode(self, x: Given, *, context: Given = None) -> DeviceArray:
        """Return z of x, (N, D) -> (N, D). Raises as `density` does."""
        return self.density(x, context=context)[0]

    def decode(self, z: Given, *, context: Given = None) -> DeviceArray:
        """Return x of z, (N, D) -> (N, D). Raises as `density` does."""
        return self._run("sampling", z, context)["x"]

    def sample(self, n: int, *, seed: int, temperature: float = 1.0, context: Given = None) -> DeviceArray:
        """Return the rows that `ExportedFlow.sample` draws, on the device: the same noise, made on the host.

        Raises:
            BadInputError: as `ExportedFlow.sample` does, or if `n` is not from 1 to 4096.
            ProviderError: if the device gave up.
        """
        return self.decode(self._latent(n, seed=seed, temperature=temperature), context=context)

    def input(self, graph: str, n: int, *, tensor: str | None = None) -> DeviceArray:
        """Return where the captured graph of n rows reads, with `cuda_graph`.

        Write the rows there, then give the array to `decode` or `density`.

        Args:
            graph: `density` or `sampling`.
            n: Number of rows, 1 to 4096.
            tensor: `context` for the contexts of a conditional flow; by default the rows, `x` or `z`.

        Raises:
            BadInputError: if there is no such graph or tensor, `n` is out of range, or no further batch size can be
                captured.
            ProviderError: if the device gave up.
        """
        return self.graph(graph).input(_batch(n), tensor)

    def to_numpy(self, graph: str, rows: Floats, context: Floats | None = None) -> dict[str, Floats]:
        """Return all outputs of a graph for valid NumPy rows and their contexts, on the host."""
        return self.graph(graph).to_numpy(rows, context)

    def _release(self) -> None:
        """Release the graphs, whose sessions are closed."""
        self._graphs.clear()

    def graph(self, name: str) -> DeviceGraph:
        """Return `density` or `sampling` alone, for rows that are known to be valid.

        Raises:
            BadInputError: if there is no such graph.
        """
        if name not in GRAPHS:
            raise BadInputError(f"Expected a graph of {', '.join(GRAPHS)}; got {name!r}.")
        session, graph = self._sessions[name], self._graphs.get(name)
        if graph is None or graph.session is not session:  # a fork has sessions of its own
            graph = self._graphs[name] = DeviceGraph(session, self.device, self.captured)
        return graph

    def _run(self, graph: str, given: Given, context: Given) -> dict[str, DeviceArray]:
        rows: Any
        if isinstance(given, (np.ndarray, Sequence)):
            rows = self._rows.latents(given) if graph == "sampling" else self._rows.data(given)
            if graph == "density":
                misfit.warn(self._rows.made_for.of_rows(typed(given, rows)))
            n = _batch(len(rows))
        else:
            rows = self._tensor(given, self._rows.dim)
            n = _batch(rows.shape()[0])
        return self.graph(graph).run(rows, self._contexts(context, n))

    def _contexts(self, given: Given, n: int) -> Any:  # noqa: ANN401
        """Return the contexts of n rows: an array, a tensor of the device, or None for a flow that takes none."""
        expected = self._rows.context
        if expected is None or not _is_tensor(given):
            found = self._rows.contexts(given, n)
            misfit.warn(self._rows.beyond(found))
            return found
        value = self._tensor(given, expected.dim)
        if value.shape()[0] not in (1, n):
            raise BadInputError(
                f"Expected a context for each of {n} rows on the device, or one for all; got {value.shape()[0]}."
            )
        return value

    def _tensor(self, given: Given, width: int) -> "onnxruntime.OrtValue":
        """Return a tensor (N, width) of this device as ONNX Runtime takes it, without a copy."""
        from onnxruntime import OrtValue

        where = f"{self.device.kind}:{self.device.number}"
        if isinstance(given, (DeviceArray, OrtValue)):
            value = given.ortvalue if isinstance(given, DeviceArray) else given
            here = tuple(value._get_c_value().__dlpack_device__()) == self.device.dlpack
        elif hasattr(given, "__dlpack__") and hasattr(given, "__dlpack_device__"):
            kind, number = given.__dlpack_device__()
            here = (int(kind), int(number)) == self.device.dlpack
            value = _from_dlpack(given) if here else None
        else:
            raise BadInputError(f"Expected NumPy rows, an OrtValue or a DLPack tensor; got {type(given).__name__}.")
        if not here:
            raise BadInputError(f"Expected a tensor on {where}, where the flow runs; got one elsewhere. Move it there.")
        shape, dtype = tuple(value.shape()), DTYPES.get(value.data_type())
        if len(shape) != 2 or shape[1] != width or dtype != self._rows.dtype:
            raise BadInputError(
                f"Expected a tensor of shape (N, {width}) and {self._rows.dtype}; got {shape} and "
                f"{value.data_type()[7:-1]}."
            )
        return value


def _is_tensor(given: Given) -> bool:
    """Return whether something is a tensor that may lie on the device, and not rows on the host."""
    return not isinstance(given, np.ndarray) and any(hasattr(given, mark) for mark in ("__dlpack__", "data_ptr"))


def _batch(n: int) -> int:
    return whole(n, f"from 1 to {LARGEST_BATCH} rows per call on the device", least=1, most=LARGEST_BATCH)


def _from_dlpack(given: Given) -> "onnxruntime.OrtValue":
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    try:
        return onnxruntime.OrtValue(state.OrtValue.from_dlpack(given.__dlpack__()))
    except (RuntimeError, TypeError, BufferError, ValueError) as error:
        raise BadInputError(
            f"Expected a contiguous tensor without a gradient; its DLPack says: {str(error).splitlines()[0][:200]}"
        ) from None
