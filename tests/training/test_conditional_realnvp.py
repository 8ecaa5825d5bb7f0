"""Training of conditional RealNVPs: the start, what is learnt, resuming, and that nothing else trains contexts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import lunet_export
from lunet_export import checkpoint
from lunet_export.checks import reference
from lunet_export.data import Contexts, Dataset
from lunet_export.errors import BadInputError
from lunet_export.flows import realnvp
from lunet_export.layers import LU, ConditionalAffine, DenseCoupling
from lunet_export.training.choice import Comparison
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.lunet.architecture import LUNetArchitecture
from lunet_export.training.realnvp.architecture import RealNVPArchitecture
from tests.training.test_contexts import CPU, DATA, DIM, ENTROPY, GAUSSIAN, data_set, drawn, nats
from tests.training.test_contexts import run as run_of
from tests.training.test_training import Interrupted

DENSE = RealNVPArchitecture(DIM, None, 16)
SETTINGS = RealNVPArchitecture.settings(600, DIM, contexts=2, epochs=6, batch_size=50, learning_rate=1e-2)
X, C = DATA.test, DATA.contexts.test


def run(path, data=DATA, settings=SETTINGS, architecture=DENSE, **given):
    return run_of(path, data, settings, architecture, **given)


def first(settings=SETTINGS):
    comparison = Comparison(GAUSSIAN, DATA.train, DATA.valid, DATA.contexts)
    return DENSE.first(GAUSSIAN, settings, DATA.train, comparison, lambda done, of: None, DATA.contexts.train)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("given") / "model.pt"
    return run(path), checkpoint.read(path)


def test_it_learns_more_than_the_linear_gaussian(trained):
    """And other contexts than its own make a row less likely; the second column says nothing."""
    result, read = trained
    chain = read.weights
    assert (result.kept, result.baseline) == ("epoch", "linear Gaussian")
    assert result.test_nats == pytest.approx(nats(chain, X, C), abs=1e-4)
    assert ENTROPY - 0.05 < result.test_nats < -GAUSSIAN.log_prob(X, C).mean() - 0.3
    assert nats(chain, X, np.roll(C, 1, axis=0)) > result.test_nats + 0.5
    assert nats(chain, X, C * [1, 0] + [0, 50]) == pytest.approx(result.test_nats, abs=0.1)


def test_the_model_file_holds_the_context(trained):
    _, read = trained
    chain = read.weights
    assert read.training["context"] == {"dim": 2, "columns": ["a", "b"]}
    assert (chain.kind.name, chain.context.dim, chain.context.names) == ("realnvp", 2, ("a", "b"))
    np.testing.assert_allclose(chain.context.low, DATA.contexts.train.min(axis=0), rtol=1e-6)
    np.testing.assert_allclose(chain.context.high, DATA.contexts.train.max(axis=0), rtol=1e-6)
    seen = chain.context.seen(DATA.contexts.train)  # training leaves the standardisation as it is
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std(axis=0), 1, rtol=1e-5)


def test_the_laws_hold_at_the_contexts_of_the_test_rows(trained):
    chain = trained[1].weights
    z, log_det = reference.encode(chain, X, C)
    np.testing.assert_allclose(reference.decode(chain, z, C), X, rtol=0, atol=1e-10)
    flow = lunet_export.torch_layers.Flow.of(chain, dtype=torch.float64)
    for row, context, found in zip(*map(torch.from_numpy, (X[:20], C[:20])), log_det, strict=False):
        given = flow.given(context[None])
        jacobian = torch.autograd.functional.jacobian(lambda x, given=given: given.chain(x[None])[0][0], row)
        assert found == pytest.approx(float(torch.linalg.slogdet(jacobian).logabsdet), abs=1e-10)


def test_the_start_is_that_of_rows_whose_linear_mean_is_taken_off():
    """Its couplings are the identity, but for what each norm adds to a variance of 1."""
    begun = first()
    z, log_det = reference.encode(begun, X, C)
    shrink = (1 + 1e-5) ** (-len(begun.of(DenseCoupling)) / 2)
    np.testing.assert_allclose(z, shrink * GAUSSIAN.without_context(X, C), rtol=0, atol=1e-10)
    np.testing.assert_allclose(log_det, DIM * np.log(shrink), rtol=0, atol=1e-10)
    assert all(coupling.takes_context == 2 for coupling in begun.of(DenseCoupling))
    assert begun.digest() == first().digest() != first(replace(SETTINGS, seed=1)).digest()


@pytest.mark.parametrize(("dim", "contexts"), [(2, 1), (4, 3), (16, 5), (64, 2)])
def test_it_is_as_large_as_the_lu_net_of_the_same_rows_and_contexts(dim, contexts):
    """In numbers that are learnt, but for those in which kinds differ without contexts too: to 10 %."""
    rng = np.random.default_rng(0)
    x, c = rng.standard_normal((400, dim)), rng.standard_normal((400, contexts))
    gaussian = Gaussian.fit(x, None, Contexts(None, c, c[:1], c[:1]))
    learnt = {}
    for kind in (LUNetArchitecture, RealNVPArchitecture):
        architecture = kind.choose(dim, None, {}, contexts)
        settings = kind.settings(400, dim, contexts=contexts)
        learnt[kind] = architecture.first(gaussian, settings, x, None, lambda *_: None, c)
    lunet = learnt[LUNetArchitecture]
    *_, residual = lunet.context.network
    of_context = sum(np.count_nonzero(array) for array in residual.inner[0].arrays())
    of_blocks = sum(layer.free for layer in lunet.of(ConditionalAffine))
    blocks = len(lunet.of(LU)) * (dim**2 + dim * -(-dim // 2) + dim)  # what its sampling graph stores
    assert learnt[RealNVPArchitecture].stored == pytest.approx(of_context + of_blocks + blocks, rel=0.1)


def test_couplings_behind_a_shift_are_the_linear_gaussian():
    chain = DENSE.gaussian(GAUSSIAN)
    np.testing.assert_allclose(reference.log_prob(chain, X, C), GAUSSIAN.log_prob(X, C), atol=1e-9)


def test_rows_that_are_linear_in_their_context_keep_the_linear_gaussian(tmp_path):
    def linear(n, seed):
        _, c = drawn(n, seed)
        return c @ np.array([[1.0, 2.0], [0.01, -0.02]]) + np.random.default_rng(seed).standard_normal((n, 2)), c

    data = data_set(linear(300, 0), linear(60, 1), linear(200, 2))
    result = run(tmp_path / "m.pt", data, replace(SETTINGS, epochs=1))
    kept = checkpoint.read(tmp_path / "m.pt").weights
    assert (result.kept, result.network["networks"], len(kept.of(ConditionalAffine))) == ("gaussian", "dense", 1)
    begun = run(tmp_path / "n.pt", data, replace(SETTINGS, epochs=1), begin=kept)  # which may start another run
    assert begun.start * DIM * np.log(2) == pytest.approx(nats(kept, data.valid, data.contexts.valid), abs=1e-4)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_run_resumes_bit_by_bit(tmp_path, weight_decay):
    settings = replace(SETTINGS, epochs=2, fallback=False, weight_decay=weight_decay)
    whole = run(tmp_path / "whole.pt", settings=settings)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut.pt", settings=settings, stop_in_epoch=2)
    assert run(tmp_path / "cut.pt", settings=settings, resume=True) == whole
    found, other = (checkpoint.read(tmp_path / name).weights for name in ("whole.pt", "cut.pt"))
    assert found.digest() == other.digest()


def test_another_run_starts_from_a_trained_one(tmp_path, trained):
    chain = trained[1].weights
    begun = run(tmp_path / "m.pt", settings=replace(SETTINGS, epochs=1), begin=chain)
    assert begun.start * DIM * np.log(2) == pytest.approx(nats(chain, DATA.valid, DATA.contexts.valid), abs=1e-4)
    plain = realnvp(DIM, [replace(layer, net=replace(layer.net, conditional=())) for layer in chain.of(DenseCoupling)])
    with pytest.raises(BadInputError, match="that takes a context, as given has; got one that takes none"):
        run(tmp_path / "n.pt", begin=plain)


def test_gradients_reach_every_number_that_is_learnt():
    begun = first()
    trainer = DENSE.trainer(begun, DATA, SETTINGS, CPU)
    trainer.run_epoch(lambda *_: None)
    moved = trainer.flow.to_chain()
    for one, other in zip(begun.of(DenseCoupling), moved.of(DenseCoupling), strict=True):
        (before,), (after,) = one.net.conditional, other.net.conditional
        assert (before.weight != after.weight).all()
        assert (before.bias != after.bias).any()
        assert not other.net.first.bias.any()  # n(c) has it
    (before,), (after,) = (chain.of(ConditionalAffine)[0].network for chain in (begun, moved))
    assert (before.weight != after.weight).all()
    np.testing.assert_allclose(moved.context.network[0].scale, begun.context.network[0].scale, rtol=1e-6)


def test_norms_see_the_rows_given_their_contexts():
    """The moments behind the first coupling, the identity at first, are those of rows without their linear mean."""
    trainer = DENSE.trainer(first(), DATA, replace(SETTINGS, learning_rate=1e-12), CPU)
    for _ in range(6):
        trainer.run_epoch(lambda *_: None)
    mean, log_deviation = trainer.flow.chain.bijections[3].moments()
    left = GAUSSIAN.without_context(DATA.train, DATA.contexts.train)
    squares, share = (left - left.mean(axis=0)) ** 2, 0.1 / (2 - 0.1) / 50  # of a row's variance in a running mean
    assert (np.abs(mean - left.mean(axis=0)) < 5 * np.sqrt(share * squares.mean(axis=0))).all()
    allowed = 5 * np.sqrt(share * squares.var(axis=0)) + squares.mean(axis=0) / 50  # which a batch's own mean takes off
    assert (np.abs(np.exp(2 * log_deviation) - squares.mean(axis=0)) < allowed).all()
    assert (DATA.train.var(axis=0) - squares.mean(axis=0) > allowed).any()


def test_a_file_and_an_array_give_the_same_model(tmp_path):
    x, c = drawn(120, 3)
    table = tmp_path / "rows.csv"
    np.savetxt(table, np.hstack([c[:, :1], x]), delimiter=",", header="a,x,y", comments="", fmt="%.17g")
    common = {"epochs": 1, "width": 4, "progress": False, "flow": "realnvp-dense"}
    one = lunet_export.train(table, tmp_path / "one.pt", context_columns=["a"], **common)
    other = lunet_export.train(x, tmp_path / "other.pt", context=c[:, :1], **common)
    assert one.distribution.digest() == other.distribution.digest()


def test_convolutions_refuse_contexts_in_one_sentence(tmp_path):
    rows = np.random.default_rng(0).integers(0, 8, (120, 16), dtype=np.uint8)
    c = np.zeros((120, 1))
    contexts = Contexts(None, c[:80], c[80:100], c[100:])
    data = Dataset("squares", rows[:80], rows[80:100], rows[100:], None, (4, 4), public=False, contexts=contexts)
    settings = RealNVPArchitecture.settings(80, 16, epochs=1)
    sentence = (
        "Expected rows without contexts for a realnvp of convolutions; squares has contexts. Leave them out, or take "
        "`flow='realnvp-dense'`."
    )
    with pytest.raises(BadInputError) as caught:
        run(tmp_path / "m.pt", data, settings, RealNVPArchitecture.choose(16, (4, 4), {"width": 2}))
    assert str(caught.value) == sentence
    assert not list(tmp_path.iterdir())
