"""The certified bounds: closed forms, exact arithmetic, 100,000 pairs per case, and faults that pairs must find."""

from dataclasses import replace
from decimal import Decimal, localcontext

import numpy as np
import pytest

from lunet_export.certificate import Linearization, chain_bounds, data_bounds, outwards
from lunet_export.checks import reference
from lunet_export.diagnostics.observed import Seen, observe
from lunet_export.flows import lunet
from lunet_export.layers import LU, Chain
from lunet_export.preprocessing import NAMED, logit, logit_slope
from tests.certificate.cases import DIAGONAL, diagonal, orthogonal
from tests.networks import NETWORKS, network, rows

CASES = NETWORKS | {
    "diagonal, left branch": lambda: diagonal(-400.0),
    "diagonal, right branch": lambda: diagonal(400.0),
    "orthogonal, left branch": lambda: orthogonal(-1e4),
    "orthogonal, in the bend": lambda: orthogonal(0.0),
}
every_case = pytest.mark.parametrize("make", CASES.values(), ids=CASES)


def test_of_diagonal_blocks_they_are_products():
    found, size = chain_bounds(diagonal(0.0)), np.abs(DIAGONAL)
    forward, inverse = size.max() ** 4, 0.1**-3 / size.min() ** 4
    assert forward <= found.lip_forward == pytest.approx(forward, rel=1e-10)
    assert inverse <= found.lip_inverse == pytest.approx(inverse, rel=1e-10)
    top = 4 * np.log(size).sum()
    assert top <= found.log_det_max == pytest.approx(top, rel=1e-10)
    assert top + 12 * np.log(0.1) >= found.log_det_min == pytest.approx(top + 12 * np.log(0.1), rel=1e-10)


def test_of_orthogonal_blocks_only_the_activations_count():
    found = chain_bounds(orthogonal(0.0, blocks=3))
    assert found.lip_forward == pytest.approx(1, rel=1e-9)
    assert found.lip_inverse == pytest.approx(100, rel=1e-9)


def exact_singular_values(below: float, first: float, beside: float, last: float) -> tuple[Decimal, Decimal]:
    """Of A = [[1, 0], [below, 1]] [[first, beside], [0, last]]: 2 s^2 = t +- sqrt(t^2 - 4 det^2), t = |A|_F^2."""
    below, first, beside, last = map(Decimal, (below, first, beside, last))
    t, det = first**2 + beside**2 + (below * first) ** 2 + (below * beside + last) ** 2, first * last
    largest = ((t + (t**2 - 4 * det**2).sqrt()) / 2).sqrt()
    return largest, abs(det) / largest


def test_they_hold_in_exact_arithmetic_where_a_bare_svd_does_not():
    """L U of random and of nearly singular 2 x 2 blocks, multiplied out in 80 digits."""
    rng, bare = np.random.default_rng(0), 0
    with localcontext() as context:
        context.prec = 80
        for number in range(300):
            lower = np.array([[1.0, 0.0], [rng.standard_normal(), 1.0]])
            smallest = 10.0 ** -(number % 10)
            upper = np.array([[rng.uniform(0.5, 2), 10 * rng.standard_normal()], [0.0, smallest]])
            found = chain_bounds(lunet((LU(lower, upper, np.zeros(2)),), 0.5))
            largest, least = exact_singular_values(float(lower[1, 0]), *map(float, upper[np.triu_indices(2)]))
            assert Decimal(found.lip_forward) >= largest
            assert Decimal(found.lip_inverse) >= 1 / least
            plain = np.linalg.svd(lower @ upper, compute_uv=False)
            bare += Decimal(float(plain[0])) < largest or Decimal(float(plain[1])) > least
            assert found.lip_forward <= float(largest) * (1 + 1e-10)
    assert bare > 50


def test_a_map_that_float64_cannot_bound_gets_no_bound():
    tiny = lunet((LU(np.eye(2), np.diag([1.0, 1e-200]), np.zeros(2)),) * 3, 0.1)
    assert chain_bounds(tiny).lip_inverse == np.inf
    huge = lunet((LU(np.eye(2), np.diag([1e200, 1.0]), np.zeros(2)),) * 3, 0.1)
    assert chain_bounds(huge).lip_forward == np.inf


def test_the_logits_slopes_are_those_of_the_reference():
    p = NAMED["digits"]
    weights = network(3, 2, preprocessing=p)
    chain, data = chain_bounds(weights), data_bounds(weights, chain_bounds(weights))
    x = np.linspace(0, p.levels, 100_001)[:, None].repeat(3, axis=1)
    slopes = logit_slope(x, p)[:, 0]
    assert slopes.max() <= data.lip_forward / chain.lip_forward == pytest.approx(slopes.max(), rel=1e-12)
    assert 1 / slopes.min() <= data.lip_inverse / chain.lip_inverse == pytest.approx(1 / slopes.min(), rel=1e-12)
    assert data.log_det_max - chain.log_det_max == pytest.approx(3 * np.log(slopes.max()), rel=1e-9)
    middle, step = np.full((1, 3), 5.0), 1e-4
    numeric = (logit(middle + step, p)[0] - logit(middle - step, p)[0]) / (2 * step)
    np.testing.assert_allclose(logit_slope(middle, p), numeric, rtol=1e-8)


@pytest.mark.parametrize("bound", [27204.891703, 1.23456e-7, -47.50548751, 51.6036])
def test_six_digits_are_still_a_bound(bound):
    up, down = outwards(bound, upper=True), outwards(bound, upper=False)
    assert down <= bound <= up
    assert (up, down) == (pytest.approx(bound, rel=1e-5), pytest.approx(bound, rel=1e-5))
    assert outwards(np.inf, upper=True) == np.inf


def pairs_of(weights: Chain) -> list[np.ndarray]:
    """Three sets of rows: of the model, close ones, and random ones over the whole domain and beyond it."""
    z = np.random.default_rng(1).standard_normal((300, weights.dim))
    p = weights.preprocessing
    x = reference.decode(weights, z)
    x = np.clip(x, 0, p.levels) if p else x
    other = rows(weights, 300) * (1 if p else 100)
    axes = np.eye(weights.dim)[np.arange(60) % weights.dim] * np.arange(60)[:, None] / 60
    near = np.concatenate([x[:1] + 1e-3 * (row - x[:1]) for row in (x[1:240], other[:1] + axes)])
    return [x, np.clip(near, 0, p.levels) if p else near, np.concatenate([other, axes])]


def broken_by_pairs(weights: Chain, chain, data) -> tuple[int, list[str]]:
    p, count, broken = weights.preprocessing, 0, []
    for x in pairs_of(weights):
        z, log_det = reference.encode(weights, x)
        lost = 1e-11 * (1 + np.abs(z).max())
        h, before = logit(x, p) if p else (x, 0.0)
        for seen, bounds, name in (
            (Seen(h, z, log_det - before, lost, lost), chain, "network"),
            (Seen(x, z, log_det, lost, lost), data, "data"),
        ):
            found = observe(seen, bounds, name)
            count, broken = count + found.pairs, broken + list(found.violations)
    return count, broken


@every_case
def test_no_pair_of_a_hundred_thousand_breaks_them(make):
    weights = make()
    chain = chain_bounds(weights)
    count, broken = broken_by_pairs(weights, chain, data_bounds(weights, chain))
    assert (count >= 100_000, broken) == (True, [])


def without_a_block(weights):
    return chain_bounds(lunet(weights.of(LU)[1:], weights.kind.alpha, weights.preprocessing, weights.kind.activation))


def one_alpha_less(weights):
    bounds = chain_bounds(weights)
    return replace(bounds, lip_inverse=bounds.lip_inverse * weights.kind.alpha)


def log_det_without_alpha(weights):
    bounds = chain_bounds(weights)
    return replace(bounds, log_det_min=bounds.log_det_max - 1e-6)


@pytest.mark.parametrize(
    ("fault", "make", "words"),
    [
        (without_a_block, CASES["diagonal, right branch"], "stretched by more than 8"),
        (without_a_block, CASES["diagonal, left branch"], "squeezed by more than"),
        (one_alpha_less, CASES["diagonal, left branch"], "squeezed by more than"),
        (one_alpha_less, CASES["orthogonal, left branch"], "squeezed by more than 10"),
        (log_det_without_alpha, CASES["digits"], "log-determinants lie outside"),
    ],
)
def test_pairs_find_a_bound_that_is_wrong(fault, make, words):
    weights = make()
    wrong = fault(weights)
    _, broken = broken_by_pairs(weights, wrong, data_bounds(weights, wrong))
    assert any(words in sentence for sentence in broken), broken


@every_case
def test_local_figures_and_log_dets_lie_within_them(make):
    weights = make()
    linear, x = Linearization(weights), np.concatenate([part[:20] for part in pairs_of(weights)])
    chain = chain_bounds(weights)
    _, log_det = reference.encode(weights, x)
    for bounds, in_data_space in ((chain, False), (data_bounds(weights, chain), True)):
        local = linear.local(x, in_data_space=in_data_space)
        assert local.converged
        assert (local.stretch <= bounds.lip_forward * (1 + 1e-9)).all()
        assert (local.squeeze >= 1 / bounds.lip_inverse * (1 - 1e-9)).all()
    assert (weights.dim * np.log(local.squeeze) <= log_det + 1e-3 * weights.dim).all()
    assert (weights.dim * np.log(local.stretch) >= log_det - 1e-3 * weights.dim).all()
