"""Faults that are planted into the graphs of splines: each exceeds the tolerances of the golden vectors."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from lunet_export import ExportedFlow, parity
from lunet_export.checks import vectors
from lunet_export.checks.vector_file import DensityVectors, SamplingVectors, Vectors
from lunet_export.export import ExportCheckError, ExportSettings, Provenance, build_artifact, export
from lunet_export.layers import RationalQuadratic, SplineAutoregressive, rational_quadratic
from lunet_export.layers.networks import Dense
from lunet_export.layers.rational_quadratic import _Nodes
from tests.families.composed import composed, fixed_splines, masked_splines, splines

HIDDEN = 9  # of the network of `splines`
#: As libraries have it: slopes of 1 at the ends.
SPLINE = RationalQuadratic(5, -3.0, 3.0, "identity", 1e-3, 1e-3, 1e-3)
COUPLING, MASKED, FIXED = splines(3, spline=SPLINE), masked_splines(3, spline=SPLINE), fixed_splines(2, spline=SPLINE)


def run_of(layer) -> ExportedFlow:
    artifact = build_artifact(composed(layer), Provenance("m"), ExportSettings())
    return ExportedFlow(artifact, provider="cpu", threads=1)


def known_of(layer) -> Vectors:
    return vectors.build(composed(layer), dtype="float32", seed=0)


def worst(runner, known: Vectors) -> float:
    return max(check.difference.ratio for check in parity.run(runner, known))


def taken(known: Vectors, *, at_seams: bool) -> Vectors:
    """The vectors of the rows that were put at seams, or of the others."""

    def some(part: DensityVectors | SamplingVectors, mark):
        rows = mark.at_seams == at_seams
        arrays = {name: value[rows] for name, value in vars(part).items() if isinstance(value, np.ndarray)}
        tolerance = {name: value[rows] for name, value in part.tolerance.items()}
        return replace(part, **arrays, tolerance=tolerance, tf32_tolerance=None)

    return Vectors(some(known.density, known.seams.density), some(known.sampling, known.seams.sampling))


@pytest.mark.parametrize("layer", [COUPLING, MASKED, FIXED], ids=["coupling", "masked", "fixed"])
def test_a_graph_without_a_fault_is_within(layer):
    assert worst(run_of(layer), known_of(layer)) <= 1


def with_heights(layer: SplineAutoregressive, factor: float) -> SplineAutoregressive:
    """The layer with the numbers of its heights times a factor."""
    *others, last = layer.network
    bins, columns = layer.spline.bins, len(layer.changed)
    number = np.tile(np.arange(layer.spline.count), columns)
    scale = np.where((number >= bins) & (number < 2 * bins), factor, 1.0)
    scaled = Dense(last.weight * scale[:, None], last.bias * scale)
    return replace(layer, network=(*others, scaled))


#: Another layer in the place of the right one.
OTHER_LAYERS = {
    "no least width": lambda layer: replace(layer, spline=replace(layer.spline, least_width=0.0)),
    "twice the least width": lambda layer: replace(layer, spline=replace(layer.spline, least_width=2e-3)),
    "no least height": lambda layer: replace(layer, spline=replace(layer.spline, least_height=0.0)),
    "another least slope": lambda layer: replace(layer, spline=replace(layer.spline, least_slope=2e-3)),
    "heights not divided by sqrt(hidden)": lambda layer: with_heights(layer, np.sqrt(HIDDEN)),
    "no identity outside": lambda layer: replace(layer, spline=replace(layer.spline, tails="box")),
    "an end off by 1e-3": lambda layer: replace(layer, spline=replace(layer.spline, high=3.0 + 1e-3)),
    "the other end off by 1e-3": lambda layer: replace(layer, spline=replace(layer.spline, low=-3.0 - 1e-3)),
    "one bin fewer, of the same numbers": lambda layer: replace(
        layer, network=fewer_bins(layer), spline=replace(layer.spline, bins=layer.spline.bins - 1)
    ),
}


def fewer_bins(layer):
    *others, last = layer.network
    count, less = layer.spline.count, layer.spline.count - 3
    number = np.arange(len(last.bias)).reshape(-1, count)[:, :less].ravel()
    return (*others, Dense(last.weight[number], last.bias[number]))


@pytest.mark.parametrize("layer", [COUPLING, MASKED], ids=["coupling", "masked"])
@pytest.mark.parametrize("other", OTHER_LAYERS.values(), ids=OTHER_LAYERS)
def test_another_layer_is_caught(other, layer):
    wrong = build_artifact(composed(fitting(other(layer))), Provenance("m"), ExportSettings())
    assert worst(Unchecked(ExportedFlow(wrong, provider="cpu", threads=1)), known_of(layer)) > 1


def fitting(layer: SplineAutoregressive):
    """The layer alone, without a logit behind a box: the graph of a box takes any number, and clips it."""
    return replace(layer, spline=_Boundless(**vars(layer.spline))) if layer.spline.tails == "box" else layer


class _Boundless(RationalQuadratic):
    """A box that says that it takes any number."""

    within = False


@dataclass(frozen=True)
class Unchecked:
    """A runner of graphs that are of another model."""

    flow: ExportedFlow

    def density(self, x):
        return self.flow.density(x)

    def decode(self, z):
        return self.flow.decode(z)


class Reversed(Unchecked):
    """The density's map is sold as sampling."""

    def decode(self, z):
        return self.flow.density(z)[0]


@pytest.mark.parametrize("layer", [COUPLING, MASKED, FIXED], ids=["coupling", "masked", "fixed"])
def test_a_reversed_sampler_is_caught(layer):
    assert worst(Reversed(run_of(layer)), known_of(layer)) > 1


def other_way_round(nodes: _Nodes, axis, v):
    """Both ends of a bin exchanged: the same curve, as the formula is symmetric."""
    x0, y0, d0, x1, y1, d1, v = _RIGHT(nodes, axis, v)
    return x1, y1, d1, x0, y0, d0, v


def exchanged_ends(nodes, axis, v):
    x0, y0, d0, x1, y1, d1, v = _RIGHT(nodes, axis, v)
    return x1, y0, d0, x0, y1, d1, v


def exchanged_slopes(nodes, axis, v):
    x0, y0, d0, x1, y1, d1, v = _RIGHT(nodes, axis, v)
    return x0, y0, d1, x1, y1, d0, v


def neighbour(nodes, axis, v):
    """The bin of a number that lies a tenth of the box to the right; the number itself stays."""
    g = nodes._g
    *corners, _ = _RIGHT(nodes, axis, g.node("Clip", g.node("Add", v, 0.6), -3.0, 3.0))
    return *corners, v


def bin_of_the_other_axis(nodes, axis, v):
    return _RIGHT(nodes, 1 - axis, v)


def no_right_end(nodes, axis, v):
    """The last bin is without its right end, so that no bin has it."""
    g = nodes._g
    left, right = (nodes._part(end, 2, axis, axis + 1) for end in nodes._ends)
    mine = g.node("And", g.node("GreaterOrEqual", v, left), g.node("Less", v, right))
    picked = g.sum_columns(g.node("Where", mine, nodes._corners, 0.0), keep=True, axis=3)
    return *g.split(picked, [1] * 6, axis=2), v


def moved_inside(nodes, axis, v):
    """A number at the right end is moved to the one below it, which is another row where the last bin is steep."""
    below = float(np.nextafter(np.float32(3), np.float32(0)))
    return _RIGHT(nodes, axis, nodes._g.node("Min", v, below))


def with_greater(nodes, axis, v):
    """Bins of numbers that are greater than their left ends, so that a knot is of the bin to its left."""
    g = nodes._g
    inner = g.node("Max", v, float(np.nextafter(np.float32(-3), np.float32(0))))
    left, right = (nodes._part(end, 2, axis, axis + 1) for end in nodes._ends)
    mine = g.node("And", g.node("Less", left, inner), g.node("GreaterOrEqual", right, inner))
    picked = g.sum_columns(g.node("Where", mine, nodes._corners, 0.0), keep=True, axis=3)
    return *g.split(picked, [1] * 6, axis=2), v


_RIGHT = _Nodes._bin
WRONG_BINS = {
    "left and right ends exchanged": exchanged_ends,
    "the slopes of a bin exchanged": exchanged_slopes,
    "the neighbour's bin": neighbour,
    "the bin among knots of y for a number x": bin_of_the_other_axis,
    "no bin at the right end": no_right_end,
}


@pytest.mark.parametrize("layer", [COUPLING, FIXED], ids=["coupling", "fixed"])
@pytest.mark.parametrize("wrong", WRONG_BINS.values(), ids=WRONG_BINS)
def test_a_wrong_bin_is_caught(wrong, layer, monkeypatch):
    monkeypatch.setattr(_Nodes, "_bin", wrong)
    assert worst(run_of(layer), known_of(layer)) > 1


def test_only_the_rows_at_knots_see_that_an_end_has_no_bin(monkeypatch):
    monkeypatch.setattr(_Nodes, "_bin", no_right_end)
    known, flow = known_of(COUPLING), run_of(COUPLING)
    assert worst(flow, taken(known, at_seams=False)) <= 1
    assert worst(flow, taken(known, at_seams=True)) > 1


@pytest.mark.parametrize("moved", [True, False])
def test_only_a_row_at_the_end_sees_that_it_is_moved_inside_a_steep_bin(moved, monkeypatch):
    """An ulp of 3 is 1 part in 25,000 of a bin of the least width, and log f' rises by 2 s of that; s is near 1000."""
    numbers = np.zeros(SPLINE.count)
    numbers[[SPLINE.bins - 1, 2 * SPLINE.bins - 1]] = -30.0, 8.0  # the last bin is narrow and high
    numbers[-1] = np.log(np.expm1(1 - SPLINE.least_slope))  # and has a slope of 1 at its end
    network = (Dense(np.zeros((len(numbers), 0)), numbers),)
    layer = SplineAutoregressive(1, np.arange(0), np.arange(1), network, SPLINE)
    known = known_of(layer)
    assert 3.0 in known.density.x
    if moved:
        monkeypatch.setattr(_Nodes, "_bin", moved_inside)
    flow = run_of(layer)
    assert worst(flow, taken(known, at_seams=False)) <= 1
    assert (worst(flow, known) > 1) == moved


@pytest.mark.parametrize("layer", [COUPLING, MASKED, FIXED], ids=["coupling", "masked", "fixed"])
@pytest.mark.parametrize("same", [with_greater, other_way_round])
def test_what_is_no_fault_is_within(same, layer, monkeypatch):
    """Greater in the place of greater or equal: value and slope are those of both bins at a knot, so no row tells."""
    known = known_of(layer)
    monkeypatch.setattr(_Nodes, "_bin", same)
    assert worst(run_of(layer), known) <= 1


def test_an_export_with_a_fault_is_not_written(monkeypatch, tmp_path):
    monkeypatch.setattr(rational_quadratic._Nodes, "_bin", no_right_end)
    with pytest.raises(ExportCheckError, match="density"):
        export(composed(COUPLING), tmp_path / "m", Provenance("m"), ExportSettings())
    assert not (tmp_path / "m").exists()
