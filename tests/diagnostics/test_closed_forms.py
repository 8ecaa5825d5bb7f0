"""Moments, the Gaussian, PPCA and entropies against what else computes them."""

import numpy as np
import pytest
from scipy.special import digamma, gamma, polygamma
from scipy.stats import multivariate_normal

from lunet_export.data import Dataset
from lunet_export.diagnostics import Moments, gaussian_gap
from lunet_export.diagnostics import entropy as entropies
from lunet_export.diagnostics.latents import Latents
from lunet_export.diagnostics.ppca import Spectrum
from tests import tolerances


def correlated(n: int, dim: int, seed: int) -> np.ndarray:
    root = np.random.default_rng(99).standard_normal((dim, dim))
    return np.random.default_rng(seed).standard_normal((n, dim)) @ root.T + np.arange(dim)


def test_moments_of_batches_are_those_of_all_rows():
    x = correlated(300, 4, 0) + 1e6  # a mean that would cancel all digits of the raw second moment
    moments = Moments(4)
    for part in np.array_split(x, 7):
        moments.add(part)
    # Each side adds n numbers one after another at worst: n / 2 roundings of the largest in their mean.
    allowed = tolerances.of_roundings(len(x), np.abs(x).max(), "float64")
    tolerances.assert_within(moments.mean, x.mean(axis=0), allowed)
    assert tolerances.beyond(moments.mean + 1e-6, x.mean(axis=0), allowed) > 1
    np.testing.assert_allclose(moments.covariance, np.cov(x.T, bias=True), rtol=1e-8)
    about = (x - 1e6).T @ (x - 1e6) / len(x)
    np.testing.assert_allclose(moments.about(np.full(4, 1e6)), about, rtol=1e-8)


@pytest.mark.parametrize("dim", [1, 2, 5, 12])
def test_ppca_is_the_explicit_gaussian_for_every_q(dim):
    train, test = correlated(200, dim, 1), correlated(90, dim, 2)
    spectrum = Spectrum.of(Moments.of(train))
    mean, covariance = train.mean(axis=0), np.cov(train.T, bias=True).reshape(dim, dim)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    for rows in (train, test):
        curve = spectrum.curve(Moments.of(rows))
        assert curve.shape == (dim + 1,)
        for q in range(dim + 1):
            noise = values[q:].mean() if q < dim else 0.0
            model = vectors[:, :q] @ np.diag(values[:q] - noise) @ vectors[:, :q].T + noise * np.eye(dim)
            explicit = -np.mean(multivariate_normal.logpdf(rows, mean, model))
            assert curve[q] == pytest.approx(explicit, abs=1e-10 * max(1, abs(explicit)))
    on_train = spectrum.curve(Moments.of(train))
    assert on_train[-1] == pytest.approx(0.5 * np.log(2 * np.pi * np.e * values).sum(), abs=1e-10)
    assert (np.diff(on_train) <= 1e-10).all()  # a direction more never costs likelihood on the training rows


def test_the_cost_of_no_bias_is_the_closed_form():
    """Without bias the best affine flow is the Gaussian around 0 with R = E x x^T."""
    x = correlated(500, 6, 3)
    spectrum = Spectrum.of(Moments.of(x))
    second = x.T @ x / len(x)
    centred = -np.mean(multivariate_normal.logpdf(x, np.zeros(6), second))
    assert centred - spectrum.curve(Moments.of(x))[-1] == pytest.approx(spectrum.cost_without_bias(), abs=1e-10)


def test_a_repeated_column_is_raised_and_said():
    x = correlated(200, 3, 4)
    spectrum = Spectrum.of(Moments.of(np.column_stack([x, x[:, 0]])))
    assert spectrum.raised == 1
    assert spectrum.condition == pytest.approx(1e12)
    assert np.isfinite(spectrum.curve(Moments.of(np.column_stack([x, x[:, 0]])))).all()


def test_the_gap_is_the_divergence_of_two_gaussians():
    z = correlated(400, 5, 5)
    moments = Moments.of(z)
    mean, covariance = z.mean(axis=0), np.cov(z.T, bias=True)
    gap = 0.5 * (np.trace(covariance) + mean @ mean - 5 - np.linalg.slogdet(covariance)[1])
    assert gaussian_gap(moments) == pytest.approx(gap, abs=1e-10)
    assert gaussian_gap(Moments.of(z[:3])) == np.inf  # three rows span two directions


def test_normal_latents_stay_within_chance():
    rng = np.random.default_rng(6)
    found = [Latents.of(rng.standard_normal((500, 8))) for _ in range(40)]
    assert all(latents.gap_nats < latents.gap_by_chance for latents in found)
    assert np.mean([latents.gap_nats for latents in found]) == pytest.approx(8 * 11 / 4 / 500, rel=0.1)
    assert all(latents.excess_kurtosis < 0.7 for latents in found)


def test_latents_tell_skewness_and_kurtosis():
    rng = np.random.default_rng(7)
    latents = Latents.of(rng.exponential(size=(200_000, 2)) * 3 - 5)
    assert latents.skewness == pytest.approx(2, abs=0.1)
    assert latents.excess_kurtosis == pytest.approx(6, abs=1)
    assert latents.largest_mean == pytest.approx(2, abs=0.05)


def bias_of_neighbours(dim: int, rows: int) -> float:
    """The first term, in N^(-2/D), of the estimate's bias on rows of N(0, I); 0 up to D = 2, where it falls as 1 / N.

    p in a ball around x is p(x) + r^2 tr p''(x) / (2 D + 4) on average, which moves the mean of log r_k by
    Gamma(k + 2/D) / Gamma(k) (N V_D)^(-2/D) / (2 D + 4) times the integral of p^(-2/D) tr p'', which is
    2 pi s^D D (s^2 - 1) with s^2 = D / (D - 2).
    """
    if dim <= 2:
        return 0.0
    k, s = entropies.NEIGHBOUR, np.sqrt(dim / (dim - 2))
    volume = np.pi ** (dim / 2) / gamma(dim / 2 + 1)
    of_distance = gamma(k + 2 / dim) / gamma(k) * (rows * volume) ** (-2 / dim)
    return of_distance / (2 * dim + 4) * 2 * np.pi * s**dim * dim * (s * s - 1)


def allowed_of_neighbours(dim: int, rows: int) -> float:
    """Its bias, and standard errors: log p of a normal row has variance D / 2, log of its ball's mass psi'(k)."""
    deviation = np.sqrt(dim / 2 + polygamma(1, entropies.NEIGHBOUR))
    return bias_of_neighbours(dim, rows) + float(tolerances.of_estimate(deviation, rows))


@pytest.mark.parametrize("dim", [1, 2, 6])
def test_nearest_neighbours_find_the_entropy_of_a_gaussian(dim):
    covariance = np.cov(correlated(4000, dim, 8).T, bias=True).reshape(dim, dim)
    x = np.random.default_rng(9).multivariate_normal(np.zeros(dim), covariance, 4000)
    exact = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1]
    assert entropies.nearest_neighbours(x).nats == pytest.approx(exact, abs=allowed_of_neighbours(dim, len(x)))


def test_nearest_neighbours_know_their_limits():
    rng = np.random.default_rng(10)
    assert entropies.nearest_neighbours(rng.standard_normal((100, 7))) is None
    assert entropies.nearest_neighbours(rng.standard_normal((7, 2))) is None
    twins = rng.standard_normal((20, 2))
    for rows, reason in (
        (rng.standard_normal((100, 7)), "in at most 6"),
        (rng.standard_normal((7, 2)), "too few rows"),
        (np.repeat(twins, 5, axis=0), "rows repeat"),
        (np.column_stack([twins, twins[:, 0]]), "singular"),
    ):
        assert entropies.nearest_neighbours(rows) is None
        assert reason in entropies.why_unknown(rows)
    assert entropies.why_unknown(twins) == ""
    assert entropies.nearest_neighbours(rng.standard_normal((10_500, 1))).rows == entropies.MOST_ROWS
    assert entropies._digamma(7) == pytest.approx(digamma(7), abs=1e-14)


def test_units_and_correlations_of_columns_cost_nothing():
    """Of the rows as they are, neighbours along the narrow direction are never met: the estimate is nats too large."""
    x = np.random.default_rng(12).standard_normal((300, 3)) @ np.array([[1, 1e4, 0], [0, 1, 0], [0, 1e4, 1e-3]])
    exact = 1.5 * np.log(2 * np.pi * np.e) + np.log(1e-3)
    assert entropies.nearest_neighbours(x).nats == pytest.approx(exact, abs=allowed_of_neighbours(3, len(x)))


@pytest.mark.parametrize(("wide", "known"), [(0.02, False), (1.0, True)])
def test_too_few_rows_along_a_thin_curve_say_so(wide, known):
    """Their neighbours lie along the curve, not across it: nats too large, below which every good density would be."""
    rng = np.random.default_rng(13)
    angle = np.sqrt(rng.uniform(0, 400, 2000))
    x = angle[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]) + wide * rng.standard_normal((2000, 2))
    assert (entropies.why_unknown(x) == "") == known
    assert known or "half of these give" in entropies.why_unknown(x)


def test_a_users_file_with_a_toy_sets_name_has_no_known_density():
    x = correlated(100, 2, 11)
    assert entropies.of_data(Dataset("two-moons", x, x, x), x).method == "known density"
    assert entropies.of_data(Dataset("two-moons", x, x, x, public=False), x).method == "k-nearest neighbours"
