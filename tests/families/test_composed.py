"""What is the composed family's own: folding, orders of dependence, domains, jumps of slopes, and what is refused."""

import inspect
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from lunet_export import ExportedFlow, checkpoint, noise, parity
from lunet_export.artifact import Manifest, sealed
from lunet_export.checks import reference, vectors
from lunet_export.checks.rounding import RoundingModel
from lunet_export.errors import ArtifactError, BadInputError, CheckpointError
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.flows import Layered, layered
from lunet_export.graphs import solvers
from lunet_export.graphs.blueprint import Blueprint
from lunet_export.graphs.emulation import EmulatedFlow
from lunet_export.graphs.estimate import estimates
from lunet_export.graphs.settings import DTYPES
from lunet_export.layers import (
    LAYERS as LAYERS_BY_NAME,
)
from lunet_export.layers import (
    Affine,
    AffineAutoregressive,
    Chain,
    Coupling,
    Inverse,
    Layer,
    LeakyReLU,
    LeakyTanh,
    LogTanh,
    NormalCDF,
    Permutation,
    ScaleMap,
    Sigmoid,
    Softclip,
    SplineAutoregressive,
    Tanh,
    Velocity,
    inverted,
)
from lunet_export.layers.networks import Activation, Dense, Residual
from lunet_export.torch_layers import EagerFlow, Flow
from lunet_export.torch_layers.modules import MODULES
from tests.families import jko, realnvp
from tests.families.composed import (
    BOX,
    EXP_SPLINE,
    NETWORKS,
    SPLINE,
    affine,
    composed,
    coupling,
    fixed_splines,
    lu_layer,
    masked,
    narrow,
    permutation,
    splines,
)
from tests.graphs.kernels.registry import beyond_limits, lacking
from tests.networks import network, rows

every_case = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def run_of(weights, **settings) -> ExportedFlow:
    return ExportedFlow(build_artifact(weights, Provenance("case"), ExportSettings(**settings)), provider="cpu")


def operators(weights, name="density", **settings) -> Counter:
    model = Blueprint.choose(weights, ExportSettings(**settings)).build(name, {})
    return Counter(node.op_type for node in model.graph.node)


def test_permutations_and_affine_maps_cost_nothing_beside_a_product():
    layers = []
    for seed in range(3):
        layers += [affine(6, seed=seed), permutation(6, seed=seed), lu_layer(6, seed=seed), affine(6, seed=seed + 5)]
    weights = composed(*layers)
    assert operators(weights) == Counter(Gemm=3, Mul=2, ReduceSum=1, Add=1)
    assert operators(weights, "sampling", solver="fused") == Counter(Gemm=3)


@pytest.mark.parametrize("solver", solvers.SOLVERS)
@pytest.mark.parametrize("name", ["plane", "turned round", "couplings"])
def test_every_solver_is_inside_the_tolerance(name, solver):
    weights = NETWORKS[name]()
    flow = run_of(weights, solver=solver, with_log_prob=True)
    known = vectors.build(weights, dtype="float32", seed=2)
    assert parity.all_passed(parity.run(flow, known, predicted=None) + parity.run_optional(flow, known))


@every_case
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_node_has_a_kernel_on_both_providers(make, dtype):
    blueprint = Blueprint.choose(make(), ExportSettings(dtype=dtype, with_log_prob=True, rng=True))
    for name in blueprint.settings.graphs:
        model = blueprint.build(name, {})
        found = lacking(model)
        allowed = {"Gemm-13 float16"} if dtype == "float16" else set()
        cuda, cpu = found["CUDAExecutionProvider"], found["CPUExecutionProvider"]
        assert (set(cuda), set(cpu) - allowed, beyond_limits(model)) == (set(), set(), []), name


@pytest.mark.parametrize("mode", ["float32", "TF32 nearest", "TF32 truncated"])
@pytest.mark.parametrize("name", ["plane", "couplings", "masked autoregressive"])
def test_the_products_of_a_gpu_are_inside_their_tolerance(name, mode):
    weights = NETWORKS[name]()
    blueprint = Blueprint.choose(weights, ExportSettings())
    flow = EmulatedFlow({graph: blueprint.build(graph, {}) for graph in ("density", "sampling")}, mode)
    known = vectors.build(weights, dtype="float32", seed=2)
    known = known if mode == "float32" else known.under_tf32("float32")
    assert parity.all_passed(parity.run(flow, known, predicted=None))


LAYERS = [Affine(np.array([-2.0]), np.array([0.3])), LeakyReLU(0.1), LeakyReLU(4.0), Sigmoid(), Tanh(), Softclip(2.0)]
LAYERS += [LogTanh(1.0, 1 - np.tanh(1.0) ** 2), LogTanh(0.7, 0.9), NormalCDF()]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_an_elementwise_layer_keeps_its_laws(layer):
    x = np.concatenate([np.linspace(-4, 4, 41), [0.0, 1e-9, -1e-9]])[:, None]
    y, log_slope = layer.forward(x).rows, layer.forward(x).log_det[:, None]  # one column
    np.testing.assert_allclose(layer.inverse(y), x, rtol=1e-12, atol=1e-12)
    away = np.abs(x) > 0.01  # of points where a slope may jump
    cut = getattr(layer, "cut", 0.0)
    away &= np.abs(np.abs(x) - cut) > 0.01
    slope = (layer.forward(x + 1e-6).rows - layer.forward(x - 1e-6).rows) / 2e-6
    np.testing.assert_allclose(np.exp(log_slope)[away], np.abs(slope)[away], rtol=1e-7)


def test_the_levels_are_the_orders_of_dependence():
    assert [len(level) for level in coupling(5).levels] == [3]
    assert [len(level) for level in masked(6).levels] == [1] * 6
    order = np.random.default_rng(9).permutation(6)  # the order that `masked` draws
    np.testing.assert_array_equal(np.concatenate(masked(6).levels), np.argsort(order))


def test_a_layer_whose_columns_need_each_other_is_refused():
    full = (Dense(np.ones((6, 3)), np.zeros(6)),)
    columns = np.arange(3)
    with pytest.raises(CheckpointError, match="they need each other: layer 2 of 2"):
        composed(lu_layer(3), AffineAutoregressive(3, columns, columns, full, ScaleMap("exp")))


def test_a_row_near_a_jump_may_fall_on_either_side():
    """log p of leaky ReLU jumps by log(slope) where a number is 0; the tolerance covers that there, and there alone."""
    weights = composed(lu_layer(3), LeakyReLU(0.1), lu_layer(3, seed=1))
    at = reference.decode(composed(lu_layer(3)), np.array([[0.0, 1.0, 1.0], [1e-8, 1.0, 1.0], [0.1, 1.0, 1.0]]))
    allowed = RoundingModel(weights, "float32").density(at)["log_prob"]
    assert (allowed[:2] > np.log(10)).all()
    assert allowed[2] < 1e-4


def test_the_domain_follows_the_columns():
    weights = NETWORKS["another interval for every column"]()
    scale, shift = affine(3).scale, affine(3).shift
    ends = np.stack([(0 - shift) / scale, (1 - shift) / scale])
    domain = weights.domain
    np.testing.assert_allclose((domain.low, domain.high), (ends.min(axis=0), ends.max(axis=0)))
    assert not domain.closed
    assert NETWORKS["a logit in front"]().domain.closed
    assert NETWORKS["tanh and back"]().domain is None


def test_rows_outside_the_domain_are_refused_and_samples_lie_inside():
    weights = NETWORKS["a logit in front"]()
    flow = run_of(weights)
    for wrong in (-0.1, 1.1):
        with pytest.raises(BadInputError, match=r"x in \[0, 1\] in column 3; row 1 \(from 0\) is .*not defined there"):
            flow.log_prob(np.array([[0.5] * 4, [0.5, 0.5, wrong, 0.5]]))
    assert np.isfinite(flow.log_prob(np.array([[0.0, 1.0, 0.5, 1.0]]))).all()
    x = flow.decode(30 * noise.normal(0, range(200), 4))
    assert x.min() >= np.float32(1e-6)
    assert x.max() <= np.float32(1 - 1e-6)
    assert np.isfinite(flow.log_prob(x)).all()
    drawn = Flow.of(weights).sample(200, seed=1)
    assert ((drawn >= 1e-6) & (drawn <= 1 - 1e-6)).all()


def test_an_open_domain_has_no_ends():
    weights = composed(Inverse(Sigmoid()), lu_layer(3), LeakyReLU(0.2), lu_layer(3))
    flow = run_of(weights)
    with pytest.raises(BadInputError, match=r"Expected x in \(0, 1\)"):
        flow.log_prob(np.array([[0.5, 1.0, 0.5]]))
    near = np.array([[0.5, np.nextafter(1.0, 0.0), 1e-300]])  # inside in float64; in float32 on the ends
    assert np.isfinite(flow.log_prob(near)).all()
    x = flow.decode(100 * noise.normal(0, range(50), 3))
    assert ((x > 0) & (x < 1)).all()


def test_the_manifest_tells_the_domain():
    weights = NETWORKS["a logit in front"]()
    document = build_artifact(weights, Provenance("case"), ExportSettings()).manifest.document
    assert document["model"]["domain"] == {"low": [0.0] * 4, "high": [1.0] * 4, "closed": True}
    assert document["model"]["kinds"] == {"inverse of Sigmoid": 1, "Affine": 1, "LULinear": 2, "LeakyReLU": 1}
    for wrong in ({"low": [0.0], "high": [1.0], "closed": True}, {"low": [2.0] * 4, "high": [1.0] * 4, "closed": True}):
        spoilt = sealed({**document, "model": {**document["model"], "domain": wrong}})
        with pytest.raises(ArtifactError, match=r"model\.domain"):
            Manifest.from_json(spoilt)


def test_layers_of_the_inverse_map():
    layers = NETWORKS["plane"]().layers
    x = noise.normal(0, range(4), 2)
    z = reference.encode(layered(2, layers), x)[0]
    np.testing.assert_allclose(reference.decode(layered(2, inverted(layers)), x), z, rtol=1e-12)
    assert inverted(inverted(layers)) == layers


REFUSED = {
    "nothing but a permutation": (lambda: layered(3, (permutation(3),)), "a layer that changes numbers"),
    "no order": (lambda: composed(lu_layer(3), Permutation(np.array([0, 0, 1]))), "an order of 3 columns in layer 2"),
    "a scale of 0": (
        lambda: composed(lu_layer(2), Affine(np.array([1.0, 0.0]), np.zeros(2))),
        r"no scale of 0 in layer 2 of 2 \(Affine\)",
    ),
    "a singular L": (
        lambda: composed(replace(lu_layer(3), lower=np.tril(np.ones((3, 3)), -1))),
        r"a non-zero diagonal in L of layer 1 of 1 \(LULinear\)",
    ),
    "another width": (lambda: composed(lu_layer(3), affine(2)), "a scale and a shift of 3 numbers in layer 2"),
    "a slope of 0": (lambda: composed(lu_layer(3), LeakyReLU(0.0)), "LeakyReLU with floats within its limits"),
    "NaN in a network": (
        lambda: composed(lu_layer(2), replace(coupling(2), network=(Dense(np.full((2, 1), np.nan), np.zeros(2)),))),
        "finite numbers in the network of layer 2",
    ),
    "a network of another width": (
        lambda: composed(lu_layer(2), replace(coupling(2), network=(Dense(np.ones((3, 1)), np.zeros(3)),))),
        "a network that gives 2 numbers in layer 2 of 2",
    ),
    "an unknown activation": (
        lambda: composed(
            lu_layer(2), replace(coupling(2), network=(Activation("gelu"), Dense(np.ones((2, 1)), np.zeros(2))))
        ),
        "an activation of relu, .*; got gelu",
    ),
    "an unknown scale map": (
        lambda: composed(lu_layer(2), replace(coupling(2), scale=ScaleMap("square"))),
        "a scale map of none, exp, ",
    ),
    "scales that depend on columns not yet found": (
        lambda: composed(lu_layer(3), masked(3, scale=ScaleMap("centred-tanh", 2.0))),
        r"columns that are found together, since their functions depend on the numbers of all of them; got 3 levels: "
        "layer 2 of 2",
    ),
    "a clipped softplus without a ceiling": (
        lambda: composed(lu_layer(2), replace(coupling(2), scale=ScaleMap("clipped-softplus", 0.0, 1e-3))),
        "a scale map that stays positive in layer 2",
    ),
    "a softplus that may round to 0": (
        lambda: composed(lu_layer(2), replace(coupling(2), scale=ScaleMap("softplus"))),
        "a scale map that stays positive in layer 2",
    ),
    "a spline whose ends are infinitely far apart": (
        lambda: composed(lu_layer(2), splines(2, spline=replace(SPLINE, low=-1e308, high=1e308))),
        "a spline of some bins, with finite floats and .* in layer 2",
    ),
    "a spline whose slopes may be 0": (
        lambda: composed(lu_layer(2), splines(2, spline=replace(EXP_SPLINE, limit=1e4))),
        r"a limit of at most 700 in layer 2 of 2 \(SplineAutoregressive\); got 10000\.0",
    ),
    "a spline whose bins may have no width": (
        lambda: composed(lu_layer(2), splines(2, spline=replace(SPLINE, least_width=0.0))),
        "least widths and heights above 0, or a limit, in layer 2",
    ),
    "a spline whose bins have no width": (
        lambda: composed(lu_layer(2), with_bias(fixed_splines(2, spline=replace(SPLINE, least_width=0.0)), 1e3)),
        "bins that all have a width and a height in layer 2",
    ),
    "columns of a box that are not": (
        lambda: composed(splines(2, spline=BOX), replace(splines(2, spline=BOX), only_inside=np.array([False]))),
        "columns of which all are on the box alone, or some, in layer 2",
    ),
    "words for columns": (
        lambda: composed(lu_layer(2), replace(splines(2), only_inside=np.array([1]))),
        "a truth value for each column that changes in layer 2",
    ),
    "a turn without a box": (
        lambda: composed(lu_layer(2), splines(2, spline=replace(EXP_SPLINE, turn=0.1))),
        "a turn within a box in layer 2",
    ),
    "a logit of anything": (
        lambda: composed(lu_layer(2), Inverse(Sigmoid())),
        r"numbers within \(0, 1\) to reach layer 2 of 2 \(inverse of Sigmoid\); it may get any",
    ),
    "latents that stay below 1": (
        lambda: composed(lu_layer(2), Sigmoid()),
        r"layers that reach every latent number; layer 2 of 2 \(Sigmoid\) leaves some out",
    ),
    "turned round twice": (lambda: composed(lu_layer(2), Inverse(Inverse(affine(2)))), "inverted once"),
}


def with_bias(layer: SplineAutoregressive, factor: float) -> SplineAutoregressive:
    """A fixed spline with numbers that are so many times as large."""
    (dense,) = layer.network
    return replace(layer, network=(replace(dense, bias=factor * dense.bias),))


@pytest.mark.parametrize(("make", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_flow_is_refused(make, sentence):
    with pytest.raises(CheckpointError, match=sentence) as caught:
        make()
    assert str(caught.value).startswith("Expected")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"solver": "unrolled", "tile": 99}, "a tile from"),
        ({"steps": 3}, "neither `steps` nor `hutchinson` for a composed model"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, sentence):
    with pytest.raises(BadInputError, match=sentence):
        Blueprint.choose(NETWORKS["plane"](), ExportSettings(**settings))


def test_solvers_are_compared_where_there_are_lu_layers():
    chosen = Blueprint.choose(NETWORKS["plane"](), ExportSettings(solver="auto"))
    assert chosen.solver == chosen.estimate.solver
    assert {estimate.solver.name for estimate in chosen.estimates} == set(solvers.SOLVERS)
    without = composed(coupling(5), affine(5), coupling(5, seed=1))
    with pytest.raises(BadInputError, match="Expected LU layers for `solver='auto'`; this composed model has none"):
        Blueprint.choose(without, ExportSettings(solver="auto"))


def test_what_would_not_fit_into_a_file_is_refused():
    wide = lu_layer(256)
    weights = layered(256, (wide,) * 4_400)  # the same arrays, 4,400 times
    with pytest.raises(BadInputError, match="graphs of at most 2 GB"):
        Blueprint.choose(weights, ExportSettings(dtype="float64"))


#: Entries of a file's first layer, splines of angles, and what the sentence says.
HOSTILE = {
    "bins of 5.0": (lambda layer: layer["spline"].update(bins=5.0), "a spline of some bins"),
    "true bins": (lambda layer: layer["spline"].update(bins=True), "a spline of some bins"),
    "10^9 bins": (
        lambda layer: layer["spline"].update(bins=10**9, least_width=1e-10, least_height=1e-10),
        "gives 6000",
    ),
    "10^30 bins": (lambda layer: layer["spline"].update(bins=10**30), "least widths and heights that leave room"),
    "no bins": (lambda layer: layer["spline"].update(bins=0), "a spline of some bins"),
    "ends in another order": (lambda layer: layer["spline"].update(low=3.0, high=-3.0), "a spline with low < high"),
    "an end that is no number": (lambda layer: layer["spline"].update(low=float("nan")), "with finite floats"),
    "an end that is a word": (lambda layer: layer["spline"].update(low="-3"), "with finite floats"),
    "an end that is an array": (lambda layer: layer["spline"].update(low=torch.zeros(3)), "with finite floats"),
    "other tails": (lambda layer: layer["spline"].update(tails="circular"), "tails of identity, box"),
    "an unknown setting": (lambda layer: layer["spline"].update(knots=3), "a whole model file"),
    "a spline that is a list": (lambda layer: layer.update(spline=[5, -3.0, 3.0]), "a whole model file"),
    "truths as numbers": (
        lambda layer: layer.update(only_inside=torch.tensor([0, 1])),
        "a truth value",
    ),
    "one truth": (lambda layer: layer.update(only_inside=torch.tensor([True])), "a truth value"),
    "no truths": (
        lambda layer: layer.update(only_inside=torch.zeros(0, 10**9).bool()),
        "a truth value",
    ),
    "truths as a list": (lambda layer: layer.update(only_inside=[False, True]), "a whole model file"),
    "inputs of no shape": (lambda layer: layer.update(inputs=torch.zeros(10**12, 0).long()), "columns from 0 to 2"),
    "no inputs": (lambda layer: layer.update(inputs=torch.zeros(0).long()), "without inputs that begins with a matrix"),
    "no network": (lambda layer: layer.update(network=[], inputs=torch.zeros(0).long()), "that begins with a matrix"),
    "a wave of one number": (lambda layer: layer["network"][0].update(straight=1.0), "a whole model file"),
    "a wave of a word": (lambda layer: layer["network"][0].update(phase="0"), "a whole model file"),
    "a wave of two numbers": (lambda layer: layer["network"][0].update(phase=torch.zeros(2)), "waves of 1 numbers"),
    "an unknown operation": (
        lambda layer: layer["network"][0].update(kind="Cosine"),
        "got 'Cosine'. Install the lunet",
    ),
}


@pytest.mark.parametrize(("change", "sentence"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_splines_in_a_file_are_refused(change, sentence, tmp_path):
    path = tmp_path / "model.pt"
    checkpoint.write_weights(path, NETWORKS["splines of angles"](), image_shape=None, training={}, examples=None)
    content = torch.load(path, weights_only=True)
    change(content["layers"][0])
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=sentence) as caught:
        checkpoint.read(path)
    assert len(str(caught.value)) < 1000


def test_blocks_without_end_in_a_file_are_refused(tmp_path):
    path = tmp_path / "model.pt"
    weights = composed(lu_layer(4), coupling(4))
    checkpoint.write_weights(path, weights, image_shape=None, training={}, examples=None)
    content = torch.load(path, weights_only=True)
    deep = content["layers"][1]["network"]
    for _ in range(100):
        deep = [{"kind": "Residual", "inner": deep}]
    content["layers"][1]["network"] = deep
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="at most 64 blocks inside each other"):
        checkpoint.read(path)


def test_masked_entries_stay_masked_in_training():
    weights = composed(masked(4), lu_layer(4))
    flow = Flow.of(weights, dtype=torch.float64)
    torch_optimizer = torch.optim.SGD(flow.parameters(), lr=0.1)
    (-flow.log_prob(torch.from_numpy(rows(weights, 20))).mean()).backward()
    torch_optimizer.step()
    moved = flow.to_chain()
    assert moved.digest() != weights.digest()
    assert [len(level) for level in moved.layers[0].levels] == [1] * 4


def test_a_residual_network_may_end_a_layer():
    """zuko's residual networks do: only the rows that a level needs are gathered from the block."""
    net = masked(3).network
    inside = Residual((Activation("relu"), Dense(np.zeros((6, 6)), np.full(6, 0.1))))
    weights = composed(replace(masked(3), network=(*net, inside)), lu_layer(3))
    flow = run_of(weights, with_log_prob=True)
    known = vectors.build(weights, dtype="float32", seed=2)
    checks = parity.run(flow, known, predicted=None) + parity.run_optional(flow, known)
    checks += parity.run(EagerFlow(weights, "float32"), known)
    assert parity.all_passed(checks)


def test_a_layer_of_a_later_version_is_named():
    content = {"settings": {"dim": 2}, "layers": [{"kind": "Spline", "inverse": False}]}
    with pytest.raises(CheckpointError, match=r"Expected layers of LULinear, .*; got 'Spline'\. Install"):
        Layered.unpack(content, None)


def concrete(kind: type[Layer]) -> set[type[Layer]]:
    """The classes below one that have no abstract method left."""
    below = [each for each in kind.__subclasses__() if each.__module__.startswith("lunet_export.")]
    return {each for each in below if not inspect.isabstract(each)}.union(*map(concrete, below))


def test_every_layer_is_registered():
    assert concrete(Layer) - {Inverse} == set(MODULES)
    assert set(LAYERS_BY_NAME.values()) <= set(MODULES)


def test_an_integrated_layer_is_not_turned_round():
    """Its log-determinant is summed from data to latent only: a density graph would leave it out."""
    field = jko.NETWORKS["no whitening"]().of(Velocity)[0]
    with pytest.raises(CheckpointError, match="a layer with a log-determinant in both directions in layer 1"):
        Inverse(field).validate(field.width, "layer 1")


def test_layers_that_no_file_holds_are_refused():
    coupling_of_realnvp = realnvp.NETWORKS["dense, one coupling"]().of(Coupling)[0]
    with pytest.raises(CheckpointError, match=r"Expected layers of LULinear, .*; got DenseCoupling"):
        layered(coupling_of_realnvp.width, (coupling_of_realnvp,))


OTHERS = {
    "another activation": (
        lambda: replace_layer(lunet_network(), 1, LeakyTanh(0.5)),
        "Expected leaky-softplus as activation 1; got LeakyTanh",
    ),
    "a permutation": (lambda: replace_layer(lunet_network(), 1, permutation(2)), "as activation 1"),
    "no LU layer": (lambda: replace_layer(lunet_network(), 2, affine(2)), "an LU layer as block 2 of 3"),
    "an activation at the end": (
        lambda: replace(lunet_network(), layers=lunet_network().layers[:-1]),
        "an LU layer at the end",
    ),
    "other steps": (
        lambda: replace(jko_network(), kind=replace(jko_network().kind, steps=9)),
        "fields of 9 steps and a beta of 2.0",
    ),
    "no field": (lambda: replace_layer(jko_network(), 1, affine(jko_network().dim)), "a whitening and velocity fields"),
    "no coupling": (
        lambda: replace(realnvp_network(), layers=(*realnvp_network().layers, LeakyReLU(0.1))),
        "couplings and permutations",
    ),
}


def lunet_network():
    return network(2, 3)


def jko_network():
    return jko.NETWORKS["no whitening"]()


def realnvp_network():
    return realnvp.NETWORKS["dense, one coupling"]()


def replace_layer(chain: Chain, number: int, layer: Layer) -> Chain:
    return replace(chain, layers=(*chain.layers[:number], layer, *chain.layers[number + 1 :]))


@pytest.mark.parametrize(("make", "sentence"), OTHERS.values(), ids=OTHERS)
def test_a_kind_holds_its_own_layers_alone(make, sentence):
    """Digests and files of a kind tell nothing of others."""
    with pytest.raises(CheckpointError, match=sentence):
        make()


def test_a_float_of_numpy_makes_the_same_model():
    plain, numpys = (composed(lu_layer(2), LeakyReLU(alpha), lu_layer(2, seed=1)) for alpha in (0.1, np.float64(0.1)))
    assert plain.digest() == numpys.digest()


@pytest.mark.parametrize("bound", [7.0, 14.0, 30.0])
def test_a_clip_comes_back_from_the_last_number_below_its_bound(bound):
    """1 - |y| / bound rounds to 0 there, bound - |y| does not."""
    weights = composed(Inverse(Softclip(bound)), narrow(2))
    x = np.full((1, 2), np.nextafter(np.float32(bound), np.float32(0)))
    flow = ExportedFlow(build_artifact(weights, Provenance("clip"), ExportSettings()), provider="cpu")
    allowed = RoundingModel(weights, "float32").density(x.astype(np.float64))
    z, exact = flow.encode(x), reference.encode(weights, x.astype(np.float64))[0]
    assert np.isfinite(z).all()
    assert (np.abs(z - exact).max(axis=1) <= allowed["z"]).all()


def test_solvers_of_inverted_layers_are_compared_where_they_solve():
    layers = [LeakyReLU(0.3) if number % 2 else lu_layer(16, seed=number) for number in range(5)]
    found = estimates(layered(16, inverted(layers)), dtype="float32")
    assert len({estimate.error for estimate in found}) == len(found) > 2
    assert max(estimate.share for estimate in found) < 1


def test_a_floor_that_the_dtype_has_not_is_refused():
    weights = composed(lu_layer(2), replace(coupling(2), scale=ScaleMap("softplus", 0.0, 1e-50)))
    with pytest.raises(BadInputError, match=r"a floor of at least 1\.2e-38 in float32; got 1\.0e-50\. Export with"):
        build_artifact(weights, Provenance("floor"), ExportSettings())
    assert build_artifact(weights, Provenance("floor"), ExportSettings(dtype="float64")).graphs


@pytest.mark.parametrize(("half", "width"), [(1e-30, "2.0e-30"), (1e30, "2.0e+30")])
def test_a_box_whose_square_the_dtype_has_not_is_refused(half, width):
    weights = composed(splines(2, spline=replace(SPLINE, low=-half, high=half)), affine(2))
    wanted = f"on boxes from 1.1e-19 to 1.8e+19 wide in float32; got {width}. Export with"
    with pytest.raises(BadInputError, match=re.escape(wanted)):
        Blueprint.choose(weights, ExportSettings()).build("density", {})
    assert Blueprint.choose(weights, ExportSettings(dtype="float64")).build("density", {})
