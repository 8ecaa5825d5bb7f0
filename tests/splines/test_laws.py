"""The laws of splines where their form changes, in float64."""

import numpy as np
import pytest
import torch

from lunet_export.checks import reference
from lunet_export.layers import rational_quadratic
from lunet_export.torch_layers.transformers import functions_of
from tests.families.composed import composed, fixed_splines, masked_splines
from tests.splines.cases import SPLINES, X, Y, knots_of

ROWS = 40
EXACT = {"rtol": 1e-10, "atol": 1e-10}
every_spline = pytest.mark.parametrize("spline", SPLINES.values(), ids=SPLINES)
steep_and_flat = pytest.mark.parametrize("factor", [1.0, 3.0, 10.0])


def numbers_of(spline, factor, *, columns=1):
    return factor * np.random.default_rng(0).standard_normal((ROWS, columns * spline.count))


def at_knots(spline, functions, axis=X):
    """All knots of a column, (K + 1, N, 1), as numbers that enter the spline."""
    knots = np.moveaxis(knots_of(functions)[..., axis, :], -1, 0)
    return spline.turned_back(knots) if axis == X and spline.turn else knots


@every_spline
@steep_and_flat
def test_a_knot_has_its_value_and_its_slope_from_both_sides(spline, factor, monkeypatch):
    """A bin search with > in the place of >= takes the other bin there, and gives the same."""
    functions = spline.of(numbers_of(spline, factor))
    knots, table = at_knots(spline, functions), np.moveaxis(knots_of(functions), -1, 0)
    right = [functions.forward(x) for x in knots]

    def to_the_left(table, axis, values):
        number = (values[..., None] > table[..., axis, 1:]).sum(axis=-1)
        picked = np.take_along_axis(table, number[..., None, None], axis=-1)[..., 0]
        return rational_quadratic._Bin(number, *np.moveaxis(picked, -1, 0))

    monkeypatch.setattr(rational_quadratic, "_found", to_the_left)
    left = [functions.forward(x) for x in knots]
    inner = slice(1, -1) if spline.turn else slice(None)  # the ends of a circle are one place
    # To the left of a knot w - (x - x0) is a rounding error of x, by which log f' may change as fast as it does there.
    width, height = (np.diff(knots_of(functions)[..., axis, :]) for axis in (X, Y))
    first, last = (knots_of(functions)[..., 2, part] for part in (slice(-1), slice(1, None)))
    s = height / width
    fastest = (2 * s / last + (first + last) / s + 2 * s / first) / width
    allowed = 1e-10 + 8 * np.finfo(float).eps * spline.span * fastest.max(axis=-1)
    for found in (right, left):
        for (y, log_slope), knot in list(zip(found, table, strict=True))[inner]:
            np.testing.assert_allclose(y, knot[..., Y], **EXACT)
            assert (np.abs(log_slope - np.log(knot[..., 2])) <= allowed).all()
    for y in at_knots(spline, functions, Y)[1:-1]:
        steep = np.exp(functions.forward(functions.inverse(y))[1])
        assert (np.abs(functions.forward(functions.inverse(y))[0] - y) <= 1e-10 * np.maximum(1, steep)).all()


@every_spline
@steep_and_flat
def test_a_knot_and_an_end_come_back(spline, factor):
    functions = spline.of(numbers_of(spline, factor))
    x = np.moveaxis(functions.seams(), -1, 0)
    for column in x:
        y, log_slope = functions.forward(column)
        back = functions.inverse(y)
        # y is rounded, and so are the knots between which it lies: 16 of them, which a flat bin multiplies.
        allowed = 1e-10 + 16 * np.finfo(float).eps * spline.span * np.exp(-log_slope)
        apart = np.abs(back - column)
        if spline.turn:
            apart = np.minimum(apart, spline.span - apart)
        assert (apart <= allowed).all()


@every_spline
@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_the_log_slope_is_that_of_the_function(spline, factor):
    """Automatic differentiation of the function alone, in the middle of bins and near their ends."""
    numbers = numbers_of(spline, factor)
    functions = spline.of(numbers)
    table = knots_of(functions)[..., X, :]
    for part in (1e-3, 0.1, 0.5, 0.9):
        for bin_ in range(spline.bins):
            inside = table[..., bin_] + part * (table[..., bin_ + 1] - table[..., bin_])
            x = spline.turned_back(inside) if spline.turn else inside
            given = torch.from_numpy(x).requires_grad_()
            y, _ = functions_of(torch.from_numpy(numbers), spline).forward(given)
            (slope,) = torch.autograd.grad(y.sum(), given)
            np.testing.assert_allclose(functions.forward(x)[1], np.log(slope.numpy()), **EXACT)


def gauss(edges, nodes=40):
    """Places and weights of Gauss-Legendre on the intervals between edges (S,), in one row."""
    at, weight = np.polynomial.legendre.leggauss(nodes)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + at)).ravel(), (half * weight).ravel()


def edges_of(functions, row=0, column=0):
    """All seams of a column, and where a normal density has nothing left."""
    return np.unique(np.concatenate([[-9.0], knots_of(functions)[row, column, X], [9.0]]))


def test_the_density_of_a_line_integrates_to_one():
    weights = composed(fixed_splines(1, seed=3))
    layer = weights.layers[0]
    x, weight = gauss(edges_of(layer.spline.of(layer.numbers(np.zeros((1, 1))))), 1000)
    assert weight @ np.exp(reference.log_prob(weights, x[:, None])) == pytest.approx(1.0, abs=1e-10)


def test_the_density_of_a_plane_integrates_to_one():
    """Behind the first column the second has other knots at every place of it."""
    layer = masked_splines(2, seed=1)
    weights = composed(layer)
    first = int(layer.changed[layer.levels[0][0]])
    rows = np.zeros((1, 2))
    x, weight = gauss(edges_of(layer.spline.of(layer.numbers(rows)), column=first), 80)
    rows = np.zeros((len(x), 2))
    rows[:, first] = x
    functions, total = layer.spline.of(layer.numbers(rows)), 0.0
    for number, part in enumerate(weight):
        y, inner = gauss(edges_of(functions, number, 1 - first), 60)
        both = np.full((len(y), 2), x[number])
        both[:, 1 - first] = y
        total += part * (inner @ np.exp(reference.log_prob(weights, both)))
    assert total == pytest.approx(1.0, abs=1e-10)
