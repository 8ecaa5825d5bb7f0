"""Bound runs: the bookkeeping of tensors, bindings and graph numbers, with tensors on the CPU in place of a GPU."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from lunet_export import ExportedFlow, parity
from lunet_export.artifact import Artifact
from lunet_export.bench import contender, latency
from lunet_export.bench.contender import device_runners
from lunet_export.errors import ProviderError
from lunet_export.graphs import builder, floor
from lunet_export.runtime import bound, providers
from lunet_export.runtime.bound import BoundFlow, BoundGraph
from lunet_export.runtime.providers import open_sessions


@dataclass
class Recorded:
    """A session that notes under which graph number each bound run went."""

    session: object
    numbers: list = field(default_factory=list)

    def __getattr__(self, name):
        return getattr(self.session, name)

    def run_with_iobinding(self, binding, options):
        self.numbers.append(options.get_run_config_entry("gpu_graph_id"))
        self.session.run_with_iobinding(binding, options)


@pytest.fixture
def flow(exported):
    return ExportedFlow(exported.folder, provider="cpu", threads=1)


def sessions(artifact):
    opened, _ = open_sessions([artifact.graphs["density"], artifact.graphs["sampling"]], "cpu", threads=1)
    return [Recorded(session) for session in opened]


def on_cpu(artifact, *, captured):
    graphs = [BoundGraph(session, captured=captured, device="cpu") for session in sessions(artifact)]
    return BoundFlow(graphs[0], graphs[1], np.dtype("float32"))


@pytest.mark.parametrize("captured", [False, True])
def test_bound_runs_pass_every_check(exported, captured):
    artifact = Artifact.open(exported.folder)
    assert parity.all_passed(parity.run(on_cpu(artifact, captured=captured), artifact.vectors))


def test_every_batch_size_has_its_own_graph_number_and_tensors(exported):
    session = sessions(Artifact.open(exported.folder))[1]
    graph = BoundGraph(session, captured=True, device="cpu")
    rng = np.random.default_rng(0)
    batches = {n: rng.standard_normal((n, 16)).astype(np.float32) for n in (1, 3, 8)}
    calls = {n: graph.resident(rows) for n, rows in batches.items()}
    answers = {n: graph.run(rows)["x"] for n, rows in batches.items()}
    for n in (8, 1, 3):
        calls[n]()
        np.testing.assert_array_equal(graph.run(batches[n])["x"], answers[n])
        assert answers[n].shape == (n, 16)
    assert session.numbers == ["1", "3", "8", "8", "8", "1", "1", "3", "3"]


def test_new_rows_go_to_the_address_that_was_captured(exported):
    graph = BoundGraph(sessions(Artifact.open(exported.folder))[1], captured=True, device="cpu")
    rows = np.zeros((2, 16), np.float32)
    first = graph.run(rows)["x"]
    slot = graph._slot(rows)
    again = graph.run(rows + 1)["x"]
    assert graph._slot(rows) is slot
    assert not np.array_equal(first, again)  # and the first answer is the caller's own


def test_without_capture_no_run_is_replayed(exported):
    session = sessions(Artifact.open(exported.folder))[1]
    graph = BoundGraph(session, captured=False, device="cpu")
    for n in (1, 4):
        graph.run(np.zeros((n, 16), np.float32))
    assert session.numbers == ["-1", "-1"]


def test_no_rows_are_no_run(exported):
    artifact = Artifact.open(exported.folder)
    runner = on_cpu(artifact, captured=True)
    z, log_prob = runner.density(np.empty((0, 16)))
    assert (z.shape, log_prob.shape, runner.decode(np.empty((0, 16))).shape) == ((0, 16), (0,), (0, 16))


def test_cuda_graphs_are_asked_for_with_tf32_off_and_only_then(exported, monkeypatch):
    import onnxruntime

    asked = []

    def session(model, options, *, providers, **_):
        asked.append(providers[0])
        raise RuntimeError("no driver")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    artifact = Artifact.open(exported.folder)
    with pytest.raises(ProviderError, match="no driver"):
        BoundFlow.pair(artifact, np.dtype("float32"))
    with pytest.raises(ProviderError):
        providers.open_sessions([b""], "cuda", threads=None)
    assert [options for _, options in asked] == [{"use_tf32": "0", "enable_cuda_graph": "1"}, {"use_tf32": "0"}]


def test_a_device_that_cannot_capture_leaves_its_lines_out_aloud(flow, monkeypatch):
    said = []
    monkeypatch.setattr(flow, "provider", "cuda")

    def refuse(*_):
        raise ProviderError("Expected a working CUDAExecutionProvider; it cannot capture.")

    monkeypatch.setattr(BoundFlow, "pair", refuse)
    assert device_runners(flow, said.append) == {}
    assert said == ["Without IO binding and CUDA graph: Expected a working CUDAExecutionProvider; it cannot capture."]


def test_the_lines_of_a_gpu(flow, monkeypatch):
    """The whole table as CUDA would fill it, every session opened on the CPU."""

    def here(models, provider, *, threads, cuda_graph=False):
        assert provider == "cuda"
        return open_sessions(models, "cpu", threads=1)

    for module in (bound, contender):
        monkeypatch.setattr(module, "open_sessions", here)
    monkeypatch.setattr(BoundGraph.__init__, "__kwdefaults__", {"device": "cpu"})
    monkeypatch.setattr(flow, "provider", "cuda")
    graph = builder.serialize(floor.build(16, 3, "float32"))
    rows = latency(flow, {}, floor=graph, batches=[2], seconds=0.002)
    sampling = {row.runner: row for row in rows if row.direction == "sampling"}
    names = ["ONNX Runtime, cuda", "+ IO binding", "+ CUDA graph"]
    assert list(sampling) == [*names, "floor", "floor + IO binding", "floor + CUDA graph"]
    for name, lowest in zip(names, list(sampling)[3:], strict=True):  # copies against copies, replays against replays
        assert sampling[name].times_floor == sampling[name].time.times(sampling[lowest].time)
