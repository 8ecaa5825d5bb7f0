"""Conditional RealNVPs: the kind, its files and its graphs. Its laws are tested with those of all conditional flows."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from lunet_export import ExportedFlow, checkpoint, parity
from lunet_export.checks import reference
from lunet_export.errors import CheckpointError
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.flows import realnvp as realnvp_of
from lunet_export.layers import ConditionalAffine, DenseCoupling
from lunet_export.layers.networks import Dense
from lunet_export.torch_layers import Flow
from tests import tolerances
from tests.conditional import DIM, WIDTH, realnvp, rows
from tests.families.realnvp import dense
from tests.parity.test_conditional import checked, failed, ignoring, swapping

CHAIN = realnvp()
KNOWN = {"image_shape": None, "training": {}, "examples": None}
X, C = rows(100)


@pytest.fixture(scope="module")
def artifact():
    return build_artifact(CHAIN, Provenance("given"), ExportSettings(with_log_prob=True, rng=True))


def test_layers_are_called_by_what_they_are():
    labels = [CHAIN.kind.label(CHAIN, number) for number in range(len(CHAIN.layers))]
    assert labels == ["context", "order0", "coupling1", "coupling2"]
    assert CHAIN.kind.place(CHAIN, 0) == "the affine map of the context"
    assert CHAIN.facts() == {"couplings": 2, "networks": "dense", "free_parameters": free_of(CHAIN)}


def free_of(chain):
    """What PyTorch would train, but for numbers that no output depends on: vectors have no part where columns pass."""
    flow = Flow.of(chain)
    trained = sum(parameter.numel() for parameter in flow.chain.parameters() if parameter.requires_grad)
    return trained - sum(3 * int(coupling.mask.sum()) for coupling in chain.of(DenseCoupling))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_model_file_gives_it_back(tmp_path, suffix):
    path, again = tmp_path / f"m{suffix}", tmp_path / f"again{suffix}"
    checkpoint.write_weights(path, CHAIN, **KNOWN)
    checkpoint.write_checkpoint(again, checkpoint.read(path))
    for file in (path, again):
        read = checkpoint.read(file).weights
        assert read.digest() == CHAIN.digest()
        assert read.kind == CHAIN.kind


def test_only_files_with_a_context_say_so(tmp_path):
    for chain, version, told in ((CHAIN, 4, {"context"}), (dense(4, 6), 1, set())):
        checkpoint.write_weights(tmp_path / "m.pt", chain, **KNOWN)
        content = torch.load(tmp_path / "m.pt", weights_only=True)
        assert content["format_version"] == version
        assert {"context", "conditional"} & set(content) == told
        assert any("conditional" in layer for layer in content["layers"]) == bool(told)


def test_the_digest_tells_every_number_of_the_context():
    front, order, first, last = CHAIN.layers
    (moved,) = first.net.conditional
    net = replace(first.net, conditional=(replace(moved, bias=moved.bias + 1e-9),))
    alone = replace(first.net, conditional=())
    (shift,) = front.network
    others = [
        (replace(front, network=(replace(shift, bias=shift.bias + 1e-9),)), order, first, last),
        (front, order, replace(first, net=net), last),
        (front, order, replace(first, net=alone), last),
    ]
    digests = {realnvp_of(DIM, layers, None, CHAIN.context).digest() for layers in others}
    assert len({*digests, CHAIN.digest()}) == 4


def _without_hidden_layers(coupling):
    kept, free = int(coupling.mask.sum()), int((~coupling.mask).sum())
    net = replace(coupling.net, layers=((np.zeros((2 * free, kept)), np.zeros(2 * free)),))
    return replace(coupling, net=net)


def _of_another_width(coupling):
    net = replace(coupling.net, conditional=(Dense(np.zeros((5, WIDTH)), np.zeros(5)),))
    return replace(coupling, net=net)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            lambda layers: layers[1:],
            "Expected an affine map of the context in front of a conditional RealNVP",
        ),
        (lambda layers: (layers[0], *layers), "Expected couplings and permutations in a RealNVP; got other layers"),
        (
            lambda layers: (*layers[:3], _without_hidden_layers(layers[3])),
            "Expected hidden layers in the network of coupling 2 of 2, which takes a context; got none",
        ),
        (
            lambda layers: (*layers[:3], _of_another_width(layers[3])),
            "Expected a network that gives 8 numbers in coupling 2 of 2; got 5",
        ),
    ],
)
def test_layers_that_make_no_conditional_realnvp_are_refused(layers, message):
    with pytest.raises(CheckpointError, match=message):
        realnvp_of(DIM, layers(CHAIN.layers), None, CHAIN.context)


def test_a_context_that_nothing_takes_is_refused():
    with pytest.raises(CheckpointError, match="Expected couplings and permutations in a RealNVP; got other layers"):
        realnvp_of(DIM, CHAIN.layers)
    with pytest.raises(CheckpointError, match="the chain has none"):
        realnvp_of(DIM, CHAIN.layers[1:])


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_exports_pass_their_checks_in_every_dtype(dtype):
    artifact = build_artifact(CHAIN, Provenance("given"), ExportSettings(dtype=dtype))
    assert artifact.manifest.document["model"]["context"]["dim"] == WIDTH
    assert artifact.manifest.document["format_version"] == 2
    flow = ExportedFlow(artifact, provider="cpu", threads=1)
    assert parity.all_passed(parity.run(flow, flow.vectors))


def test_graphs_are_the_reference_at_100_contexts(artifact):
    """With a context per row, and with one for all."""
    flow = ExportedFlow(artifact, provider="cpu", threads=1)
    z = np.random.default_rng(3).standard_normal(X.shape)
    for context, contexts in ((C, C), (C[:1], np.repeat(C[:1], 100, axis=0)), (C[7], np.repeat(C[7:8], 100, axis=0))):
        allowed = tolerances.of_density(CHAIN, X, "float32", contexts)
        tolerances.assert_within(
            flow.log_prob(X, context=context), reference.log_prob(CHAIN, X, contexts), allowed["log_prob"]
        )
        tolerances.assert_within(flow.encode(X, context=context), reference.encode(CHAIN, X, contexts)[0], allowed["z"])
        allowed = tolerances.of_sampling(CHAIN, z, "float32", contexts)
        tolerances.assert_within(flow.decode(z, context=context), reference.decode(CHAIN, z, contexts), allowed["x"])


def test_what_depends_on_the_context_alone_is_one_product_per_layer_of_either_graph(artifact):
    """Without an addend per row: b of the first layer is 0, since n(c) has a bias."""
    for name in ("density", "sampling"):
        model = onnx.load_from_string(artifact.graphs[name])
        known = {"context", *(constant.name for constant in model.graph.initializer)}
        made = []
        for node in model.graph.node:
            if set(node.input) <= known:
                made.append(node.op_type)
                known.update(node.output)
        assert sorted(made) == ["Add", *["Gemm"] * 3, "Mul"], name  # two of the standardisation


def _deaf(layer):
    """A coupling that takes the context and ignores it."""
    if not isinstance(layer, DenseCoupling):
        return layer
    (moved,) = layer.net.conditional
    return replace(layer, net=replace(layer.net, conditional=(replace(moved, weight=np.zeros_like(moved.weight)),)))


def _swapped(layer):
    """A coupling that takes the columns of the context in another order."""
    if not isinstance(layer, DenseCoupling):
        return layer
    (moved,) = layer.net.conditional
    return replace(layer, net=replace(layer.net, conditional=(replace(moved, weight=moved.weight[:, ::-1]),)))


def _unmoved(layer):
    """No shift by the context in front."""
    if not isinstance(layer, ConditionalAffine):
        return layer
    (shift,) = layer.network
    return replace(layer, network=(replace(shift, weight=np.zeros_like(shift.weight)),))


@pytest.mark.parametrize("fault", [_deaf, _swapped, _unmoved])
def test_graphs_of_couplings_that_treat_the_context_wrongly_fail(artifact, fault):
    wrong = realnvp_of(DIM, [*map(fault, CHAIN.layers)], None, CHAIN.context)
    graphs = build_artifact(wrong, Provenance("given"), ExportSettings(with_log_prob=True, rng=True)).graphs
    found = failed(checked(replace(artifact, graphs=graphs)))
    assert found >= {"density, z", "density, log_prob", "sampling, x"}


@pytest.mark.parametrize("fault", [ignoring, swapping])
@pytest.mark.parametrize("graph", ["density", "sampling", "sampling_with_log_prob", "random_sampling"])
def test_a_graph_that_ignores_its_context_or_swaps_its_columns_fails(artifact, fault, graph):
    wrong = replace(artifact, graphs={**artifact.graphs, graph: fault(artifact.graphs[graph])})
    assert failed(checked(wrong))


def test_the_graphs_of_the_right_network_pass(artifact):
    assert not failed(checked(artifact))
