"""What an LU-Net gets, an imported stack of LU layers gets: solvers, certificates, latent statistics, training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lunet_export import ExportedClasses, checkpoint, data, importers
from lunet_export.checks import reference
from lunet_export.distribution import Mixture
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.flows.lunet import lunet_of
from lunet_export.graphs.solvers import SOLVERS
from lunet_export.layers import LU, Affine, LeakyReLU
from tests import tolerances
from tests.cli.conftest import run
from tests.importers.peers import PEERS, nflows_flow, nflows_maf, package, rows, trained, zuko_lu, zuko_maf
from tests.networks import network

pytestmark = pytest.mark.filterwarnings("ignore")  # of one part of the peers about another, and of PyTorch about them

DIM = 3


def nflows_stack(dim):
    """Scales and shifts at both ends; the same bend everywhere."""
    package("nflows")
    from nflows import transforms as t

    shift, scale = torch.linspace(-1, 1, dim), torch.linspace(0.5, 2, dim)
    layers = [t.PointwiseAffineTransform(shift, scale), t.LULinear(dim, identity_init=False), t.LeakyReLU(0.3)]
    layers += [t.LULinear(dim, identity_init=False), t.ActNorm(dim), t.LeakyReLU(0.3)]
    return nflows_flow(dim, *layers, t.LULinear(dim, identity_init=False), diagonal=True)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", rows(300, DIM).astype(np.float32))


def imported(make, name):
    """The flow's chain, in a model file of that name."""
    weights = importers.read(trained(make(DIM), PEERS[make.__name__.partition("_")[0]], DIM)).weights
    checkpoint.write_weights(Path(f"{name}.pt"), weights, image_shape=None, training={}, examples=None)
    return weights


@pytest.mark.parametrize("make", [nflows_stack, zuko_lu])
def test_a_stack_of_lu_layers_gets_the_tools_of_one(make, here):
    weights = imported(make, "stack")
    assert sum(layer.solves for layer in weights.layers) >= 2
    code, out, _ = run("inspect", "stack.pt", "--solvers", "--json")
    assert (code, {entry["solver"].partition(" ")[0] for entry in json.loads(out)["solvers"]}) == (0, set(SOLVERS))
    code, out, _ = run("stack.pt", "-o", "stack", "--solver", "auto")
    assert (code, run("check", "stack", "--model", "stack.pt")[0]) == (0, 0)
    manifest = json.loads(Path("stack/manifest.json").read_text())
    assert manifest["graphs"]["sampling"]["solver"]["name"] in out
    code, out, _ = run("certify", "stack.pt", "rows.npy", "--json")
    certified = json.loads(out)
    assert (code, certified["data"], certified["observed_data"]["violations"]) == (
        0,
        manifest["certificate"]["data"],
        [],
    )


@pytest.mark.parametrize("make", [nflows_stack, nflows_maf, zuko_lu, zuko_maf])
def test_any_imported_flow_is_recalibrated(make, here):
    weights, train = imported(make, "flow"), data.load("rows.npy").train.astype(np.float64)
    code, out, _ = run("recalibrate", "flow.pt", "rows.npy", "-o", "better.pt", "--json")
    gain = json.loads(out)["gain_nats"]
    better = checkpoint.read(Path("better.pt")).weights
    assert (code, better.layers[-1].solves, gain > 0) == (0, True, True)
    before, after = (reference.log_prob(chain, train).mean() for chain in (weights, better))
    assert abs(after - before - gain) <= 1e-10 * max(1.0, abs(before), abs(after))
    latent = reference.encode(better, train)[0]
    assert np.abs(np.cov(latent.T, bias=True) - np.eye(DIM)).max() <= 1e-10 * np.linalg.cond(np.cov(latent.T))


def test_training_goes_on_from_a_stack_with_one_bend(here):
    weights = imported(nflows_stack, "stack")
    same, x = lunet_of(weights, "a test"), rows(40, DIM, seed=3)
    assert {type(layer) for layer in weights.layers} == {Affine, LU, LeakyReLU}
    assert {type(layer) for layer in same.layers} == {LU, LeakyReLU}
    ours, theirs = reference.log_prob(same, x), reference.log_prob(weights, x)
    assert np.abs(ours - theirs).max() <= 1e-10 * max(1.0, np.abs(theirs).max())
    code, _, err = run("train", "rows.npy", "--from", "stack.pt", "-o", "on.pt", "--epochs", "2", "--no-fallback")
    assert (code, checkpoint.read(Path("on.pt")).weights.kind.name, "Traceback" in err) == (0, "lunet", False)
    assert run("stack.pt", "-o", "verified", "--for-verifier")[0] == 0
    assert run("plot", "activations", "stack.pt", "rows.npy", "-o", "bends.png")[0] == 0


def test_what_is_no_lu_net_says_so(here):
    imported(nflows_maf, "maf")
    code, _, err = run("train", "rows.npy", "--from", "maf.pt", "-o", "on.pt")
    assert (code, Path("on.pt").exists()) == (2, False)
    assert "Expected an LU-Net, or LU layers with one activation between each two" in err


def test_an_lu_net_and_an_imported_flow_are_one_mixture(here):
    """A prior of 0.3 and 0.7; the sum of the densities is the mixture's, and each class is sampled."""
    flow = imported(zuko_maf, "maf")
    mixture = Mixture((network(DIM, 3), flow), ("lu-net", "maf"), (0.3, 0.7))
    export(mixture, Path("both"), Provenance("both"), ExportSettings(with_log_prob=True))
    assert run("check", "both")[0] == 0
    x = rows(40, DIM, seed=3).astype(np.float32)
    parts = [
        np.log(prior) + reference.log_prob(each, x) for each, prior in zip(mixture.components, (0.3, 0.7), strict=True)
    ]
    ours, theirs = ExportedClasses("both", provider="cpu").log_prob(x), np.logaddexp(*parts)
    allowed = tolerances.of_classes(mixture, x)["log_prob"]
    tolerances.assert_within(ours, theirs, allowed)
    assert tolerances.beyond(ours[::-1], theirs, allowed) > 1
