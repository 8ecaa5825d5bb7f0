"""sbi's estimators: carried with their condition as a context or fixed to an observation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lunet_export import importers
from lunet_export.checks import reference
from lunet_export.errors import BadInputError, CheckFailedError, UnsupportedLayersError
from lunet_export.importers import networks, nflows
from lunet_export.importers.twin import in_float64, twin
from tests import tolerances

sbi = pytest.importorskip("sbi", reason="sbi is not installed: run make setup-dev")
pytestmark = pytest.mark.filterwarnings("ignore")  # of sbi and what it stands on


@pytest.fixture(autouse=True)
def _as_sbi_has_it(_float64, tmp_path, monkeypatch):
    torch.set_default_dtype(torch.float32)  # all that sbi trains in
    monkeypatch.chdir(tmp_path)  # where it leaves its logs


def trained(name):
    from sbi.inference import NPE

    torch.manual_seed(0)
    theta = 2 * torch.randn(200, 3) + 1
    x = torch.cat([theta + 0.3 * torch.randn(200, 3), torch.randn(200, 1)], dim=1)
    prior = torch.distributions.MultivariateNormal(torch.zeros(3), 4 * torch.eye(3))
    inference = NPE(prior=prior, density_estimator=name, show_progress_bars=False)
    estimator = inference.append_simulations(theta, x).train(max_num_epochs=3)
    return inference, estimator, theta, x[:1]


@pytest.mark.parametrize("name", ["maf", "nsf", "maf_rqs", "zuko_maf", "zuko_nice", "zuko_nsf"])
@torch.no_grad()
def test_a_posterior_is_carried_with_its_observation(name):
    with torch.enable_grad():
        _, estimator, theta, observed = trained(name)
    imported = importers.read(estimator, context=observed)
    assert imported.proof.log_prob < 1e-12
    theirs = estimator.log_prob(theta[:50].unsqueeze(1), observed)[:, 0].numpy()
    ours = reference.log_prob(imported.weights, theta[:50].double().numpy())
    # Twice: sbi's float32 also computes, row by row, what its context fixes.
    allowed = tolerances.TWO * tolerances.of_density(imported.weights, theta[:50].numpy())["log_prob"]
    tolerances.assert_within(theirs, ours, allowed)
    assert tolerances.beyond(theirs[::-1], ours, allowed) > 1


def conditional(kind, name, **options):
    """A posterior's or a likelihood's estimator after a few epochs, and its rows and contexts, away from 0 and 1."""
    from sbi.inference import NLE, NPE
    from sbi.neural_nets import likelihood_nn, posterior_nn

    torch.manual_seed(0)
    theta = 5 * torch.randn(200, 3) + 10
    x = torch.cat([theta[:, :2] + 0.3 * torch.randn(200, 2), 100 * torch.randn(200, 2)], dim=1)
    prior = torch.distributions.MultivariateNormal(10 * torch.ones(3), 25 * torch.eye(3))
    method, builder = {"NPE": (NPE, posterior_nn), "NLE": (NLE, likelihood_nn)}[kind]
    with torch.enable_grad():
        inference = method(prior, density_estimator=builder(name, **options), show_progress_bars=False)
        estimator = inference.append_simulations(theta, x).train(max_num_epochs=2)
    return (estimator, theta, x) if kind == "NPE" else (estimator, x, theta)


def sbi_embedding(entering, leaving):
    from sbi.neural_nets.embedding_nets import FCEmbedding

    return FCEmbedding(entering, leaving)


def embedded(*layers):
    return torch.nn.Sequential(torch.nn.Linear(4, 8), *layers, torch.nn.Linear(8, 5))


CASES = {
    "NPE maf": ("NPE", "maf", dict),
    "NLE maf": ("NLE", "maf", dict),
    "NPE zuko_maf": ("NPE", "zuko_maf", dict),
    "NLE zuko_maf": ("NLE", "zuko_maf", dict),
    "NPE zuko_nice": ("NPE", "zuko_nice", dict),
    "NPE nsf": ("NPE", "nsf", dict),
    "NLE nsf": ("NLE", "nsf", dict),
    "NLE zuko_nsf": ("NLE", "zuko_nsf", dict),
    "NPE maf_rqs, embedding": ("NPE", "maf_rqs", lambda: {"embedding_net": embedded(torch.nn.ReLU())}),
    "NPE maf, embedding": ("NPE", "maf", lambda: {"embedding_net": embedded(torch.nn.ReLU())}),
    "NPE zuko_maf, sbi's embedding": (
        "NPE",
        "zuko_maf",
        lambda: {"embedding_net": sbi_embedding(4, 5)},
    ),
    "NPE maf, one scale": ("NPE", "maf", lambda: {"z_score_theta": "structured", "z_score_x": "structured"}),
    "NPE maf, no scale": ("NPE", "maf", lambda: {"z_score_theta": None, "z_score_x": None}),
}


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_an_estimator_keeps_its_condition_as_a_context(name):
    kind, method, options = CASES[name]
    estimator, rows, contexts = conditional(kind, method, **options())
    imported = importers.read(estimator)
    weights, proof = imported.weights, imported.proof
    assert (weights.context.dim, weights.dim) == (contexts.shape[1], rows.shape[1])
    assert (proof.contexts, proof.log_prob < 1e-10, proof.latent < 1e-10, proof.inverse < 1e-10) == (128, *[True] * 3)
    x, c = rows[:100].double().numpy(), contexts[:100].double().numpy()
    ours = reference.log_prob(weights, x, c)
    with in_float64():
        own = twin(estimator)
        nflows._settle(own)  # constants that nflows keeps in float32
        theirs = own.log_prob(rows[:100].double()[None], contexts[:100].double())[0].numpy()
    assert (np.abs(ours - theirs) / np.maximum(1, np.abs(theirs))).max() < 1e-10
    fixed = importers.read(estimator, context=contexts[:1]).weights
    np.testing.assert_allclose(reference.log_prob(fixed, x), reference.log_prob(weights, x, c[:1]), rtol=1e-10)


def test_a_standardisation_that_is_read_wrongly_is_caught(monkeypatch):
    def unscaled(module, context):
        (found,) = original(module, context)
        return [replace(found, shift=-found.shift)]

    original = networks._READERS["sbi.Standardize"]
    monkeypatch.setitem(networks._READERS, "sbi.Standardize", unscaled)
    with pytest.raises(CheckFailedError, match="Expected the library's own"):
        importers.read(conditional("NPE", "maf")[0])


def test_conditions_that_are_no_rows_are_named():
    from sbi.neural_nets import posterior_nn

    embedding = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    theta, x = torch.randn(50, 3), torch.randn(50, 2, 2)
    estimator = posterior_nn("maf", embedding_net=embedding)(theta, x)
    with pytest.raises(
        UnsupportedLayersError, match=r"condition_shape \(NFlowsFlow\): a context has the shape \(2, 2\)"
    ):
        importers.read(estimator)


def test_an_embedding_that_cannot_be_read_is_named():
    estimator, _, x = conditional("NPE", "maf", embedding_net=embedded(torch.nn.LayerNorm(8)))
    with pytest.raises(UnsupportedLayersError, match=r"_embedding_net \(Sequential\): its network holds a LayerN"):
        importers.read(estimator)
    assert importers.read(estimator, context=x[:1]).weights.context is None


def test_a_posterior_is_no_estimator():
    inference, estimator, _, _ = trained("nsf")
    with pytest.raises(BadInputError, match=r"For a posterior, give posterior.posterior_estimator"):
        importers.read(inference.build_posterior(estimator))
