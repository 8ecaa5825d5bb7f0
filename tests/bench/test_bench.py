"""The instrument: it times nothing here, it is only asked whether it measures and refuses what it should."""

import numpy as np
import pytest

from lunet_export import ExportedFlow
from lunet_export.bench import interleaved, latency
from lunet_export.bench.measure import Measurement
from lunet_export.errors import CheckFailedError


def test_turns_are_interleaved_after_the_warmup():
    order = []
    cases = {name: (lambda name=name: order.append(name)) for name in "ab"}
    found = interleaved(cases, seconds=0.001, warmup=2, calls_a_turn=3)
    assert order[:4] == ["a", "a", "b", "b"]
    assert order[4:10] == ["a"] * 3 + ["b"] * 3
    assert all(measurement.calls >= 3 for measurement in found.values())


def test_a_wide_spread_is_flagged():
    assert Measurement(1.0, 2.0, 3.0, (0.8, 1.1), 10).noisy
    assert not Measurement(1.0, 2.0, 3.0, (0.95, 1.1), 10).noisy


def test_a_wrong_runner_is_not_timed(exported):
    flow = ExportedFlow(exported.folder, provider="cpu")

    class Wrong:
        def density(self, x):
            z, log_prob = flow.density(x)
            return z, log_prob + np.float32(1)

        def decode(self, z):
            return flow.decode(z)

    with pytest.raises(CheckFailedError, match="Expected right answers before timing; other fails"):
        latency(flow, {"other": Wrong()}, batches=[1], seconds=0.01)
