"""What weights may be, and the exact folding of a latent Gaussian."""

from dataclasses import replace

import numpy as np
import pytest

from lunet_export.checks import reference
from lunet_export.distribution import Mixture
from lunet_export.errors import CheckpointError
from lunet_export.flows import lunet
from lunet_export.layers import LU, Chain
from lunet_export.preprocessing import NAMED
from tests.families import composed
from tests.networks import mixture, network, rows


def damaged(field: str, index: tuple[int, ...], value: float) -> Chain:
    weights = network(4, 2)
    block = weights.of(LU)[1]
    array = getattr(block, field).copy()
    array[index] = value
    return weights.with_layers([weights.of(LU)[0], replace(block, **{field: array})])


@pytest.mark.parametrize(
    ("field", "index", "value", "sentence"),
    [
        ("upper", (2, 2), 0.0, "non-zero diagonal in U of block 2 of 2; got 0 at position 2"),
        ("upper", (1, 1), np.nan, r"finite numbers in U of block 2 of 2; got nan at \[1, 1\]"),
        ("bias", (3,), np.inf, r"finite numbers in bias of block 2 of 2; got inf at \[3\]"),
        ("lower", (1, 1), 2.0, "unit diagonal in L"),
        ("upper", (2, 0), 1.0, "L lower and U upper triangular"),
        ("lower", (0, 2), 1.0, "L lower and U upper triangular"),
    ],
)
def test_damaged_weights_are_refused(field, index, value, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        damaged(field, index, value)


def test_blocks_of_different_widths_are_refused():
    with pytest.raises(CheckpointError, match="Every block must have the width of the first"):
        lunet((network(3, 1).of(LU)[0], network(4, 1).of(LU)[0]), 0.1)


def test_no_blocks_and_bad_alpha_are_refused():
    with pytest.raises(CheckpointError, match="at least one LU block"):
        lunet((), 0.1)
    with pytest.raises(CheckpointError, match="alpha"):
        lunet(network(3, 1).of(LU), 1.0)


def test_folding_makes_the_fitted_latent_law_standard_normal():
    """log N(f(x); m, C) + log_det of the old network is log p(x) of the new one, to the last digits."""
    weights = network(5, 3)
    rng = np.random.default_rng(0)
    root = np.tril(rng.standard_normal((5, 5)), -1) * 0.3 + np.diag([0.5, 1.0, 2.0, 0.7, 1.3])
    mean, covariance = rng.standard_normal(5), root @ root.T
    x = rows(weights, 20)
    z, log_det = reference.encode(weights, x)
    white = np.linalg.solve(root, (z - mean).T).T
    exact = reference.standard_normal_log_prob(white) - np.log(np.diag(root)).sum() + log_det
    folded = weights.fold_latent(mean, covariance)
    np.testing.assert_allclose(reference.log_prob(folded, x), exact, rtol=1e-12)
    assert (np.diag(folded.of(LU)[-1].lower) == 1).all()


def test_folding_refuses_what_is_no_covariance():
    weights = network(2, 1)
    with pytest.raises(CheckpointError, match="positive definite"):
        weights.fold_latent(np.zeros(2), np.array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(CheckpointError, match="finite latent statistics"):
        weights.fold_latent(np.full(2, np.nan), np.eye(2))
    with pytest.raises(CheckpointError, match="of shapes"):
        weights.fold_latent(np.zeros(3), np.eye(3))


def test_digest_tells_models_apart():
    weights = network(3, 2)
    bias = weights.of(LU)[0].bias.copy()
    bias[0] = np.nextafter(bias[0], 1e9)
    first = LU(weights.of(LU)[0].lower, weights.of(LU)[0].upper, bias)
    other = weights.with_layers([first, weights.of(LU)[1]])
    assert weights.digest() == network(3, 2).digest()
    assert len({weights.digest(), other.digest(), lunet(weights.of(LU), 0.2).digest()}) == 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"components": (network(6, 2),) * 2}, "one network per class; got 2 for 3 names"),
        (
            {"components": (network(6, 2), network(6, 2), network(5, 2))},
            "one width and one pre-processing; got 2 kinds",
        ),
        ({"components": (network(6, 2), *(network(6, 2, preprocessing=NAMED["images"]),) * 2)}, "got 2 kinds"),
        ({"components": (network(6, 2),), "names": ("a",), "priors": (1.0,)}, "at least 2 classes .* got 1 names"),
        ({"priors": (0.5, 0.5)}, "got 3 names and 2 priors"),
        ({"names": ("a", "b", "a")}, "a name of its own for every class"),
        ({"names": ("a", "b", "")}, "a name of its own for every class"),
        ({"priors": (0.5, 0.5, 0.0)}, "positive priors"),
        ({"priors": (0.5, 0.7, -0.2)}, "positive priors"),
        ({"priors": (0.5, 0.3, float("nan"))}, "positive priors"),
        ({"priors": (0.5, 0.3, 0.3)}, "priors that sum to 1; got 1.1"),
    ],
)
def test_a_mixture_that_is_none_is_refused(change, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        replace(mixture(6, 2), **change)


def test_a_mixture_has_an_identity():
    plain = mixture(6, 2)
    others = [
        replace(plain, priors=(0.5, 0.2, 0.3)),
        replace(plain, names=("a", "b", "c")),
        replace(plain, components=plain.components[::-1]),
    ]
    assert mixture(6, 2).digest() == plain.digest()
    assert len({plain.digest(), *(other.digest() for other in others)}) == 4


def test_flows_of_different_domains_are_no_mixture():
    flows = [composed.NETWORKS[name]() for name in ("a logit in front", "a logit in front")]
    assert Mixture(tuple(flows), ("a", "b"), (0.5, 0.5)).domain is not None
    plain = network(flows[0].dim, 2)
    with pytest.raises(CheckpointError, match=r"defined on one domain; got 2 domains\. Bring them to one first"):
        Mixture((flows[0], plain), ("a", "b"), (0.5, 0.5))


def test_the_kind_of_a_mixture_is_that_of_its_flows():
    lunet, other = network(3, 2), composed.NETWORKS["tanh and back"]()
    assert [Mixture(two, ("a", "b"), (0.5, 0.5)).kind for two in ((lunet, lunet), (lunet, other))] == [
        "lunet-classes",
        "mixture",
    ]
