"""Networks that are grown, and the L-BFGS steps that refine them."""

import numpy as np
import pytest
import torch

from lunet_export.checks import reference
from lunet_export.errors import BadInputError
from lunet_export.flows import lunet
from lunet_export.layers import LU
from lunet_export.preprocessing import Logit
from lunet_export.torch_layers.leaky_softplus import LeakySoftplusBijection
from lunet_export.training.choice import Comparison
from lunet_export.training.fit import Batch
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.lunet import greedy
from lunet_export.training.lunet.coordinates import flow_of, whiten
from lunet_export.training.optimizer import QuasiNewton
from tests.networks import PAPERS, network


def clouds(n: int, seed: int = 0) -> np.ndarray:
    """Two of them, far apart: 2 bits below the best Gaussian."""
    rng = np.random.default_rng(seed)
    return np.array([5.0, -3.0]) * rng.choice([-1.0, 1.0], (n, 1)) + 0.3 * rng.standard_normal((n, 2)) + 7.0


def grow(rows, *, blocks, seed=0, preprocessing=None, seen=None, valid=None):
    """Judged by a fifth of the rows, which are learnt from too, or by others."""
    comparison = Comparison(Gaussian.fit(rows, preprocessing), rows, rows[::5] if valid is None else valid)
    return greedy.grow(
        rows,
        comparison,
        blocks=blocks,
        f=PAPERS,
        preprocessing=preprocessing,
        seed=seed,
        on_growth=lambda done, of: None if seen is None else seen.append((done, of)),
    )


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_score_is_the_likelihood_of_the_network_that_ends_there(layers):
    """By the reference, on the blocks that the maps become: the order of units and every constant count."""
    x = clouds(500)
    random = torch.Generator().manual_seed(3)
    hidden, seen = [], x
    maps = greedy._search(x, layers, PAPERS, random)
    for block in greedy._blocks(maps):
        np.testing.assert_allclose(np.tril(block.lower), block.lower)
        assert np.abs(block.lower).max() <= 1 + 1e-12  # pivoted
        hidden.append(block)
        seen = PAPERS.value(block.forward(seen).rows)
    exact = -reference.log_prob(lunet((*hidden, greedy.whitening(Gaussian.fit(seen, None))), 0.1), x).mean()

    h, score = x, 0.0  # and by hand, of the maps themselves
    for weight, bias in maps:
        a = h @ weight.T + bias
        score -= np.linalg.slogdet(weight)[1] + np.log(PAPERS.slope(a)).sum(1).mean()
        h = PAPERS.value(a)
    score += 0.5 * np.linalg.slogdet(np.cov(h.T, bias=True))[1] + np.log(2 * np.pi * np.e)
    assert score == pytest.approx(exact, abs=1e-5)  # the Gaussian's ridge is 1e-6 of a variance
    assert exact < -Gaussian.fit(x, None).log_prob(x).mean() - 0.1


def test_the_score_of_candidates_is_that_of_their_maps():
    x = torch.from_numpy(clouds(200))
    rng = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)  # noqa: E731
    parameters = [(draw(5, 2, 2), draw(5, 2, 1), draw(5, 2)) for _ in range(2)]
    scores, maps = greedy._follow(x, parameters, LeakySoftplusBijection(0.1))
    for candidate in range(5):
        h, score = x.numpy(), 0.0
        for weight, bias in maps:
            a = h @ weight[candidate].numpy().T + bias[candidate].numpy()
            score -= torch.linalg.slogdet(weight[candidate])[1].item()
            score -= np.log(PAPERS.slope(a)).sum(1).mean()
            h = PAPERS.value(a)
        score += 0.5 * np.linalg.slogdet(np.cov(h.T, bias=True))[1]
        assert scores[candidate].item() == pytest.approx(score, rel=1e-10)


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_networks_grow_to_their_size_and_each_pair_helps(blocks):
    x, seen = clouds(600), []
    found = grow(x, blocks=blocks, seen=seen)
    assert len(found.of(LU)) == blocks
    pairs = {1: 0, 2: 1, 3: 1, 4: 2}[blocks]
    steps = greedy._STEPS + greedy._REFINEMENT
    assert [of for _, of in seen] == [pairs * steps] * len(seen)
    done = [done for done, _ in seen]
    assert done == sorted(done)  # it never goes back
    assert set(done) >= {*range(greedy._STEPS)} if pairs else not seen  # each step of a search tells
    assert done[-1:] == [pairs * steps][: len(seen)]
    nats = -reference.log_prob(found, x).mean()
    gaussian = -Gaussian.fit(x, None).log_prob(x).mean()
    assert nats == pytest.approx(gaussian, abs=1e-5) if blocks == 1 else nats < gaussian - 0.2
    if blocks >= 3:  # the entropy is log 2 below that of one cloud's Gaussian and a bit: two bends close the gap
        assert nats < gaussian - 0.7


def test_a_seed_repeats_a_growth():
    x = clouds(300)
    one, same, other = (grow(x, blocks=2, seed=seed).digest() for seed in (1, 1, 2))
    assert one == same != other


def test_grey_levels_grow_behind_their_logit():
    preprocessing = Logit(8, 0.1)
    x = np.random.default_rng(0).integers(0, 8, (400, 3)) + np.random.default_rng(1).random((400, 3))
    found = grow(x, blocks=2, preprocessing=preprocessing)
    assert found.preprocessing == preprocessing
    assert reference.log_prob(found, x).mean() >= Gaussian.fit(x, preprocessing).log_prob(x).mean() - 1e-3


def test_many_dimensions_are_refused():
    with pytest.raises(BadInputError, match=r"Expected at most 16 dimensions for a greedy start; got 17\. Start with"):
        grow(np.zeros((30, 17)), blocks=2)


def an_optimizer() -> tuple[QuasiNewton, torch.Tensor]:
    flow = flow_of(network(2, 3), dtype=torch.float64)
    return QuasiNewton(flow, iterations=30), torch.from_numpy(clouds(200))


def test_a_quasi_newton_step_goes_down():
    optimizer, x = an_optimizer()
    optimizer.whiten([Batch(x)], whiten)
    values = []

    def objective():
        loss = -optimizer.flow.log_prob(x).mean()
        values.append(loss.item())
        return loss

    optimizer.step(objective)
    assert values[-1] < values[0] - 1
    assert values[-1] == pytest.approx(-optimizer.flow.log_prob(x).mean().item())  # the last value is that of the end


def test_a_line_search_that_leaves_the_numbers_is_taken_back():
    optimizer, x = an_optimizer()
    before = [parameter.detach().clone() for parameter in optimizer.flow.parameters()]
    calls = []

    def objective():
        calls.append(1)
        loss = -optimizer.flow.log_prob(x).mean()
        return loss if len(calls) < 4 else loss * torch.nan

    optimizer.step(objective)
    for parameter, value in zip(optimizer.flow.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
