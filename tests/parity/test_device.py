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
    checks = parity.run_device(*flows, batches=(1, 5))
    assert not failed(checks)
    assert [check.name for check in checks][:3] == [f"device: CUDA = CPU, {name}" for name in ("z", "log_prob", "x")]


def test_products_in_tf32_are_caught_against_the_cpu(flows, monkeypatch):
    flow, host, captured = flows

    def rounded(x):
        z, log_prob = ExportedFlow.density(host, x)
        return z * np.float32(1 + 2**-10), log_prob

    monkeypatch.setattr(flow, "density", rounded)
    assert "device: CUDA = CPU, z" in failed(parity.run_device(flow, host, captured, batches=(1,)))


def test_a_stale_replay_is_caught(flows, monkeypatch):
    """Planted: the second run of a batch size answers with the first one's numbers."""
    flow, host, captured = flows
    answers = {}
    real = captured.decode
    monkeypatch.setattr(captured, "decode", lambda z: answers.setdefault(len(z), real(z)))
    assert failed(parity.run_device(flow, host, captured, batches=(1, 5))) == {
        "device: replayed = launched, batch 1, x",
        "device: replayed = launched, batch 5, x",
    }


def test_rows_that_are_lost_on_the_device_are_caught(flows, monkeypatch):
    flow, host, captured = flows
    real = flow.on_device.density
    monkeypatch.setattr(flow.on_device, "density", lambda x: real(np.zeros((len(x), 16)) if hasattr(x, "dtype") else x))
    lost = failed(parity.run_device(flow, host, captured, batches=(1,)))
    assert lost == {f"device: on the device = through the host, {name}" for name in ("z", "log_prob")}
