"""LU-Net with each activation: what is known is not trained again, and a model is examined on its own graphs."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import activations, jko, report
from lunet_export import checkpoint
from lunet_export.data import Dataset
from lunet_export.export import build_artifact
from lunet_export.layers import ACTIVATIONS
from tests.families.lunet import changed
from tests.networks import network


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_model_is_examined(activation, wrong, tmp_path, monkeypatch):
    """And an export of a network with one weight off is beyond rounding."""
    if wrong:
        monkeypatch.setattr(activations, "build_artifact", lambda w, *given: build_artifact(changed(w), *given))
    rows = np.random.default_rng(0).standard_normal((200, 2))
    monkeypatch.setattr(activations.data, "load", lambda name: Dataset(name, rows, rows, rows))
    path = tmp_path / "m.pt"
    weights = network(2, 3, activation=activation)
    checkpoint.write_weights(path, weights, image_shape=None, training={}, examples=None)
    found = activations.examine("rose", path)
    assert found["nodes"].keys() == {"density", "sampling"}
    gaps = found["log_prob_from_reference"]
    assert 0 < gaps["median"] <= gaps["max"]
    assert gaps["max_of_tolerance"] > 1 if wrong else 0 < gaps["max_of_tolerance"] <= 1
    json.dumps(found)


def test_a_stopped_script_goes_on_with_what_is_missing(monkeypatch, tmp_path, capsys):
    ran = []

    def run(dataset, family, model, given):
        ran.append((dataset, family, given["activation"]))
        figures = {f"{kind}_{unit}": 1.5 for kind in ("test", "gaussian") for unit in ("nats", "bits_per_dim")}
        return {"dataset": dataset, "entropy_nats": None if dataset == "digits" else 1.0, **figures}

    options = SimpleNamespace(threads=1, output=tmp_path, models=tmp_path)
    parser = SimpleNamespace(add_argument=lambda *a, **k: None, parse_args=lambda: options)
    monkeypatch.setattr(report, "options", lambda question, seconds: parser)
    monkeypatch.setattr(jko, "run", run)
    monkeypatch.setattr(activations, "examine", lambda dataset, model: {})
    monkeypatch.setattr(activations, "DATASETS", ("two-moons",))
    activations.main()
    monkeypatch.setattr(activations, "DATASETS", ("two-moons", "digits"))
    activations.main()
    assert ran == [(dataset, "lunet", name) for dataset in ("two-moons", "digits") for name in ACTIVATIONS]
    out = capsys.readouterr().out
    assert "| two-moons | 1.000 | 1.500 | 1.500 | 1.500 | 1.500 |" in out
    assert "| digits, bits/dim | - | 1.500 | 1.500 | 1.500 | 1.500 |" in out
