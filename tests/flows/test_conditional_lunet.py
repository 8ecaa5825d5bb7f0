"""Conditional LU-Nets: the kind, its names and its files. What its layers compute is tested with them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lunet_export import checkpoint
from lunet_export.checks import reference
from lunet_export.errors import CheckpointError
from lunet_export.flows import lunet
from lunet_export.layers import LU, ConditionalAffine, Context, ScaleMap
from lunet_export.layers.networks import Activation, Dense, Scaling
from lunet_export.torch_layers import Flow
from lunet_export.training.lunet.coordinates import flow_of
from tests.networks import network

DIM, WIDTH, HIDDEN = 4, 2, 5


def conditional(*, alpha=0.1, seed=0):
    """Three blocks whose scales and shifts depend on hidden units of the context."""
    rng = np.random.default_rng(seed)
    standardise = Scaling(np.array([0.5, 2.0]), np.array([0.1, -0.2]))
    context = Context(
        WIDTH,
        (standardise, Dense(rng.standard_normal((HIDDEN, WIDTH)), rng.standard_normal(HIDDEN)), Activation("tanh")),
        low=np.full(WIDTH, -3.0),
        high=np.full(WIDTH, 3.0),
    )
    blocks = network(DIM, 3).of(LU)
    moved = [
        ConditionalAffine(
            (Dense(0.3 * rng.standard_normal((2 * DIM, HIDDEN)), rng.standard_normal(2 * DIM)),),
            ScaleMap("soft-exp", 3.0),
        )
        for _ in blocks
    ]
    return lunet(blocks, alpha, conditional=moved, context=context)


CHAIN = conditional()
RNG = np.random.default_rng(1)
X, C = RNG.standard_normal((6, DIM)), RNG.standard_normal((6, WIDTH))


def test_layers_are_called_by_their_block():
    labels = [CHAIN.kind.label(CHAIN, number) for number in range(len(CHAIN.layers))]
    assert labels[:4] == ["block1", "context1", "activation1", "block2"]
    assert labels[-2:] == ["block3", "context3"]
    assert CHAIN.kind.place(CHAIN, 3) == "block 2 of 3"
    assert CHAIN.kind.place(CHAIN, 7) == "context 3"


def test_a_round_trip_returns_the_rows():
    z, _ = reference.encode(CHAIN, X, C)
    np.testing.assert_allclose(reference.decode(CHAIN, z, C), X, rtol=0, atol=1e-10)


@pytest.mark.parametrize("alpha", [0.1, [0.1, 0.2]])
def test_a_model_file_gives_it_back(tmp_path, alpha):
    chain = conditional(alpha=alpha)
    flow = Flow.of(chain, dtype=torch.float64)
    checkpoint.write(tmp_path / "m.pt", flow, image_shape=None, training={}, examples=None, columns=None)
    assert checkpoint.read(tmp_path / "m.pt").weights.digest() == flow.to_chain().digest()


def test_whitened_coordinates_compute_the_same():
    flow = flow_of(CHAIN, dtype=torch.float64)
    found = flow.given(torch.from_numpy(C)).log_prob(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(found, reference.log_prob(CHAIN, X, C), rtol=1e-10)


def test_the_digest_tells_every_number_of_the_context():
    moved = list(CHAIN.of(ConditionalAffine))
    dense = moved[1].network[0]
    moved[1] = replace(moved[1], network=(replace(dense, bias=dense.bias + 1e-9),))
    assert CHAIN.with_layers(moved).digest() != CHAIN.digest()
    assert replace(CHAIN, context=replace(CHAIN.context, low=np.full(WIDTH, -2.0))).digest() != CHAIN.digest()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            lambda layers: layers[:-1],
            "at the end of a conditional LU-Net; got LULinear. Give every block one.",
        ),
        (
            lambda layers: layers[:-2],
            "Expected an affine map of the context at the end of a conditional LU-Net; got LeakySoftplus. Give every",
        ),
        (lambda layers: (*layers[:4], *layers[5:]), "Expected an affine map of the context as context 2"),
        (lambda layers: (layers[1], layers[0], *layers[2:]), "Expected an LU layer as block 1 of 3"),
    ],
)
def test_every_block_has_an_affine_map_of_the_context(layers, message):
    with pytest.raises(CheckpointError, match=message):
        replace(CHAIN, layers=layers(CHAIN.layers))


def test_as_many_maps_as_blocks():
    with pytest.raises(CheckpointError, match="Expected 3 maps of the context, one per block, or one fewer; got 1"):
        lunet(CHAIN.of(LU), 0.1, conditional=CHAIN.of(ConditionalAffine)[:1], context=CHAIN.context)


def test_an_lu_net_without_contexts_ends_with_an_lu_layer():
    chain = network(DIM, 3)
    with pytest.raises(CheckpointError, match=r"Expected an LU layer at the end of an LU-Net; got an activation\."):
        replace(chain, layers=chain.layers[:-1])


@pytest.fixture(params=[0.1, [0.1, 0.2]], ids=["one alpha", "alphas"])
def folded(request):
    """Latent statistics are folded into one more LU layer: a scale that depends on the context cannot take them."""
    return conditional(alpha=request.param).fold_latent(np.arange(DIM) / 2, np.eye(DIM) + 0.5)


def test_latent_statistics_are_folded_into_one_more_block(folded):
    chain = conditional(alpha=0.1 if folded.kind.alpha else [0.1, 0.2])
    z, log_det = reference.encode(chain, X, C)
    white, more = reference.encode(folded, X, C)
    root = np.linalg.inv(np.linalg.cholesky(np.eye(DIM) + 0.5))
    np.testing.assert_allclose(white, (z - np.arange(DIM) / 2) @ root.T, atol=1e-10)
    np.testing.assert_allclose(more - log_det, np.log(np.diag(root)).sum(), atol=1e-10)
    np.testing.assert_allclose(reference.decode(folded, white, C), X, atol=1e-10)
    labels = [folded.kind.label(folded, number) for number in range(len(folded.layers))]
    assert labels[-3:] == ["block3", "context3", "block4"]
    assert [folded.kind.place(folded, number) for number in (0, 7, 8)] == ["block 1 of 4", "context 3", "block 4 of 4"]
    assert len(folded.fold_latent(np.ones(DIM), np.eye(DIM)).layers) == len(folded.layers)


def test_such_a_network_has_its_file_and_its_flow(folded, tmp_path):
    checkpoint.write_weights(tmp_path / "m.pt", folded, image_shape=None, training={}, examples=None, columns=None)
    read = checkpoint.read(tmp_path / "m.pt").weights
    np.testing.assert_allclose(reference.log_prob(read, X, C), reference.log_prob(folded, X, C), rtol=1e-12)
    flow = flow_of(folded, dtype=torch.float64)
    found = flow.given(torch.from_numpy(C)).log_prob(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(found, reference.log_prob(folded, X, C), rtol=1e-10)
    assert len(flow.to_chain().of(LU)) == 4


def test_weights_of_a_context_that_are_0_may_be_learnt():
    """Those of columns stay 0, since they may be masked."""
    moved = [replace(layer, network=(Dense(np.zeros((2 * DIM, HIDDEN)), np.zeros(2 * DIM)),)) for layer in maps()]
    flow = Flow.of(CHAIN.with_layers(moved), dtype=torch.float64)
    loss = -flow.given(torch.from_numpy(C)).log_prob(torch.from_numpy(X)).mean()
    loss.backward()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter -= 0.1 * parameter.grad
    learnt = flow.to_chain().of(ConditionalAffine)
    assert all((layer.network[0].weight != 0).all() for layer in learnt)


def maps():
    return CHAIN.of(ConditionalAffine)
