"""Flows built and trained by the real packages give the same densities and the same maps here, in float64."""

import numpy as np
import pytest
import torch

from lunet_export import importers, reference
from lunet_export.families.composed import reference as composed
from tests.importers.peers import DIMS, FLOWS, LARGE, NO_INVERSE, PEERS, UNIT, rows, trained

pytestmark = pytest.mark.filterwarnings("ignore")  # of one part of the peers about another, and of PyTorch about them

LIMIT = 1e-10  # relative to max(1, |theirs|)
CASES = [(library, make, dim) for library, makers in FLOWS.items() for make in makers for dim in DIMS]
CASES += [(make.__name__.partition("_")[0], make, dim) for make in LARGE for dim in (64, 784)]
every_flow = pytest.mark.parametrize(("library", "make", "dim"), CASES, ids=[f"{m.__name__}-{d}" for _, m, d in CASES])


def gap(ours, theirs):
    assert ours.shape == theirs.shape
    return (np.abs(ours - theirs) / np.maximum(1, np.abs(theirs))).max()


@every_flow
@torch.no_grad()
def test_it_is_the_peers_own_flow(library, make, dim):
    peer, unit = PEERS[library], make in UNIT
    flow = trained(make(dim), peer, dim, steps=20 if dim < 64 else 3, unit=unit)
    weights = importers.read(flow).weights
    x = rows(40, dim, seed=1, unit=unit)
    assert gap(reference.log_prob(weights, x), peer.log_prob(flow, torch.from_numpy(x)).numpy()) < LIMIT
    assert gap(composed.encode(weights, x)[0], peer.latent(flow, torch.from_numpy(x)).numpy()) < LIMIT
    z = np.random.default_rng(2).standard_normal((40, dim))
    data = composed.decode(weights, z)
    if make in NO_INVERSE:
        with pytest.raises((RuntimeError, AttributeError)):
            peer.data(flow, torch.from_numpy(z))
        assert gap(peer.latent(flow, torch.from_numpy(data)).numpy(), z) < LIMIT
    else:
        assert gap(data, peer.data(flow, torch.from_numpy(z)).numpy()) < LIMIT
