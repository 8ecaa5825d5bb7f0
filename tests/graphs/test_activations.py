"""The nodes of the other activations over all exponents of float32, and the number of Newton's steps."""

import numpy as np
import onnxruntime
import pytest

from lunet_export.checks.rounding import of_elementwise, unit_roundoff
from lunet_export.errors import BadInputError
from lunet_export.flows.lunet import activation_of
from lunet_export.graphs.builder import GraphBuilder, serialize
from lunet_export.graphs.track import Track
from lunet_export.layers import Activation, LeakyReLU, LeakyTanh
from lunet_export.layers.leaky_tanh import after, steps_of

CASES = [(name, alpha) for name in ("leaky-relu", "leaky-tanh") for alpha in (0.001, 0.1, 0.5, 0.9999)]
every_case = pytest.mark.parametrize(("name", "alpha"), CASES)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def run(f: Activation, rows: np.ndarray, *, back: bool = False) -> list[np.ndarray]:
    """Values of f and its slopes there, or roots and the slopes at them, by a graph of one column; in float64."""
    g = GraphBuilder("part", dim=1, dtype=rows.dtype.name)
    track = Track(g, g.input("rows"), None)
    if back:
        f.inverse_nodes(track)
    else:
        f.nodes(track)
    (slopes,) = track.terms.slopes[1]
    g.output("value", track.rows())
    g.output("slope", *slopes.factors)
    session = onnxruntime.InferenceSession(serialize(g.finish({})), providers=["CPUExecutionProvider"])
    return [found.astype(np.float64)[:, 0] for found in session.run(None, {"rows": rows[:, None]})]


def everywhere(dtype: str) -> np.ndarray:
    """Dense where f bends; both signs of numbers from 1e-30 to 1e30 and 0."""
    wide = np.geomspace(1e-30, 1e30, 601)
    return np.concatenate([np.linspace(-30, 30, 6001), wide, -wide, [0.0]]).astype(dtype)


@every_case
@every_dtype
def test_values_and_slopes_are_the_references(name, alpha, dtype):
    f, a = activation_of(name, alpha), everywhere(dtype)
    value, slope = run(f, a)
    exact, unit = a.astype(np.float64), unit_roundoff(dtype)
    gap = np.abs(value - f.value(exact))
    assert (gap <= 2 * unit * of_elementwise(f.value(exact))).all()  # in float64 the reference errs as much
    np.testing.assert_allclose(slope, f.slope(exact), rtol=16 * unit)


@every_case
@every_dtype
def test_roots_are_the_references(name, alpha, dtype):
    """Within the reference's own units: of x, and of y over the slope."""
    f, given = activation_of(name, alpha), everywhere(dtype)
    x, slope = run(f, given, back=True)
    y = given.astype(np.float64)
    exact = f.root(y)
    allowed = of_elementwise(exact) + 4 * np.abs(y) / f.slope(exact)
    assert (np.abs(x - exact) <= unit_roundoff(dtype) * allowed).all()
    np.testing.assert_allclose(slope, f.slope(x), rtol=16 * unit_roundoff(dtype))


def test_the_papers_alpha_takes_four_steps_and_five():
    assert [steps_of(0.1, dtype) for dtype in ("float32", "float64")] == [4, 5]


@pytest.mark.parametrize("alpha", [0.001, 0.03, 0.1, 0.7])
@pytest.mark.parametrize(("dtype", "allowed"), [("float32", 2.0**-24), ("float64", 2.0**-50)])
def test_steps_are_enough_off_the_grid_and_one_less_is_not(alpha, dtype, allowed):
    f, steps = LeakyTanh(alpha), steps_of(alpha, dtype)
    y = f.value(np.random.default_rng(0).uniform(-20, 20, 20_000))
    exact = f.root(y)
    size = np.maximum(np.maximum(1, np.abs(exact)), np.abs(y) / f.slope(exact))
    error, fewer = ((np.abs(after(f, y, n) - exact) / size).max() for n in (steps, steps - 1))
    assert error <= 1.1 * allowed
    assert fewer > allowed


def test_hopeless_alphas_are_refused():
    with pytest.raises(BadInputError, match=r"Expected an alpha of at least 0\.001 to export a leaky tanh"):
        run(LeakyTanh(1e-5), np.ones(1), back=True)
    with pytest.raises(BadInputError, match=r"Expected an alpha of at least 1e-06 to export a leaky ReLU"):
        run(LeakyReLU(1e-9), np.ones(1, dtype=np.float32), back=True)
