"""Faults that are planted into the graphs of splines: each exceeds the tolerances of the golden vectors."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from lunet_export import ExportedFlow, parity
from lunet_export.checks import vectors
from lunet_export.checks.vector_file import DensityVectors, SamplingVectors, Vectors
from lunet_export.export import ExportCheckError, ExportSettings, Provenance, build_artifact, export
from lunet_export.layers import RationalQuadratic, SplineAutoregressive
from lunet_export.layers.networks import Dense
from lunet_export.layers.rational_quadratic import BOTTOM, LEFT, _Nodes
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
    kind = np.tile(np.arange(layer.spline.count) // (bins + 1), columns)
    scale = np.where(kind == 1, factor, 1.0)
    scaled = Dense(last.weight * scale[:, None], last.bias * scale)
    return replace(layer, network=(*others, scaled))


#: Another layer in the place of the right one.
OTHER_LAYERS = {
    "nearly no least width": lambda layer: replace(layer, spline=replace(layer.spline, least_width=1e-30)),
    "twice the least width": lambda layer: replace(layer, spline=replace(layer.spline, least_width=2e-3)),
    "nearly no least height": lambda layer: replace(layer, spline=replace(layer.spline, least_height=1e-30)),
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
    number = np.arange(len(last.bias)).reshape(-1, layer.spline.bins + 1)[:, 1:].ravel()
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


def right_end_as_left(nodes: _Nodes, row, v):
    """Both ends of a bin exchanged: its corner is the other one."""
    g = nodes._g
    left, width, bottom, height, first, last = _RIGHT(nodes, row, v)
    return [g.node("Add", left, width), width, g.node("Add", bottom, height), height, last, first]


def exchanged_slopes(nodes, row, v):
    *corner, first, last = _RIGHT(nodes, row, v)
    return [*corner, last, first]


def neighbour(nodes, row, v):
    """The bin of a number that lies a tenth of the box to the right."""
    g = nodes._g
    return _RIGHT(nodes, row, g.node("Clip", g.node("Add", v, 0.6), -3.0, 3.0))


def bin_of_the_other_axis(nodes, row, v):
    return _RIGHT(nodes, BOTTOM if row == LEFT else LEFT, v)


def no_right_end(nodes, row, v):
    """The last bin is without its right end, so that no bin has it."""
    g = nodes._g
    inside = g.node("Less", v, 3.0)
    return [g.node("Where", inside, part, 0.0) for part in _RIGHT(nodes, row, v)]


def with_greater(nodes, row, v):
    """Bins of numbers that are greater than their starts, so that a knot is of the bin to its left."""
    below = np.float32(1) - np.finfo(np.float32).eps / 2  # of a number that is its own start: the one nearer to 0
    g = nodes._g
    nearer = g.node("Where", g.node("Less", v, 0.0), g.node("Div", v, float(below)), g.node("Mul", v, float(below)))
    return _RIGHT(nodes, row, g.node("Clip", nearer, -3.0, 3.0))


_RIGHT = _Nodes._bin
WRONG_BINS = {
    "left and right ends exchanged": right_end_as_left,
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


@pytest.mark.parametrize("layer", [COUPLING, MASKED, FIXED], ids=["coupling", "masked", "fixed"])
def test_greater_in_the_place_of_greater_or_equal_is_no_fault(layer, monkeypatch):
    """Value and slope are those of both bins at a knot, so no row may tell which was taken."""
    known = known_of(layer)
    monkeypatch.setattr(_Nodes, "_bin", with_greater)
    assert worst(run_of(layer), known) <= 1


def test_an_export_with_a_fault_is_not_written(monkeypatch, tmp_path):
    monkeypatch.setattr(_Nodes, "_bin", no_right_end)
    with pytest.raises(ExportCheckError, match="density"):
        export(composed(COUPLING), tmp_path / "m", Provenance("m"), ExportSettings())
    assert not (tmp_path / "m").exists()
