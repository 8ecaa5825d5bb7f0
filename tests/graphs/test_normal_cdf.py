"""The nodes of Phi and of its inverse, the arrays and PyTorch, against mpmath's and scipy's."""

import mpmath
import numpy as np
import onnxruntime
import pytest
import torch
from scipy import special

from lunet_export.checks.rounding import unit_roundoff
from lunet_export.graphs.builder import GraphBuilder, serialize
from lunet_export.graphs.track import Track
from lunet_export.layers import NormalCDF
from lunet_export.layers.normal_cdf import LEAST, normal_cdf, normal_quantile
from lunet_export.torch_layers import bijection_of

every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])

#: Units that sums of positive terms, a quotient and a few more operations may err. Beside them, of a value: those of
#: the square in the exponent, which are fewer than what rounding of x makes of it.
UNITS = 8.0


def graph(dtype, *, back):
    g = GraphBuilder("part", dim=1, dtype=dtype)
    track = Track(g, g.input("rows"), None)
    layer = NormalCDF()
    if back:
        layer.inverse_nodes(track)
    else:
        layer.nodes(track)
    ((log_slope, _, _),) = track.terms.logs
    g.output("value", track.rows())
    g.output("log_slope", log_slope)
    return g.finish({}), track.terms.constant


def run(rows, *, back=False):
    """Values and log slopes there, or roots and the log slopes at them, in float64."""
    model, constant = graph(rows.dtype.name, back=back)
    session = onnxruntime.InferenceSession(serialize(model), providers=["CPUExecutionProvider"])
    value, log_slope = session.run(None, {"rows": rows[:, None]})
    return value[:, 0].astype(np.float64), log_slope[:, 0].astype(np.float64) + constant


def exact_cdf(x):
    with mpmath.workdps(40):
        return [mpmath.ncdf(mpmath.mpf(float(value))) for value in x]


def relative(got, exact):
    with mpmath.workdps(40):
        return np.array([float(abs(mpmath.mpf(float(a)) / b - 1)) for a, b in zip(got, exact, strict=True)])


def points(dtype):
    """Of the normal scale, down to where Phi is the least number that is not denormal."""
    least = -12.9 if dtype == "float32" else -37.5
    return np.concatenate([np.linspace(least, 9, 800), np.linspace(-1, 1, 200), [0.0, 1e-20, -1e-20]]).astype(dtype)


def shares(dtype):
    """Of the uniform scale: dense in the middle, logarithmic to both ends."""
    unit = unit_roundoff(dtype)
    low, high = np.geomspace(LEAST, 0.1, 300), 1 - np.geomspace(unit, 0.1, 200)
    edges = [5 / 32, np.nextafter(5 / 32, 0), 27 / 32]
    return np.concatenate([low, np.linspace(0.05, 0.95, 700), high, edges]).astype(dtype)


@every_dtype
def test_a_value_keeps_its_digits_in_the_lower_tail(dtype):
    x = points(dtype)
    exact = exact_cdf(x)
    wide, unit = x.astype(np.float64), unit_roundoff(dtype)
    square = np.where(x < 0, wide**2, 0.0)
    allowed = unit * (UNITS + 0.5 * square)
    got, log_slope = run(x)
    assert (relative(got, exact) <= allowed).all()
    np.testing.assert_allclose(log_slope, -0.5 * wide**2 - 0.5 * np.log(2 * np.pi), rtol=4 * unit)
    of_torch = bijection_of(NormalCDF())(torch.from_numpy(x)[:, None])[0][:, 0]
    # Of its argument, x / sqrt(2), two roundings become x^2 units each.
    assert (relative(of_torch, exact) <= unit * (UNITS + 2 * square)).all()
    if dtype == "float64":
        assert (relative(normal_cdf(x), exact) <= allowed).all()


@every_dtype
def test_a_root_keeps_its_digits_everywhere(dtype):
    u = shares(dtype)
    wide = u.astype(np.float64)
    exact = normal_quantile(wide)
    got, log_slope = run(u, back=True)
    near_half = np.abs(exact) < 1e-30
    gap = np.abs(got - exact) / np.where(near_half, 1.0, np.abs(exact))
    assert (gap <= 2 * UNITS * unit_roundoff(dtype)).all()  # in float64 the reference errs as much
    np.testing.assert_allclose(log_slope, -0.5 * got**2 - 0.5 * np.log(2 * np.pi), rtol=4 * unit_roundoff(dtype))


def test_the_reference_s_root_is_the_inverse_to_the_last_digits():
    """One of Newton's steps in 40 digits tells how far a root is off."""
    u = shares("float64")
    z = normal_quantile(u)
    with mpmath.workdps(40):
        for share, root in zip(u, z, strict=True):
            below = mpmath.ncdf(mpmath.mpf(float(root)))
            off = (below - mpmath.mpf(float(share))) / mpmath.npdf(mpmath.mpf(float(root)))
            assert abs(off) <= UNITS * 2.0**-53 * abs(root), share
    np.testing.assert_allclose(z, special.ndtri(u), rtol=2 * UNITS * 2.0**-53)
    # A relative error of Phi is an absolute one of its logarithm, which rounds too; scipy errs as much.
    ours, theirs = np.log(normal_cdf(z)), special.log_ndtr(z)
    assert (np.abs(ours - theirs) <= 2 * 2.0**-53 * (UNITS + 0.5 * z**2 + 2 * np.abs(theirs))).all()


@every_dtype
def test_a_value_comes_back_where_rounding_lets_it(dtype):
    x = np.linspace(-10, 10, 401).astype(dtype)
    y = run(x)[0]
    back = run(y.astype(dtype), back=True)[0]
    unit, wide = unit_roundoff(dtype), x.astype(np.float64)
    density = np.exp(-0.5 * wide**2) / np.sqrt(2 * np.pi)
    lost = unit * ((UNITS + 0.5 * wide**2) * np.minimum(y, 1 - y) + y) / density + UNITS * unit * np.abs(wide)
    kept = lost < 0.01
    assert (np.abs(back - wide)[kept] <= 2 * lost[kept]).all()
    assert kept[x < 0].all()
    most = special.ndtri(1 - unit)
    assert (back[x > most] <= most * (1 + 8 * unit)).all()


def test_ends_give_finite_roots():
    for dtype in ("float32", "float64"):
        z = run(np.array([0.0, -1.0, 1e-300, 1.0, 2.0], dtype), back=True)[0]
        assert np.isfinite(z).all()
        ends, rounding = special.ndtri([LEAST, 1 - unit_roundoff(dtype)]), 2 * UNITS * unit_roundoff(dtype)
        np.testing.assert_allclose(z, np.repeat(ends, [3, 2]), rtol=rounding)
    for dtype in ("float32", "float64"):
        far = np.array([-np.finfo(dtype).max, -1e4, 1e4, np.finfo(dtype).max], dtype)
        np.testing.assert_array_equal(run(far)[0], [0.0, 0.0, 1.0, 1.0])


@pytest.mark.parametrize(("dtype", "forward", "inverse"), [("float32", 22, 30), ("float64", 32, 40)])
def test_nodes_are_few(dtype, forward, inverse):
    counts = [len(graph(dtype, back=back)[0].graph.node) for back in (False, True)]
    assert counts == [forward, inverse]


def test_a_coefficient_that_is_off_by_1e_14_is_seen():
    """The planted fault: the digits of the coefficients matter."""
    x = points("float64")
    wrong = normal_cdf(x) * (1 + 1e-14)
    middle = np.abs(x) < 1
    assert (relative(wrong, exact_cdf(x))[middle] > unit_roundoff("float64") * UNITS).all()
