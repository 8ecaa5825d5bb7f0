"""What an LU-Net gets, an imported stack of LU layers gets: solvers, certificates, latent statistics, training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import given
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


def zuko_nsf(dim):
    return package("zuko").flows.NSF(dim, bins=4, transforms=2, hidden_features=(12, 12))


@pytest.fixture
def splines(here):
    """A model file and a folder of zuko's splines; the same of sbi's, with a context of 4 numbers, and its contexts."""
    package("sbi")
    imported(zuko_nsf, "nsf")
    torch.set_default_dtype(torch.float32)  # all that sbi trains in
    posterior = given.seeded(lambda: given.of_sbi("NPE", "nsf", simulations=200, epochs=1))
    of_sbi = importers.read(posterior.flow).weights
    checkpoint.write_weights(Path("posterior.pt"), of_sbi, image_shape=None, training={}, examples=None)
    np.save("contexts.npy", posterior.contexts[:300].astype(np.float32))
    for name in ("nsf", "posterior"):
        assert run(f"{name}.pt", "-o", name)[0] == 0


#: What is asked of zuko's splines and of sbi's posterior, the exit code, and what is said.
CONTEXT = ("--context", "0.5,0,1,-1")
ASKED = {
    "inspect": (["inspect", "nsf.pt"], 0, "kinds.SplineAutoregressive  2"),
    "inspect a folder": (["inspect", "posterior"], 0, "SplineAutoregressive"),
    "inspect --solvers": (["inspect", "nsf.pt", "--solvers"], 2, "Expected a model with LU layers"),
    "certify": (
        ["certify", "nsf.pt", "rows.npy"],
        2,
        "bounded to certify; layer 1 of 2 (SplineAutoregressive) has no bound. Give an LU-Net",
    ),
    "certify a posterior": (
        ["certify", "posterior.pt", "rows.npy", *CONTEXT],
        2,
        "layer 2 of 11 (SplineAutoregressive) has no bound",
    ),
    "recalibrate": (["recalibrate", "nsf.pt", "rows.npy", "-o", "better.pt"], 0, "wrote better.pt"),
    "recalibrate a posterior": (
        ["recalibrate", "posterior.pt", "rows.npy", "-o", "shifted.pt", "--context", "contexts.npy"],
        0,
        "wrote shifted.pt",
    ),
    "diagnose": (["diagnose", "nsf.pt", "rows.npy"], 0, "no layer of this model is an activation"),
    "diagnose a posterior": (["diagnose", "posterior", "rows.npy", "--context", "contexts.npy"], 0, "Gaussian gap"),
    "plot latents": (["plot", "latents", "nsf.pt", "rows.npy", "-o", "latents.png"], 0, "wrote latents.png"),
    "plot samples": (["plot", "samples", "posterior.pt", "-o", "samples.png", *CONTEXT], 0, "wrote samples.png"),
    "plot activations": (["plot", "activations", "nsf.pt", "rows.npy", "-o", "a.png"], 2, "a model with activations"),
    "score": (["score", "nsf", "rows.npy", "-o", "scores.csv"], 0, "300 rows"),
    "score a posterior": (
        ["score", "posterior", "rows.npy", "--context", "contexts.npy", "-o", "s.csv"],
        0,
        "300 rows",
    ),
    "sample": (["sample", "nsf", "-n", "10", "-o", "samples.csv"], 0, "10 samples"),
    "sample a posterior": (["sample", "posterior", "-n", "10", *CONTEXT, "-o", "given.csv"], 0, "10 samples"),
    "sample a posterior of nothing": (["sample", "posterior", "-n", "10", "-o", "none.csv"], 2, "Expected a --context"),
    "a verifier": (["nsf.pt", "-o", "verified", "--for-verifier"], 2, "Expected an LU-Net, or LU layers"),
    "a verifier of a posterior": (["posterior.pt", "-o", "v", "--for-verifier"], 2, "Expected an LU-Net, or LU layers"),
    "train": (["train", "rows.npy", "--from", "nsf.pt", "-o", "on.pt"], 2, "Expected an LU-Net, or LU layers"),
    "embed": (["embed", "posterior", "-o", "embedded", "--language", "rust"], 0, "embedded/src/main.rs"),
    "triton": (["triton", "posterior", "-o", "served"], 0, "x [N, 3], context [N, 4] -> log_prob [N, 1], z [N, 3]"),
    "check": (["check", "posterior", "--model", "posterior.pt"], 0, "18 of 18 checks passed"),
    "check another": (["check", "nsf", "--model", "posterior.pt"], 2, "posterior.pt is another one"),
}


@pytest.mark.usefixtures("splines")
def test_every_tool_takes_splines_or_says_why_not():
    """In one test: what they are asked about is trained once."""
    for name, (arguments, wanted, sentence) in ASKED.items():
        code, out, err = run(*arguments)
        assert (code, sentence in out + err, "Traceback" in err) == (wanted, True, False), (name, out, err)


def test_splines_are_a_class_beside_an_lu_net(here):
    weights = imported(zuko_nsf, "nsf")
    mixture = Mixture((network(DIM, 3), weights), ("lu-net", "splines"), (0.3, 0.7))
    export(mixture, Path("both"), Provenance("both"), ExportSettings(with_log_prob=True))
    assert run("check", "both")[0] == 0
    x = rows(40, DIM, seed=3).astype(np.float32)
    theirs = np.stack(
        [
            np.log(prior) + reference.log_prob(each, x)
            for each, prior in zip(mixture.components, (0.3, 0.7), strict=True)
        ]
    )
    allowed = tolerances.of_classes(mixture, x)["log_prob"]
    tolerances.assert_within(ExportedClasses("both", provider="cpu").log_prob(x), np.logaddexp(*theirs), allowed)
