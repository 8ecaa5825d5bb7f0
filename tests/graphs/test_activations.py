"""The nodes of the other activations over all exponents of float32, and the number of Newton's steps."""

import numpy as np
import onnxruntime
import pytest

from lunet_export.checks.rounding import of_elementwise, unit_roundoff
from lunet_export.errors import BadInputError
from lunet_export.flows.lunet import activation_of
from lunet_export.graphs.builder import GraphBuilder, serialize
from lunet_export.graphs.track import Track
from lunet_export.layers import Activation, LeakyReLU, LeakySquareplus, LeakyTanh
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
    """Dense where f is curved; both signs of numbers from 1e-30 to 1e30 and 0."""
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


def every_exponent() -> np.ndarray:
    """Numbers of float32 of every exponent up to 2^60 and of both signs, 0, and many where f is curved."""
    rng, exponents = np.random.default_rng(0), np.arange(-149, 60)
    far = np.ldexp(rng.uniform(1, 2, (200, len(exponents))), exponents).ravel()
    return np.concatenate([far, -far, rng.uniform(-20, 20, 200_000), [0.0]]).astype(np.float32)


def root_of(f: LeakySquareplus, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Roots by the graph's nodes in float32, and those of the reference, for y in the units of the nodes."""
    g = GraphBuilder("root", dim=1, dtype="float32")
    unit = 2 * np.sqrt(f.alpha / f._addend(g))
    track = Track(g, g.input("y"), None, wants_density=False)
    track.stretch(unit, 0.0)
    f.inverse_nodes(track)
    track.stretch(1 / unit, 0.0)
    g.output("x", track.rows())
    session = onnxruntime.InferenceSession(serialize(g.finish({})), providers=["CPUExecutionProvider"])
    found = session.run(None, {"y": y[:, None]})[0][:, 0].astype(np.float64)
    return unit * found, f.root(unit * y.astype(np.float64))


def units(x: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Errors in units of 2^-24 max(1, |x|)."""
    return np.abs(x - exact) / (unit_roundoff("float32") * np.maximum(1, np.abs(exact)))


@pytest.mark.parametrize("alpha", [0.01, 0.018, 0.1, 0.3, 0.7, 0.97])
def test_the_root_of_leaky_squareplus_loses_no_digits(alpha):
    """Of x = min(y, y / alpha) - g: g has at most 4 roundings, the line two (one of 1 / alpha), the difference one."""
    f = LeakySquareplus(alpha)
    x, exact = root_of(f, every_exponent())
    y = f.value(exact)
    line = np.minimum(y, y / alpha)
    assert (
        np.abs(x - exact) <= unit_roundoff("float32") * (4 * (line - exact) + 2 * np.abs(line) + np.abs(exact))
    ).all()


def test_it_errs_by_four_units_where_fewer_nodes_err_by_many():
    """(p y - q sqrt(y^2 + 4 alpha)) / alpha takes 5 nodes for 8, and cancels where y > 0."""
    f, y = LeakySquareplus(0.1), every_exponent()
    assert units(*root_of(f, y)).max() <= 4
    one, ratio = np.float32(f.alpha * 4 * 4.5**2), np.float32(5.5 / 4.5)  # y in units of alpha / q
    few = ratio * y - np.sqrt(y * y + one)
    assert units(few.astype(np.float64), f.root(y.astype(np.float64) / 4.5)).max() > 12


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.9])
def test_it_overflows_nowhere_before_the_root_does(alpha):
    y = np.float32(2.0) ** np.arange(60, 120, dtype=np.float32)
    x, exact = root_of(LeakySquareplus(alpha), np.concatenate([y, -y]))
    assert units(x, exact).max() <= 4
