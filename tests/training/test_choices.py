"""What can be chosen about training: starts, schedules, coordinates, averages, penalties, bounds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lunet_export.data import Dataset
from lunet_export.errors import BadInputError
from lunet_export.flows import lunet
from lunet_export.layers import ACTIVATIONS, LU
from lunet_export.torch_layers import Flow
from lunet_export.torch_layers.lu_linear import LULinear
from lunet_export.training import FitSettings, Trainer, optimizer
from lunet_export.training.choice import Comparison
from lunet_export.training.fit import Batch
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.lunet import greedy
from lunet_export.training.lunet import regularisers as penalties
from lunet_export.training.lunet.architecture import LUNetArchitecture, LUNetTrainer
from lunet_export.training.lunet.coordinates import flow_of, whiten
from lunet_export.training.lunet.initial import CLOSED, start
from lunet_export.training.schedule import SCHEDULES, peak, rate
from tests import tolerances
from tests.networks import PAPERS, network
from tests.training.test_training import CPU, IMAGES, VECTORS

SETTINGS = FitSettings(epochs=3, batch_size=50, learning_rate=5e-3)


def trainer(settings: FitSettings = SETTINGS, data: Dataset = VECTORS, *, blocks: int = 3) -> Trainer:
    x = data.continuous(data.train, np.full(data.train.shape, 0.5)).astype(float)
    begin = start(Gaussian.fit(x, data.preprocessing), init=settings.init, blocks=blocks, f=PAPERS, seed=settings.seed)
    return LUNetTrainer(begin, data, settings, device=CPU)


def epochs(run: Trainer, n: int = 3) -> Trainer:
    for _ in range(n):
        run.run_epoch(lambda step, bits: None)
    return run


def gaussian_bits(data: Dataset, rows: np.ndarray) -> float:
    gaussian = Gaussian.fit(data.train.astype(float), data.preprocessing)
    return float(-gaussian.log_prob(rows.astype(float)).mean() / data.dim / np.log(2))


def test_init_whiten_starts_at_the_gaussians_figure():
    assert trainer(replace(SETTINGS, init="whiten"), blocks=4).start == pytest.approx(
        gaussian_bits(VECTORS, VECTORS.valid), abs=1e-3
    )


@pytest.mark.parametrize("init", CLOSED)
def test_every_start_gives_activations_numbers_of_order_one(init):
    run = trainer(replace(SETTINGS, init=init))
    x = torch.from_numpy(VECTORS.train.astype(np.float32))
    for number, bijection in enumerate(run.flow.chain.bijections):
        if number % 2 and init != "whiten":
            assert x.mean(0).abs().max() < 2
            assert 0.3 < x.std(0).min() <= x.std(0).max() < 3
        x = bijection(x)[0]


@pytest.mark.parametrize("init", [*CLOSED, "greedy"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_learns_from_every_start(activation, init, monkeypatch):
    """Rows that no Gaussian fits, in the family's own architecture. A quarter of the search starts below it."""
    monkeypatch.setattr(greedy, "_STEPS", 50)
    rng = np.random.default_rng(0)
    train, valid, test = (np.stack([rng.gamma(2.0, size=n), rng.standard_normal(n)], 1) for n in (800, 400, 400))
    data = Dataset("skewed", train, valid, test)
    settings = replace(SETTINGS, init=init, epochs=6)
    architecture = LUNetArchitecture.choose(2, None, {"activation": activation, "blocks": 3})
    gaussian = Gaussian.fit(train, None)
    first = architecture.first(gaussian, settings, train, Comparison(gaussian, train, valid), lambda done, of: None)
    assert (first.kind.activation, first.kind.alpha, len(first.of(LU))) == (activation, 0.1, 3)
    run = epochs(LUNetTrainer(first, data, settings, device=CPU), 6)
    line = gaussian_bits(data, valid)
    assert run.start < line if init == "greedy" else run.best.valid < run.start
    assert run.best_flow.to_chain().kind.activation == activation


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "schedule-free"])
def test_schedules_rise_to_the_peak_and_end_where_they_say(schedule):
    share = rate(schedule, 1000)
    values = np.array([share(step) for step in range(1001)])
    assert values.max() == pytest.approx(1.0, abs=1e-3)
    assert values[0] == pytest.approx(0.04)
    top = int(1000 * peak(schedule))
    assert (np.diff(values[: top + 1]) > 0).all()
    assert (np.diff(values[top:]) <= 0).all()
    assert values[-1] == pytest.approx(1.0 if schedule == "constant" else 0.0, abs=1e-12)
    half = values[(top + 1000) // 2]
    assert half == pytest.approx(1.0 if schedule == "constant" else 0.5, abs=2e-3)


def test_whitening_makes_inputs_white_and_leaves_the_map():
    weights = network(5, 3, off_diagonal=0.8)
    flow = flow_of(weights, dtype=torch.float64)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((4000, 5)) @ np.diag([5.0, 1, 1, 0.1, 2]) + 3.0)
    before = flow.log_prob(x)
    whiten([flow], map(Batch, x.split(1000)))
    torch.testing.assert_close(flow.log_prob(x), before, rtol=1e-12, atol=1e-12)
    h = x
    for number, bijection in enumerate(flow.chain.bijections):
        if number % 2 == 0:
            seen = (h - bijection.centre) @ bijection.root.T
            np.testing.assert_allclose(np.cov(seen.detach().T.numpy(), bias=True), np.eye(5), atol=1e-4)
            np.testing.assert_allclose(seen.mean(0).detach(), 0.0, atol=1e-10)
        h = bijection(h)[0]


AVERAGING = [{"schedule": "schedule-free"}, {"schedule": "constant", "average": 0.9}]


@pytest.mark.parametrize("choice", AVERAGING, ids=["schedule-free", "moving average"])
def test_the_average_is_the_model_and_follows_the_coordinates(choice):
    run = epochs(trainer(replace(SETTINGS, learning_rate=2e-2, **choice)))
    model, flow = run.optimizer.model(), run.flow
    assert run.best.valid < run.start
    assert run.history[-1].valid == run.validate()
    for ours, theirs in zip(model.modules_of(LULinear), flow.modules_of(LULinear), strict=True):
        torch.testing.assert_close(ours.root, theirs.root)
        assert not torch.equal(ours.packed, theirs.packed)
    before, weights = run.validate(), model.to_chain()
    run.optimizer.whiten(run._some_rows(), whiten)
    allowed = tolerances.TWO * tolerances.of_bits(weights, VECTORS.valid)
    assert abs(run.validate() - before) <= allowed
    assert abs(run.start - before) > allowed


def test_a_moving_average_that_forgets_at_once_is_the_flow():
    run = epochs(trainer(replace(SETTINGS, schedule="constant", average=1e-12)))
    one, other = (flow.modules_of(LULinear)[0].packed.detach() for flow in (run.optimizer.model(), run.flow))
    # The average is rounded once, and so is either in every renewal of the coordinates.
    allowed = tolerances.of_roundings(2 + 2 * 3, other.abs().max())
    tolerances.assert_within(one, other, allowed)
    assert tolerances.beyond(trainer().flow.modules_of(LULinear)[0].packed.detach(), other, allowed) > 1


def of_coordinates(block, layer):
    """What rounding makes of a block in a layer's coordinates: float32 holds V of U = V R, log diag U and b + L U c."""
    root, centre = layer.root.double().numpy(), np.abs(layer.centre.double().numpy())
    lower, upper = np.abs(block.lower), np.abs(block.upper)
    held, diagonal = np.linalg.solve(root.T, block.upper.T).T, np.diag(upper)
    of_upper = tolerances.of_roundings(1, np.abs(held) @ np.abs(root))
    np.fill_diagonal(of_upper, tolerances.of_roundings(2, diagonal * np.maximum(1, np.abs(np.log(diagonal)))))
    of_bias = tolerances.of_roundings(1, np.abs(block.bias) + lower @ upper @ centre) + lower @ of_upper @ centre
    return {"lower": tolerances.of_roundings(1, lower), "upper": of_upper, "bias": of_bias}


def test_whitening_carries_the_far_steps_of_schedule_free_with_the_average():
    """The same steps in coordinates that are moved in between end in the same network where nothing is adapted."""
    run = epochs(trainer(replace(SETTINGS, schedule="schedule-free")), 1)
    state = run.optimizer.torch_optimizer.state
    layer = run.flow.modules_of(LULinear)[1]
    far = flow_of(run.flow.to_chain()).modules_of(LULinear)[1]

    def block_of_steps():
        with torch.no_grad():
            for name in ("root", "centre", "sign"):
                getattr(far, name).copy_(getattr(layer, name))
            far.packed.copy_(state[layer.packed]["z"])
            far.bias.copy_(state[layer.bias]["z"])
        return far.layer()

    before, kept = block_of_steps(), [state[layer.packed]["z"].clone(), state[layer.bias]["z"].clone()]
    run.optimizer.whiten(run._some_rows(), whiten)
    after = block_of_steps()
    with torch.no_grad():  # the steps as they were, in coordinates that moved under them
        far.packed.copy_(kept[0])
        far.bias.copy_(kept[1])
        stale = far.layer()
    for name in ("lower", "upper", "bias"):
        allowed = of_coordinates(before, far)[name]
        tolerances.assert_within(getattr(after, name), getattr(before, name), allowed, name)
        assert name == "lower" or tolerances.beyond(getattr(stale, name), getattr(before, name), allowed) > 1


@pytest.mark.parametrize("schedule", ["constant", "schedule-free"])
def test_weight_decay_pulls_entries_off_the_diagonal_and_nothing_else(schedule):
    """With gradients of 0 only the decay moves anything."""
    run = epochs(trainer(replace(SETTINGS, schedule=schedule, weight_decay=0.5, whitened=False)), 1)
    layer, adam = run.flow.modules_of(LULinear)[0], run.optimizer.torch_optimizer
    for parameter in run.flow.parameters():
        parameter.grad = torch.zeros_like(parameter)
        adam.state[parameter].get("exp_avg", parameter.grad).zero_()
    steps = adam.state[layer.packed].get("z", layer.packed).detach()
    packed, before = layer.packed.detach().clone(), steps.clone()
    share = run.optimizer.rate * 0.5
    run.optimizer._take()
    steps = adam.state[layer.packed].get("z", layer.packed).detach()
    off = ~torch.eye(3, dtype=torch.bool)
    if schedule == "schedule-free":  # what decays is the average after its own step, of which 1 - beta decays with it
        packed = layer.packed.detach() / (1 - share * (1 - adam.param_groups[0]["betas"][0]))
    exact, size = (before - share * packed)[off], (before.abs() + share * packed.abs())[off]
    tolerances.assert_within(steps[off], exact, tolerances.of_roundings(4, size))
    assert tolerances.beyond(before[off], exact, tolerances.of_roundings(4, size)) > 1
    assert torch.equal(steps.diagonal(), before.diagonal())


@torch.no_grad()
def test_penalties_are_their_formulas():
    weights = network(5, 3)
    for whitened in (False, True):
        flow = flow_of(weights, dtype=torch.float64, whitened=whitened)
        diagonals = np.concatenate([np.log(np.abs(np.diag(block.upper))) for block in weights.of(LU)])
        assert float(penalties.log_diagonal(flow)) == pytest.approx(0.5 * (diagonals**2).sum(), rel=1e-12)
        values = [np.linalg.svd(block.lower @ block.upper, compute_uv=False) for block in weights.of(LU)]
        exact = sum(0.5 * ((s - 1 / s) ** 2).sum() for s in values)
        assert float(penalties.balance(flow)) == pytest.approx(exact, rel=1e-10)


@torch.no_grad()
def test_an_orthogonal_map_is_balanced():
    identity = LU(np.eye(4), np.eye(4), np.zeros(4))
    flow = Flow.of(lunet([identity] * 2, 0.1), dtype=torch.float64)
    assert float(penalties.balance(flow)) == 0.0
    assert float(penalties.log_diagonal(flow)) == 0.0


@pytest.mark.parametrize("name", penalties.REGULARISERS)
def test_a_penalty_buys_what_it_is_for(name):
    plain = epochs(trainer(replace(SETTINGS, schedule="linear")))
    held = epochs(trainer(replace(SETTINGS, schedule="linear", regulariser=name, regulariser_weight=3.0)))
    penalty = penalties.REGULARISERS[name]
    assert (penalty(held.flow) < penalty(plain.flow)).item()
    assert held.history[-1].train > plain.history[-1].train  # and costs likelihood


def test_a_bound_holds_in_training():
    run = epochs(trainer(replace(SETTINGS, bound=3.0, learning_rate=0.1)))
    for block in run.optimizer.model().to_chain().of(LU):
        assert (np.abs(np.log(np.abs(np.diag(block.upper)))) <= 3.0).all()


def test_a_bound_below_the_start_is_refused():
    with pytest.raises(BadInputError, match=r"Expected .log diag U. below the bound 0.01"):
        trainer(replace(SETTINGS, bound=0.01))


@pytest.mark.parametrize(
    "choice",
    [
        *AVERAGING,
        {"schedule": "linear"},
        {"optimizer": "l-bfgs"},
        {"whitened": False},
        {"bound": 3.0},
        {"weight_decay": 0.1},
    ],
)
@pytest.mark.parametrize("data", [VECTORS, IMAGES], ids=["vectors", "images"])
def test_every_choice_resumes_bit_by_bit(choice, data, monkeypatch):
    monkeypatch.setattr(optimizer, "_ITERATIONS", 20)  # of L-BFGS an epoch
    settings = replace(SETTINGS, **choice)
    whole = epochs(trainer(settings, data))
    first = epochs(trainer(settings, data), 1)
    second = trainer(settings, data)
    second.restore(first.state())
    epochs(second, 2)
    assert second.history == whole.history
    for one, other in zip(second.best_flow.parameters(), whole.best_flow.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"average": 1.0}, r"Expected an average in \[0, 1\)"),
        ({"weight_decay": -1.0}, "Expected a weight decay of 0 or more"),
        ({"schedule": "steps"}, "Expected a schedule of schedule-free, linear, one-cycle, constant; got steps"),
        ({"init": "zeros"}, "Expected an init of bend, whiten, identity, greedy"),
        ({"optimizer": "sgd"}, "Expected an optimizer of adam, l-bfgs; got sgd"),
        ({"optimizer": "l-bfgs", "weight_decay": 0.1}, "Expected no average and no weight decay with l-bfgs"),
        ({"optimizer": "l-bfgs", "average": 0.9}, "Expected no average and no weight decay with l-bfgs"),
        ({"average": 0.9}, "Expected no average beside schedule-free"),
        ({"regulariser": "balance"}, "Expected a regulariser and its weight together"),
        ({"regulariser_weight": 1.0}, "Expected a regulariser and its weight together"),
        ({"bound": 0.0}, "Expected a positive bound; got 0.0"),
    ],
)
def test_nonsense_is_refused(given, sentence):
    with pytest.raises(BadInputError, match=sentence):
        LUNetArchitecture.settings(1000, 3, **given)


def test_defaults_go_by_the_data():
    few, wide = LUNetArchitecture.settings(8000, 2), LUNetArchitecture.settings(8000, 5)
    assert (few.optimizer, few.init, few.batch_size) == ("l-bfgs", "greedy", 8000)
    assert (wide.optimizer, wide.init, wide.batch_size) == ("adam", "bend", 256)
    named = LUNetArchitecture.settings(8000, 2, schedule="linear")  # a schedule is one of Adam's
    assert (named.optimizer, named.init, named.batch_size) == ("adam", "greedy", 256)
    assert LUNetArchitecture.settings(10**6, 2).batch_size == 50_000
    assert LUNetArchitecture.settings(8000, 64, optimizer="l-bfgs").batch_size == 8000


def test_no_float64_no_l_bfgs():
    settings = replace(SETTINGS, optimizer="l-bfgs")
    begin = start(Gaussian.fit(VECTORS.train, None), init="bend", blocks=2, f=PAPERS, seed=0)
    with pytest.raises(BadInputError, match="Expected a device with float64 for l-bfgs; got mps"):
        LUNetTrainer(begin, VECTORS, settings, device=torch.device("mps"))
