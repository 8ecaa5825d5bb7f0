"""`diagnose`: its figures on models whose answers are known, and each flag with a fault and without."""

import numpy as np
import pytest

from lunet_export import ExportedFlow, data, noise
from lunet_export.checks import reference
from lunet_export.data import Dataset
from lunet_export.diagnostics import FLAGS, FolderSource, Source, WeightsSource, diagnose, recalibrate
from lunet_export.diagnostics.activations import Tally
from lunet_export.flows import lunet
from lunet_export.flows.lunet import activation_of
from lunet_export.layers import ACTIVATIONS, LU, Chain
from lunet_export.preprocessing import NAMED, dequantize, logit
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.lunet.initial import start
from tests import tolerances
from tests.families import composed, realnvp
from tests.networks import PAPERS, network

MOONS = data.load("two-moons")
ROOT = np.array([[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [-0.3, 0.4, 0.2]])


def gaussian_rows(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 3)) @ ROOT.T + 1


VECTORS = Dataset("vectors", gaussian_rows(4000, 0), gaussian_rows(10, 1), gaussian_rows(4000, 2), public=False)


def one_layer(x: np.ndarray, preprocessing=None) -> Chain:
    """The Gaussian of the rows, exactly, as one LU block."""
    h = logit(x, preprocessing)[0] if preprocessing else x
    upper = np.linalg.cholesky(np.linalg.inv(np.cov(h.T, bias=True))).T
    return lunet((LU(np.eye(len(upper)), upper, -upper @ h.mean(axis=0)),), 0.1, preprocessing)


def names(report) -> set[str]:
    return {flag.name for flag in report.flags}


GOOD = diagnose(WeightsSource(one_layer(VECTORS.train)), VECTORS, seed=0)


def test_a_gaussian_model_of_gaussian_data_is_the_gaussian():
    assert GOOD.model.train.nats == pytest.approx(GOOD.gaussian.train.nats, abs=1e-10)
    assert GOOD.model.test.nats == pytest.approx(GOOD.gaussian.test.nats, abs=1e-10)
    assert GOOD.gain.nats == pytest.approx(0, abs=1e-10)
    assert GOOD.latents_train.gap_nats == pytest.approx(0, abs=1e-10)
    assert (names(GOOD), GOOD.activations) == (set(), ())
    exact = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * ROOT @ ROOT.T)[1]
    assert GOOD.entropy.nats == pytest.approx(exact, abs=0.1)
    assert "low by about" in GOOD.entropy.bias


def test_mean_log_det_is_the_difference_of_entropies_on_a_gaussian_model():
    """With the Gaussian's own entropy, exactly; by nearest neighbours, whatever the flow, up to their scatter."""
    at_optimum = 1.5 * np.log(2 * np.pi * np.e) - GOOD.gaussian.train.nats
    assert GOOD.log_det.mean == pytest.approx(at_optimum, abs=1e-10)
    assert GOOD.log_det.identity == pytest.approx(GOOD.log_det.mean, abs=0.02)
    other = diagnose(WeightsSource(network(2, 3)), MOONS, seed=0)
    assert other.log_det.identity == pytest.approx(other.log_det.mean, abs=0.02)
    wrong = diagnose(Scaled(network(2, 3)), MOONS, seed=0)
    assert abs(wrong.log_det.identity - wrong.log_det.mean) > 0.3  # a Jacobian that is not the map's is seen


class Scaled(WeightsSource):
    """Its z is half of what its log-det is of."""

    def density(self, x, on_activation, *, context=None):
        z, log_det, _ = super().density(x, on_activation, context=context)
        return z / 2, log_det, reference.standard_normal_log_prob(z / 2) + log_det


def test_images_are_on_the_true_scale():
    p = NAMED["digits"]
    rng = np.random.default_rng(3)
    grey = [
        np.clip(rng.normal(8, 3, (n, 1)) + rng.normal(0, 2, (n, 5)), 0, 16).astype(np.uint8) for n in (2500, 9, 400)
    ]
    images = Dataset("grey", *grey, p)
    x, test = (
        dequantize(rows, noise.uniform(7, range(len(rows)), 5, draw=draw))
        for rows, draw in ((grey[0], 0), (grey[2], 1))
    )
    gaussian = one_layer(x, p)
    report = diagnose(WeightsSource(gaussian), images, seed=7)
    assert report.model.test.nats == pytest.approx(-reference.log_prob(gaussian, test).mean(), abs=1e-10)
    assert report.model.test.bits_per_dim == pytest.approx(report.model.test.nats / 5 / np.log(2))
    assert report.gaussian.test.nats == pytest.approx(report.model.test.nats, abs=1e-10)
    line = Gaussian.fit(x, p).log_prob(test).mean()  # what `train` prints, with 1e-6 of each variance added
    assert report.gaussian.test.nats == pytest.approx(-line, abs=1e-4)
    assert report.best_q == int(np.argmin(report.ppca_test))
    assert {0, 1, 2, 4, 5} <= set(report.shown_q())


def test_a_folder_agrees_with_its_model_and_says_what_it_cannot_tell(exported):
    grey = np.random.default_rng(4).integers(0, 17, (200, 16), dtype=np.uint8)
    images = Dataset("grey", grey, grey[:9], grey[:50], NAMED["digits"])
    whole = diagnose(WeightsSource(network(16, 3, preprocessing=NAMED["digits"])), images, seed=0)
    folder = diagnose(FolderSource(ExportedFlow(exported.folder, provider="cpu")), images, seed=0)
    weights = network(16, 3, preprocessing=NAMED["digits"])
    test = dequantize(grey[:50], noise.uniform(0, range(50), 16, draw=1))
    train = dequantize(grey, noise.uniform(0, range(200), 16, draw=0))
    allowed = tolerances.of_density(weights, test)["log_prob"].mean()
    assert abs(folder.model.test.nats - whole.model.test.nats) <= allowed
    assert abs(folder.model.train.nats - whole.model.test.nats) > allowed
    of_train, z = tolerances.of_density(weights, train), reference.encode(weights, train)[0]
    of_base = (np.abs(z).sum(axis=1) + 8 * of_train["z"]) * of_train["z"]  # log_prob less that of z under N(0, I)
    assert abs(folder.log_det.mean - whole.log_det.mean) <= (of_train["log_prob"] + of_base).mean()
    np.testing.assert_array_equal(folder.ppca_test, whole.ppca_test)
    assert (folder.activations, set(folder.not_available)) == (None, {"activations", "entropy"})
    assert (len(whole.activations), set(whole.not_available)) == (2, {"entropy"})


# Flags: each fires on its fault, and none on what is right


def test_worse_than_the_gaussian():
    assert "WORSE_THAN_GAUSSIAN" in names(diagnose(WeightsSource(network(3, 2)), VECTORS, seed=0))
    assert "WORSE_THAN_GAUSSIAN" not in names(GOOD)
    repeated = [np.column_stack([rows, rows[:, 0]]) for rows in (VECTORS.train, VECTORS.valid, VECTORS.test)]
    unbounded = diagnose(WeightsSource(network(4, 2)), Dataset("repeated", *repeated), seed=0)
    assert (unbounded.raised_eigenvalues, "WORSE_THAN_GAUSSIAN" in names(unbounded)) == (1, False)


def test_log_pi_for_log_2_pi_is_below_the_entropy(monkeypatch):
    """The constant of the code released with the paper, planted into the reference."""
    right = reference.standard_normal_log_prob
    monkeypatch.setattr(reference, "standard_normal_log_prob", lambda z: right(z) + 0.5 * z.shape[1] * np.log(2))
    report = diagnose(WeightsSource(one_layer(VECTORS.train)), VECTORS, seed=0)
    assert names(report) == {"BELOW_ENTROPY"}
    assert report.entropy.below_by > 3
    assert "BELOW_ENTROPY" not in names(GOOD)


class Oracle(Source):
    """The density that two moons are drawn from, as a model: nothing can be better."""

    dim, preprocessing, activations, hidden = 2, None, None, "an oracle has none"

    def __init__(self, shift: float) -> None:
        self.shift = shift

    def density(self, x, on_activation, *, context=None):
        log_prob = data.toy.log_density("two-moons", x) + self.shift
        return x, log_prob - reference.standard_normal_log_prob(x), log_prob

    def decode(self, z, *, context=None):
        return z


def test_a_known_density_is_its_own_entropy():
    report = diagnose(Oracle(0.0), MOONS, seed=0)
    assert (report.entropy.method, report.entropy.kl_nats) == ("known density", pytest.approx(0, abs=1e-12))
    assert "BELOW_ENTROPY" not in names(report)
    assert "BELOW_ENTROPY" in names(diagnose(Oracle(np.log(2)), MOONS, seed=0))


def shifted(by: float) -> Chain:
    """A start near the Gaussian whose first activation is moved by so much along its input, and no block noise."""
    gaussian = Gaussian.fit(VECTORS.train, None)
    begin = start(gaussian, init="bend", signs="positive", blocks=3, f=PAPERS, seed=0)
    blocks = [
        LU(np.eye(3), np.diag(np.diag(block.upper)), block.bias + (by if number < 2 else 0.0))
        for number, block in enumerate(begin.of(LU))
    ]
    return recalibrate(begin.with_layers(blocks), VECTORS, seed=0)[0]


@pytest.mark.parametrize("by", [-40.0, 40.0])
def test_linear_collapse_on_either_branch(by):
    collapsed = diagnose(WeightsSource(shifted(by)), VECTORS, seed=0)
    assert "LINEAR_COLLAPSE" in names(collapsed)
    branch = np.log(0.1) if by < 0 else 0.0
    assert collapsed.activations[0].log_slope == pytest.approx(branch, abs=1e-6)
    bending = diagnose(WeightsSource(shifted(0.0)), VECTORS, seed=0)
    assert "LINEAR_COLLAPSE" not in names(bending)
    assert all(entry.active > 0.1 for entry in bending.activations)


def test_units_that_jump_between_the_branches_are_active():
    """Outside the bend, yet no affine map: a leaky ReLU seen from afar."""
    tally = Tally([PAPERS])
    tally(1, np.array([[-50.0, 50.0], [50.0, 50.0]]))
    other = Tally([PAPERS])
    other(1, np.array([[-50.0, 0.0], [50.0, 50.0]]))
    tally.merge(other)
    (found,) = tally.result()
    assert (found.in_bend, found.active) == (1 / 8, (0.5 + 0.25) / 2)


@pytest.mark.parametrize(
    ("name", "where", "active"),
    [
        ("leaky-softplus", 0.1, 1.0),  # in its bend
        ("leaky-relu", 0.1, 0.0),  # all on one side of the kink
        ("leaky-tanh", 0.1, 0.0),  # all between its bends
        ("leaky-tanh", 1.0, 1.0),
        ("leaky-tanh", 5.0, 0.0),
        ("leaky-squareplus", 0.1, 1.0),
        ("leaky-squareplus", 5.0, 0.0),
    ],
)
def test_a_unit_on_one_straight_piece_of_its_activation_is_affine(name, where, active):
    tally = Tally([activation_of(name, 0.1)])
    tally(1, np.array([[where], [1.1 * where]]))
    (found,) = tally.result()
    assert (found.active, found.in_bend) == (active, active)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_branches_are_where_the_slope_is_all_but_constant(name):
    f, a = activation_of(name, 0.1), np.linspace(-12, 12, 24_001)
    share = (f.slope(a) - f.least) / (1 - f.least)
    on = np.any([(a >= low) & (a < high) for low, high in f.branches], axis=0)
    straight = (share <= 0.05) | (share >= 0.95)
    assert straight[on].all()
    assert (on == straight).mean() > 0.99  # and no more than rounds the ends


def test_latents_that_are_not_normal():
    off = one_layer(VECTORS.train)
    (block,) = off.of(LU)
    moved = off.with_layers([LU(block.lower, block.upper * 1.3, block.bias + 0.5)])
    report = diagnose(WeightsSource(moved), VECTORS, seed=0)
    assert "LATENT_NOT_NORMAL" in names(report)
    before = report.model.train.nats
    folded, done = recalibrate(moved, VECTORS, seed=0)
    mended = diagnose(WeightsSource(folded), VECTORS, seed=0)
    assert names(mended) == set()
    assert before - mended.model.train.nats == pytest.approx(report.latents_train.gap_nats, abs=1e-8)
    assert done.gain_nats == pytest.approx(report.latents_train.gap_nats, abs=1e-12)
    x = np.random.default_rng(5).exponential(size=(3000, 2))
    skewed = diagnose(WeightsSource(one_layer(x)), Dataset("skewed", x, x[:9], x[:500]), seed=0)
    assert names(skewed) == {"LATENT_NOT_NORMAL"}
    assert "skewness" in skewed.flags[0].sentence


@pytest.mark.parametrize(("make", "named"), [(composed.NETWORKS["couplings"], True), (realnvp.PLANE, False)])
def test_recalibrate_is_named_only_where_it_works(make, named):
    """It said so of a RealNVP too, which `recalibrate` refuses."""
    weights = make()
    x = 5 * np.random.default_rng(0).standard_normal((500, weights.dim)) + 1
    report = diagnose(WeightsSource(weights), Dataset("far", x, x[:9], x[:500]), seed=0)
    (flag,) = (flag for flag in report.flags if flag.name == "LATENT_NOT_NORMAL")
    assert "Gaussian gap" in flag.sentence
    assert ("which recalibrate would remove" in flag.sentence) == named


def test_an_infinite_gap_is_dead_latents_or_too_few_rows():
    dead = Dataset(
        "dead", *[np.column_stack([rows, rows[:, 0]]) for rows in (VECTORS.train, VECTORS.test, VECTORS.test)]
    )
    (flag,) = (f for f in diagnose(WeightsSource(network(4, 1)), dead, seed=0).flags if f.name == "LATENT_NOT_NORMAL")
    assert "no variance in some direction" in flag.sentence
    few = Dataset("few", VECTORS.train[:3], VECTORS.valid, VECTORS.test)
    assert "LATENT_NOT_NORMAL" not in names(diagnose(WeightsSource(one_layer(VECTORS.train)), few, seed=0))


def test_every_flag_has_its_sentence():
    assert set(FLAGS) == {"WORSE_THAN_GAUSSIAN", "BELOW_ENTROPY", "LINEAR_COLLAPSE", "LATENT_NOT_NORMAL"}
    assert names(GOOD) <= set(FLAGS)
