"""Flows built and trained by the real packages give the same densities and the same maps here, in float64."""

import numpy as np
import pytest
import torch

from lunet_export import ExportedFlow, importers
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.export import ExportSettings, Provenance, export
from tests.importers.peers import DIMS, FLOWS, LARGE, NO_INVERSE, PEERS, UNIT, nflows_maf, rows, trained

pytestmark = pytest.mark.filterwarnings("ignore")  # of one part of the peers about another, and of PyTorch about them

THREE = [(library, make) for library, makers in FLOWS.items() for make in makers]
LIMIT = 1e-10  # relative to max(1, the largest of |theirs| in a row)
CASES = [(library, make, dim) for library, makers in FLOWS.items() for make in makers for dim in DIMS]
CASES += [(make.__name__.partition("_")[0], make, dim) for make in LARGE for dim in (64, 784)]
every_flow = pytest.mark.parametrize(("library", "make", "dim"), CASES, ids=[f"{m.__name__}-{d}" for _, m, d in CASES])


def gap(ours, theirs):
    assert ours.shape == theirs.shape
    largest = np.abs(theirs) if theirs.ndim == 1 else np.abs(theirs).max(axis=1, keepdims=True)
    return (np.abs(ours - theirs) / np.maximum(1, largest)).max()


@every_flow
@torch.no_grad()
def test_it_is_the_peers_own_flow(library, make, dim):
    peer, unit = PEERS[library], make in UNIT
    flow = trained(make(dim), peer, dim, steps=20 if dim < 64 else 3, unit=unit)
    weights = importers.read(flow).weights
    x = rows(40, dim, seed=1, unit=unit)
    assert gap(reference.log_prob(weights, x), peer.log_prob(flow, torch.from_numpy(x)).numpy()) < LIMIT
    assert gap(reference.encode(weights, x)[0], peer.latent(flow, torch.from_numpy(x)).numpy()) < LIMIT
    z = np.random.default_rng(2).standard_normal((40, dim))
    data = reference.decode(weights, z)
    if make in NO_INVERSE:
        with pytest.raises((RuntimeError, AttributeError)):
            peer.data(flow, torch.from_numpy(z))
        assert gap(peer.latent(flow, torch.from_numpy(data)).numpy(), z) < LIMIT
    else:
        assert gap(data, peer.data(flow, torch.from_numpy(z)).numpy()) < LIMIT


@pytest.mark.parametrize(("library", "make"), THREE, ids=[make.__name__ for _, make in THREE])
@torch.no_grad()
def test_our_module_and_its_export_are_the_peers_own_flow_too(library, make, tmp_path):
    peer, unit, dim = PEERS[library], make in UNIT, 3
    flow = trained(make(dim), peer, dim, unit=unit)
    x = rows(40, dim, seed=1, unit=unit).astype(np.float32)
    theirs = peer.log_prob(flow, torch.from_numpy(x).double()).numpy()
    assert gap(importers.convert(flow).log_prob(torch.from_numpy(x).double()).numpy(), theirs) < LIMIT
    weights = importers.read(flow).weights
    export(weights, tmp_path / "flow", Provenance("flow"), ExportSettings())
    ours = ExportedFlow(tmp_path / "flow", provider="cpu").log_prob(x)
    assert (np.abs(ours - theirs) <= RoundingModel(weights, "float32").density(x.astype(np.float64))["log_prob"]).all()


def test_rows_that_are_thrown_where_no_digit_is_left_refuse_no_flow():
    """A long descent on few rows: this MAF maps some normal numbers beyond 1e16, and nothing can be asked there."""
    flow = trained(nflows_maf(16), PEERS["nflows"], 16, steps=300)
    proof = importers.read(flow).proof
    assert (proof.rows >= 16, proof.log_prob < 1e-9) == (True, True)
