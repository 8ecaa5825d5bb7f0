"""What is RealNVP's own: the paper's sizes, norms, masks, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lunet_export import checkpoint
from lunet_export.checks import reference
from lunet_export.errors import BadInputError, CheckpointError
from lunet_export.export import ExportSettings
from lunet_export.graphs import solvers
from lunet_export.graphs.blueprint import Blueprint
from lunet_export.layers import Coupling
from lunet_export.layers.convolution import convolved, instance_norm
from lunet_export.preprocessing import NAMED, dequantize
from lunet_export.torch_layers.coupling import FlowNorm
from lunet_export.training.realnvp import networks
from lunet_export.training.realnvp.architecture import RealNVPArchitecture, width_like_lunet
from tests.families.realnvp import convolutional, dense, disturbed
from tests.flows.test_laws import LAWS, Planted
from tests.networks import network

IMAGE = (28, 28)


@pytest.mark.parametrize(("final", "count"), [(2, 4_198_224), (3, 5_388_264), (4, 6_578_304)])
def test_the_papers_network_has_the_papers_parameters(final, count):
    """The paper prints 5.39 M; the released configuration says two final couplings, the released class four."""
    flow = networks.convolutional(IMAGE, final=final)
    assert sum(parameter.numel() for parameter in flow.parameters()) == count


def test_a_flow_starts_as_the_identity():
    x = torch.randn(3, 64)
    for flow in (networks.convolutional((8, 8), planes=3), networks.dense(64, hidden=5)):
        z, log_det = flow.eval().chain(x)
        torch.testing.assert_close(z.sort(1).values, x.sort(1).values, rtol=1e-4, atol=1e-4)
        assert log_det.abs().max() < 0.01


def test_every_column_is_changed_by_some_coupling():
    for weights in (convolutional(4, 3), dense(7, 5)):
        changed = np.zeros(weights.dim, dtype=bool)
        for coupling in weights.of(Coupling):
            changed[: coupling.width_changed] |= ~coupling.mask
        assert changed.all()


@pytest.mark.parametrize(
    "make", [lambda: networks.convolutional((4, 4), planes=3), lambda: networks.dense(5, hidden=4)]
)
def test_norms_fold_into_the_couplings(make):
    """The folded network is the one with norms, at 1e-10."""
    torch.manual_seed(0)
    flow = disturbed(make())
    x = torch.randn(6, flow.dim, dtype=torch.float64)
    z, log_det = flow.chain(x)
    found, found_log_det = reference.encode(flow.to_chain(), x.numpy())
    np.testing.assert_allclose(found, z.detach(), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found_log_det, log_det.detach(), rtol=1e-10, atol=1e-10)
    assert any(isinstance(layer, FlowNorm) for layer in flow.chain.bijections)


def test_a_norm_that_trains_lets_the_batch_count():
    norm = FlowNorm(3, momentum=0.25).double()
    x = 2 + 3 * torch.randn(50, 4, dtype=torch.float64)
    mean, variance = 0.25 * x[:, :3].mean(0), 0.75 + 0.25 * x[:, :3].var(0, correction=0)
    z, log_det = norm(x)
    torch.testing.assert_close(z[:, :3], (x[:, :3] - mean) / (variance + 1e-5).sqrt())
    torch.testing.assert_close(z[:, 3], x[:, 3])
    torch.testing.assert_close(log_det, (-0.5 * (variance + 1e-5).log().sum()).expand(50))
    torch.testing.assert_close((norm.mean, norm.variance), (mean, variance))
    norm.eval()
    torch.testing.assert_close(norm.inverse(norm(x)[0])[0], x)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize(
    "make", [lambda: networks.convolutional((4, 4), planes=3), lambda: networks.dense(5, hidden=4)]
)
def test_the_flow_with_norms_keeps_the_laws(law, make):
    torch.manual_seed(0)
    flow = disturbed(make()).requires_grad_(False)
    error, bound = law(flow.chain, torch.randn(4, flow.dim, dtype=torch.float64))
    assert error <= bound


def test_a_wrong_log_det_is_seen():
    flow = disturbed(networks.dense(5, hidden=4)).requires_grad_(False)
    error, bound = LAWS[1](Planted(flow.chain, "log_det"), torch.randn(4, 5, dtype=torch.float64))
    assert error > bound


def test_numpy_convolves_and_normalises_as_pytorch_does():
    h, kernel = (
        np.random.default_rng(0).standard_normal((20, 3, 5, 4)),
        np.random.default_rng(1).standard_normal((2, 3, 3, 3)),
    )
    wanted = torch.nn.functional.conv2d(torch.from_numpy(h), torch.from_numpy(kernel), padding=1)
    np.testing.assert_allclose(convolved(h, kernel), wanted, rtol=1e-12, atol=1e-12)
    wanted = torch.nn.functional.instance_norm(torch.from_numpy(h))
    np.testing.assert_allclose(instance_norm(h), wanted, rtol=1e-12, atol=1e-12)


def test_white_pixels_are_finite_whatever_the_noise():
    """The released RealNVP gives infinity where pixel 255 and its noise round up to 256."""
    flow = networks.convolutional((4, 4), planes=2, preprocessing=NAMED["images"])
    x = dequantize(np.full((1, 16), 255), np.full((1, 16), 1 - 2.0**-24, dtype=np.float32))
    assert torch.isfinite(flow.log_prob(torch.from_numpy(x))).all()


@pytest.mark.parametrize("dim", [784, 256, 64])
def test_the_dense_network_is_as_large_as_lunets_sampling_graph(dim):
    """In stored numbers, so in float32 bytes: to 2 %, and 784 to 0.1 %."""
    flow = networks.dense(dim, hidden=width_like_lunet(dim))
    blueprint = Blueprint.choose(network(dim, 4), ExportSettings())
    assert blueprint.solver == solvers.choose("unrolled", None, dim)
    constants = blueprint.build("sampling", {}).graph.initializer
    lunets = sum(int(np.prod(tensor.dims)) for tensor in constants)
    assert flow.to_chain().stored == pytest.approx(lunets, rel=1e-3 if dim == 784 else 0.02)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: networks.convolutional((7, 8)), "grey images of even sides"),
        (lambda: networks.convolutional((8, 8, 3)), "grey images of even sides"),
        (lambda: networks.dense(1, hidden=3), "at least 2 dimensions"),
        (lambda: RealNVPArchitecture.choose(4, None, {"blocks": 3}), "neither `blocks` nor `alpha`"),
        (lambda: RealNVPArchitecture.of(network(3, 2)), "Expected a RealNVP to start from; got a lunet model"),
    ],
)
def test_what_does_not_fit_is_refused(make, sentence):
    with pytest.raises(BadInputError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (ExportSettings(solver="fused"), "neither `solver` nor `tile`"),
        (ExportSettings(dtype="float64"), "float32 for a convolutional RealNVP"),
        (ExportSettings(dtype="float16"), "float32 for a convolutional RealNVP"),
    ],
)
def test_settings_of_others_are_refused(settings, sentence):
    with pytest.raises(BadInputError, match=sentence):
        Blueprint.choose(convolutional(4, 2), settings)


def test_weights_that_are_none_are_refused():
    weights = dense(5, 4)
    reorder, first, *others = weights.layers

    def with_first(**changes):
        return replace(weights, layers=(reorder, replace(first, **changes), *others))

    for make, sentence in (
        (lambda: replace(weights, layers=(reorder,)), "at least one coupling"),
        (lambda: replace(weights, layers=(replace(reorder, order=reorder.order * 0), first)), "an order of 5 columns"),
        (lambda: with_first(shift=first.shift[:3]), "vectors of 5 numbers"),
        (lambda: with_first(shift=first.shift * np.nan), "finite numbers in coupling 1 of 6"),
        (lambda: with_first(scale_factor=np.ones(5)), "factors of 0 where the mask"),
        (lambda: with_first(mask=np.array([True, False, True, False, True])), "a mask of some columns"),
        (lambda: with_first(mask=~first.mask), "arrays fit each other"),
        (lambda: with_first(mask=first.mask.astype(float)), "a mask of truth values"),
        (
            lambda: replace(weights, layers=(replace(reorder, order=reorder.order * 1.0), first)),
            "an order of 5 columns",
        ),
    ):
        with pytest.raises(CheckpointError, match=sentence):
            make()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda entry: entry.update(nets=[]),
        lambda entry: entry.update(nets=[[]]),
        lambda entry: entry.update(nets=entry["nets"] * 3),
        lambda entry: entry.update(mask=entry["mask"].double()),
        lambda entry: entry.update(mask=entry["mask"][None]),
        lambda entry: entry.update(shape=[5, 1]),
        lambda entry: entry.update(shape="five"),
        lambda entry: entry.pop("shift"),
    ],
)
def test_a_hostile_file_gets_one_sentence(spoil, tmp_path):
    path = tmp_path / "model.pt"
    checkpoint.write_weights(path, dense(5, 4), image_shape=None, training={}, examples=None)
    content = torch.load(path, weights_only=True)
    spoil(content["layers"][1])
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="Expected"):
        checkpoint.read(path)
