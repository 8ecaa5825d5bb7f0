"""Training: reproducible, resumable bit by bit, and never without its best epoch."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lunet_export import checkpoint, noise
from lunet_export.checks import reference
from lunet_export.data import Dataset
from lunet_export.errors import BadInputError, CheckFailedError, CheckpointError
from lunet_export.preprocessing import Logit
from lunet_export.torch_layers import Flow
from lunet_export.training import FitSettings, Paths, train
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.lunet.architecture import LUNetArchitecture, LUNetTrainer
from lunet_export.training.lunet.initial import start
from lunet_export.training.train import device_named
from tests import tolerances
from tests.networks import PAPERS, network

CPU = torch.device("cpu")


def correlated(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    root = np.array([[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [-0.3, 0.4, 0.2]])
    return rng.standard_normal((n, 3)) @ root.T + np.array([1.0, -2.0, 0.5])


VECTORS = Dataset("vectors", correlated(600, 0), correlated(100, 1), correlated(100, 2))
IMAGES = Dataset(
    "images",
    *(np.random.default_rng(seed).integers(0, 8, (n, 6), dtype=np.uint8) for seed, n in ((0, 300), (1, 60), (2, 60))),
    Logit(8, 0.1),
    (2, 3),
    public=False,
)
THREE_BLOCKS = LUNetArchitecture(3)
SETTINGS = FitSettings(epochs=6, batch_size=50, learning_rate=2e-3, fallback=False)


class Interrupted(Exception):
    """Stands for a kill between two epochs or inside one."""


def run(
    path,
    data=VECTORS,
    settings=SETTINGS,
    *,
    resume=False,
    stop_in_epoch=None,
    architecture=THREE_BLOCKS,
    begin=None,
):
    seen = []

    def on_step(step, bits):
        if stop_in_epoch is not None and len(seen) == stop_in_epoch - 1 and step == 3:
            raise Interrupted

    return train(
        data,
        settings,
        path,
        architecture=architecture,
        device=CPU,
        resume=resume,
        on_start=lambda line, trainer: seen.extend(trainer.history),
        on_step=on_step,
        on_epoch=seen.append,
        begin=begin,
    )


def test_gaussian_is_the_closed_form():
    x = correlated(5000, 3)
    gaussian = Gaussian.fit(x, None)
    covariance = np.cov(x.T, bias=True)
    exact = torch.distributions.MultivariateNormal(torch.from_numpy(x.mean(0)), torch.from_numpy(covariance))
    np.testing.assert_allclose(gaussian.log_prob(x), exact.log_prob(torch.from_numpy(x)).numpy(), atol=1e-3)
    whitened = (x - gaussian.mean) @ gaussian.whiten.T
    np.testing.assert_allclose(np.cov(whitened.T, bias=True), np.eye(3), atol=1e-4)
    assert not np.tril(gaussian.whiten, -1).any()  # upper triangular: it is U of the first block


def test_gaussian_takes_columns_of_any_scale():
    x = correlated(5000, 3)
    scales = np.array([1e5, 1.0, 1e-3])
    shift = np.log(scales).sum()
    plain, scaled = Gaussian.fit(x, None), Gaussian.fit(x * scales, None)
    np.testing.assert_allclose(scaled.log_prob(x * scales) + shift, plain.log_prob(x), atol=1e-6)


def test_one_block_starts_at_the_gaussian():
    """One LU block is a full-covariance Gaussian; up to its faint noise, its start is the closed form."""
    x = correlated(2000, 4)
    gaussian = Gaussian.fit(x, None)
    begin = start(gaussian, init="whiten", blocks=1, f=PAPERS, seed=0)
    np.testing.assert_allclose(reference.log_prob(begin, x), gaussian.log_prob(x), rtol=1e-10)


def test_a_run_leaves_its_files_and_they_read_back(tmp_path):
    path = tmp_path / "model.pt"
    result = run(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "model.history.json",
        "model.png",
        "model.pt",
        "model.resume.pt",
    ]
    read = checkpoint.read(path)
    assert read.training["test"] == result.test
    assert read.training["best_epoch"] == result.best_epoch
    history = json.loads(Paths(path).history.read_text())
    valid = [epoch["valid"] for epoch in history["epochs"]]
    assert result.valid == min(valid)
    assert result.best_epoch == 1 + int(np.argmin(valid))
    rows = VECTORS.test.astype(np.float32).astype(np.float64)
    bits = -reference.log_prob(read.weights, rows).mean() / (3 * np.log(2))
    allowed = tolerances.of_bits(read.weights, rows)
    assert abs(bits - result.test) <= allowed  # the file holds the best epoch, not the last
    assert abs(result.gaussian_test - result.test) > allowed


def test_training_comes_close_to_the_gaussian_of_gaussian_data(tmp_path):
    result = run(
        tmp_path / "model.pt", settings=FitSettings(epochs=60, batch_size=50, learning_rate=5e-3, fallback=False)
    )
    assert result.test < result.gaussian_test + 0.1


def test_same_seed_same_model_other_seed_another(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(
            tmp_path / f"{name}.pt",
            settings=FitSettings(epochs=2, batch_size=50, learning_rate=2e-3, seed=seed, fallback=False),
        )
    digests = [checkpoint.read(tmp_path / f"{name}.pt").weights.digest() for name in "abc"]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("data", [VECTORS, IMAGES], ids=["vectors", "images"])
@pytest.mark.parametrize("stop_in_epoch", [2, 4])
def test_an_interrupted_run_goes_on_bit_by_bit(tmp_path, data, stop_in_epoch):
    whole = run(tmp_path / "whole.pt", data)
    with pytest.raises(Interrupted):
        run(tmp_path / "broken.pt", data, stop_in_epoch=stop_in_epoch)
    resumed = run(tmp_path / "broken.pt", data, resume=True)
    assert resumed == whole
    digests = [checkpoint.read(tmp_path / name).weights.digest() for name in ("whole.pt", "broken.pt")]
    assert digests[0] == digests[1]
    histories = [Paths(tmp_path / name).history.read_text() for name in ("whole.pt", "broken.pt")]
    assert histories[0] == histories[1]


def test_resume_refuses_other_settings_and_other_files(tmp_path):
    path = tmp_path / "model.pt"
    run(path)
    with pytest.raises(CheckpointError, match=r"differs: batch_size 50 \(now 40\)"):
        run(path, settings=FitSettings(epochs=6, batch_size=40, learning_rate=2e-3, fallback=False), resume=True)
    with pytest.raises(CheckpointError, match="Train without `resume`"):
        run(tmp_path / "none.pt", resume=True)
    other = Dataset("vectors", VECTORS.train + 1.0, VECTORS.valid, VECTORS.test)
    with pytest.raises(CheckpointError, match="differs: data"):
        run(path, other, resume=True)
    torch.save({"x": 1}, Paths(path).resume)
    with pytest.raises(CheckpointError, match="Expected a resume file"):
        run(path, resume=True)


def test_a_damaged_resume_file_says_what_is_left(tmp_path):
    run(tmp_path / "m.pt")
    resume = Paths(tmp_path / "m.pt").resume
    for damage in (lambda: resume.write_bytes(b"x"), lambda: torch.save({"x": 1}, resume)):
        damage()
        with pytest.raises(CheckpointError, match=r"m\.pt beside it is whole: .* `begin='.*m\.pt'` and another path"):
            run(tmp_path / "m.pt", resume=True)
    resume.write_bytes(b"x")
    (tmp_path / "m.pt").write_bytes(b"y")
    with pytest.raises(CheckpointError, match=r"damaged or another format\. Start a new run"):
        run(tmp_path / "m.pt", resume=True)


def test_early_stopping_ends_a_run_that_gets_no_better(tmp_path):
    settings = FitSettings(epochs=40, batch_size=50, learning_rate=1e-30, patience=2, whitened=False, fallback=False)
    result = run(tmp_path / "model.pt", settings=settings)
    assert result.epochs < 40


def test_a_diverging_run_stops_with_a_sentence(tmp_path):
    with pytest.raises(CheckFailedError, match=r"Expected a finite loss; got .* smaller `learning_rate`"):
        run(tmp_path / "model.pt", settings=FitSettings(epochs=6, batch_size=50, learning_rate=1e6, fallback=False))


def test_users_rows_never_travel_in_a_model(tmp_path):
    run(tmp_path / "private.pt", IMAGES, FitSettings(epochs=1, batch_size=50, learning_rate=1e-3, fallback=False))
    run(tmp_path / "public.pt", settings=FitSettings(epochs=1, batch_size=50, learning_rate=1e-3, fallback=False))
    assert checkpoint.read(tmp_path / "private.pt").examples is None
    assert checkpoint.read(tmp_path / "public.pt").examples.shape == (8, 3)


def test_every_log_determinant_is_in_the_gradient():
    """The released code detaches the activations' term; a finite difference of log p would then disagree."""

    flow = Flow.of(network(3, 3), dtype=torch.float64)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    x = torch.from_numpy(correlated(4, 5))
    parameters = dict(flow.named_parameters())
    name = "chain.bijections.0.bias"  # acts through every activation behind it

    def value(bias):
        return torch.func.functional_call(flow, {**parameters, name: bias}, (x,))

    flow.forward = flow.log_prob
    assert torch.autograd.gradcheck(value, parameters[name].detach().requires_grad_())


def test_images_get_fresh_noise_for_training_and_fixed_noise_for_validation(tmp_path):
    from lunet_export.training.fit import mean_bits_per_dim

    trainer = LUNetTrainer(network(6, 4, preprocessing=IMAGES.preprocessing), IMAGES, SETTINGS, device=CPU)
    first, second = (torch.cat([batch.x for batch in trainer._batches()]) for _ in range(2))
    assert set(first.floor().unique().tolist()) == set(range(8))
    assert not np.intersect1d(first.numpy(), second.numpy()).size > 0.01 * first.numel()
    assert mean_bits_per_dim(trainer.flow, IMAGES, IMAGES.valid, seed=1) == mean_bits_per_dim(
        trainer.flow, IMAGES, IMAGES.valid, seed=1
    )


def test_defaults_follow_the_data():
    small, large = LUNetArchitecture.settings(1297, 64), LUNetArchitecture.settings(55000, 784)
    assert (small.batch_size, small.epochs, large.batch_size, large.epochs) == (64, 200, 256, 42)
    assert small.learning_rate > large.learning_rate
    assert LUNetArchitecture.settings(1297, 64, epochs=3, seed=None).epochs == 3


@pytest.mark.parametrize("given", [{"epochs": 0}, {"batch_size": -1}, {"learning_rate": 0.0}, {"seed": -1}])
def test_nonsense_settings_are_refused(given):
    with pytest.raises(BadInputError, match="Expected"):
        LUNetArchitecture.settings(100, 2, **given)


def test_settings_of_another_kind_are_refused(tmp_path):
    with pytest.raises(BadInputError, match="Expected settings for lunet; got settings for jko"):
        run(tmp_path / "model.pt", settings=replace(SETTINGS, family="jko"))


def test_an_unknown_device_is_refused():
    with pytest.raises(BadInputError, match="Expected a device that this PyTorch can use here; got quantum"):
        device_named("quantum")


def test_noise_seeds_of_evaluation_are_apart():
    draws = [noise.uniform(seed, range(2), 4) for seed in (1, 2, 3, 4)]
    assert len({draw.tobytes() for draw in draws}) == 4


def test_a_run_starts_from_another_model_and_keeps_its_shape(tmp_path):
    first = run(tmp_path / "first.pt", architecture=LUNetArchitecture(2))
    weights = checkpoint.read(tmp_path / "first.pt").weights
    second = run(tmp_path / "second.pt", begin=weights)
    allowed = tolerances.TWO * tolerances.of_bits(weights, VECTORS.valid)
    assert abs(second.start - first.valid) <= allowed
    assert abs(second.start - first.start) > allowed
    assert (second.network["blocks"], second.valid < first.valid) == (2, True)
    with pytest.raises(CheckpointError, match="differs: begin"):
        run(tmp_path / "second.pt", resume=True, architecture=LUNetArchitecture(2))


def test_a_start_from_a_model_of_other_data_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="Expected a model to start from with the data's 3 dimensions"):
        run(tmp_path / "model.pt", begin=network(4, 2))
    with pytest.raises(BadInputError, match="pre-processing"):
        run(tmp_path / "model.pt", IMAGES, begin=network(6, 2))
    assert not list(tmp_path.iterdir())


def test_grey_levels_stay_inside_the_domain_in_float32(tmp_path, monkeypatch):
    """255.99999999 is 256 in float32, outside the domain: the noise of 10 draws of 10,000 images comes as near."""

    def almost(seed, rows, dim):
        return np.full((len(rows), dim), 1 - 2.0**-40)

    monkeypatch.setattr(noise, "uniform", almost)
    result = run(tmp_path / "m.pt", IMAGES, FitSettings(epochs=1, batch_size=50, learning_rate=1e-3, fallback=False))
    assert np.isfinite([result.test, result.valid, result.gaussian_test]).all()
    assert checkpoint.read(tmp_path / "m.pt").training["test"] == result.test


def test_a_figure_that_is_not_finite_leaves_a_model_that_reads_back(tmp_path):
    """A test row far out has a density of 0 in float32: told as such, and the file opens."""
    far = VECTORS.test.copy()
    far[0] = 1e30
    data = Dataset("far", VECTORS.train, VECTORS.valid, far)
    result = run(tmp_path / "m.pt", data, FitSettings(epochs=1, batch_size=50, learning_rate=1e-3, fallback=False))
    assert not np.isfinite(result.test)
    assert checkpoint.read(tmp_path / "m.pt").training["test"] is None
