"""sbi's estimators: the default of its neural posterior is carried with its observation, its splines are named."""

import pytest
import torch

from lunet_export import importers
from lunet_export.checks import reference
from lunet_export.errors import BadInputError, UnsupportedLayersError
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


@pytest.mark.parametrize("name", ["maf", "zuko_maf", "zuko_nice"])
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
    with pytest.raises(UnsupportedLayersError, match="none was given: give `context`"):
        importers.read(estimator)


def test_the_splines_of_nsf_are_named_and_its_lu_layers_carried():
    inference, estimator, _, observed = trained("nsf")
    parts = importers.survey(estimator, context=observed)
    by_kind = {part.kind: part.refusal for part in parts}
    assert by_kind["LULinear"] is None
    assert by_kind["PiecewiseRationalQuadraticCouplingTransform"] == "splines are not supported"
    assert sum(part.kind == "LULinear" for part in parts) == 5
    with pytest.raises(BadInputError, match=r"For a posterior, give posterior.posterior_estimator"):
        importers.read(inference.build_posterior(estimator))
