"""Runs whose rows and results stay on the device: IO binding, and on CUDA a captured graph that is replayed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.artifact import Artifact
from lunet_export.runtime.providers import open_sessions

if TYPE_CHECKING:
    import onnxruntime

Floats = NDArray[np.floating]
_NO_GRAPH = -1  # ONNX Runtime's number for a run that is neither captured nor replayed


@dataclass(frozen=True)
class _Slot:
    """The tensors of one batch size at addresses that never change: a replay reads and writes where it was captured."""

    rows: "onnxruntime.OrtValue"
    results: "dict[str, onnxruntime.OrtValue]"  # by the names of the outputs
    binding: "onnxruntime.IOBinding"
    options: "onnxruntime.RunOptions"


class BoundGraph:
    """A graph of one input with its tensors bound on the device.

    A CUDA graph belongs to one batch size and one set of addresses: under its number, a run with others replays the old
    one without an error and gives stale results. So each batch size has its own tensors, binding and number.

    Args:
        session: Of `open_sessions(..., cuda_graph=True)`.
        captured: Replay a captured CUDA graph; else launch every kernel.
        device: Where the tensors lie: `cuda`, or `cpu`, which proves the bookkeeping without a GPU.
    """

    def __init__(
        self, session: "onnxruntime.InferenceSession", *, captured: bool, device: Literal["cuda", "cpu"] = "cuda"
    ) -> None:
        self._session, self._captured, self._device = session, captured, device
        self._slots: dict[int, _Slot] = {}

    def run(self, rows: Floats) -> dict[str, Floats]:
        """All outputs by name, copied from the device. Copies `rows` there first."""
        self.resident(rows)()
        # Copies: the next run of this batch size writes to the same addresses.
        return {name: np.array(result.numpy()) for name, result in self._slot(rows).results.items()}

    def resident(self, rows: Floats) -> Callable[[], None]:
        """Copy `rows` (N, D) to the device; the call that is returned runs the graph and waits for its end."""
        slot = self._slot(rows)
        slot.rows.update_inplace(np.ascontiguousarray(rows))

        def call() -> None:
            self._session.run_with_iobinding(slot.binding, slot.options)
            slot.binding.synchronize_outputs()

        return call

    def _slot(self, rows: Floats) -> _Slot:
        if len(rows) not in self._slots:
            self._slots[len(rows)] = self._bind(rows)
        return self._slots[len(rows)]

    def _bind(self, rows: Floats) -> _Slot:
        import onnxruntime

        binding, options = self._session.io_binding(), onnxruntime.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(len(rows) if self._captured else _NO_GRAPH))
        (entry,) = self._session.get_inputs()
        fed = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(rows), self._device, 0)
        binding.bind_ortvalue_input(entry.name, fed)
        results = {}
        for output in self._session.get_outputs():
            shape = [len(rows), *output.shape[1:]]
            result = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, rows.dtype.type, self._device, 0)
            binding.bind_ortvalue_output(output.name, result)
            results[output.name] = result
        return _Slot(fed, results, binding, options)


class BoundFlow:
    """Both graphs of an exported flow, bound on the device: a runner like `ExportedFlow`, for rows known to be good."""

    def __init__(self, density: BoundGraph, sampling: BoundGraph, dtype: np.dtype[np.floating]) -> None:
        self._graphs = {"density": density, "sampling": sampling}
        self._dtype = dtype

    @classmethod
    def pair(cls, artifact: Artifact, dtype: np.dtype[np.floating]) -> tuple[Self, Self]:
        """The flow on CUDA with every kernel launched, and with captured graphs; they share two sessions.

        Raises:
            ProviderError: CUDA cannot run, or cannot capture these graphs.
        """
        models = [artifact.graphs["density"], artifact.graphs["sampling"]]
        sessions, _ = open_sessions(models, "cuda", threads=None, cuda_graph=True)
        launched = [BoundGraph(session, captured=False) for session in sessions]
        captured = [BoundGraph(session, captured=True) for session in sessions]
        return cls(launched[0], launched[1], dtype), cls(captured[0], captured[1], dtype)

    def density(self, x: Floats) -> tuple[Floats, Floats]:
        """x (N, D) -> z (N, D), log_prob (N,) in nats, copies included."""
        if not len(x):
            return x.astype(self._dtype), np.empty(0, self._dtype)
        results = self._graphs["density"].run(x.astype(self._dtype))
        return results["z"], results["log_prob"]

    def decode(self, z: Floats) -> Floats:
        """z (N, D) -> x (N, D), copies included."""
        if not len(z):
            return z.astype(self._dtype)
        return self._graphs["sampling"].run(z.astype(self._dtype))["x"]

    def resident(self, direction: str, rows: Floats) -> Callable[[], None]:
        """A call of one graph on rows that already lie on the device; its results stay there."""
        return self._graphs[direction].resident(rows.astype(self._dtype))
