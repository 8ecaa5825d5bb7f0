"""Test rows on the knots of splines, on the ends of their boxes and just beside them, and what a file says of them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lunet_cli.check_table import print_seams
from lunet_export import checkpoint
from lunet_export.checks import reference, vectors
from lunet_export.checks.rounding import unit_roundoff
from lunet_export.checks.vector_file import Seams, Vectors
from lunet_export.errors import ArtifactError
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.flows import layered
from lunet_export.layers import Chain, Context, Inverse, Sigmoid
from lunet_export.layers.networks import Dense
from tests import networks
from tests.cli.conftest import run
from tests.families.composed import (
    BOX,
    CIRCULAR,
    NETWORKS,
    composed,
    fixed_splines,
    lu_layer,
    masked_splines,
    narrow,
    splines,
)
from tests.splines.cases import knots_of

SPLINES = [name for name in NETWORKS if "spline" in name]
SEAMS = 16


def of_seams(known: Vectors, direction: str = "density"):
    return getattr(known.seams, direction).at_seams


def distance(layer, x, context=None):
    """How far each row's nearest column is from a seam of the layer, over the box, (N,)."""
    inner, x = (layer.layer, layer.layer.inverse(x)) if isinstance(layer, Inverse) else (layer, x)
    seams = inner.transformer.of(inner.numbers(x)).seams()
    apart = np.abs(seams - x[:, inner.changed, None]) / inner.spline.span
    return apart.min(axis=(1, 2))


@pytest.mark.parametrize("name", SPLINES)
def test_rows_meet_seams_of_every_layer(name):
    weights = NETWORKS[name]()
    known = vectors.build(weights, dtype="float32", seed=0)
    usual = ~of_seams(known)
    assert usual.sum() == 8
    assert SEAMS - 4 <= (~usual).sum() <= SEAMS
    met = []
    for passage in reference.passages(weights, known.density.x[~usual]):
        if passage.layer.has_seams:
            met.append(distance(passage.layer, passage.x) < 1e-6)
    assert all(each.any() for each in met)
    assert np.any(met, axis=0).all()
    assert known.seams.density.by_rounding[~usual].mean() > 0.9
    assert known.seams.sampling.by_rounding[of_seams(known, "sampling")].mean() > 0.9
    assert known.seams.density.by_rounding[usual].mean() < 0.5
    assert known.seams.drawn == 256
    assert known.seams.drawn_by_rounding < 5


def test_rows_of_a_line_lie_on_knots_on_ends_and_on_both_sides_of_ends():
    weights = composed(fixed_splines(1))
    known = vectors.build(weights, dtype="float64", seed=0)
    layer = weights.layers[0]
    x = known.density.x[of_seams(known), 0]
    knots = knots_of(layer.spline.of(layer.numbers(np.zeros((1, 1)))))[0, 0, 0]
    assert set(np.round(knots, 9)) <= set(np.round(x, 9))
    assert {-3.0, 3.0} <= set(x)
    for end in (-3.0, 3.0):
        beside = x[(np.abs(x - end) < 1e-5) & (x != end)]
        assert beside.min() < end < beside.max()


def test_rows_are_those_of_the_dtype_and_their_latents_are_sampled():
    known = vectors.build(NETWORKS["spline couplings"](), dtype="float32", seed=0)
    for rows in (known.density.x, known.sampling.z):
        np.testing.assert_array_equal(rows, rows.astype(np.float32))
    sampled, dense = known.sampling.z[of_seams(known, "sampling")], known.density.z[of_seams(known)]
    np.testing.assert_array_equal(sampled, dense.astype(np.float32))


def test_a_tolerance_of_float64_knows_them_too():
    known = vectors.build(NETWORKS["masked splines"](), dtype="float64", seed=0)
    assert known.seams.density.by_rounding.any()
    assert known.density.tolerance["z"].max() < 1e9 * unit_roundoff("float64")


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - set(SPLINES)))
def test_flows_without_seams_have_no_such_rows(name):
    known = vectors.build(NETWORKS[name](), dtype="float32", seed=0)
    assert known.seams is None
    assert set(known.to_json()) == {"density", "sampling"}
    assert len(known.density.x) == 8


def conditional() -> Chain:
    """Splines whose numbers depend on a context too."""
    layer = masked_splines(3, seed=2)
    first, *rest = layer.network
    weight = np.random.default_rng(0).standard_normal((len(first.bias), 2))
    first = replace(first, conditional=(Dense(weight, np.zeros(len(first.bias))),))
    spline = replace(layer, network=(first, *rest))
    return layered(
        3, [spline, lu_layer(3), Inverse(replace(spline))], None, Context(2, (), np.full(2, -1.0), np.ones(2))
    )


def test_rows_of_a_conditional_flow_have_their_contexts():
    weights = conditional()
    known = vectors.build(weights, dtype="float32", seed=0)
    at = of_seams(known)
    assert at.sum() >= SEAMS - 4
    assert known.density.context.shape == (len(known.density.x), 2)
    met = []
    given = weights.given(known.density.context[at], int(at.sum()))
    for layer, passage in zip(
        given, reference.passages(weights, known.density.x[at], known.density.context[at]), strict=True
    ):
        if layer.has_seams:
            met.append(distance(layer, passage.x) < 1e-6)
    assert len(met) == 2
    assert np.any(met, axis=0).all()
    np.testing.assert_array_equal(known.density.context[at], known.sampling.context[of_seams(known, "sampling")])
    again = Vectors.from_json(json.loads(json.dumps(known.to_json())), 3, context=2)
    np.testing.assert_array_equal(again.seams.density.by_rounding, known.seams.density.by_rounding)


@pytest.mark.parametrize(("work", "drawn"), [(2e6, 32), (1e8, 2)])
def test_an_expensive_flow_has_fewer(work, drawn, monkeypatch):
    monkeypatch.setattr(Chain, "work", work)
    known = vectors.build(NETWORKS["spline couplings"](), dtype="float32", seed=0)
    assert (of_seams(known).sum(), known.seams.drawn) == (4, drawn)


@pytest.mark.parametrize("spline", [BOX, CIRCULAR], ids=["box", "circular"])
def test_rows_that_a_logit_behind_a_box_does_not_take_are_left_out(spline):
    weights = composed(fixed_splines(2, spline=spline), Inverse(Sigmoid()), Inverse(narrow(2)))
    known = vectors.build(weights, dtype="float32", seed=0)
    assert 0 < of_seams(known).sum() < SEAMS
    *_, behind = reference.passages(weights, known.density.x)
    assert np.abs(behind.x).max() < 30


def test_rows_that_leave_the_dtype_are_left_out(monkeypatch):
    def far(self, h, *, context=None):
        return np.where(np.arange(len(h))[:, None] % 2, 1e39, h)

    monkeypatch.setattr(Chain, "at_seams", far)
    known = vectors.build(NETWORKS["masked splines"](), dtype="float32", seed=0)
    assert of_seams(known).sum() == SEAMS / 2


SPOILT = {
    "of other rows": lambda seams: seams["density"]["at_seams"].pop(),
    "numbers": lambda seams: seams["density"].update(by_rounding=[0] * 24),
    "no rows": lambda seams: seams.pop("sampling"),
    "more than all": lambda seams: seams["drawn"].update(by_rounding=999),
    "no count": lambda seams: seams["drawn"].update(rows="many"),
    "of another kind": lambda seams: seams["density"].update(other=[]),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_is_no_such_part_is_refused(spoil):
    document = vectors.build(NETWORKS["masked splines"](), dtype="float32", seed=0).to_json()
    spoil(document["seams"])
    with pytest.raises(ArtifactError, match=r"^Expected .*vectors\.json"):
        Vectors.from_json(document, 3)


def test_readers_of_the_vectors_alone_are_not_disturbed():
    """1.0.0 reads `density` and `sampling`, and refuses arrays there that it does not know."""
    document = vectors.build(NETWORKS["masked splines"](), dtype="float32", seed=0).to_json()
    before = vectors.build(networks.network(3, 2), dtype="float32", seed=0).to_json()
    for direction, part in before.items():
        assert document[direction].keys() == part.keys()
    del document["seams"]
    assert Vectors.from_json(document, 3).seams is None


def test_a_sentence_tells_the_shares(capsys):
    print_seams(None)
    assert capsys.readouterr().out == ""
    rows = vectors.SeamRows(np.array([False, True, True]), np.array([False, False, True]))
    print_seams(Seams(256, 3, rows, rows))
    assert capsys.readouterr().out == (
        "3 of 256 rows drawn from the model lie so near a knot of a spline that rounding decides their bin, and so do "
        "2 of the 6 test rows, 4 of which were put at knots; their tolerances span both bins.\n"
    )


def test_export_and_check_tell_them(tmp_path):
    path, folder = tmp_path / "m.pt", tmp_path / "m"
    weights = composed(splines(3), lu_layer(3), splines(3, seed=1))
    checkpoint.write_weights(path, weights, image_shape=None, training={}, examples=None)
    told = "0 of 256 rows drawn from the model lie so near a knot of a spline"
    assert told in run("export", path, "-o", folder)[1]
    assert told in run("check", folder)[1]
    counts = json.loads(run("check", folder, "--json")[1])["seams"]
    assert counts["drawn"] == {"rows": 256, "at_seams": 0, "by_rounding": 0}
    assert counts["density"]["at_seams"] == SEAMS
    again = json.loads(run("export", path, "-o", folder, "--force", "--json")[1])
    assert again["seams"] == counts


def test_a_folder_without_splines_says_nothing():
    known = build_artifact(composed(lu_layer(2)), Provenance("m"), ExportSettings()).vectors
    assert known.seams is None
