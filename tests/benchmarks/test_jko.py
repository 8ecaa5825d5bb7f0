"""LU-Net beside JKO-iFlow: what is known is not trained again, and the table says what was recorded."""

import json
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import jko, jko_lu, report
from lunet_export import checkpoint, noise
from lunet_export.checks import reference
from lunet_export.data import Dataset
from lunet_export.flows.jko import with_steps
from lunet_export.torch_layers import EagerFlow
from tests import tolerances
from tests.families.jko import changed, flow
from tests.flows.test_laws import jacobian

PLANE = flow(2, (8, 8), blocks=2, steps=2)


def beyond_rounding(found, rows):
    """The figures of `examine` over what rounding allows them, by name; ONNX Runtime and PyTorch both round."""
    z = noise.normal(0, range(len(rows)), 2)
    one = tolerances.of_density(PLANE, rows) | {"x": tolerances.of_sampling(PLANE, z)["x"]}
    both = {
        name: found["onnx_from_pytorch"][name] / (tolerances.TWO * one[name].max()) for name in ("log_prob", "z", "x")
    }
    each = {name: gap / one["log_prob"].max() for name, gap in found["log_prob_from_reference"].items()}
    return both | each


@pytest.mark.parametrize("wrong", [False, True])
def test_a_model_is_examined(wrong, tmp_path, monkeypatch):
    """And a network in PyTorch with one matrix a thousandth off is beyond rounding in every figure."""
    rows = np.random.default_rng(0).standard_normal((200, 2))
    monkeypatch.setattr(jko.data, "load", lambda name: Dataset(name, rows, rows, rows))
    if wrong:
        monkeypatch.setattr(jko, "EagerFlow", lambda weights, dtype: EagerFlow(changed(weights), dtype))
    monkeypatch.setattr(jko, "_CELLS", 300)
    path = tmp_path / "m.pt"
    checkpoint.write_weights(path, PLANE, image_shape=None, training={}, examples=None)
    found = jko.examine("rose", path)
    assert found["round_trip"]["1"] > found["round_trip"]["3"] > found["round_trip"]["6"]
    ratios = beyond_rounding(found, rows)
    assert ratios.pop("onnxruntime") <= 1
    assert min(ratios.values()) > 1 if wrong else max(ratios.values()) <= 1, ratios
    assert found["nodes"]["sampling"] == 2 * 2 * 57 + 1
    json.dumps(found)


def test_the_integral_is_that_of_the_density():
    """Of rows that end well inside the grid; and a density that is twice too high is seen."""
    x = reference.decode(PLANE, np.random.default_rng(0).standard_normal((2000, 2)))
    assert jko.integral(with_steps(PLANE, 8), x) == pytest.approx(1.0, abs=0.02)
    low = jko.integral(with_steps(PLANE, 8), x[:3] * 0.1)
    assert abs(low - 1.0) > 0.1


def test_a_stopped_script_goes_on_with_what_is_missing(monkeypatch, tmp_path, capsys):
    ran = []

    def run(dataset, family, model):
        ran.append((dataset, family))
        figures = {f"{kind}_{unit}": 1.5 for kind in ("test", "gaussian") for unit in ("nats", "bits_per_dim")}
        return {"dataset": dataset, "seconds": 2.0, "entropy_nats": 1.0 if dataset == "rose" else None, **figures}

    options = SimpleNamespace(threads=1, output=tmp_path, models=tmp_path, datasets=["rose"])
    parser = SimpleNamespace(add_argument=lambda *a, **k: None, parse_args=lambda: options)
    monkeypatch.setattr(report, "options", lambda question, seconds: parser)
    monkeypatch.setattr(jko, "run", run)
    jko.main()
    options.datasets = ["rose", "digits"]
    jko.main()
    assert ran == [("rose", "lunet"), ("rose", "jko"), ("digits", "lunet"), ("digits", "jko")]
    out = capsys.readouterr().out
    assert "| rose | 1.000 | 1.500 | 1.500, 2 s | 1.500, 2 s |" in out
    assert "| digits, bits/dim | - | 1.500 | 1.500, 2 s | 1.500, 2 s |" in out


def test_a_block_begins_near_the_identity_and_knows_its_volume():
    block = jko_lu.Block(3, 7.0).double()
    x = torch.randn(20, 3, dtype=torch.float64).clamp(-2, 2)
    with torch.no_grad():
        after, _ = block(x)
    assert float((after - x).abs().max()) < 0.02
    with torch.no_grad():
        for parameter in block.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    log_det = block(x)[1].detach()
    exact = torch.stack([torch.linalg.slogdet(jacobian(block, row)).logabsdet for row in x])
    torch.testing.assert_close(log_det, exact, rtol=0, atol=1e-10)


def test_every_way_learns_from_the_same_start(monkeypatch):
    """For as many steps on every machine: the clock goes on by a step a look."""
    looks = count()
    monkeypatch.setattr(jko_lu, "time", SimpleNamespace(perf_counter=lambda: next(looks) / 600))
    rng = np.random.default_rng(0)
    x = torch.from_numpy((rng.standard_normal((2000, 2)) ** 2).astype(np.float32))
    for name, run in jko_lu._ways(0.5).items():
        torch.manual_seed(0)
        blocks = [jko_lu.Block(2, 1.0) for _ in range(2)]
        before = jko_lu._nats(blocks, x, x)
        run(blocks, x)
        assert jko_lu._nats(blocks, x, x) < before, name
