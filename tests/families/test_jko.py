"""JKO-iFlow: its integrator, its divergences, its weights and its graphs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lunet_export import ExportedFlow, flows, noise, parity
from lunet_export.checks import reference, vectors
from lunet_export.errors import BadInputError, CheckpointError
from lunet_export.export import ExportSettings, Provenance, build_artifact, export
from lunet_export.flows.jko import with_steps
from lunet_export.graphs.blueprint import Blueprint, round_trip_error
from lunet_export.layers import Chain, Velocity, Whitening
from lunet_export.layers.velocity import step as rule
from lunet_export.torch_layers import Flow
from lunet_export.torch_layers.velocity import Velocity as Network
from tests import tolerances
from tests.families import jko, lunet, realnvp
from tests.flows.test_laws import inverse_undoes_forward, log_det_is_the_jacobians, log_dets_cancel
from tests.networks import rows

HIDDEN = {"one": (9,), "two": (9, 7), "three": (8, 7, 6), "four": (5, 6, 5, 4)}
every_depth = pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN)


def block_of(hidden, dim=4, *, beta=20.0) -> Velocity:
    (block,) = jko.flow(dim, hidden, blocks=1, beta=beta).of(Velocity)
    return block


@every_depth
def test_the_divergence_is_the_trace_of_autograd(hidden):
    block = block_of(hidden)
    velocity = Network.of(block.field, beta=20.0)
    x = torch.from_numpy(3 * noise.normal(0, range(6), 4))
    exact = torch.stack(
        [torch.autograd.functional.jacobian(lambda r: velocity(r[None], 0.3)[0], row).trace() for row in x]
    )
    _, slopes = velocity.with_slopes(x, 0.3)
    torch.testing.assert_close(velocity.exact_trace()(slopes), exact, rtol=0, atol=1e-8)
    v, of_reference = block.velocity(x.numpy(), 0.3)
    np.testing.assert_allclose(v, velocity(x, 0.3).detach(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(block.field.divergence(of_reference), exact, rtol=0, atol=1e-8)


@every_depth
def test_the_estimates_average_to_the_divergence(hidden):
    block = block_of(hidden)
    field = block.field
    x, dim = noise.normal(1, range(5), 4), 4
    _, slopes = block.velocity(x, 0.0)
    along = [field.divergence_along(slopes, np.tile(axis, (5, 1))) for axis in np.eye(dim)]
    np.testing.assert_allclose(sum(along), field.divergence(slopes), rtol=0, atol=1e-12)
    probe = noise.normal(2, range(5), 4)
    velocity = Network.of(field, beta=20.0)
    _, ours = velocity.with_slopes(torch.from_numpy(x), 0.0)
    estimated = velocity.trace_along(torch.from_numpy(probe))(ours).detach()
    np.testing.assert_allclose(estimated, field.divergence_along(slopes, probe), rtol=0, atol=1e-12)


def test_softplus_and_its_slope_agree_where_pytorchs_own_threshold_does_not():
    block = block_of((9, 7))
    velocity = Network.of(block.field, beta=20.0)
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None].expand(-1, 4)  # far through every threshold
    v, _ = block.velocity(x.numpy(), 0.0)
    np.testing.assert_allclose(velocity(x, 0.0).detach(), v, rtol=0, atol=1e-13)
    defaults = torch.nn.functional.softplus(torch.tensor([1.05], dtype=torch.float64), 20.0)
    assert abs(float(defaults) - float(np.logaddexp(0, 21.0) / 20)) > 1e-12  # the fault that this keeps out


def test_one_step_is_kuttas_three_eighths_rule():
    """On dx/dt = A x the step is the Taylor polynomial of e^hA to order 4; cubics in t are integrated exactly."""
    a = np.random.default_rng(0).standard_normal((3, 3))
    x, h = np.random.default_rng(1).standard_normal((4, 3)), 0.4
    after, integral = rule(lambda y, t: (y @ a.T, np.full(len(y), t**3)), x, 0.5, h)
    taylor = sum(np.linalg.matrix_power(h * a, k) / [1, 1, 2, 6, 24][k] for k in range(5))
    size = sum(np.linalg.matrix_power(np.abs(h * a), k) / [1, 1, 2, 6, 24][k] for k in range(5))
    # Four stages of three products and sums each, of a polynomial whose terms may cancel.
    allowed = tolerances.of_roundings(2 * 4 * (3 + 4), np.abs(x) @ size.T, "float64")
    tolerances.assert_within(after, x @ taylor.T, allowed)
    assert tolerances.beyond(after * (1 + 1e-13), x @ taylor.T, allowed) > 1
    np.testing.assert_allclose(integral, (0.9**4 - 0.5**4) / 4, rtol=1e-13)  # exact for cubics


def test_one_step_is_torchdiffeqs_rk4():
    torchdiffeq = pytest.importorskip("torchdiffeq", reason="torchdiffeq is in the extra `dev`")
    weights = jko.flow(3, (16, 16), blocks=1, steps=1, beta=20.0, whitened=False)
    velocity = Network.of(weights.of(Velocity)[0].field, beta=20.0)
    x = torch.from_numpy(noise.normal(0, range(50), 3))
    steps = torch.tensor([0.0, 1.0], dtype=torch.float64)
    theirs = torchdiffeq.odeint(lambda t, y: velocity(y, float(t)), x, steps, method="rk4")[-1]
    np.testing.assert_allclose(reference.encode(weights, x.numpy())[0], theirs.detach(), rtol=0, atol=1e-6)


LAWS = [inverse_undoes_forward, log_det_is_the_jacobians, log_dets_cancel]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_laws_hold_to_the_order_of_the_integrator(law):
    """An error of order 4 or 5 falls to a sixteenth or less when steps double, down to rounding: no term is wrong."""
    weights = jko.flow(3, (10, 8), blocks=2)
    x = torch.from_numpy(rows(weights, 3))
    errors = []
    for steps in (4, 8, 16, 64):
        chain = Flow.of(with_steps(weights, steps), dtype=torch.float64).requires_grad_(False).chain
        errors.append(law(chain, x)[0])
    coarse, middle, fine, finest = errors
    assert coarse / middle > 11
    assert middle / fine > 11
    assert finest < 1e-10


def halved(weights: Chain) -> Chain:
    """Each block in two, of half the steps each."""
    front, *blocks = weights.layers
    steps = weights.kind.steps // 2
    halves = [replace(block, field=half, steps=steps) for block in blocks for half in block.field.halves()]
    return replace(weights, layers=(front, *halves), kind=replace(weights.kind, steps=steps))


def test_halves_are_the_same_flow():
    weights = jko.flow(3, (10, 8), blocks=2, steps=8)
    halves = halved(weights)
    x = rows(weights, 6)
    for got, wanted in zip(reference.encode(halves, x), reference.encode(weights, x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-12)


def affine(weights: Chain) -> Whitening:
    return weights.of(Whitening)[0]


def rebuilt(weights: Chain, **changed) -> Chain:
    """The same JKO-iFlow made anew, with something else in one place."""
    front, kind = affine(weights), weights.kind
    parts = {"centre": front.centre, "root": front.root, "steps": kind.steps, "beta": kind.beta}
    parts |= {"fields": [block.field for block in weights.of(Velocity)], "preprocessing": weights.preprocessing}
    return flows.jko(**{**parts, **changed})


def timed(weights: Chain, change) -> Chain:
    """The same with another time in the first field."""
    first, *others = (block.field for block in weights.of(Velocity))
    return rebuilt(weights, fields=[replace(first, time=change(first.time)), *others])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda w: rebuilt(w, centre=affine(w).centre[:-1]), r"Expected a centre \(D,\) and a root \(D, D\)"),
        (lambda w: rebuilt(w, fields=()), "Expected at least one velocity field"),
        (lambda w: rebuilt(w, steps=0), "Expected 1 to 1000 steps per block; got 0"),
        (lambda w: rebuilt(w, beta=float("inf")), "Expected a positive beta"),
        (lambda w: rebuilt(w, root=affine(w).root.T), "Expected an upper triangular root"),
        (lambda w: rebuilt(w, root=affine(w).root * 0), "Expected an upper triangular root with a positive diagonal"),
        (lambda w: rebuilt(w, centre=affine(w).centre * np.nan), "Expected finite numbers in the affine map in front"),
        (
            lambda w: timed(w, lambda time: time[:-1]),
            "Expected layers 2 -> 16 -> 12 -> 2 with a time for the first in block 1 of 3",
        ),
        (
            lambda w: timed(w, lambda time: time + np.inf),
            "Expected finite numbers in block 1 of 3",
        ),
    ],
)
def test_weights_that_are_no_flow_are_refused(change, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        change(jko.PLANE())


def test_the_estimate_is_the_references(tmp_path):
    weights = jko.PLANE()
    export(weights, tmp_path / "m", Provenance("m"), ExportSettings(hutchinson=True))
    flow = ExportedFlow(tmp_path / "m", provider="cpu")
    x = rows(weights, 40).astype(np.float32).astype(np.float64)
    signs = np.where(noise.normal(3, range(40), 2).astype(np.float32) < 0, -1.0, 1.0)
    exact = reference.log_prob_estimate(weights, x, signs)
    # The estimate of a divergence sums D times as many terms as the trace.
    allowed = 2 * tolerances.of_density(weights, x)["log_prob"]
    tolerances.assert_within(flow.log_prob_estimate(x, seed=3), exact, allowed)
    tolerances.assert_within(flow.log_prob_estimate(x, probe=signs), exact, allowed)
    assert tolerances.beyond(flow.log_prob_estimate(x, probe=signs * [1, -1]), exact, allowed) > 1
    wrong = reference.log_prob_estimate(jko.changed(weights), x, signs)
    assert tolerances.beyond(wrong, exact, allowed) > 1
    assert flow.log_prob_estimate(x[:0]).shape == (0,)
    torched = Flow.of(weights, dtype=torch.float64)
    ours = torched.log_prob_estimate(*map(torch.from_numpy, (x, signs))).detach()
    np.testing.assert_allclose(ours, exact, rtol=1e-12)
    with pytest.raises(BadInputError, match="Expected a probe for each of 40 rows; got 39"):
        flow.log_prob_estimate(x, probe=signs[:-1])
    with pytest.raises(BadInputError, match=r"Expected probe of shape \(N, 2\)"):
        flow.log_prob_estimate(x, probe=signs[:, :1])


def test_an_export_without_the_estimate_says_how_to_have_it(tmp_path):
    export(jko.PLANE(), tmp_path / "m", Provenance("m"))
    with pytest.raises(BadInputError, match="Export again with `hutchinson=True`"):
        ExportedFlow(tmp_path / "m", provider="cpu").log_prob_estimate(np.zeros((1, 2)))


@pytest.mark.parametrize("hidden", [(9,), (9, 7), (8, 7, 6)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_all_graphs_are_inside_the_tolerance(hidden, dtype):
    weights = jko.flow(4, hidden, preprocessing="digits")
    settings = ExportSettings(dtype=dtype, with_log_prob=True, rng=True, hutchinson=True)
    flow = ExportedFlow(build_artifact(weights, Provenance("case"), settings), provider="cpu", threads=1)
    checks = parity.run(flow, flow.vectors) + parity.run_optional(flow, flow.vectors)
    assert max(check.difference.ratio for check in checks) <= 1.0


def test_a_wrong_estimate_fails_its_check(tmp_path, monkeypatch):
    weights = jko.PLANE()
    settings = ExportSettings(hutchinson=True)
    flow = ExportedFlow(build_artifact(weights, Provenance("case"), settings), provider="cpu", threads=1)
    (check,) = parity.run_optional(flow, flow.vectors)
    assert check.passed
    right = flow.log_prob_estimate
    monkeypatch.setattr(flow, "log_prob_estimate", lambda x, probe: right(x, probe=1.001 * probe))
    (check,) = parity.run_optional(flow, flow.vectors)
    assert not check.passed


def test_the_steps_are_a_choice_whose_round_trip_is_said(tmp_path):
    weights = jko.PLANE()
    few, many = (Blueprint.choose(weights, ExportSettings(steps=steps), compare=True) for steps in (1, 6))
    assert (few.weights.kind.steps, many.weights.kind.steps) == (1, 6)
    assert few.round_trip_error > 100 * many.round_trip_error
    assert many.round_trip_error == round_trip_error(with_steps(weights, 6))
    assert f"{many.round_trip_error:.1e}" in many.remark()
    assert "with `steps=12`" in many.remark()
    document = export(weights, tmp_path / "m", Provenance("m"), ExportSettings(steps=6)).manifest.document
    assert document["model"]["steps"] == 6
    assert document["model"]["round_trip"] == pytest.approx(many.round_trip_error)
    assert document["model"]["sha256_weights"] == with_steps(weights, 6).digest() != weights.digest()


def test_what_a_family_cannot_choose_is_refused():
    for weights in (lunet.PLANE(), realnvp.PLANE()):
        for settings in (ExportSettings(steps=2), ExportSettings(hutchinson=True)):
            with pytest.raises(BadInputError, match="Expected neither `steps` nor `hutchinson`"):
                Blueprint.choose(weights, settings)
    for settings in (ExportSettings(solver="fused"), ExportSettings(tile=4)):
        with pytest.raises(BadInputError, match="Expected neither `solver` nor `tile` for a JKO-iFlow"):
            Blueprint.choose(jko.PLANE(), settings)
    with pytest.raises(BadInputError, match="Expected 1 to 1000 steps per block; got 1001"):
        Blueprint.choose(jko.PLANE(), ExportSettings(steps=1001))


def test_the_graphs_are_plain_and_share_their_constants():
    weights = jko.flow(2, (16, 12), blocks=2, steps=3)
    blueprint = Blueprint.choose(weights, ExportSettings())
    density, sampling = (blueprint.build(name, {}) for name in ("density", "sampling"))
    for model in (density, sampling):
        operators = {node.op_type for node in model.graph.node}
        assert not operators & {"Loop", "If", "Scan", "Softplus", "Sigmoid", "Where", "Greater"}
    # Sampling: 57 nodes per step, and one for the affine map. The density adds 13 per block and 11 in all.
    assert len(sampling.graph.node) == 2 * 3 * 57 + 1
    matrices = [tensor for tensor in density.graph.initializer if list(tensor.dims) == [16, 12]]
    assert len(matrices) == 2 * 2  # W_2 and C of each block


def test_vectors_follow_the_steps():
    weights = jko.PLANE()
    coarse = vectors.build(with_steps(weights, 1), dtype="float64", seed=0).density
    fine = vectors.build(with_steps(weights, 6), dtype="float64", seed=0).density
    gaps = np.abs(reference.decode(with_steps(weights, 1), coarse.z) - coarse.x).max(axis=1)
    assert (coarse.tolerance["x"] > gaps).all()
    assert gaps.max() > 100 * fine.tolerance["x"].max()


def test_the_weights_class_knows_its_size():
    weights = jko.flow(2, (16, 12), blocks=2)
    assert weights.facts()["free_parameters"] == 2 * (2 * 16 + 16 + 16 * 12 + 12 + 12 * 2 + 2 + 16)
    assert isinstance(weights, Chain)
