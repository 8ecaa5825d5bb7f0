"""Simulation-based calibration of a posterior of sbi: the export gives the ranks that sbi's own sampler gives.

For pairs (theta, x) of the simulator, the rank of theta among draws of the posterior at x is uniform if the posterior
is calibrated (Talts et al., arXiv 1804.06788). Both samplers get the same normal numbers, so their ranks must agree,
calibrated or not.
"""

import numpy as np
import pytest
import torch

from benchmarks import given
from lunet_export import ExportedFlow, importers, noise
from lunet_export.export import ExportSettings, Provenance, build_artifact

pytest.importorskip("sbi", reason="sbi is not installed: run make setup-dev")
pytestmark = pytest.mark.filterwarnings("ignore")  # of sbi and what it stands on

PAIRS, DRAWS = 100, 63


@pytest.fixture(scope="module")
def posterior():
    return given.seeded(lambda: given.of_sbi("NPE", simulations=300, epochs=5))


@pytest.fixture(scope="module")
def exported(posterior):
    artifact = build_artifact(importers.read(posterior.flow).weights, Provenance("npe"), ExportSettings())
    return ExportedFlow(artifact, provider="cpu", threads=1)


def ranks(truths, draws):
    """How many of the draws (P, L, D) lie below each number of the truths (P, D)."""
    return (draws < truths[:, None]).sum(axis=1)


@torch.no_grad()
def test_the_export_has_the_ranks_of_the_library_s_own_sampler(posterior, exported):
    truths, contexts = posterior.rows[:PAIRS], posterior.contexts[:PAIRS]
    z = noise.normal(3, range(PAIRS * DRAWS), given.DIM).reshape(PAIRS, DRAWS, -1)
    ours = np.stack([exported.decode(part, context=c) for part, c in zip(z, contexts, strict=True)])
    theirs = posterior.in_float64(z.reshape(-1, given.DIM), np.repeat(contexts, DRAWS, axis=0), sampling=True)
    theirs = theirs.reshape(PAIRS, DRAWS, -1)
    # A draw may change its side only where float32 cannot tell it from the truth.
    apart = np.abs(theirs - truths[:, None]) > 2 * np.abs(ours - theirs)
    assert apart.all()
    np.testing.assert_array_equal(ranks(truths, ours), ranks(truths, theirs))


@torch.no_grad()
def test_draws_of_other_contexts_have_other_ranks(posterior, exported):
    truths, contexts = posterior.rows[:PAIRS], posterior.contexts[:PAIRS]
    z = noise.normal(3, range(DRAWS), given.DIM)
    own, others = (
        np.stack([exported.decode(z, context=c) for c in order]) for order in (contexts, np.roll(contexts, 1, axis=0))
    )
    assert (ranks(truths, own) != ranks(truths, others)).any(axis=1).mean() > 0.5
