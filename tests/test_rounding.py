"""The derived tolerances: wide enough for a correct float32 network, narrow enough to catch a wrong one."""

from dataclasses import replace

import numpy as np
import pytest

from lunet_export import checkpoint
from lunet_export.artifact import open_folder
from lunet_export.checks import reference, rounding, vectors
from lunet_export.checks.rounding import TF32, Probe, RoundingModel, unit_roundoff
from lunet_export.flows import lunet
from lunet_export.graphs import emulation, solvers
from lunet_export.graphs.frame import Frame
from lunet_export.layers import LU, Activation, Chain, LeakySoftplus
from lunet_export.parity import run
from lunet_export.torch_layers import EagerFlow
from tests.conftest import ROOT
from tests.networks import NETWORKS, network, rows

every_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


@every_network
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_eager_pytorch_stays_within_the_prediction(make, dtype):
    weights = make()
    worst = {
        check.name: check.difference.ratio
        for check in run(EagerFlow(weights, dtype), vectors.build(weights, dtype=dtype, seed=3))
    }
    assert max(worst.values()) <= 1.0, worst


def of_slopes(weights: Chain, factor: float) -> Chain:
    """The network with every alpha times a factor."""
    alphas = [factor * activation.alpha for activation in weights.of(Activation)]
    return lunet(weights.of(LU), alphas, weights.preprocessing, weights.kind.activation)


@every_network
@pytest.mark.parametrize("fault", ["alpha", "bias", "levels"])
def test_a_small_fault_exceeds_the_prediction(make, fault):
    """A slope or a bias off by 3e-4, or 257 levels for 256, is far beyond float32 and must be seen."""
    weights = make()
    if (fault == "alpha" and len(weights.of(LU)) == 1) or (fault == "levels" and weights.preprocessing is None):
        return  # nothing to get wrong
    last = weights.of(LU)[-1]
    wrong = {
        "alpha": lambda: of_slopes(weights, 1 - 3e-4),
        "bias": lambda: weights.with_layers([*weights.of(LU)[:-1], replace(last, bias=last.bias * (1 + 3e-4))]),
        "levels": lambda: replace(
            weights, preprocessing=replace(weights.preprocessing, levels=weights.preprocessing.levels + 1)
        ),
    }[fault]()
    checks = run(EagerFlow(wrong, "float64"), vectors.build(weights, dtype="float32", seed=2))
    assert any(not check.passed for check in checks if check.name.startswith("golden: density"))


def rows_at_a_kink(weights, count: int, away: float = 0.0) -> np.ndarray:
    """Rows of which one unit in front of the first activation is that many of its own float32 errors away from 0.

    With 0, it is as near as float32 gets.
    """
    a, block = np.random.default_rng(0).standard_normal((count, weights.dim)), weights.of(LU)[0]
    unit = range(count), np.arange(count) % weights.dim
    a[unit] = 0.0
    if away:
        size = np.abs(block.inverse(a)) @ np.abs(block.upper).T @ np.abs(block.lower).T + np.abs(block.bias)
        a[unit] = away * unit_roundoff("float32") * size[unit]
    x = block.inverse(a)
    return x if away else x.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("known", [True, False])
def test_log_prob_may_jump_where_rounding_crosses_a_kink(known, monkeypatch):
    """By |log alpha|, in float32, on rows that lie at one; a model that does not know of kinks calls it a fault."""
    weights = network(6, 4, activation="leaky-relu", seed=1)
    x = rows_at_a_kink(weights, 300)
    gap = np.abs(EagerFlow(weights, "float32").density(x)[1] - reference.log_prob(weights, x))
    jumped = gap > 1.0
    assert 0.1 < jumped.mean() < 0.9
    np.testing.assert_allclose(gap[jumped], np.log(10), atol=1e-3)
    if not known:
        monkeypatch.setattr(Probe, "across", lambda self, x: x)
    inside = gap <= RoundingModel(weights, "float32").density(x)["log_prob"]
    assert inside.all() == known
    near = RoundingModel(weights, "float32").density(rows_at_a_kink(weights, 300, away=3.0))["log_prob"]
    reached = (near > 1.0).mean()  # what is a few errors away another runtime may carry across
    assert reached > 0.95 if known else reached < 0.2
    far = rows(weights, 300)  # of which hardly one is near a kink
    assert np.median(RoundingModel(weights, "float32").density(far)["log_prob"]) < 1e-3


def test_tolerance_follows_the_condition_number():
    """z -> x through a nearly singular U loses digits in proportion; the tolerance must say so, and no more."""
    weights = network(8, 1)
    z = np.random.default_rng(0).standard_normal((4, 8))
    tolerances = []
    for smallest in (1.0, 1e-3, 1e-6):
        block = weights.of(LU)[0]
        upper = block.upper.copy()
        upper[3, 3] = smallest
        bad = weights.with_layers([replace(block, upper=upper)])
        scale = np.abs(reference.decode(bad, z)).max()
        tolerances.append(RoundingModel(bad, "float32").sampling(z)["x"].max() / scale)
    assert max(tolerances) < 1e3 * unit_roundoff("float32")  # relative to what comes out, it stays small
    wide = RoundingModel(bad, "float32").sampling(z)["x"].max()
    assert wide > 1e4 * RoundingModel(weights, "float32").sampling(z)["x"].max()


def test_float64_tolerance_is_float32s_times_the_ratio_of_roundoffs():
    weights = network(6, 3)
    x = rows(weights, 5)
    single, double = (RoundingModel(weights, dtype).density(x)["z"] for dtype in ("float32", "float64"))
    # The float64 probes also see the reference's own roundoff, so theirs is a little wider.
    np.testing.assert_allclose(single / double, 2.0**29, rtol=0.5)


def test_truncation_is_rounding_of_operands_that_shrank():
    """x (1 - u) is what truncation leaves, to u |x|: the claim on which TF32's budget rests."""
    x = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    u = unit_roundoff(TF32)
    for reduced, shrink in ((emulation.nearest(x), 0.0), (emulation.truncated(x), u)):
        assert (np.abs(reduced - x.astype(np.float64) * (1 - shrink)) <= u * np.abs(x)).all()


def test_with_products_is_a_model_of_its_own():
    weights = network(8, 3)
    x = rows(weights, 4)
    single = RoundingModel(weights, "float32")
    for products in ("float16", TF32):
        ours, theirs = single.with_products(products).density(x), RoundingModel(weights, "float32", products).density(x)
        assert all((ours[name] == theirs[name]).all() for name in ours)
        assert all((ours[name] > 100 * tolerance).all() for name, tolerance in single.density(x).items())


@pytest.mark.parametrize("shrinks", [True, False])
def test_tf32_needs_its_shrinking(shrinks, monkeypatch):
    """Nearly diagonal blocks: truncation moves all columns of z one way, and log_prob by more than random errors do."""
    if not shrinks:
        monkeypatch.setattr(rounding, "Probe", lambda unit, products, shrink, rng: Probe(unit, products, 0.0, rng))
    weights = network(64, 4, off_diagonal=1e-4)
    frame = Frame(weights, solvers.choose("fused", None, 64), "float32")
    models = {
        "density": frame.density({}),
        "sampling": frame.sampling({}),
    }
    known = vectors.build(weights, dtype="float32", seed=0).under_tf32("float32")
    worst = max(check.difference.ratio for check in run(emulation.EmulatedFlow(models, "TF32 truncated"), known))
    assert worst < 0.5 if shrinks else worst > 1.0


def test_the_mixture_may_be_off_by_what_its_classes_may_be():
    """Whatever the classes' errors within their tolerances, mixture and posterior stay within theirs."""
    from lunet_export.checks.rounding import of_mixture

    rng = np.random.default_rng(0)
    priors = (0.5, 0.3, 0.2)
    exact = np.array([-100.0, -101.0, -99.0]) + rng.normal(size=(50, 3)) * np.geomspace(0.1, 1e4, 50)[:, None]
    tolerance = 10.0 ** rng.uniform(-4, 0.5, (50, 3))
    allowed = of_mixture(exact, tolerance, priors, "float32")
    largest = np.zeros((2, 50))
    for _ in range(2000):
        moved = exact + tolerance * rng.choice([-1.0, 1.0, 0.0], (50, 3))
        gap = np.abs(reference.mixture_log_prob(moved, priors) - reference.mixture_log_prob(exact, priors))
        apart = np.abs(reference.posterior(moved, priors) - reference.posterior(exact, priors)).max(axis=1)
        largest = np.maximum(largest, [gap, apart])
    assert (largest[0] <= allowed["log_prob"]).all()
    assert (largest[1] <= allowed["posterior"]).all()
    assert (largest[0] >= 0.9 * allowed["log_prob"])[:10].all()  # and no more than that
    assert (largest[1] >= 0.9 * allowed["posterior"])[:10].all()


def test_log_prob_may_be_summed_one_term_after_another():
    """In float32, as a runtime without wide vectors does; of rows whose 784 terms are known exactly."""
    weights = checkpoint.read(ROOT / "exported" / "mnist.pt").weights
    x = open_folder(ROOT / "exported" / "mnist").vectors.density.x
    p, f = weights.preprocessing, LeakySoftplus(weights.kind.alpha)
    inside = (1 - p.margin) * x / p.levels + p.margin / 2
    h = np.log(inside) - np.log1p(-inside)
    terms = np.log((1 - p.margin) / p.levels) - np.log(inside * (1 - inside))
    for number, block in enumerate(weights.of(LU)):
        if number:
            terms += np.log(f.slope(h))
            h = f.value(h)
        h = block.forward(h).rows
        terms += np.log(np.abs(np.diag(block.upper)))
    terms -= 0.5 * (h**2 + np.log(2 * np.pi))
    exact = reference.log_prob(weights, x)
    np.testing.assert_allclose(terms.sum(axis=1), exact, rtol=1e-12)
    tolerance = RoundingModel(weights, "float32").density(x)["log_prob"]
    in_sequence = np.add.accumulate(terms.astype(np.float32), axis=1)[:, -1]
    assert (np.abs(in_sequence - exact) <= tolerance).all()
