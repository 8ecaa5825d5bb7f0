"""Diagnostics of conditional flows: every figure is given the contexts of the rows, others change it."""

from dataclasses import replace

import numpy as np
import pytest

import lunet_export
from lunet_export.certificate import SAFETY, Linearization, LocalRows, chain_bounds
from lunet_export.checks import reference
from lunet_export.data import Contexts
from lunet_export.diagnostics import (
    FolderSource,
    Moments,
    WeightsSource,
    certify_folder,
    certify_model,
    contexts_beyond,
    diagnose,
    recalibrate,
)
from lunet_export.diagnostics.entropy import nearest_neighbours
from lunet_export.diagnostics.observed import Seen, observe
from lunet_export.diagnostics.regression import Regression
from lunet_export.errors import BadInputError, DataError
from lunet_export.flows import layered, lunet
from lunet_export.layers import LU, Affine, ConditionalAffine, Context, ScaleMap
from lunet_export.layers.networks import Dense
from lunet_export.runtime import ExportedFlow
from lunet_export.training.gaussian import Gaussian
from tests import conditional, tolerances
from tests.linear import DATA, DIM, WIDTH, data_set, fitted
from tests.networks import network as unconditional


def shuffled(dataset):
    """The same rows, each with the context of another."""
    rng = np.random.default_rng(3)
    mixed = {split: rng.permutation(dataset.context(split)) for split in ("train", "valid", "test")}
    return replace(dataset, contexts=replace(dataset.contexts, **mixed))


def names(report):
    return {flag.name for flag in report.flags}


GOOD = diagnose(WeightsSource(fitted(DATA)), DATA, seed=0)


def test_the_linear_gaussian_is_the_baseline():
    for split in ("train", "test"):
        figure = getattr(GOOD.model, split).nats
        assert figure == pytest.approx(getattr(GOOD.gaussian, split).nats, abs=1e-10)
        found = Gaussian.fit(DATA.train, None, DATA.contexts).log_prob(getattr(DATA, split), DATA.context(split))
        assert figure == pytest.approx(-found.mean(), abs=1e-4)  # what `train` prints, with its ridge
    assert GOOD.gain.nats == pytest.approx(0, abs=1e-10)
    assert names(GOOD) == set()
    alone = diagnose(WeightsSource(unconditional(DIM, 2)), replace(DATA, contexts=None), seed=0)
    assert GOOD.gaussian.test.nats < alone.gaussian.test.nats - 0.3
    assert GOOD.as_json()["dependence"]["context"] == WIDTH
    assert "dependence" not in alone.as_json()


def test_curves_are_those_of_what_the_affine_map_leaves():
    """By the rows themselves, for two columns of which the second follows from the first, and a constant one."""
    c = DATA.contexts.train
    wide = np.hstack([c, 3 - 2 * c, np.full_like(c, 0.3)])
    joint = Moments.of(np.hstack([DATA.train, wide]))
    seen = np.hstack([np.ones((len(c), 1)), c])
    left = DATA.train - c @ np.linalg.lstsq(seen, DATA.train, rcond=None)[0][1:] + c.mean() * 0
    found = Regression.of(joint, DIM).left(joint)
    np.testing.assert_allclose(found.covariance, np.cov(left.T, bias=True), atol=1e-10)
    np.testing.assert_allclose(found.mean, DATA.train.mean(axis=0), atol=1e-10)
    assert Regression.of(joint, DIM).slope[:, 2] == pytest.approx(0)


def test_other_contexts_change_every_figure():
    """The planted fault of everything here: the rows are the same, and each has the context of another."""
    wrong = diagnose(WeightsSource(fitted(DATA)), shuffled(DATA), seed=0)
    assert wrong.model.test.nats > GOOD.model.test.nats + 1
    assert wrong.gaussian.test.nats > GOOD.gaussian.test.nats + 0.3
    assert wrong.dependence.nats > wrong.dependence.by_chance > GOOD.dependence.nats
    assert {"WORSE_THAN_GAUSSIAN", "LATENT_NOT_NORMAL"} <= names(wrong)
    assert "linear Gaussian" in next(flag.sentence for flag in wrong.flags if flag.name == "WORSE_THAN_GAUSSIAN")


def test_latents_tell_of_a_context_that_was_ignored():
    """They are as normal as can be; the mutual information is that of rows and contexts, as the map keeps it."""
    ignoring = diagnose(WeightsSource(fitted(DATA, dependent=False)), DATA, seed=0)
    joint = np.cov(np.hstack([DATA.train, DATA.contexts.train]).T, bias=True)
    dets = [np.linalg.slogdet(part)[1] for part in (joint[:DIM, :DIM], joint[DIM:, DIM:], joint)]
    assert ignoring.dependence.nats == pytest.approx((dets[0] + dets[1] - dets[2]) / 2, abs=1e-10)
    assert ignoring.latents_train.gap_nats == pytest.approx(0, abs=1e-10)
    assert GOOD.dependence.nats == pytest.approx(0, abs=1e-10)
    (flag,) = (flag for flag in ignoring.flags if flag.name == "LATENT_NOT_NORMAL")
    assert "a dependence on the context of" in flag.sentence


def test_what_chance_makes_of_latents_is_allowed():
    contexts = np.random.default_rng(5).standard_normal((200, 3))
    z = np.random.default_rng(6).standard_normal((200, 4))
    found = lunet_export.diagnostics.Dependence.of(z, contexts)
    assert 0 < found.nats < found.by_chance


def test_one_context_for_all_rows_is_a_flow_without_any():
    """Entropy, curves and all: p(x | c) of one c is one density."""
    one = np.array([[3.0]])
    contexts = Contexts(("age",), *(np.repeat(one, len(getattr(DATA, split)), axis=0) for split in SPLITS))
    given = diagnose(WeightsSource(fitted(DATA)), replace(DATA, contexts=contexts), seed=0)
    (block,), (shift,) = fitted(DATA).of(LU), fitted(DATA).of(ConditionalAffine)
    fixed = lunet([LU(block.lower, block.upper, block.bias + 3.0 * shift.network[0].weight[:, 0])], 0.1)
    alone = diagnose(WeightsSource(fixed), replace(DATA, contexts=None), seed=0)
    assert given.model.test.nats == pytest.approx(alone.model.test.nats, abs=1e-10)
    np.testing.assert_allclose(given.ppca_test, alone.ppca_test, atol=1e-10)
    assert given.entropy.nats == alone.entropy.nats
    assert given.log_det.identity == pytest.approx(alone.log_det.identity, abs=1e-10)
    assert given.dependence.nats == pytest.approx(0, abs=1e-10)


SPLITS = ("train", "valid", "test")


def test_the_entropy_given_contexts_is_not_claimed():
    assert GOOD.entropy is None
    assert GOOD.log_det.latent_entropy is None
    assert "h(X, C) - h(C)" in GOOD.not_available["entropy"]


def test_a_difference_of_two_estimates_is_no_entropy():
    """Why it is not claimed: it may exceed the exact one by many standard errors, and right models would be flagged."""
    beyond = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        c = rng.standard_normal((1000, 3))
        x = np.sin(3 * c[:, :1]) + np.exp(c[:, :1]) * rng.standard_normal((1000, 1))
        both, alone = nearest_neighbours(np.hstack([x, c])), nearest_neighbours(c)
        if both is None or alone is None:
            continue
        exact, terms = 0.5 * np.log(2 * np.pi * np.e) + c[:, 0].mean(), both.terms - alone.terms
        beyond.append(((terms.mean() - exact), (terms.mean() - exact) / (terms.std() / np.sqrt(1000))))
    nats, errors = map(max, zip(*beyond, strict=True))
    assert (nats > 0.2, errors > 3) == (True, True)


class Scaled(WeightsSource):
    """Its z is half of what its log-det is of."""

    def density(self, x, on_activation, *, context=None):
        z, log_det, log_prob = super().density(x, on_activation, context=context)
        return z / 2, log_det, log_prob


def test_mean_log_det_is_the_difference_of_joint_entropies():
    """(x, c) -> (z, c) has the log-determinant of x -> z."""
    assert GOOD.log_det.identity == pytest.approx(GOOD.log_det.mean, abs=0.03)
    wrong = diagnose(Scaled(fitted(DATA)), DATA, seed=0)
    assert abs(wrong.log_det.identity - wrong.log_det.mean) > 0.3


def test_other_data_are_told_apart_by_their_contexts():
    report = diagnose(WeightsSource(fitted(DATA)), DATA, seed=0, against=replace(shuffled(DATA), name="mixed"))
    assert report.detection.auroc > 0.7
    same = diagnose(WeightsSource(fitted(DATA)), DATA, seed=0, against=DATA)
    assert same.detection.auroc == pytest.approx(0.5)
    with pytest.raises(
        DataError, match="Expected rows with contexts of width 1, as the model takes them; given has none"
    ):
        diagnose(WeightsSource(fitted(DATA)), DATA, seed=0, against=replace(DATA, contexts=None))


def wide(weights, n=400):
    """Rows of a model with contexts of three numbers, which are its own."""
    rng = np.random.default_rng(0)
    parts = []
    for count in (n, 10, n):
        c = rng.uniform(-1, 2, (count, conditional.WIDTH))
        parts.append((reference.decode(weights, rng.standard_normal((count, weights.dim)), c), c))
    return data_set(*parts, names=("a", "b", "c"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("conditional") / "flow"
    lunet_export.export(conditional.lu_net(), path)
    return ExportedFlow(path, provider="cpu", threads=1)


def test_a_folder_agrees_with_its_model(folder):
    weights = conditional.lu_net()
    data = wide(weights)
    whole = diagnose(WeightsSource(weights), data, seed=0)
    found = diagnose(FolderSource(folder), data, seed=0)
    x, c = data.test, data.contexts.test
    allowed = tolerances.of_density(weights, x, context=c)["log_prob"].mean()
    assert abs(found.model.test.nats - whole.model.test.nats) <= allowed
    mixed = diagnose(FolderSource(folder), shuffled(data), seed=0)
    assert abs(mixed.model.test.nats - whole.model.test.nats) > 10 * allowed
    np.testing.assert_array_equal(found.ppca_test, whole.ppca_test)
    assert len(whole.activations) == 2


def test_rows_without_contexts_and_contexts_without_need_are_refused():
    twice = replace(DATA.contexts, **{s: np.repeat(DATA.context(s), 2, axis=1) for s in SPLITS})
    with pytest.raises(
        DataError, match="Expected rows with contexts of width 1, as the model takes them; given has none"
    ):
        diagnose(WeightsSource(fitted(DATA)), replace(DATA, contexts=None), seed=0)
    with pytest.raises(DataError, match="as the model takes them; given has contexts of width 2"):
        diagnose(WeightsSource(fitted(DATA)), replace(DATA, contexts=twice), seed=0)
    other = replace(DATA, contexts=replace(DATA.contexts, names=("size",)))
    with pytest.raises(DataError, match="Expected the contexts age, in this order; given has size"):
        diagnose(WeightsSource(fitted(DATA)), other, seed=0)
    with pytest.raises(DataError, match="Expected rows without contexts for a model that takes none"):
        diagnose(WeightsSource(unconditional(DIM, 2)), DATA, seed=0)


def test_contexts_beyond_those_of_training_are_told():
    context = fitted(DATA).context
    within = replace(DATA.contexts, test=DATA.contexts.train[:2000])
    assert contexts_beyond(replace(DATA, contexts=within), context) is None
    beyond = replace(DATA, contexts=replace(DATA.contexts, test=DATA.contexts.test + 2))
    assert "column 1 (age) is not: it has" in contexts_beyond(beyond, context).sentence


# Recalibration


@pytest.mark.parametrize("make", [conditional.lu_net, conditional.network])
def test_recalibration_whitens_the_latents_of_rows_with_their_contexts(make):
    weights = make()
    x, c = conditional.rows(1500)
    data = data_set((x, c), (x[:9], c[:9]), (x[:9], c[:9]), names=None)
    folded, done = recalibrate(weights, data, seed=0)
    before, after = (-reference.log_prob(each, x, c).mean() for each in (weights, folded))
    assert before - after == pytest.approx(done.gain_nats, abs=1e-8)
    latents = Moments.of(reference.encode(folded, x, c)[0])
    np.testing.assert_allclose(latents.mean, 0, atol=1e-9)
    np.testing.assert_allclose(latents.covariance, np.eye(weights.dim), atol=1e-9)
    assert (folded.kind, folded.context) == (weights.kind, weights.context)
    again, none = recalibrate(folded, data, seed=0)
    assert none.gain_nats == pytest.approx(0, abs=1e-10)
    assert len(again.layers) == len(folded.layers) == len(weights.layers) + 1
    assert abs(recalibrate(weights, shuffled(data), seed=0)[1].gain_nats - done.gain_nats) > 1e-3


# Bounds


def doubled():
    """At the contexts 0 and 1 the map is 2 x and 6 x."""
    shift = ConditionalAffine((Dense(np.array([[0.0], [np.log(3.0)]]), np.array([0.0, np.log(2.0)])),), ScaleMap("exp"))
    return lunet([LU(np.eye(1), np.eye(1), np.zeros(1))], 0.1, conditional=[shift], context=Context(1))


def test_bounds_are_those_of_pairs_of_one_context():
    weights = doubled()
    zero = certify_model(weights, None, rows=8, seed=0, context=np.array([0.0]))
    assert zero.network.lip_forward == pytest.approx(2)
    assert zero.network.lip_inverse == pytest.approx(1 / 2)
    assert (zero.network.log_det_min, zero.network.log_det_max) == (pytest.approx(np.log(2)), pytest.approx(np.log(2)))
    both = certify_model(weights, None, rows=8, seed=0, context=np.array([[0.0], [1.0]] * 4))
    assert (both.network.lip_forward, both.network.lip_inverse) == (pytest.approx(6), pytest.approx(1 / 2))
    assert (both.network.log_det_min, both.network.log_det_max) == (pytest.approx(np.log(2)), pytest.approx(np.log(6)))
    assert (zero.contexts, both.contexts, zero.violations, both.violations) == (1, 2, (), ())
    assert (both.observed_data.least_ratio, both.observed_data.largest_ratio) == (pytest.approx(2), pytest.approx(6))
    assert (both.local.stretch.smallest, both.local.stretch.largest) == (pytest.approx(2), pytest.approx(6))


def test_pairs_keep_to_the_bounds_of_their_contexts_and_break_those_of_others():
    weights = conditional.lu_net()
    data = wide(weights)
    found = certify_model(weights, data, rows=40, seed=0)
    assert (found.contexts, found.violations) == (40, ())
    assert found.observed_data.pairs == 40  # each row and its near one
    assert found.observed_data.largest_ratio <= found.local.stretch.largest * 1.01
    x, c = np.linspace(-1, 1, 6)[:, None], np.array([[0.0], [1.0]] * 3)
    z, log_det = reference.encode(doubled(), x, c)
    for bounds, broken in ((c, 0), (c[:1], 2), (c[1:2], 2)):  # one ratio and one log-determinant, on either side
        told = observe(Seen(x, z, log_det, contexts=c), chain_bounds(doubled(), bounds), "f")
        assert (told.pairs, len(told.violations)) == (6, broken)
    assert chain_bounds(doubled()) is None


def test_a_folder_has_no_certificate_and_says_why(folder):
    data = wide(conditional.lu_net())
    found = certify_folder(folder, data, rows=20, seed=0)
    assert "the bounds depend on the context" in found.not_available["certificate"]
    assert (found.network, found.violations, found.contexts) == (None, (), 20)
    one = certify_folder(folder, None, rows=6, seed=0, context=np.zeros(3))
    assert (one.contexts, one.observed_data.pairs) == (1, 15)
    with pytest.raises(BadInputError, match="Expected a context of shape"):
        certify_folder(folder, None, rows=6, seed=0)


def test_local_figures_are_those_of_the_flow_at_each_context():
    """Of which each is a flow without contexts, of the same layers with the numbers of one."""
    weights, (x, c) = conditional.lu_net(), conditional.rows(5)
    found = LocalRows.of(Linearization(weights), x, dtype="float32", context=c)
    for number in range(5):
        row = slice(number, number + 1)
        fixed = [
            Affine(layer.scale[0], layer.shift[0]) if isinstance(layer, Affine) else layer
            for layer in weights.given(c[row], 1)
        ]
        alone = LocalRows.of(Linearization(layered(conditional.DIM, fixed)), x[row], dtype="float32")
        for name in ("stretch", "squeeze", "round_trip"):
            assert getattr(found, name)[number] == pytest.approx(getattr(alone, name)[0], rel=1e-9)


def test_float32_keeps_to_the_predicted_round_trip(folder):
    data = wide(conditional.lu_net())
    x, c = data.test.astype(np.float32).astype(np.float64), data.contexts.test.astype(np.float32).astype(np.float64)
    predicted = LocalRows.of(Linearization(conditional.lu_net()), x, dtype="float32", context=c).round_trip
    back = folder.decode(folder.encode(x, context=c), context=c)
    share = np.linalg.norm(back - x, axis=1) / predicted
    assert 1e-3 < share.max() < SAFETY
    told = certify_folder(folder, data, rows=40, seed=0)
    assert told.round_trip.largest < SAFETY * predicted.max()


def test_layers_without_bounds_have_none_given_a_context_either():
    sentence = r"bounded to certify; layer 1 of 6 \(AffineAutoregressive\) has no bound"
    with pytest.raises(BadInputError, match=sentence):
        certify_model(conditional.network(), None, rows=4, seed=0, context=np.zeros(3))
    with pytest.raises(BadInputError, match="Expected a context of shape"):
        certify_model(conditional.lu_net(), None, rows=4, seed=0)
