"""The instrument on a conditional flow: runners get the contexts of the vectors, and one line gets one for all."""

import numpy as np
import pytest

from lunet_export import ExportedFlow
from lunet_export.bench import contender, latency, memory, open_timed
from lunet_export.errors import CheckFailedError
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.torch_layers.eager import EagerFlow
from tests.conditional import WIDTH, lu_net

WEIGHTS, BATCH = lu_net(), 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return export(WEIGHTS, tmp_path_factory.mktemp("bench") / "given", Provenance("given"), ExportSettings()).folder


class Recorded:
    """Eager PyTorch, with the shapes of the contexts that it was given; or one that ignores them."""

    def __init__(self, *, ignores=False):
        self.flow, self.ignores, self.shapes = EagerFlow(WEIGHTS, "float32"), ignores, []

    def density(self, x, context):
        self.shapes.append(context.shape)
        return self.flow.density(x, self._seen(context))

    def decode(self, z, context):
        self.shapes.append(context.shape)
        return self.flow.decode(z, self._seen(context))

    def _seen(self, context):
        return np.zeros_like(context) if self.ignores else context


def timed(folder, others, monkeypatch):
    seen = []
    run = ExportedFlow._run
    monkeypatch.setattr(ExportedFlow, "_run", lambda self, *given: (seen.append(given[2]), run(self, *given))[1])
    flow, opening = open_timed(folder, provider="cpu", threads=1)
    rows = latency(flow, others, batches=[BATCH], seconds=0.01, warmup=0)
    assert opening.first_run > 0
    return rows, seen


def test_contexts_are_one_per_row_and_in_one_line_one_for_all(folder, monkeypatch):
    eager = Recorded()
    rows, seen = timed(folder, {"eager": eager}, monkeypatch)
    names = [row.runner for row in rows]
    assert names == ["ONNX Runtime, cpu", contender.ONE_CONTEXT, "eager"] * 2
    assert eager.shapes[-1] == (BATCH, WIDTH)
    shapes = {fed["context"].shape for fed in seen if len(next(iter(fed.values()))) == BATCH}
    assert shapes == {(BATCH, WIDTH), (1, WIDTH)}


def test_a_runner_that_ignores_its_context_is_not_timed(folder, monkeypatch):
    with pytest.raises(CheckFailedError, match="Expected right answers before timing; deaf fails"):
        timed(folder, {"deaf": Recorded(ignores=True)}, monkeypatch)


def test_memory_is_measured_at_a_context(folder):
    found = memory.measure(folder, batch=3, threads=1)
    assert found is None or found.batch == 3


def test_the_lines_of_a_gpu_take_contexts(folder, cuda_on_host):
    flow, _ = open_timed(folder, provider="cuda", threads=1)
    rows = latency(flow, {}, batches=[BATCH], seconds=0.01, warmup=0)
    assert {row.runner for row in rows} >= {contender.BINDING, contender.CUDA_GRAPH, contender.ONE_CONTEXT}
