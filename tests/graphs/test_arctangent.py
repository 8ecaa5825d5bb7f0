"""The arctangent of graphs, against 40 digits: its terms reach the last digit of each dtype, near 0 and far out."""

import mpmath
import numpy as np
import onnxruntime
import pytest

from lunet_export.checks.rounding import unit_roundoff
from lunet_export.graphs import builder
from lunet_export.layers import arctangent

_UNITS = 12  # as the nodes promise, of the value itself


def units(dtype, x, factor=1.6):
    """The errors of the nodes in units of the value."""
    graph = builder.GraphBuilder("arctangent", dim=1, dtype=dtype)
    graph.output("y", arctangent.atan_nodes(graph, graph.input("u"), factor))
    session = onnxruntime.InferenceSession(builder.serialize(graph.finish({})), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"u": x.astype(dtype)[:, None]})
    with mpmath.workdps(40):
        exact = [mpmath.mpf(factor) * mpmath.atan(mpmath.mpf(float(value))) for value in x.astype(dtype)]
        off = [abs(ours - theirs) / abs(theirs) for ours, theirs in zip(map(float, y[:, 0]), exact, strict=True)]
    return np.array([float(value) for value in off]) / unit_roundoff(dtype)


def places():
    """From numbers whose square is nothing to those whose square overflows."""
    rng = np.random.default_rng(0)
    sizes = np.concatenate([10.0 ** rng.uniform(-30, 30, 1000), np.linspace(1e-3, 100, 1000), [1e-37, 1e38]])
    return rng.choice([-1.0, 1.0], len(sizes)) * sizes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_exact_to_its_units(dtype):
    assert units(dtype, places()).max() < _UNITS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_series_that_ends_early_is_seen(dtype, monkeypatch):
    series = arctangent._series
    monkeypatch.setattr(arctangent, "_series", lambda epsilon: series(epsilon)[:-2])
    assert units(dtype, places()).max() > _UNITS


def test_it_is_0_at_0():
    graph = builder.GraphBuilder("arctangent", dim=1, dtype="float32")
    graph.output("y", arctangent.atan_nodes(graph, graph.input("u"), 1.0))
    session = onnxruntime.InferenceSession(builder.serialize(graph.finish({})), providers=["CPUExecutionProvider"])
    assert session.run(None, {"u": np.zeros((1, 1), dtype=np.float32)})[0] == 0
