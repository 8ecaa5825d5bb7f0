"""The sessions of an opened folder: one per graph and process, whatever the number of threads.

ONNX Runtime's sessions may be run by many threads at once, but none survives a fork: its own threads are gone in the
child, which waits for them for ever, at the latest when it releases the session. So a child opens sessions of its own
when it first asks for them, and leaves those of its parent alone.
"""

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from threading import RLock
from typing import TYPE_CHECKING
from weakref import WeakSet

from lunet_export.errors import BadInputError, ProviderError
from lunet_export.runtime.cuda import CudaOptions
from lunet_export.runtime.providers import Provider, open_sessions

if TYPE_CHECKING:
    import onnxruntime


class Sessions:
    """Sessions by the names of their graphs, each opened when it is first asked for.

    Args:
        graphs: Serialized ONNX graphs by name.
        first: Names of the graphs that are opened at once; they decide what `auto` takes.
        provider: Provider as `open_sessions` takes it, like `threads`, `cuda` and `cuda_graph`, which applies to
            `first` alone.
        prove: Function of the name and the new session; it raises an error if the manifest describes another graph.

    Raises:
        ArtifactError, BadInputError, MissingPackageError, OutOfMemoryError, ProviderError: as `open_sessions` and
            `prove` do.
    """

    def __init__(
        self,
        graphs: Mapping[str, bytes],
        first: Sequence[str],
        provider: Provider,
        *,
        threads: int | None,
        cuda: CudaOptions,
        cuda_graph: bool = False,
        prove: "Callable[[str, onnxruntime.InferenceSession], None]",
    ) -> None:
        self._graphs, self._threads, self._cuda, self._prove = graphs, threads, cuda, prove
        models = [graphs[name] for name in first]
        opened, self.choice = open_sessions(models, provider, threads=threads, cuda=cuda, cuda_graph=cuda_graph)
        self._open = dict(zip(first, opened, strict=True))
        self._lock, self._forked, self._closed = RLock(), False, False
        for name, session in self._open.items():
            prove(name, session)
        _LIVE.add(self)

    def close(self) -> None:
        """Release all sessions; whoever asks for one from now on gets a BadInputError."""
        with self._lock:
            self._closed, self._open = True, {}

    def __getitem__(self, name: str) -> "onnxruntime.InferenceSession":
        session = self._open.get(name)
        return self._added(name) if session is None else session

    def opened(self) -> "dict[str, onnxruntime.InferenceSession]":
        """Return the sessions that are open, by name."""
        return dict(self._open)

    def _added(self, name: str) -> "onnxruntime.InferenceSession":
        if self._closed:
            raise BadInputError("Expected an open export; this one was closed. Open the folder again.")
        with self._lock:  # two threads that ask at once get the same session
            if name not in self._open:
                if self._forked and self.choice.name == "cuda":
                    raise ProviderError(
                        "Expected the process that opened the flow on CUDA; got a fork of it, where CUDA does not run. "
                        "Start the process with spawn, or open the flow in it."
                    )
                model = self._graphs[name]
                (session,), _ = open_sessions([model], self.choice.name, threads=self._threads, cuda=self._cuda)
                self._prove(name, session)
                self._open[name] = session
            return self._open[name]

    def _abandon(self) -> None:
        """Forget the parent's sessions without releasing them, in a child right after the fork."""
        for session in self._open.values():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))  # its release would wait for threads that are gone
        self._open, self._lock, self._forked = {}, RLock(), True


_LIVE: "WeakSet[Sessions]" = WeakSet()


def _in_a_child() -> None:
    for sessions in tuple(_LIVE):
        sessions._abandon()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_in_a_child)
