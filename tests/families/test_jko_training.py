"""JKO-iFlow's training: the closed form on Gaussian data, and a run that goes on after any block."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lunet_export import checkpoint
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.data import Dataset
from lunet_export.errors import BadInputError, CheckFailedError
from lunet_export.flows.jko import with_steps
from lunet_export.torch_layers.velocity import FlowBlock
from lunet_export.training import History
from lunet_export.training.choice import Comparison
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.jko.architecture import JKOArchitecture
from lunet_export.training.jko.blocks import BlockTrainer, objective
from lunet_export.training.jko.growth import Growth
from tests import tolerances
from tests.cli.conftest import run as command
from tests.families.test_realnvp_training import run as train_with
from tests.networks import network
from tests.training.test_training import CPU, IMAGES, VECTORS, Interrupted

pytestmark = pytest.mark.slow

SETTINGS = JKOArchitecture.settings(300, 3, epochs=2, batch_size=50, fallback=False)
SMALL = JKOArchitecture((8, 8), 2, Growth(most_blocks=2, rounds=1, stop=0.0))


def run(path, architecture=SMALL, settings=SETTINGS, data=VECTORS, **more):
    return train_with(path, architecture, settings, data, **more)


def begun(architecture, data, settings):
    gaussian = Gaussian.fit(data.train, None)
    comparison = Comparison(gaussian, data.train, data.valid)
    return architecture.first(gaussian, settings, data.train, comparison, lambda done, of: None)


def one_block(variances, size, *, seed=0):
    """E T_i(x) x_i / E x_i^2 of a trained block on N(0, diag(variances)), in each direction."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((4000, len(variances)))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T, bias=True).reshape(len(variances), -1))).T
    x = x * np.sqrt(variances)
    data = Dataset("normal", x, x[:200], x[:200], public=False)
    settings = JKOArchitecture.settings(4000, len(variances), epochs=50, init="identity", learning_rate=1e-2)
    architecture = JKOArchitecture((16, 16), 2, Growth(most_blocks=1, first_size=size, rounds=0))
    first = begun(architecture, data, settings)
    trainer = BlockTrainer(first, data, settings, growth=architecture.growth, device=CPU)
    trainer.run_epoch(lambda step, bits: None)
    after = reference.encode(trainer.flow.to_chain(), x)[0]
    return (after * x).mean(0) / (x**2).mean(0)


def closed_form(variance, size):
    """The JKO step on N(0, lambda) is x -> t x: minimise t^2 lambda / 2 - log t + lambda (t - 1)^2 / (2 h) over t."""
    a, b = 2 * variance * (1 + 1 / size), variance / size
    return (b + np.sqrt(b**2 + 2 * a)) / a


def test_the_closed_form_is_the_minimum():
    for variance, size in ((4.0, 0.25), (4.0, 1.0), (0.3, 2.0)):
        t = closed_form(variance, size) + np.linspace(-1e-3, 1e-3, 2001)
        value = t**2 * variance / 2 - np.log(t) + variance * (t - 1) ** 2 / (2 * size)
        assert abs(int(value.argmin()) - 1000) <= 1
    assert closed_form(4.0, 0.25) == pytest.approx(0.85825757)
    assert closed_form(4.0, 1.0) == pytest.approx(0.6830127)
    assert closed_form(4.0, 1e12) == pytest.approx(0.5)


@pytest.mark.parametrize("size", [0.25, 1.0])
def test_a_block_on_gaussian_data_is_the_closed_form(size):
    variances = np.array([4.0, 0.5])
    assert one_block(variances, size) == pytest.approx(closed_form(variances, size), rel=0.02)


def test_the_oracle_notices_another_step_size():
    variances = np.array([4.0, 0.5])
    assert np.abs(closed_form(variances, 0.5) / closed_form(variances, 0.25) - 1).max() > 0.04


def test_the_objective_is_equation_8():
    rng = np.random.default_rng(0)
    before, after, log_det = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((5, 3), (5, 3), (5,)))
    found = [
        0.5 * float(a @ a) - float(term) + float((a - b) @ (a - b)) / (2 * 0.7)
        for a, b, term in zip(after, before, log_det, strict=True)
    ]
    assert float(objective(before, after, log_det, 0.7)) == pytest.approx(np.mean(found), rel=1e-12)
    free = float(objective(before, after, log_det, float("inf")))
    assert free == pytest.approx(float((after.square().sum(1) / 2 - log_det).mean()), rel=1e-12)


def test_it_learns_and_its_file_reads_back(tmp_path):
    path = tmp_path / "m.pt"
    result = run(path)
    assert (result.network["blocks"], result.epochs, result.unit) == (2, 4, "block")
    assert result.valid < result.start
    assert History.read(tmp_path / "m.history.json").unit == "block"
    read = checkpoint.read(path)
    assert (read.weights.kind.name, read.training["network"]) == ("jko", dict(result.network))
    assert read.training["most_blocks"] == 2
    run(tmp_path / "other.pt")
    assert checkpoint.read(tmp_path / "other.pt").weights.digest() == read.weights.digest()


@pytest.mark.parametrize("data", [VECTORS, IMAGES], ids=["vectors", "images"])
@pytest.mark.parametrize("stop", [2, 3, 6])
def test_an_interrupted_run_goes_on_bit_by_bit(tmp_path, stop, data):
    architecture = JKOArchitecture((6, 5), 1, Growth(most_blocks=2, rounds=1, refine=True, stop=0.0))
    settings = JKOArchitecture.settings(300, data.dim, epochs=1, batch_size=50, fallback=False)
    whole = run(tmp_path / "whole.pt", architecture, settings, data)
    assert whole.epochs == 2 + 2 + 4
    with pytest.raises(Interrupted):
        run(tmp_path / "parts.pt", architecture, settings, data, stop_in_epoch=stop)
    parts = run(tmp_path / "parts.pt", architecture, settings, data, resume=True)
    assert parts == whole
    digests = {checkpoint.read(tmp_path / f"{name}.pt").weights.digest() for name in ("whole", "parts")}
    assert len(digests) == 1


def test_blocks_stop_when_they_hardly_move(tmp_path):
    architecture = JKOArchitecture((8, 8), 2, Growth(most_blocks=6, rounds=0, stop=1.0))
    assert run(tmp_path / "m.pt", architecture).network["blocks"] == 1


def test_sizes_grow_to_the_largest_and_are_evened():
    growth = Growth(first_size=0.25, factor=2.0, largest_size=1.5, towards=0.5)
    assert [growth.size(number) for number in (1, 2, 3, 4, 5)] == [0.25, 0.5, 1.0, 1.5, 1.5]
    sizes = [0.5, 1.0]
    assert growth.evened(sizes, [1.0, 1.0]) == sizes
    longer, shorter = growth.evened(sizes, [1.0, 3.0])  # the mean is 2: the first shall go farther, the second less
    assert longer == pytest.approx(0.5 * 1.5)
    assert shorter == pytest.approx(1.0 * (1 + 0.5 * (2 / 3 - 1)))
    assert growth.evened([0.5, 1.4], [0.0, 1.0]) == [0.75, 1.4 * 0.75]  # no more than twice, no less than half
    assert growth.evened([1.4, 1.4], [0.9, 1.0])[0] == pytest.approx(1.4 * (1 + 0.5 * (0.95 / 0.9 - 1)))


def test_refining_leaves_the_flow_as_it_is(monkeypatch):
    """Two halves by half the steps each are the block by all of them, up to the rounding of what they hold."""
    before, refine = [], BlockTrainer._refine
    monkeypatch.setattr(BlockTrainer, "_refine", lambda self: (before.append(self.flow.to_chain()), refine(self)))
    architecture = JKOArchitecture((8, 8), 8, Growth(most_blocks=2, rounds=0, refine=True, stop=0.0))
    first = begun(architecture, VECTORS, SETTINGS)
    trainer = BlockTrainer(first, VECTORS, SETTINGS, growth=architecture.growth, device=CPU)
    for _ in range(2):
        trainer.run_epoch(lambda step, bits: None)
    assert (trainer.round, len(trainer.flow.modules_of(FlowBlock)), trainer.length) == (1, 4, 6)
    assert trainer.sizes == pytest.approx([0.035, 0.035, 0.049, 0.049])
    (whole,), halves = before, with_steps(trainer.flow.to_chain(), before[0].kind.steps // 2)
    allowed = RoundingModel(whole, "float32").density(VECTORS.test)
    for name, of in (
        ("z", lambda weights: reference.encode(weights, VECTORS.test)[0]),
        ("log_prob", lambda weights: reference.log_prob(weights, VECTORS.test)),
    ):
        tolerances.assert_within(of(halves), of(whole), allowed[name], name)
        assert tolerances.beyond(of(replace(halves, layers=halves.layers[:-1])), of(whole), allowed[name]) > 1


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    settings = JKOArchitecture.settings(300, 3, epochs=2, batch_size=50, learning_rate=1e20, fallback=False)
    with pytest.raises(CheckFailedError, match="Expected a finite loss; got nan in block 1 of round 1"):
        run(tmp_path / "m.pt", settings=settings)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: JKOArchitecture.choose(2, None, {"alpha": 0.1}), "Expected no `alpha` for a JKO-iFlow"),
        (lambda: JKOArchitecture.choose(2, None, {"tile": 3}), "Expected no `tile` for a JKO-iFlow, which has none"),
        (lambda: JKOArchitecture.choose(2, None, {"steps": 1001}), "Expected 1 to 1000 steps per block; got 1001"),
        (lambda: JKOArchitecture((), 3, Growth()), "Expected hidden layers of at least one number"),
        (lambda: JKOArchitecture.of(network(3, 2)), "Expected no `begin` for a JKO-iFlow"),
        (lambda: SMALL.trainer(network(3, 2), VECTORS, SETTINGS, CPU), "Expected a JKO-iFlow to train; got a lunet"),
        (lambda: Growth(first_size=0.0), "Expected a positive first size; got 0.0"),
        (lambda: Growth(rounds=-1), "Expected stop and rounds of 0 or more"),
        (
            lambda: JKOArchitecture.settings(300, 3, signs="random", fallback=False),
            "Expected no signs for a JKO-iFlow",
        ),
        (
            lambda: JKOArchitecture.settings(300, 3, init="bend", fallback=False),
            "Expected an init of whiten, identity",
        ),
        (
            lambda: JKOArchitecture.settings(300, 3, whitened=True, fallback=False),
            "Expected no whitened coordinates",
        ),
        (
            lambda: JKOArchitecture.settings(300, 3, optimizer="l-bfgs", fallback=False),
            "Expected adam for a JKO-iFlow",
        ),
        (
            lambda: JKOArchitecture.settings(300, 3, patience=3, fallback=False),
            "Expected no patience for a JKO-iFlow",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, sentence):
    with pytest.raises(BadInputError, match=sentence):
        make()


def test_the_command_trains_exports_and_draws(tmp_path):
    model, folder = tmp_path / "m.pt", tmp_path / "m"
    options = ["--blocks", "2", "--width", "8", "--epochs", "1", "--rounds", "0", "--stop", "0", "--steps", "2"]
    code, out, _ = command("train", "two-moons", "--flow", "jko", *options, "-o", str(model), "--json")
    result = json.loads(out)
    assert (code, result["network"]["blocks"], result["network"]["steps"], result["unit"]) == (0, 2, 2, "block")
    code, out, err = command(str(model), "-o", str(folder), "--steps", "3", "--hutchinson", "--with-log-prob")
    assert (code, "2 blocks of 3 steps: x -> z -> x is off by up to" in out) == (0, True), err
    code, out, err = command("check", str(folder), "--model", str(model))
    assert code == 0, out + err
    picture = tmp_path / "blocks.png"
    code, out, err = command("plot", "blocks", str(model), "two-moons", "-n", "50", "-o", str(picture))
    assert (code, picture.exists()) == (0, True), err
    for wrong, sentence in (
        ([str(folder), "two-moons"], "Expected a model file for blocks"),
        ([str(model), "digits"], "Expected"),
    ):
        code, out, err = command("plot", "blocks", *wrong, "-o", str(picture))
        assert (code, sentence in err) == (2, True), err
