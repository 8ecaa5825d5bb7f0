"""The checks of a GPU pass on a right device and fail on the faults that a GPU is known for."""

import numpy as np
import pytest

from lunet_export import ExportedFlow, parity


@pytest.fixture
def flows(exported, cuda_on_host):
    flow = ExportedFlow(exported.folder, provider="cuda")
    host = ExportedFlow(exported.folder, provider="cpu", threads=1)
    captured = ExportedFlow(exported.folder, provider="cuda", cuda_graph=True)
    return flow, host, captured


def failed(checks):
    return {check.name for check in checks if not check.passed}


def test_a_right_device_passes(flows):
    flow, host, captured = flows
    checks = parity.run_device(flow, host) + parity.run_replays(flow, captured, batches=(1, 5))
    assert not failed(checks)
    assert [check.name for check in checks][:3] == [f"device: CUDA = CPU, {name}" for name in ("z", "log_prob", "x")]


def test_products_in_tf32_are_caught_against_the_cpu(flows, monkeypatch):
    flow, host, _ = flows

    def rounded(x, context=None):
        z, log_prob = ExportedFlow.density(host, x)
        return z * np.float32(1 + 2**-10), log_prob

    monkeypatch.setattr(flow, "density", rounded)
    assert "device: CUDA = CPU, z" in failed(parity.run_device(flow, host))


def test_a_stale_replay_is_caught(flows, monkeypatch):
    """Planted: the second run of a batch size answers with the first one's numbers."""
    flow, _, captured = flows
    answers = {}
    real = captured.decode
    monkeypatch.setattr(captured, "decode", lambda z: answers.setdefault(len(z), real(z)))
    assert failed(parity.run_replays(flow, captured, batches=(1, 5))) == {
        "device: replayed = launched, batch 1, x",
        "device: replayed = launched, batch 5, x",
    }


def test_rows_that_are_lost_on_the_device_are_caught(flows, monkeypatch):
    flow, host, _ = flows
    real = flow.on_device.density
    monkeypatch.setattr(
        flow.on_device, "density", lambda x, **context: real(np.zeros((len(x), 16)) if hasattr(x, "dtype") else x)
    )
    lost = failed(parity.run_device(flow, host))
    assert lost == {f"device: on the device = through the host, {name}" for name in ("z", "log_prob")}


def test_rows_written_in_place_that_the_replay_does_not_see_are_caught(flows, monkeypatch):
    flow, _, captured = flows
    real = captured.on_device.decode
    stale = captured.on_device.decode(np.zeros((len(flow.vectors.sampling.z), 16))).numpy()

    class Stale:
        def numpy(self):
            return stale

    monkeypatch.setattr(captured.on_device, "decode", lambda z: real(z) if isinstance(z, np.ndarray) else Stale())
    caught = failed(parity.run_replays(flow, captured, batches=(1,)))
    assert caught == {"device: replayed from rows written in place = launched, x"}


def test_tf32s_wide_budget_still_catches_what_is_wrong(flows):
    """It is no licence: columns in another order, a constant of the density left out, another row's numbers."""
    flow, _, _ = flows
    wide = flow.artifact.vectors.under_tf32("float32")

    class Wrong:
        def __init__(self, columns=slice(None), constant=0.0, rows=0):
            self.columns, self.constant, self.rows = columns, np.float32(constant), rows

        def density(self, x):
            z, log_prob = flow.density(x)
            return np.roll(z[:, self.columns], self.rows, axis=0), log_prob + self.constant

        def decode(self, z):
            return flow.decode(z)

    assert not failed(parity.run(Wrong(), wide))
    assert "golden: density, z" in failed(parity.run(Wrong(columns=slice(None, None, -1)), wide))
    assert "golden: density, z" in failed(parity.run(Wrong(rows=1), wide))
    assert "golden: density, log_prob" in failed(parity.run(Wrong(constant=16 * np.log(2 * np.pi)), wide))
