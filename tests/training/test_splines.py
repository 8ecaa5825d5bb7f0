"""LU-Net with a spline per unit: its module, its start, what training moves, and what it does not take."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lunet_export import checkpoint
from lunet_export.api.plan import Plan
from lunet_export.checks import reference
from lunet_export.errors import BadInputError, CheckpointError
from lunet_export.flows import layered
from lunet_export.layers import SplineAutoregressive
from lunet_export.torch_layers.spline_units import SplineUnits
from lunet_export.training import KINDS
from lunet_export.training.choice import Comparison
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.lunet.splines import SplineArchitecture, SplineTrainer, identity
from tests import tolerances
from tests.families.composed import affine, fixed_splines, lu_layer, splines
from tests.training.test_training import IMAGES, SETTINGS, VECTORS, Interrupted
from tests.training.test_training import run as train

FIT = replace(SETTINGS, family="lunet-spline")
ADAM, L_BFGS = FIT, replace(FIT, optimizer="l-bfgs", epochs=1, batch_size=600)


def run(path, **more):
    return train(path, settings=more.pop("settings", FIT), architecture=SplineArchitecture(3), **more)


def first_of(data=VECTORS, **settings):
    gaussian, comparison = Gaussian.fit(data.train, None), Comparison(Gaussian.fit(data.train, None), *[data.train] * 2)
    given = SplineArchitecture.settings(600, 3, **settings)
    return gaussian, SplineArchitecture(3).first(gaussian, given, data.train, comparison, lambda done, of: None)


def knots(layer):
    spline = layer.spline
    return layer.network[0].bias.reshape(layer.dim, 3, spline.bins + 1)


@pytest.mark.parametrize("pace", [1.0, 4.0])
def test_the_module_is_the_layer(pace):
    layer = fixed_splines(3)
    module = SplineUnits(layer, pace=pace)
    x = np.random.default_rng(1).normal(0.0, 2.0, (200, 3))
    y, log_det = module(torch.from_numpy(x))
    expected = layer.forward(x)
    assert np.abs(y.detach().numpy() - expected.rows).max() < 1e-10
    assert np.abs(log_det.detach().numpy() - expected.log_det).max() < 1e-10
    back, other = module.inverse(y)
    assert np.abs(back.detach().numpy() - x).max() < 1e-10
    assert np.abs((log_det + other).detach().numpy()).max() < 1e-10
    again, given = knots(module.layer()), knots(layer)
    assert np.abs(again[:, 2] - given[:, 2]).max() < 1e-10
    assert np.abs(again[:, :2, :-1] - given[:, :2, :-1]).max() < 1e-10  # the last share counts for nothing


def test_the_identity_is_the_identity():
    x = np.random.default_rng(1).normal(0.0, 2.0, (500, 3))
    step = identity(3).forward(x)
    assert np.abs(step.rows - x).max() < 1e-10
    assert np.abs(step.log_det).max() < 1e-10


def test_the_start_that_whitens_is_the_gaussian_and_the_usual_one_is_not():
    gaussian, first = first_of(init="whiten")
    assert np.abs(reference.log_prob(first, VECTORS.valid) - gaussian.log_prob(VECTORS.valid)).max() < 1e-10
    gaussian, first = first_of()
    assert np.abs(reference.log_prob(first, VECTORS.valid) - gaussian.log_prob(VECTORS.valid)).max() > 1e-3


@pytest.mark.parametrize("settings", [ADAM, L_BFGS], ids=["adam", "l-bfgs"])
def test_training_moves_all_knots_and_holds_the_slopes_at_the_ends(settings):
    _, first = first_of()
    trainer = SplineTrainer(first, VECTORS, settings, device=torch.device("cpu"))
    trainer.run_epoch(lambda step, bits: None)
    trained = trainer.optimizer.model().to_chain()
    for old, new in zip(*(chain.of(SplineAutoregressive) for chain in (first, trained)), strict=True):
        before, after = (knots(layer).astype(np.float32) for layer in (old, new))
        assert np.array_equal(after[:, 2, [0, -1]], before[:, 2, [0, -1]])
        for part in (after[:, :2, :-1] != before[:, :2, :-1], after[:, 2, 1:-1] != before[:, 2, 1:-1]):
            assert part.any(axis=-1).all()  # a slope with no row near stays


def test_a_run_keeps_what_it_validated(tmp_path):
    result = run(tmp_path / "m.pt")
    read = checkpoint.read(tmp_path / "m.pt")
    assert (read.weights.kind.name, read.training["activation"]) == ("composed", "spline")
    assert [*read.training["network"]["kinds"].values()] == [3, 2]
    found = -reference.log_prob(read.weights, VECTORS.valid).mean() / np.log(2) / VECTORS.dim
    assert abs(found - result.valid) <= tolerances.TWO * tolerances.of_bits(read.weights, VECTORS.valid)
    assert result.valid < result.start


def test_images_are_trained_behind_their_logit(tmp_path):
    result = run(tmp_path / "m.pt", data=IMAGES)
    assert checkpoint.read(tmp_path / "m.pt").weights.preprocessing == IMAGES.preprocessing
    assert result.valid < result.start


def test_a_stopped_run_goes_on_bit_by_bit(tmp_path):
    run(tmp_path / "whole.pt")
    with pytest.raises(Interrupted):
        run(tmp_path / "parts.pt", stop_in_epoch=4)
    run(tmp_path / "parts.pt", resume=True)
    whole, parts = (checkpoint.read(tmp_path / name).weights for name in ("whole.pt", "parts.pt"))
    assert whole.digest() == parts.digest()
    with pytest.raises(CheckpointError, match="differs: blocks 3 \\(now 4\\)"):
        train(tmp_path / "parts.pt", settings=FIT, architecture=SplineArchitecture(4), resume=True)


def test_a_run_starts_from_such_a_model_alone(tmp_path):
    first = run(tmp_path / "first.pt")
    begin = checkpoint.read(tmp_path / "first.pt").weights
    assert SplineArchitecture.of(begin) == SplineArchitecture(3)
    second = run(tmp_path / "second.pt", begin=begin)
    assert abs(second.start - first.valid) <= tolerances.TWO * tolerances.of_bits(begin, VECTORS.valid)
    columns = np.array([1, 0, 2])
    for others in ([lu_layer(3), affine(3), lu_layer(3)], [lu_layer(3), splines(3), lu_layer(3)], [identity(3)]):
        with pytest.raises(BadInputError, match="Expected LU layers with a spline per unit between each two"):
            SplineArchitecture.of(layered(3, others))
    with pytest.raises(BadInputError, match="Start from such a model"):
        SplineArchitecture.of(layered(3, [lu_layer(3), replace(identity(3), changed=columns), lu_layer(3)]))


def test_the_option_takes_splines_and_their_own_settings():
    plan = Plan(network={"activation": "spline"}, fit={})
    assert KINDS[plan.family] is SplineArchitecture
    assert (plan.settings_of(VECTORS).optimizer, plan.settings_of(VECTORS).init) == ("adam", "bend")
    assert KINDS[plan.family].choose(3, None, plan.network) == SplineArchitecture(7)
    assert Plan(network={"activation": "leaky-tanh"}, fit={}).family == "lunet"
    with pytest.raises(BadInputError, match="with `begin`"):
        replace(plan, begins=True).validate_choices()


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        (
            {"fit": {"init": "greedy"}},
            "of bend, whiten, identity for an LU-Net with splines; got greedy",
        ),
        ({"fit": {"regulariser": "balance"}}, "Expected a regulariser and its weight together"),
    ],
)
def test_other_settings_get_a_sentence(choices, sentence):
    with pytest.raises(BadInputError, match=sentence):
        Plan(network={"activation": "spline"}, **choices).settings_of(VECTORS)
