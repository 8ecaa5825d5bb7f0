"""Training of p(x | c): what is learnt, where it starts, and that contexts go along with their rows everywhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import lunet_export
from lunet_export import checkpoint
from lunet_export.api.rows import dataset_of
from lunet_export.checks import reference
from lunet_export.data import Contexts, Dataset
from lunet_export.errors import BadInputError, DataError
from lunet_export.layers import LU, ConditionalAffine
from lunet_export.training import KINDS, FitSettings, optimizer, train
from lunet_export.training.choice import Comparison
from lunet_export.training.degenerate import validate_full_rank, warnings_of
from lunet_export.training.gaussian import Gaussian, standardised
from lunet_export.training.lunet import greedy
from lunet_export.training.lunet.architecture import LUNetArchitecture
from tests.training.test_training import Interrupted

CPU = torch.device("cpu")
DIM, NOISE = 2, 0.3
#: Of p(x | c) below, in nats: the mean of log s(c) is that of log NOISE + c, and c has mean 0.
ENTROPY = DIM * (0.5 * np.log(2 * np.pi * np.e) + np.log(NOISE))


def drawn(n, seed):
    """Normal rows whose mean and deviation depend on the first context, not linearly; the second says nothing."""
    rng = np.random.default_rng(seed)
    c = rng.uniform(-1, 1, (n, 2)) * np.array([1.0, 100.0]) + np.array([0.0, 50.0])
    mean = np.stack([np.sin(3 * c[:, 0]), 2 * c[:, 0]], axis=1)
    return mean + NOISE * np.exp(c[:, :1]) * rng.standard_normal((n, DIM)), c


def data_set(*splits):
    (train_x, train_c), (valid_x, valid_c), (test_x, test_c) = splits
    contexts = Contexts(("a", "b"), train_c, valid_c, test_c)
    return Dataset("given", train_x, valid_x, test_x, public=False, contexts=contexts)


DATA = data_set(drawn(600, 0), drawn(150, 1), drawn(1000, 2))
GAUSSIAN = Gaussian.fit(DATA.train, None, DATA.contexts)
SETTINGS = FitSettings(epochs=4, batch_size=50, learning_rate=1e-2)
THREE_BLOCKS = LUNetArchitecture(3)


def run(path, data=DATA, settings=SETTINGS, architecture=THREE_BLOCKS, *, resume=False, stop_in_epoch=None, begin=None):
    seen = []

    def on_epoch(record):
        seen.append(record)
        if record.epoch + 1 == stop_in_epoch:
            raise Interrupted

    return train(
        data,
        settings,
        path,
        architecture=architecture,
        device=CPU,
        resume=resume,
        on_start=lambda *_: None,
        on_step=lambda *_: None,
        on_epoch=on_epoch,
        begin=begin,
    )


def shorten(monkeypatch):
    """Make searches and steps of L-BFGS short: what they find is not looked at."""
    monkeypatch.setattr(greedy, "_STEPS", 20)
    monkeypatch.setattr(greedy, "_REFINEMENT", 5)
    monkeypatch.setattr(optimizer, "_ITERATIONS", 5)


def nats(chain, x, c):
    return -float(reference.log_prob(chain, x, c).mean())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("given") / "model.pt"
    return run(path, settings=replace(SETTINGS, epochs=15)), checkpoint.read(path).weights


def test_a_set_of_known_entropy_is_learnt(trained):
    """Neither without contexts nor by the linear Gaussian; and other contexts than its own make a row less likely."""
    result, chain = trained
    assert result.kept == "epoch"
    assert result.baseline == "linear Gaussian"
    x, c = DATA.test, DATA.contexts.test
    assert result.test_nats == pytest.approx(nats(chain, x, c), abs=1e-4)
    assert ENTROPY - 0.05 < result.test_nats < ENTROPY + 0.15
    linear = -GAUSSIAN.log_prob(x, c).mean()
    assert result.gaussian_test * DIM * np.log(2) == pytest.approx(linear)
    alone = -Gaussian.fit(DATA.train, None).log_prob(x).mean()
    assert result.test_nats + 0.3 < linear < alone - 0.3
    assert nats(chain, x, np.roll(c, 1, axis=0)) > result.test_nats + 0.5
    assert nats(chain, x, c * [1, 0] + [0, 50]) == pytest.approx(result.test_nats, abs=0.1)  # the second says nothing


def test_the_model_file_holds_the_context(trained):
    _, chain = trained
    assert (chain.context.dim, chain.context.names) == (2, ("a", "b"))
    np.testing.assert_allclose(chain.context.low, DATA.contexts.train.min(axis=0), rtol=1e-6)
    np.testing.assert_allclose(chain.context.high, DATA.contexts.train.max(axis=0), rtol=1e-6)
    seen = chain.context.network[0].apply(DATA.contexts.train)
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std(axis=0), 1, rtol=1e-5)


def test_the_context_keeps_the_names_by_which_its_columns_can_be_known():
    for names, kept in ((("age", "mass"), ("age", "mass")), (("age", "age"), None), (None, None)):
        assert standardised(replace(DATA.contexts, names=names)).names == kept


@pytest.mark.parametrize("init", ["bend", "whiten", "identity", "greedy"])
def test_the_start_is_that_of_rows_whose_linear_mean_is_taken_off(monkeypatch, init):
    shorten(monkeypatch)
    settings = replace(SETTINGS, init=init, epochs=1)
    comparison = Comparison(GAUSSIAN, DATA.train, DATA.valid, DATA.contexts)
    first = THREE_BLOCKS.first(GAUSSIAN, settings, DATA.train, comparison, lambda done, of: None, DATA.contexts.train)
    left = GAUSSIAN.without_context(DATA.test, DATA.contexts.test)
    plain = lunet_export.flows.lunet(first.of(LU), 0.1)
    found = reference.log_prob(first, DATA.test, DATA.contexts.test)
    np.testing.assert_allclose(found, reference.log_prob(plain, left), atol=1e-9)
    if init != "greedy":
        return
    assert (
        nats(first, DATA.train, DATA.contexts.train) < -GAUSSIAN.log_prob(DATA.train, DATA.contexts.train).mean() + 1e-6
    )


def test_one_block_is_the_linear_gaussian():
    chain = THREE_BLOCKS.gaussian(GAUSSIAN)
    x, c = DATA.test, DATA.contexts.test
    np.testing.assert_allclose(reference.log_prob(chain, x, c), GAUSSIAN.log_prob(x, c), atol=1e-9)
    joint = np.cov(np.hstack([DATA.train, DATA.contexts.train]).T, bias=True)
    slope = joint[:2, 2:] @ np.linalg.inv(joint[2:, 2:])
    mean = DATA.train.mean(axis=0) + (c - DATA.contexts.train.mean(axis=0)) @ slope.T
    root = np.linalg.cholesky(joint[:2, :2] - slope @ joint[2:, :2])
    z = np.linalg.solve(root, (x - mean).T).T
    exact = reference.standard_normal_log_prob(z) - np.log(np.diag(root)).sum()
    np.testing.assert_allclose(GAUSSIAN.log_prob(x, c), exact, atol=1e-4)  # the ridge


def test_rows_that_are_linear_in_their_context_keep_the_linear_gaussian(tmp_path):
    def linear(n, seed):
        _, c = drawn(n, seed)
        return c @ np.array([[1.0, 2.0], [0.01, -0.02]]) + np.random.default_rng(seed).standard_normal((n, 2)), c

    data = data_set(linear(300, 0), linear(60, 1), linear(200, 2))
    result = run(tmp_path / "m.pt", data, replace(SETTINGS, epochs=2))
    chain = checkpoint.read(tmp_path / "m.pt").weights
    assert result.kept == "gaussian"
    assert result.network["blocks"] == 1
    exact = Gaussian.fit(data.train, None, data.contexts).log_prob(data.test, data.contexts.test).mean()
    assert -nats(chain, data.test, data.contexts.test) == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize(
    ("given", "architecture"),
    [
        ({}, THREE_BLOCKS),
        ({"schedule": "linear", "average": 0.9}, THREE_BLOCKS),
        ({"optimizer": "l-bfgs", "init": "greedy", "batch_size": 600}, THREE_BLOCKS),
        ({}, LUNetArchitecture(3, "learned", "leaky-squareplus")),
    ],
    ids=["schedule-free", "averaged", "l-bfgs", "learned alphas"],
)
def test_a_run_resumes_bit_by_bit(tmp_path, monkeypatch, given, architecture):
    shorten(monkeypatch)
    settings = replace(SETTINGS, epochs=2, fallback=False, **given)
    whole = run(tmp_path / "whole.pt", settings=settings, architecture=architecture)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut.pt", settings=settings, architecture=architecture, stop_in_epoch=2)
    again = run(tmp_path / "cut.pt", settings=settings, architecture=architecture, resume=True)
    assert again == whole
    found, other = (checkpoint.read(tmp_path / name).weights for name in ("whole.pt", "cut.pt"))
    assert found.digest() == other.digest()


def test_gradients_reach_every_number_that_is_learnt():
    comparison = Comparison(GAUSSIAN, DATA.train, DATA.valid, DATA.contexts)
    first = THREE_BLOCKS.first(GAUSSIAN, SETTINGS, DATA.train, comparison, lambda done, of: None)
    trainer = THREE_BLOCKS.trainer(first, DATA, SETTINGS, CPU)
    trainer.run_epoch(lambda *_: None)
    for name, parameter in trainer.flow.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
    moved = trainer.flow.to_chain()
    for one, other in zip(first.of(ConditionalAffine), moved.of(ConditionalAffine), strict=True):
        assert (one.network[0].weight != other.network[0].weight).all()  # though most began at 0
    assert moved.context.network[0].scale == pytest.approx(first.context.network[0].scale, rel=1e-6)


def test_contexts_go_along_with_the_split():
    numbers = np.arange(200.0)[:, None] + np.random.default_rng(0).random((200, 2))
    frame = np.hstack([numbers, np.floor(numbers[:, :1])])
    made = dataset_of(numbers, data_dir=None, levels=None, columns=(), label=None, model=None, context=frame[:, 2:])
    for split in ("train", "valid", "test"):
        assert (np.floor(getattr(made, split)[:, :1]) == made.context(split)).all()


def test_the_digest_tells_contexts():
    contexts = replace(DATA.contexts, test=DATA.contexts.test[::-1])
    assert len({DATA.digest(), replace(DATA, contexts=contexts).digest(), replace(DATA, contexts=None).digest()}) == 3


def test_reflected_rows_keep_their_context():
    comparison = Comparison(GAUSSIAN, DATA.train, DATA.valid, DATA.contexts)
    assert (comparison.contexts[len(DATA.valid) :] == DATA.contexts.train).all()
    mean = GAUSSIAN.without_context(comparison.rows, comparison.contexts).mean(axis=0)
    assert comparison.rows.shape == (750, 2)
    np.testing.assert_allclose(mean, GAUSSIAN.mean, atol=0.1)


def test_a_file_and_an_array_give_the_same_model(tmp_path):
    x, c = drawn(120, 3)
    table = tmp_path / "rows.csv"
    np.savetxt(table, np.hstack([c[:, :1], x]), delimiter=",", header="a,x,y", comments="", fmt="%.17g")
    common = {"epochs": 1, "blocks": 2, "progress": False}
    one = lunet_export.train(table, tmp_path / "one.pt", context_columns=["a"], **common)
    other = lunet_export.train(x, tmp_path / "other.pt", context=c[:, :1], **common)
    assert one.distribution.digest() == other.distribution.digest()
    assert one.columns == ("x", "y")
    assert one.training["context"] == {"dim": 1, "columns": ["a"]}


def test_a_jko_iflow_refuses_contexts(tmp_path):
    settings = KINDS["jko"].settings(600, DIM)
    with pytest.raises(BadInputError, match="Expected rows without contexts for jko; given has contexts"):
        run(tmp_path / "m.pt", settings=settings, architecture=KINDS["jko"].choose(DIM, None, {}))


def test_a_model_to_start_from_must_take_such_contexts(tmp_path, trained):
    _, chain = trained
    begun = run(tmp_path / "m.pt", settings=replace(SETTINGS, epochs=1), begin=chain)
    assert begun.start * DIM * np.log(2) == pytest.approx(nats(chain, DATA.valid, DATA.contexts.valid), abs=1e-4)
    plain = replace(DATA, contexts=None)
    with pytest.raises(
        BadInputError, match="Expected contexts of 2 columns for the model to start from; given has none"
    ):
        run(tmp_path / "n.pt", plain, begin=chain)
    with pytest.raises(BadInputError, match="that takes a context, as given has; got one that takes none"):
        run(tmp_path / "n.pt", begin=lunet_export.flows.lunet(chain.of(LU), 0.1))
    with pytest.raises(BadInputError, match="Expected the contexts a, b, in this order"):
        run(tmp_path / "n.pt", replace(DATA, contexts=replace(DATA.contexts, names=("b", "a"))), begin=chain)


def test_a_column_that_follows_from_the_context_has_no_density():
    data = replace(DATA, train=np.hstack([DATA.train[:, :1], DATA.contexts.train @ np.array([[2.0], [1.0]])]))
    with pytest.raises(DataError, match=r"column 2 of given is a linear function of the context"):
        validate_full_rank(data)
    few = data_set(*(drawn(4, seed) for seed in range(3)))
    with pytest.raises(DataError, match="Expected more training rows than columns; given has 4 for 4"):
        validate_full_rank(few)


def test_a_constant_context_is_told():
    train_c = DATA.contexts.train * [1, 0] + [0, 7]
    (sentence,) = warnings_of(replace(DATA, contexts=replace(DATA.contexts, train=train_c)))
    assert "column 2 (b) of the context of given is constant" in sentence
    assert warnings_of(DATA) == ()


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"context_columns": ["z"]}, "Expected `context_columns` of a, x, y"),
        ({"context_columns": ["a"], "columns": ["a", "x"]}, r"got column 1 \(a\) in both"),
        ({"context_columns": ["a", "x", "y"]}, "Expected columns beside those of the context"),
        ({"context": np.zeros((120, 1))}, "name the columns in `context_columns`"),
    ],
)
def test_a_wrong_choice_of_contexts_is_one_sentence(tmp_path, choices, message):
    x, c = drawn(120, 3)
    table = tmp_path / "rows.csv"
    np.savetxt(table, np.hstack([c[:, :1], x]), delimiter=",", header="a,x,y", comments="")
    with pytest.raises(DataError, match=message):
        lunet_export.train(table, epochs=1, progress=False, **choices)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (np.zeros((119, 1)), "Expected one context for each of the 120 rows; got 119"),
        (np.zeros(120), r"Expected numbers of shape \(N, C\)"),
        (np.where(np.arange(120)[:, None] == 6, np.nan, 1.0), r"row 7, column 1, both counted from one, is nan"),
    ],
)
def test_wrong_contexts_are_one_sentence(context, message):
    with pytest.raises(DataError, match=message):
        lunet_export.train(drawn(120, 3)[0], context=context, epochs=1, progress=False)


def test_one_network_per_class_has_no_contexts(tmp_path):
    x, c = drawn(120, 3)
    table = tmp_path / "rows.csv"
    kinds = np.arange(120)[:, None] % 2
    np.savetxt(table, np.hstack([c[:, :1], x, kinds]), delimiter=",", header="a,x,y,kind", comments="")
    with pytest.raises(DataError, match="Expected no contexts with one network per class"):
        lunet_export.train(table, context_columns=["a"], label="kind", per_class=True, epochs=1, progress=False)
