"""The activations of LU-Net in the reference, and what a file says of them."""

import numpy as np
import pytest

from lunet_export import checkpoint
from lunet_export.checks.rounding import of_elementwise
from lunet_export.errors import BadInputError, CheckpointError
from lunet_export.flows import lunet
from lunet_export.flows.lunet import activation_of
from lunet_export.graphs.verifier import validate_piecewise_linear
from lunet_export.layers import ACTIVATIONS, LU, Activation
from tests import tolerances
from tests.networks import NETWORKS, network

ALPHAS = (1e-4, 0.001, 0.1, 0.5, 0.999)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_are_those_of_the_values_and_within_their_bounds(name, alpha):
    f = activation_of(name, alpha)
    a, step = np.linspace(-40, 40, 2001), 1e-6
    a = a[np.abs(a) > 2 * step]  # the kink has no slope
    slope = f.slope(a)
    np.testing.assert_allclose((f.value(a + step) - f.value(a - step)) / (2 * step), slope, rtol=0, atol=1e-7)
    assert slope.min() >= alpha
    assert slope.max() <= 1.0
    np.testing.assert_array_equal(f.slope(np.array([0.0, -0.0])), f.slope(np.full(2, 1e-300)))  # 1 at the kink


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_inverses_end_within_rounding_of_the_value(name, alpha):
    f = activation_of(name, alpha)
    h = np.concatenate([np.linspace(-60, 60, 4801), [-1e6, -1e-300, 0.0, 1e-300, 1e6]])
    a = f.root(h)
    # f itself; a, which is rounded; and Newton's last step, of 4 epsilons of what is largest in it.
    slope = f.slope(a)
    step = slope * np.maximum(1.0, np.maximum(np.abs(a), np.abs(h / slope)))
    allowed = tolerances.of_roundings(1, of_elementwise(h), "float64") + tolerances.of_roundings(1 + 8, step, "float64")
    tolerances.assert_within(f.value(a), h, allowed)
    assert tolerances.beyond(f.value(a * (1 + 1e-14)), h, allowed) > 1
    assert (np.diff(f.root(np.sort(h))) >= 0).all()


def test_the_digest_of_the_papers_activation_is_the_one_it_always_was():
    weights = network(3, 2)
    assert weights.digest() == "b4a81b9f70ec27b267c2c7f0534d0e87326a692829d948799178ffa2c25ac44d"
    digests = {network(3, 2, activation=name).digest() for name in ACTIVATIONS}
    assert len(digests) == len(ACTIVATIONS)


def test_an_unknown_activation_is_refused():
    with pytest.raises(CheckpointError, match=r"Expected an activation of leaky-softplus, .*; got 'relu'"):
        network(3, 2, activation="relu")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_model_file_keeps_it(name, tmp_path):
    weights, path = network(3, 2, activation=name), tmp_path / "model.pt"
    checkpoint.write_weights(path, weights, image_shape=None, training={}, examples=None)
    back = checkpoint.read(path).weights
    assert (back.kind.activation, back.kind.alpha) == (name, weights.kind.alpha)


def test_readers_of_version_1_refuse_what_they_would_misread(tmp_path):
    """They know no activation but the paper's; its files are still theirs."""
    versions = []
    for name in ACTIVATIONS:
        path = tmp_path / f"{name}.pt"
        checkpoint.write_weights(path, network(3, 2, activation=name), image_shape=None, training={}, examples=None)
        versions.append(checkpoint.load(path)["format_version"])
    assert versions == [1, 2, 2, 2]


def test_a_model_file_with_an_unknown_one_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    checkpoint.write_weights(path, network(3, 2, activation="leaky-relu"), image_shape=None, training={}, examples=None)
    content = checkpoint.load(path)
    content["settings"]["activation"] = "elu"
    checkpoint.save(content, path)
    with pytest.raises(CheckpointError, match=r"model\.pt: Expected an activation of .*; got 'elu'"):
        checkpoint.read(path)


def per_unit(name="leaky-squareplus"):
    return NETWORKS[f"{name.replace('-', ' ')}, an alpha per unit"]()


@pytest.mark.parametrize("name", ["leaky squareplus, an alpha per unit", "leaky softplus, an alpha per layer"])
def test_a_model_file_keeps_alphas_of_its_own(name, tmp_path):
    weights, path = NETWORKS[name](), tmp_path / "model.pt"
    checkpoint.write_weights(path, weights, image_shape=None, training={}, examples=None)
    assert checkpoint.load(path)["format_version"] == 3
    back = checkpoint.read(path).weights
    assert (back.kind.alpha, back.digest()) == (None, weights.digest())
    assert list(map(repr, back.of(Activation))) == list(map(repr, weights.of(Activation)))


def test_the_digest_tells_alphas_apart():
    alphas = [activation.alpha for activation in per_unit().of(Activation)]
    moved = [alphas[0], alphas[1] * (1 + 1e-12), alphas[2]]
    blocks = per_unit().of(LU)
    assert lunet(blocks, moved, activation="leaky-squareplus").digest() != per_unit().digest()


def test_the_manifest_says_what_the_alphas_are(tmp_path):
    weights = per_unit()
    alphas = np.concatenate([activation.alpha for activation in weights.of(Activation)])
    found = {"per": "unit", "least": alphas.min(), "most": alphas.max()}
    assert weights.kind.entry(weights) == {"blocks": 4, "alpha": found, "activation": "leaky-squareplus"}
    per_layer = NETWORKS["leaky softplus, an alpha per layer"]()
    assert per_layer.kind.entry(per_layer)["alpha"] == {"per": "layer", "least": 0.05, "most": 0.7}


@pytest.mark.parametrize(
    ("alphas", "activation", "says"),
    [
        ([0.1, 0.2], "leaky-relu", "Expected 3 alphas, one between each two blocks; got 2"),
        ([0.1, 1.2, 0.3], "leaky-relu", r"Expected alpha in \(0, 1\) as activation 2"),
        ([np.full(6, 0.1)] * 3, "leaky-softplus", r"Expected one alpha in activation 1; got an array of shape \(6,\)"),
        ([np.full(5, 0.1)] * 3, "leaky-squareplus", r"Expected one alpha, or 6, in activation 1; got an array of"),
        ([np.full(6, 1.0)] * 3, "leaky-squareplus", r"Expected alpha in \(0, 1\) as activation 1"),
        ([np.full(6, np.nan)] * 3, "leaky-squareplus", "within its limits in activation 1"),
    ],
)
def test_other_alphas_are_refused(alphas, activation, says):
    with pytest.raises(CheckpointError, match=says):
        lunet(network(6, 4).of(LU), alphas, activation=activation)


def test_a_verifier_needs_one_slope(tmp_path):
    with pytest.raises(BadInputError, match="Expected an LU-Net with one slope for a verifier"):
        validate_piecewise_linear(per_unit("leaky-relu"))
