"""The derived tolerances: wide enough for a correct float32 network, narrow enough to catch a wrong one."""

from dataclasses import replace

import numpy as np
import pytest

from lunet_export import reference, vectors
from lunet_export.flows import EagerFlow
from lunet_export.parity import run
from lunet_export.rounding import RoundingModel, unit_roundoff
from tests.networks import NETWORKS, network, rows

every_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


@every_network
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_eager_pytorch_stays_within_the_prediction(make, dtype):
    weights = make()
    worst = {
        check.name: check.difference.ratio
        for check in run(EagerFlow(weights, dtype), vectors.build(weights, dtype=dtype, seed=3))
    }
    assert max(worst.values()) <= 1.0, worst


@every_network
@pytest.mark.parametrize("fault", ["alpha", "bias", "levels"])
def test_a_small_fault_exceeds_the_prediction(make, fault):
    """A slope or a bias off by 3e-4, or 257 levels for 256, is far beyond float32 and must be seen."""
    weights = make()
    if (fault == "alpha" and len(weights.blocks) == 1) or (fault == "levels" and weights.preprocessing is None):
        return  # nothing to get wrong
    last = weights.blocks[-1]
    wrong = {
        "alpha": lambda: replace(weights, alpha=weights.alpha * (1 - 3e-4)),
        "bias": lambda: replace(weights, blocks=(*weights.blocks[:-1], replace(last, bias=last.bias * (1 + 3e-4)))),
        "levels": lambda: replace(
            weights, preprocessing=replace(weights.preprocessing, levels=weights.preprocessing.levels + 1)
        ),
    }[fault]()
    checks = run(EagerFlow(wrong, "float64"), vectors.build(weights, dtype="float32", seed=3))
    assert any(not check.passed for check in checks if check.name.startswith("golden: density"))


def test_tolerance_follows_the_condition_number():
    """z -> x through a nearly singular U loses digits in proportion; the tolerance must say so, and no more."""
    weights = network(8, 1)
    z = np.random.default_rng(0).standard_normal((4, 8))
    tolerances = []
    for smallest in (1.0, 1e-3, 1e-6):
        block = weights.blocks[0]
        upper = block.upper.copy()
        upper[3, 3] = smallest
        bad = replace(weights, blocks=(replace(block, upper=upper),))
        scale = np.abs(reference.decode(bad, z)).max()
        tolerances.append(RoundingModel(bad, "float32").sampling(z)["x"].max() / scale)
    assert max(tolerances) < 1e3 * unit_roundoff("float32")  # relative to what comes out, it stays small
    wide = RoundingModel(bad, "float32").sampling(z)["x"].max()
    assert wide > 1e4 * RoundingModel(weights, "float32").sampling(z)["x"].max()


def test_float64_tolerance_is_float32s_times_the_ratio_of_roundoffs():
    weights = network(6, 3)
    x = rows(weights, 5)
    single, double = (RoundingModel(weights, dtype).density(x)["z"] for dtype in ("float32", "float64"))
    # The float64 probes also see the reference's own roundoff, so theirs is a little wider.
    np.testing.assert_allclose(single / double, 2.0**29, rtol=0.5)
