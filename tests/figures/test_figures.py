"""The numbers behind the pictures, each against what is known without the code that makes them."""

from dataclasses import replace

import numpy as np
import pytest

from lunet_export import data, noise
from lunet_export.checks import reference
from lunet_export.data import Contexts, Dataset
from lunet_export.diagnostics import FolderSource, WeightsSource, diagnose
from lunet_export.diagnostics.rows import TEST, over_batches
from lunet_export.errors import BadInputError
from lunet_export.figures import (
    Histogram,
    activation_inputs,
    density_map,
    interpolate,
    latent_distribution,
    shown_contexts,
)
from lunet_export.figures.interpolation import linear, spherical
from lunet_export.figures.latent_distribution import mean_square_density, normal_density, unit_vectors
from lunet_export.flows import lunet
from lunet_export.layers import LU, Chain
from lunet_export.pictures import samples as pictures
from lunet_export.preprocessing import NAMED
from lunet_export.runtime import ExportedFlow
from tests import conditional, tolerances
from tests.linear import DATA as GIVEN
from tests.linear import fitted
from tests.networks import network

DIGITS = network(16, 3, preprocessing=NAMED["digits"])
IMAGES = WeightsSource(DIGITS, image_shape=(4, 4))
MOONS = data.load("two-moons")


def grey_rows(n: int) -> Dataset:
    grey = np.random.default_rng(0).integers(0, 17, (n, 16), dtype=np.uint8)
    return Dataset("grey", grey, grey[:9], grey, NAMED["digits"], image_shape=(4, 4), public=False)


def identity(dim: int) -> Chain:
    """The standard normal itself."""
    return lunet((LU(np.eye(dim), np.eye(dim), np.zeros(dim)),), 0.1)


def normal_rows(n: int, dim: int) -> Dataset:
    x = noise.normal(5, range(n), dim)
    return Dataset("normal", x, x[:9], x, public=False)


# Histograms


def test_a_histogram_is_a_density_with_what_lies_outside():
    values = np.random.default_rng(0).standard_normal((1000, 7))
    histogram = Histogram.of(values, -1, 2, bins=30)
    inside = ((values >= -1) & (values <= 2)).mean()
    assert histogram.outside == pytest.approx(1 - inside)
    assert (histogram.density * np.diff(histogram.edges)).sum() == pytest.approx(inside)


# Interpolation


@pytest.mark.parametrize("path", ["spherical", "linear"])
def test_a_path_begins_and_ends_with_the_images_themselves(path):
    rows = grey_rows(50)
    x = interpolate(IMAGES, rows, pairs=6, steps=5, seed=3, path=path)
    assert x.shape == (6, 5, 16)
    ends = np.floor(x[:, [0, -1]]).reshape(-1, 16)
    known = {tuple(row) for row in rows.test.tolist()}
    assert all(tuple(row) in known for row in ends.astype(int).tolist())
    assert len(np.unique(ends, axis=0)) == 12  # no image twice
    np.testing.assert_array_equal(pictures.to_grey(x[:, 0], IMAGES), np.round(np.floor(x[:, 0]) * 255 / 16))


@pytest.mark.parametrize("way", [spherical, linear])
def test_a_path_is_continuous_up_to_its_ends(way):
    """Decoded just beside an end, the image is the one at the end: encode, path and decode fit together."""
    x = interpolate(IMAGES, grey_rows(50), pairs=4, steps=5, seed=0, path="linear")
    z = [IMAGES.density(x[:, end])[0] for end in (0, -1)]
    beside = way(*z, np.array([1e-9, 1 - 1e-9]))
    np.testing.assert_allclose(IMAGES.decode(beside[:, 0]), x[:, 0], atol=1e-4)
    np.testing.assert_allclose(IMAGES.decode(beside[:, 1]), x[:, -1], atol=1e-4)


def test_the_spherical_path_keeps_the_norm_and_the_linear_one_loses_it():
    start, end = np.random.default_rng(1).standard_normal((2, 5, 400))
    end *= (np.linalg.norm(start, axis=1) / np.linalg.norm(end, axis=1))[:, None]
    t = np.linspace(0, 1, 7)
    radius = np.linalg.norm(start, axis=1)
    np.testing.assert_allclose(np.linalg.norm(spherical(start, end, t), axis=2), np.tile(radius[:, None], 7))
    assert np.linalg.norm(linear(start, end, t), axis=2)[:, 3] == pytest.approx(radius * np.sqrt(0.5), rel=0.1)
    for way in (spherical, linear):
        np.testing.assert_allclose(way(start, end, t)[:, 0], start, atol=1e-12)
        np.testing.assert_allclose(way(start, end, t)[:, -1], end, atol=1e-12)


def test_parallel_and_zero_latents_take_the_chord():
    start = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    end = np.array([[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    np.testing.assert_allclose(
        spherical(start, end, np.array([0.5]))[:, 0], [[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]], atol=1e-12
    )


def test_a_folder_draws_the_paths_of_its_model(exported):
    folder = FolderSource(ExportedFlow(exported.folder, provider="cpu"))
    got, expected = (
        interpolate(source, grey_rows(50), pairs=3, steps=5, seed=0, path="spherical") for source in (folder, IMAGES)
    )
    ends = np.concatenate([expected[:, 0], expected[:, -1]])
    np.testing.assert_array_equal(got[:, [0, -1]], expected[:, [0, -1]])
    z = folder.density(ends)[0]
    tolerances.assert_within(z, IMAGES.density(ends)[0], tolerances.of_density(DIGITS, ends)["z"])
    between = spherical(z[:3], z[3:], np.array([0.25, 0.5, 0.75])).reshape(-1, 16)
    drawn, allowed = got[:, 1:-1].reshape(-1, 16), tolerances.of_sampling(DIGITS, between)["x"]
    tolerances.assert_within(drawn, IMAGES.decode(between), allowed)
    assert tolerances.beyond(drawn, IMAGES.decode(between[::-1]), allowed) > 1


# Latents


def test_projections_of_standard_normal_latents_are_normal():
    law = latent_distribution(WeightsSource(identity(40)), normal_rows(20_000, 40), projections=5, seed=1)
    assert (law.rows, law.dim, len(law.projections)) == (20_000, 40, 5)
    for histogram in (*law.projections, law.entries):
        width = np.diff(histogram.edges)
        expected = normal_density((histogram.edges[1:] + histogram.edges[:-1]) / 2)
        assert (np.abs(histogram.density - expected) * width).sum() < 0.05  # total variation by chance
    of_std = tolerances.of_estimate(
        np.sqrt(0.5), 20_000
    )  # a normal law's deviation has a standard error of 1 / sqrt(2 n)
    np.testing.assert_allclose(law.projection_stds, 1, atol=of_std)
    np.testing.assert_allclose(np.linalg.norm(unit_vectors(5, 40, seed=1), axis=1), 1)


def test_a_wrong_scale_shows_in_every_panel():
    wide = identity(40).with_layers([LU(np.eye(40), 1.3 * np.eye(40), np.full(40, 0.2))])
    law = latent_distribution(WeightsSource(wide), normal_rows(5000, 40), projections=3, seed=0)
    np.testing.assert_allclose(law.stds, 1.3, atol=tolerances.of_estimate(1.3 * np.sqrt(0.5), 5000))
    np.testing.assert_allclose(law.means, 0.2, atol=tolerances.of_estimate(1.3, 5000))
    np.testing.assert_allclose(law.projection_stds, 1.3, atol=tolerances.of_estimate(1.3 * np.sqrt(0.5), 5000))
    # z^2 / D of N(0.2, 1.3^2), over 40 columns and 5000 rows: variance 2 s^4 + 4 m^2 s^2 each.
    of_square = tolerances.of_estimate(np.sqrt(2 * 1.3**4 + 4 * 0.2**2 * 1.3**2), 40 * 5000)
    assert law.mean_of_square == pytest.approx(1.3**2 + 0.2**2, abs=of_square)


@pytest.mark.parametrize("dim", [2, 40, 784])
def test_the_law_of_the_squared_length(dim):
    """It integrates to 1, with mean 1 and variance 2 / D, and rows of N(0, I) follow it."""
    r = np.linspace(0, 1 + 12 * np.sqrt(2 / dim), 200_001)[1:] - 1e-9
    step, density = r[1] - r[0], mean_square_density(r, dim)
    assert density.sum() * step == pytest.approx(1, abs=1e-3)
    assert (r * density).sum() * step == pytest.approx(1, abs=2e-3)
    assert ((r - 1) ** 2 * density).sum() * step == pytest.approx(2 / dim, rel=0.01)
    if dim == 40:
        square = latent_distribution(
            WeightsSource(identity(40)), normal_rows(20_000, 40), projections=1, seed=0
        ).mean_square
        expected = mean_square_density((square.edges[1:] + square.edges[:-1]) / 2, dim)
        assert (np.abs(square.density - expected) * np.diff(square.edges)).sum() < 0.08


def test_the_caption_is_what_diagnose_says():
    rows = grey_rows(200)
    assert (
        latent_distribution(IMAGES, rows, projections=1, seed=0).summary == diagnose(IMAGES, rows, seed=0).latents_test
    )


# Density


@pytest.mark.slow
def test_the_map_of_a_gaussian_network_is_its_gaussian_and_integrates_to_one():
    upper, bias = np.array([[2.0, 0.6], [0.0, 0.8]]), np.array([0.3, -0.4])
    source = WeightsSource(lunet((LU(np.eye(2), upper, bias),), 0.1))
    found = density_map(source, MOONS, samples=4000, seed=0, cells=160, window=np.array([[-8.0, 8.0], [-8.0, 8.0]]))
    assert found.integral(found.model) == pytest.approx(1, abs=1e-6)
    middle = -8 + 16 * (np.array([70, 90]) + 0.5) / 160  # x1 of column 70, x2 of row 90
    z = upper @ middle + bias
    assert found.model[90, 70] == pytest.approx(1.6 * np.exp(-z @ z / 2) / (2 * np.pi), rel=1e-10)
    cov = np.linalg.inv(upper.T @ upper)
    # The standard error of an entry of a normal law's covariance, of 4000 samples.
    scatter = np.sqrt(np.outer(np.diag(cov), np.diag(cov)) + cov**2)
    tolerances.assert_within(np.cov(found.samples.T), cov, tolerances.of_estimate(scatter, 4000))
    assert found.test_nats == pytest.approx(diagnose(source, MOONS, seed=0).model.test.nats, abs=1e-12)


def test_the_truth_is_there_where_it_is_known():
    source = WeightsSource(network(2, 3))
    found = density_map(source, MOONS, samples=10, seed=0, cells=100)
    assert found.integral(found.truth) == pytest.approx(1, abs=0.01)
    assert (found.entropy.method, found.samples.shape) == ("known density", (10, 2))
    own = Dataset("two-moons", MOONS.train, MOONS.valid, MOONS.test[:500], public=False)
    found = density_map(source, own, samples=10, seed=0, cells=10)
    assert (found.truth, found.entropy.method) == (None, "k-nearest neighbours")


def test_two_grey_levels_have_their_own_window():
    grey = np.random.default_rng(0).integers(0, 17, (50, 2), dtype=np.uint8)
    source = WeightsSource(network(2, 2, preprocessing=NAMED["digits"]))
    found = density_map(source, Dataset("grey", grey, grey, grey, NAMED["digits"]), samples=5, seed=0, cells=20)
    np.testing.assert_array_equal(found.window, [[0, 17], [0, 17]])
    assert np.isfinite(found.model).all()


# Activations


def pushed(by: float) -> WeightsSource:
    """The network of images with the bias of its first block moved: its first activation sees `by` more."""
    first, *rest = DIGITS.of(LU)
    blocks = [LU(first.lower, first.upper, first.bias + by), *rest]
    return WeightsSource(DIGITS.with_layers(blocks), name="pushed")


def test_shares_are_those_of_diagnose():
    rows = grey_rows(200)
    found = activation_inputs(IMAGES, rows, seed=0)
    for entry, diagnosed in zip(found.activations, diagnose(IMAGES, rows, seed=0).activations, strict=True):
        assert entry.activation.active == pytest.approx(diagnosed.active, abs=0.05)  # its rows have other noise
        assert entry.activation.number == diagnosed.number
    seen: list = []
    for _ in over_batches(
        lambda x, _: IMAGES.density(x, lambda number, a: seen.append((number, a))),
        rows,
        rows.part("test"),
        seed=0,
        draw=TEST,
        on_rows=lambda n: None,
    ):
        pass
    for number, a in seen:
        entry = found.activations[number - 1]
        (_, low), (high, _) = entry.f.branches
        left, right = (a < low).mean(axis=0), (a > high).mean(axis=0)
        share = 1 - np.maximum(left, right)
        assert entry.activation.active == pytest.approx(share.mean())
        np.testing.assert_allclose(np.sort(entry.active), np.sort(share))
        assert entry.active_units == pytest.approx((share >= 0.01).mean())
        np.testing.assert_allclose(entry.quantiles[2], np.sort(np.median(a, axis=0)))
        assert (np.diff(entry.quantiles, axis=0) >= 0).all()


@pytest.mark.parametrize("by", [60.0, -60.0])
def test_a_planted_collapse_is_seen(by):
    first = activation_inputs(pushed(by), grey_rows(200), seed=0).activations[0]
    assert (first.collapsed, first.active_units, first.activation.active) == (True, 0.0, 0.0)
    low, high = first.window
    assert low < -3 < 3 < high  # the bend is in the picture, beside the units
    assert not any(entry.collapsed for entry in activation_inputs(IMAGES, grey_rows(200), seed=0).activations)


def test_wide_models_are_looked_at_by_fewer_rows(monkeypatch):
    from lunet_export.figures import activation_inputs as function

    monkeypatch.setitem(function.__globals__, "_MOST_NUMBERS", 0)
    assert activation_inputs(IMAGES, grey_rows(500), seed=0).rows == 200


def test_what_does_not_fit_is_refused(exported):
    folder = FolderSource(ExportedFlow(exported.folder, provider="cpu"))
    with pytest.raises(
        BadInputError, match="has none: the density graph returns z and log_prob only; give the model file"
    ):
        activation_inputs(folder, grey_rows(50), seed=0)
    with pytest.raises(BadInputError, match="has 16"):
        density_map(folder, grey_rows(50), samples=3, seed=0)
    with pytest.raises(BadInputError, match="one block and none"):
        activation_inputs(WeightsSource(identity(3)), normal_rows(50, 3), seed=0)


# Contexts


LINEAR = WeightsSource(fitted(GIVEN), name="linear")


def test_contexts_that_are_shown_are_those_of_rows():
    c = GIVEN.contexts.test
    shown = shown_contexts(c)
    assert shown.shape == (3, 1)
    np.testing.assert_allclose((c <= shown.T).mean(axis=0), [0.1, 0.5, 0.9], atol=1 / len(c))
    two = np.column_stack([np.full(len(c), 7.0), c])
    assert {tuple(row) for row in shown_contexts(two)} <= {tuple(row) for row in two}
    assert shown_contexts(np.full((9, 2), 3.0)).tolist() == [[3.0, 3.0]]
    assert shown_contexts(np.array([[1.0], [0.0]] * 5)).tolist() == [[0.0], [1.0]]


def test_a_density_is_mapped_given_a_context():
    """It is that of the linear Gaussian at each point; the figure of the rows is that of their own contexts."""
    shown = shown_contexts(GIVEN.contexts.test)
    maps = [density_map(LINEAR, GIVEN, samples=50, seed=0, cells=60, context=context) for context in shown]
    for context, found in zip(shown, maps, strict=True):
        low, high = found.window.T
        point = low + (np.array([10, 40]) + 0.5) / 60 * (high - low)  # column 10, row 40
        exact = reference.log_prob(fitted(GIVEN), point[None], context)
        assert np.log(found.model[40, 10]) == pytest.approx(exact[0], abs=1e-10)
        z = noise.normal(0, range(50), 2)
        np.testing.assert_allclose(found.samples, reference.decode(fitted(GIVEN), z, context), atol=1e-10)
        assert found.test_nats == pytest.approx(diagnose(LINEAR, GIVEN, seed=0).model.test.nats, abs=1e-10)
        assert (found.truth, found.entropy) == (None, None)
    assert np.abs(maps[0].model - maps[2].model).max() > 0.1


def test_latents_and_activations_are_those_of_rows_with_their_contexts():
    source = WeightsSource(conditional.lu_net())
    x, c = conditional.rows(300)
    rows = Dataset("given", x, x, x, public=False, contexts=Contexts(None, c, c, c))
    z = reference.encode(conditional.lu_net(), x, c)[0]
    np.testing.assert_allclose(latent_distribution(source, rows, projections=2, seed=0).means, z.mean(axis=0))
    mixed = np.random.default_rng(0).permutation(c)
    other = replace(rows, contexts=Contexts(None, mixed, mixed, mixed))
    assert np.abs(latent_distribution(source, other, projections=2, seed=0).means - z.mean(axis=0)).max() > 1e-3
    here, there = (activation_inputs(source, each, seed=0).activations[0].quantiles for each in (rows, other))
    assert np.abs(here - there).max() > 1e-3


def test_a_path_leads_from_context_to_context():
    """Latents and contexts move together."""
    weights = replace(conditional.lu_net(), preprocessing=NAMED["digits"])
    source = WeightsSource(weights, image_shape=(2, 2))
    rng = np.random.default_rng(0)
    grey, c = rng.integers(0, 17, (40, 4), dtype=np.uint8), rng.uniform(-1, 2, (40, 3))
    rows = Dataset("grey", grey, grey, grey, NAMED["digits"], (2, 2), contexts=Contexts(None, c, c, c))
    x = interpolate(source, rows, pairs=3, steps=3, seed=0, path="linear")
    chosen = np.random.default_rng(0).choice(40, 6, replace=False)
    ends = [x[:, place] for place in (0, -1)]
    z = [source.density(part, context=c[of])[0] for part, of in zip(ends, (chosen[:3], chosen[3:]), strict=True)]
    middle = source.decode((z[0] + z[1]) / 2, context=(c[chosen[:3]] + c[chosen[3:]]) / 2)
    np.testing.assert_allclose(x[:, 1], middle, atol=1e-9)
    assert np.abs(source.decode((z[0] + z[1]) / 2, context=c[chosen[:3]]) - middle).max() > 1e-3
