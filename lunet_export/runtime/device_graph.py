"""Runs whose rows and results stay on the device: IO binding, DLPack, and on CUDA a captured graph that is replayed.

A CUDA graph belongs to one batch size, one set of addresses and, in ONNX Runtime, one thread. ONNX Runtime replays the
graph of a number whatever it is given next: for other rows, another batch size or another address it returns stale
numbers and no error. Here every batch size has its own number and its own tensors, rows are copied to where the graph
reads, one thread captures and replays for all callers, and reading what a later run has overwritten is an error.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import BadInputError
from lunet_export.runtime import environment
from lunet_export.runtime.providers import GRAPH_NUMBER, NO_GRAPH, Name, translated

if TYPE_CHECKING:
    import onnxruntime

Floats = NDArray[np.floating]
T = TypeVar("T")
#: An input of a run: rows on the host, or a tensor of the device.
Fed = Any

#: Number of batch sizes that one graph captures, each with a CUDA graph and tensors; other sizes are launched.
MOST_GRAPHS = 32

_DLPACK_DEVICES = {"cpu": 1, "cuda": 2}  # DLDeviceType
#: Dtypes of the tensors that a graph takes and gives, by ONNX Runtime's names.
DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64}
_WITHOUT_SYNC = "disable_synchronize_execution_providers"
#: One thread for the process: during a capture, CUDA forbids other threads much of what a run does.
_CAPTURER = ThreadPoolExecutor(1, thread_name_prefix="lunet-cuda-graphs")


@dataclass(frozen=True)
class Device:
    """A place for tensors: a kind of device and its number."""

    kind: Name
    number: int = 0

    @property
    def dlpack(self) -> tuple[int, int]:
        """The device in DLPack's numbers."""
        return _DLPACK_DEVICES[self.kind], self.number

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Wait for all work on the device; in the block it is the current device, afterwards the old one is."""
        if self.kind == "cpu":
            yield
            return
        with environment.current_device(self.number) as synchronize:
            synchronize()
            yield


class DeviceArray:
    """Rows on the device: `torch.from_dlpack(array)`, `cupy.from_dlpack(array)`, `array.numpy()`.

    A result of a replayed CUDA graph lies where the next replay of that batch size writes; after it, reading this array
    raises an error instead of giving the other run's numbers. A tensor that was already taken from it by DLPack shares
    the memory and cannot know: copy what must last. Keep an array until the work that reads it is done; its memory is
    used again as soon as it is dropped.
    """

    def __init__(
        self,
        value: "onnxruntime.OrtValue",
        device: Device,
        session: object,
        stale: Callable[[], str | None] = lambda: None,
        lock: Any = None,  # noqa: ANN401
    ) -> None:
        self._value, self.device = value, device
        self._session = session  # kept, since its allocator owns the memory
        self._stale, self._lock = stale, lock or RLock()

    @property
    def ortvalue(self) -> "onnxruntime.OrtValue":
        """The tensor as ONNX Runtime holds it.

        Raises:
            BadInputError: if a later run of this batch size has overwritten it.
        """
        reason = self._stale()
        if reason:
            raise BadInputError(reason)
        return self._value

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D) or (N,)."""
        return tuple(self._value.shape())

    def numpy(self) -> Floats:
        """Return a copy on the host. Raises as `ortvalue` does."""
        with self._lock, self.device.quiet():
            return np.array(self.ortvalue.numpy())

    def __dlpack__(
        self,
        *,
        stream: Any = None,  # noqa: ANN401
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:  # noqa: ANN401
        """Return the DLPack capsule, without a copy. Runs have ended before their results are given out, on any stream.

        Raises:
            BadInputError: as `ortvalue` does.
            BufferError: if a copy or another device is asked for.
        """
        if copy:
            raise BufferError("Expected to share the memory; got copy=True. Copy the tensor that from_dlpack gives.")
        if dl_device is not None and tuple(map(int, dl_device)) != self.device.dlpack:
            raise BufferError(f"Expected the device {self.device.dlpack}; got {dl_device}. Move the tensor afterwards.")
        return self.ortvalue._get_c_value().__dlpack__(stream)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return (DLDeviceType, device number)."""
        return self.device.dlpack


@dataclass
class _Slot:
    """The tensors of one batch size, at addresses that never change."""

    inputs: "dict[str, onnxruntime.OrtValue]"  # tensors by the names of the inputs, the rows first
    results: "dict[str, onnxruntime.OrtValue]"  # tensors by the names of the outputs
    binding: "onnxruntime.IOBinding"
    runs: int = 0  # results of earlier runs are stale
    fills: Counter[str] = field(default_factory=Counter)  # how often NumPy rows overwrote an input

    def fill(self, name: str, rows: Floats) -> None:
        """Copy rows to where the graph reads an input; one row goes to all of its rows."""
        shape = self.inputs[name].shape()
        self.inputs[name].update_inplace(np.ascontiguousarray(np.broadcast_to(rows, shape)))
        self.fills[name] += 1


_OVERWRITTEN = (
    "Expected a result that is still valid; a later run of this batch size replayed the CUDA graph and overwrote it. "
    "Copy a result before the next run, or open the flow without cuda_graph."
)
_FILLED = (
    "Expected rows that are still valid; a run with NumPy rows of this batch size overwrote them. Call input() again, "
    "and write the rows before the run that reads them."
)


@dataclass
class DeviceGraph:
    """One graph of x or of z with its tensors on the device; it runs one call at a time, whoever calls.

    Args:
        session: Session from `open_sessions`, with `cuda_graph=True` if `captured`.
        device: Device of its tensors. `cpu` tests the bookkeeping without a GPU.
        captured: Whether to replay a captured CUDA graph; else every kernel is launched.
    """

    session: "onnxruntime.InferenceSession"
    device: Device
    captured: bool
    _slots: dict[int, _Slot] = field(default_factory=dict)
    _lock: Any = field(default_factory=RLock)

    def run(self, rows: Fed, context: Fed | None = None) -> dict[str, DeviceArray]:
        """Return all outputs by name. NumPy rows are copied to the device; tensors of the device are read in place.

        A conditional flow takes contexts (N, C) or (1, C) beside the rows.

        Raises:
            BadInputError: if a captured graph is given a tensor of the device, since it can read only its own `input`.
            ProviderError: if the device gave up.
        """
        return self._in_turn(lambda: self._answers(rows, context))

    def _answers(self, rows: Fed, context: Fed | None) -> dict[str, DeviceArray]:
        fed = self._named(rows, context)
        return self._replay(fed) if self.captured else self._launch(fed)

    def _named(self, rows: Fed, context: Fed | None) -> dict[str, Fed]:
        """Return the inputs by name."""
        return {self._entry: rows, **({} if context is None else {"context": context})}

    @property
    def _entry(self) -> str:
        """The name of the input that takes the rows."""
        return str(self.session.get_inputs()[0].name)

    def to_numpy(self, rows: Floats, context: Floats | None = None) -> dict[str, Floats]:
        """Return what `run` returns for NumPy rows, copied to the host before another run. Raises as `run` does."""

        def copied() -> dict[str, Floats]:
            results = self._answers(rows, context)
            return {name: np.array(result.ortvalue.numpy()) for name, result in results.items()}

        return self._in_turn(copied)

    def input(self, n: int, tensor: str | None = None) -> DeviceArray:
        """Return where the captured graph of n rows reads them, or another input. Write there, then give it to `run`.

        Raises:
            BadInputError: if there is no such input, or no further batch size can be captured.
            ProviderError: if the device gave up.
        """
        name, known = tensor or self._entry, [entry.name for entry in self.session.get_inputs()]
        if name not in known:
            raise BadInputError(f"Expected a tensor of {', '.join(known)}; got {name!r}.")

        def found() -> DeviceArray:
            slot = self._slot(n)
            if slot is None:
                raise BadInputError(
                    f"Expected at most {MOST_GRAPHS} batch sizes with cuda_graph; {n} is one more. Use one of those, "
                    "NumPy rows, or a flow without cuda_graph."
                )
            fills = slot.fills[name]
            return DeviceArray(
                slot.inputs[name],
                self.device,
                self.session,
                lambda: None if slot.fills[name] == fills else _FILLED,
                self._lock,
            )

        return self._in_turn(found)

    def resident(self, rows: Floats, *, context: Floats | None = None, wait: bool = True) -> Callable[[], None]:
        """Copy rows to the device and return a call that runs the graph there. For timing, in one thread.

        Args:
            rows: Rows (N, D).
            context: Contexts (N, C) of a conditional flow.
            wait: Whether the call ends when the device is done; else when the launches are handed over.
        """
        n = len(rows)
        slot = self._slots.get(n) or self._bind(n)
        self._slots[n] = slot
        for name, part in self._named(rows, context).items():
            slot.fill(name, part)
        options = self._options(n, wait=wait)

        def call() -> None:
            slot.runs += 1
            self.session.run_with_iobinding(slot.binding, options)

        return call

    def synchronize(self) -> None:
        """Wait for all work on the device."""
        with self.device.quiet():
            pass

    def _in_turn(self, work: Callable[[], T]) -> T:
        """Do the work alone: in the thread of all captured graphs, or in the caller's own."""

        def alone() -> T:
            with self._lock, self.device.quiet(), translated(self.session):
                return work()

        return _CAPTURER.submit(alone).result() if self.captured else alone()

    def _replay(self, fed: Mapping[str, Fed]) -> dict[str, DeviceArray]:
        rows = fed[self._entry]
        n = len(rows) if isinstance(rows, np.ndarray) else int(rows.shape()[0])
        arrays = {name: part for name, part in fed.items() if isinstance(part, np.ndarray)}
        slot = self._slot(n) if len(arrays) == len(fed) else self._slots.get(n)
        if slot is None and len(arrays) == len(fed):
            return self._launch(fed)
        slot = self._own(slot, {name: part for name, part in fed.items() if not isinstance(part, np.ndarray)}, n)
        for name, array in arrays.items():
            slot.fill(name, array)
        slot.runs += 1
        self.session.run_with_iobinding(slot.binding, self._options(n))
        ours = slot.runs
        return {
            name: DeviceArray(
                result, self.device, self.session, lambda: None if slot.runs == ours else _OVERWRITTEN, self._lock
            )
            for name, result in slot.results.items()
        }

    def _own(self, slot: _Slot | None, tensors: "Mapping[str, onnxruntime.OrtValue]", n: int) -> _Slot:
        """Return the slot of n rows, if these tensors are its own."""
        if slot is None or any(part.data_ptr() != slot.inputs[name].data_ptr() for name, part in tensors.items()):
            raise BadInputError(
                "Expected rows where the captured graph reads; got a tensor elsewhere, which a replay would ignore. "
                f"Write into input(..., {n}) and give that, give NumPy rows, or open the flow without cuda_graph."
            )
        return slot

    def _launch(self, given: Mapping[str, Fed]) -> dict[str, DeviceArray]:
        import onnxruntime

        binding, kind, number = self.session.io_binding(), self.device.kind, self.device.number
        for name, part in given.items():
            fed = part
            if isinstance(part, np.ndarray):
                fed = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(part), kind, number)
            binding.bind_ortvalue_input(name, fed)
        for output in self.session.get_outputs():
            binding.bind_output(output.name, kind, number)
        self.session.run_with_iobinding(binding, self._options(NO_GRAPH))
        results = zip(self.session.get_outputs(), binding.get_outputs(), strict=True)
        return {output.name: DeviceArray(value, self.device, self.session) for output, value in results}

    def _options(self, graph: int, *, wait: bool = True) -> "onnxruntime.RunOptions":
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.add_run_config_entry(GRAPH_NUMBER, str(graph if self.captured else NO_GRAPH))
        if not wait:
            options.add_run_config_entry(_WITHOUT_SYNC, "1")
        return options

    def _slot(self, n: int) -> _Slot | None:
        """Return the tensors of a batch size; None if no further batch size is captured."""
        if n not in self._slots:
            if len(self._slots) >= MOST_GRAPHS:
                return None
            self._slots[n] = self._bind(n)
        return self._slots[n]

    def _bind(self, n: int) -> _Slot:
        import onnxruntime

        kind, number = self.device.kind, self.device.number
        binding = self.session.io_binding()

        def tensor(entry: Any) -> "onnxruntime.OrtValue":  # noqa: ANN401
            zeros = np.zeros([n, *entry.shape[1:]], DTYPES[entry.type])
            return onnxruntime.OrtValue.ortvalue_from_numpy(zeros, kind, number)

        inputs, results = {}, {}
        for entry in self.session.get_inputs():
            inputs[entry.name] = tensor(entry)
            binding.bind_ortvalue_input(entry.name, inputs[entry.name])
        for output in self.session.get_outputs():
            results[output.name] = tensor(output)
            binding.bind_ortvalue_output(output.name, results[output.name])
        return _Slot(inputs, results, binding)
