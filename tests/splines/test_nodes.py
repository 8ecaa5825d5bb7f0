"""How many nodes a spline takes beside its network, and which operators: no search, nothing that depends on data."""

import pytest

from lunet_export.graphs.builder import GraphBuilder
from lunet_export.graphs.track import Track
from lunet_export.layers import RationalQuadratic
from tests.families.composed import BOX, CIRCULAR, EXP_SPLINE, SPLINE

#: What the issue of splines allows; a sketch had 94 and 115.
FORWARD, INVERSE = 80, 95
SEARCHES = {"NonZero", "GatherND", "GatherElements", "ScatterND", "ScatterElements", "CumSum", "If", "Loop", "TopK"}
SPLINES = {
    "of nflows": SPLINE,
    "of nflows, 16 bins": RationalQuadratic(16, -1.0, 1.0, "identity", 1e-3, 2e-3, 1e-3),
    "of zuko": EXP_SPLINE,
    "of a box": BOX,
    "circular": CIRCULAR,
}


def written(spline, direction, *, count, dtype="float32", wants_density=True):
    """The operators of one spline of so many columns, in the order of its nodes."""
    g = GraphBuilder("spline", dim=count, dtype=dtype)
    x, numbers = g.input("x"), g.input("numbers", width=count * spline.count)
    track = Track(g, x, None, wants_density=wants_density)
    getattr(spline.written(track, numbers, count), direction)(x)
    return [node.op_type for node in g._nodes]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("name", SPLINES)
def test_a_spline_takes_few_nodes_and_searches_nothing(name, count, dtype):
    forward, inverse = (written(SPLINES[name], way, count=count, dtype=dtype) for way in ("forward", "inverse"))
    assert (len(forward) <= FORWARD, len(inverse) <= INVERSE) == (True, True), (len(forward), len(inverse))
    assert SEARCHES.isdisjoint(forward + inverse)


def test_sampling_alone_takes_fewer():
    alone = written(EXP_SPLINE, "inverse", count=1, wants_density=False)
    assert len(alone) < len(written(EXP_SPLINE, "inverse", count=1))


def test_a_search_would_be_seen():
    assert not SEARCHES.isdisjoint(["Softmax", "CumSum", "GatherElements"])
