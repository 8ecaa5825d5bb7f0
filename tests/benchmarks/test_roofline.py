"""The arithmetic on paper, against numbers worked out by hand."""

import numpy as np
import pytest

from benchmarks import graphs, networks, roofline
from lunet_export.errors import BadInputError
from lunet_export.graphs.builder import GraphBuilder
from lunet_export.graphs.census import work_items

#: One byte and one operation per second, and a cache that holds nothing.
SLOW = roofline.Gpu("slow", 1.0, 1.0, 0, "none")


def tiny():
    """y = sum of exp(x W + b) over columns, x [batch, 2], W [2, 2]; float32, so 4 bytes per number."""
    g = GraphBuilder("tiny", dim=2, dtype="float32")
    h = g.gemm(g.input("x"), np.eye(2), np.ones(2))
    g.output("y", g.sum_columns(g.node("Exp", h)), rows=False)
    return g.finish({})


def test_items_of_a_tiny_graph_are_those_counted_by_hand():
    """3 rows: x and h have 6 numbers, 24 bytes; W 16 bytes, b 8, the sum's axis 8, y 12."""
    work = roofline.work_of(tiny(), 3)
    assert [(item.bytes, item.operations) for item in work.items] == [
        (8 + 24, 0),  # b into h
        (24 + 16 + 24 + 24, 2 * 3 * 2 * 2 + 6),  # x, W and h into h: 12 multiply-adds and the addend
        (24 + 24, 6),
        (24 + 8 + 12, 6),
    ]
    assert (work.ends, work.stored) == (24 + 12, 16 + 8 + 8)


def test_bounds_of_a_tiny_graph_are_those_worked_out_by_hand(monkeypatch):
    monkeypatch.setattr(roofline, "LAUNCHES", {"stream": 100.0, "CUDA graph": 1.0})
    work = roofline.work_of(tiny(), 3)
    memory, least = roofline.through_memory(work, SLOW), roofline.at_least(work, SLOW)
    assert memory.work == pytest.approx(1e6 * (32 + 88 + 48 + 44))
    assert least.work == pytest.approx(1e6 * (36 + 32))  # the constants do not fit in the cache
    assert (memory.work_limit, least.work_limit) == ("bytes", "bytes")
    assert memory.totals == pytest.approx({"stream": 4e8, "CUDA graph": memory.work})
    assert memory.limits == {"stream": "launches", "CUDA graph": "bytes"}


def test_constants_that_fit_in_the_cache_cost_nothing_at_least():
    work = roofline.work_of(tiny(), 3)
    cached = roofline.Gpu("cached", 1.0, 1.0, 32, "none")
    assert roofline.at_least(work, cached).work == pytest.approx(1e6 * max(36, 42))
    assert roofline.at_least(work, cached).work_limit == "operations"


def test_each_item_takes_the_longer_of_bytes_and_operations():
    """At 1/3 of an operation per second the product takes 90 s and the other items their bytes."""
    work = roofline.work_of(tiny(), 3)
    gpu = roofline.Gpu("weak", 1.0, 1 / 3, 0, "none")
    assert roofline.through_memory(work, gpu).work == pytest.approx(1e6 * (32 + 90 + 48 + 44))


@pytest.mark.parametrize("name", ["density", *roofline.SOLVERS])
def test_items_are_the_counted_launches_and_operations_those_of_the_weights(name):
    weights = networks.standard(dim=32)
    model = graphs.density_graph(weights) if name == "density" else graphs.sampling_graph(weights, name)
    work = roofline.work_of(model, 5)
    assert len(work.items) == work_items(model)
    matrices = sum(np.prod(tensor.dims) for tensor in model.graph.initializer if len(tensor.dims) == 2)
    products = sum(item.operations for item in work.items if "gemm" in item.node)
    assert 2 * 5 * matrices <= products <= 2 * 5 * matrices + 5 * 32 * len(work.items)


def test_an_unknown_operator_is_refused():
    g = GraphBuilder("other", dim=2, dtype="float32")
    g.output("y", g.node("Tanh", g.input("x")))
    with pytest.raises(BadInputError, match="got Tanh"):
        roofline.work_of(g.finish({}), 1)


def test_all_is_worked_out_said_not_to_be_measured_and_drawn(tmp_path, capsys):
    document = roofline.work_out({"sampling, fused": graphs.sampling_graph(networks.standard(dim=8), "fused")})
    assert "not measured" in document["note"]
    assert len(document["bounds"]) == len(roofline.GPUS) * len(roofline.BATCHES)
    for row in document["bounds"]:
        assert row["at_least"]["work"] <= row["through_memory"]["work"]
    roofline.draw(document, tmp_path / "roofline.png")
    assert (tmp_path / "roofline.png").read_bytes().startswith(b"\x89PNG")
    roofline.show(document)
    assert "not measured" in capsys.readouterr().out
