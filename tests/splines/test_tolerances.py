"""Tolerances near knots between steep and flat bins: graphs in float32 keep them, other implementations do not."""

import numpy as np
import pytest
import torch

from lunet_export import ExportedFlow
from lunet_export.checks import reference, rounding
from lunet_export.checks.rounding import Probe, RoundingModel
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.layers import SplineAutoregressive
from lunet_export.layers.networks import Dense
from lunet_export.layers.rational_quadratic import RationalQuadratic
from tests import tolerances
from tests.families.composed import composed
from tests.splines import cases
from tests.splines.cases import SPLINES, X, Y, chain, near_knots

ROWS = 5000
_AT_ONCE = 250
#: Tails, what gives the numbers, how much steeper they are, and whether the layer is inverted.
CASES = [
    ("identity", "fixed", 3.0, False),
    ("identity", "coupling", 10.0, False),
    ("identity", "masked", 3.0, True),
    ("box", "coupling", 3.0, False),
    ("circular", "masked", 3.0, True),
    ("circular", "coupling", 10.0, False),
    ("slopes of e^", "fixed", 10.0, False),
]


def run_of(weights):
    return ExportedFlow(build_artifact(weights, Provenance("knots"), ExportSettings()), provider="cpu", threads=1)


def allowed_of(model, x):
    """What `RoundingModel.of_density` says, of many rows."""
    parts = [model.of_density(some, *model.encode(some)) for some in np.split(x, range(_AT_ONCE, len(x), _AT_ONCE))]
    tolerance = {name: np.concatenate([part.tolerance[name] for part in parts]) for name in parts[0].tolerance}
    return tolerance, np.concatenate([part.by_rounding for part in parts])


@pytest.mark.parametrize(("tails", "kind", "factor", "inverse"), CASES)
def test_a_graph_stays_within_on_rows_near_knots(tails, kind, factor, inverse):
    """5,000 rows, as a miss is rare: so these tests take a few seconds each."""
    weights = chain(tails, kind, factor, inverse=inverse)
    flow, model, x = run_of(weights), RoundingModel(weights, "float32"), near_knots(weights, ROWS)
    x = x[(x == model.clamp(x)).all(axis=1)]
    x = x[np.concatenate([model.stays_inside(some) for some in np.split(x, range(_AT_ONCE, len(x), _AT_ONCE))])]
    assert len(x) > ROWS / 3
    tolerance, by_rounding = allowed_of(model, x)
    z, log_prob = flow.density(x)
    exact, exact_log_prob = model.encode(x)
    tolerances.assert_within(z, exact, tolerance["z"], "z")
    tolerances.assert_within(log_prob, exact_log_prob, tolerance["log_prob"], "log_prob")
    tolerances.assert_within(flow.decode(z), x, tolerance["x"], "x -> z -> x")
    assert by_rounding.mean() > 0.3


def test_answers_and_tolerances_are_finite_where_a_bin_ends_before_the_next_one_starts():
    """By rounding, x - x0 may exceed the width: a logarithm of a sum in which one term is negative would be NaN."""
    weights = chain("identity", "masked", 10.0)
    x = near_knots(weights, 4 * ROWS)
    assert all(np.isfinite(found).all() for found in run_of(weights).density(x))
    tolerance, _ = allowed_of(RoundingModel(weights, "float32"), x[:1000])
    assert all(np.isfinite(found).all() for found in tolerance.values())


def of_numbers(spline, numbers):
    """A flow of one column with these numbers, and with slopes of 1 at both ends, as libraries have it."""
    numbers = numbers.copy()
    numbers[[2 * (spline.bins + 1), -1]] = np.log(np.expm1(1 - spline.least_slope))
    network = (Dense(np.zeros((len(numbers), 0)), numbers),)
    return composed(SplineAutoregressive(1, np.arange(0), np.arange(1), network, spline))


def numbers_of(weights):
    return weights.layers[0].network[0].bias.astype(np.float32)


def table_of(weights):
    """x, y and slopes of the knots, (3, K + 1)."""
    layer = weights.layers[0]
    return cases.knots_of(layer.spline.of(layer.numbers(np.zeros((1, 1)))))[0, 0]


def steep_beside_flat(bins=8):
    """A spline of one column whose knots lie between a bin 700 times as steep as 1 and one that is nearly flat."""
    spline = RationalQuadratic(bins, -3.0, 3.0, "identity", 1e-3, 1e-3, 1e-3)
    numbers = np.zeros(spline.count)
    numbers[1:bins:2], numbers[bins + 1 : 2 * bins + 1 : 2] = 8.0, 8.0  # narrow and high, wide and low, in turns
    numbers[2 * (bins + 1) :] = -7.0
    return of_numbers(spline, numbers)


def knots_of(weights):
    return table_of(weights)[X, 1:-1]


def test_a_tolerance_spans_both_bins_where_rounding_decides():
    """Within a rounding of a knot a right runtime may answer from either bin; some errors away it may not."""
    weights = steep_beside_flat()
    model, knots = RoundingModel(weights, "float32"), knots_of(weights)
    step = np.spacing(np.float32(3.0)).astype(np.float64)
    for away in (0.0, step, -step):
        x = (knots + away)[:, None].astype(np.float32).astype(np.float64)
        tolerance, by_rounding = allowed_of(model, x)
        around = [model.encode(x + side * step)[1] for side in (-2, -1, 0, 1, 2)]
        assert by_rounding.all()
        assert (np.ptp(around, axis=0) <= tolerance["log_prob"]).all()
        assert np.ptp(around, axis=0).max() > 1e-3
    # In the middle of a bin there is one side.
    middle = ((knots[1:] + knots[:-1]) / 2)[:, None]
    assert not allowed_of(model, middle)[1].any()


@pytest.mark.parametrize("known", [True, False])
def test_a_model_without_pairs_leaves_a_side_to_chance(known, monkeypatch):
    """Rows at knots, 300 times each: of errors without pairs some are all on one side, so a tolerance spans one bin."""
    if not known:
        monkeypatch.setattr(rounding, "_PROBES", 2)
        monkeypatch.setattr(rounding.PairedProbe, "random", Probe.random)
    weights = steep_beside_flat()
    x = np.repeat(knots_of(weights)[:, None], 300, axis=0).astype(np.float32).astype(np.float64)
    by_rounding = allowed_of(RoundingModel(weights, "float32"), x)[1]
    assert by_rounding.all() == known


@pytest.mark.parametrize("slope", [30.0, 300.0])
def test_a_graph_is_right_where_nflows_gives_nan(slope):
    """nflows #87, rebuilt: y in a flat bin between two steep knots, whose root is of a difference that cancels.

    Its float32 has NaN for every tenth of such rows and is off by more than the tolerance at others; sums of positive
    terms are not.
    """
    theirs = pytest.importorskip("nflows.transforms.splines.rational_quadratic", reason="nflows is not installed")
    bins, bound = 5, 4.0
    spline = RationalQuadratic(bins, -bound, bound, "identity", 1e-3, 1e-3, 1e-3)
    numbers = np.zeros(spline.count)
    numbers[[2, bins + 3]] = 9.0, -9.0  # wide and low
    numbers[2 * (bins + 1) :] = slope
    weights = of_numbers(spline, numbers)
    low, high = table_of(weights)[Y, 2:4]
    rows = np.linspace(low, high, 1001)[1:-1, None].astype(np.float32)
    exact, allowed = (
        reference.decode(weights, rows),
        RoundingModel(weights, "float32").sampling(rows.astype(float))["x"],
    )
    tolerances.assert_within(run_of(weights).decode(rows), exact, allowed)
    given = torch.from_numpy(numbers_of(weights)).expand(len(rows), -1)[:, None]
    widths, heights, slopes = given.split(bins + 1, dim=-1)
    x, log_slope = theirs.unconstrained_rational_quadratic_spline(
        torch.from_numpy(rows), widths[..., :-1], heights[..., :-1], slopes[..., 1:-1], inverse=True, tail_bound=bound
    )
    finite = torch.isfinite(x).numpy() & torch.isfinite(log_slope).numpy()
    assert (~finite).mean() > 0.1
    off = np.abs(x.numpy() - exact)[finite] > allowed[finite[:, 0]]
    assert off.mean() > 0.1


def test_every_kind_of_spline_is_among_the_cases():
    assert {tails for tails, *_ in CASES} == set(SPLINES)
