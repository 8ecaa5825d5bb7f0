"""Table 1: answers first, every column divided by images or steps, and LU-Net's graphs as the measure."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import networks, report, table1
from lunet_export.errors import CheckFailedError
from tests.families import realnvp
from tests.networks import network

WEIGHTS = network(16, 2)


def test_both_runtimes_answer_rightly_and_a_fault_is_seen():
    for weights in (WEIGHTS, realnvp.dense(16, 4), realnvp.convolutional(4, 2)):
        questions = networks.Questions.about(weights, rows=2)
        for runner in (table1.Runner.eager(weights), table1.Runner.onnxruntime(weights, 1)):
            assert table1.check(questions, "it", runner, 3) <= 1
        wrong = table1.Runner(runner.density, lambda z, right=runner.decode: right(z) + 0.1)
        with pytest.raises(CheckFailedError, match="Expected right answers before timing; it gives x"):
            table1.check(questions, "it", wrong, 3)


def test_the_models_are_the_papers_and_of_equal_size():
    held = {name: table1.sizes(make()) for name, make in table1.MODELS.items()}
    assert held["RealNVP, convolutional"]["held"] == 5_388_264
    assert held["LU-Net"]["free_parameters"] == 2_461_760
    ours, dense = (held[name]["graph_bytes"]["sampling"] for name in ("LU-Net", "RealNVP, dense"))
    assert dense == pytest.approx(ours, rel=0.01)


def test_a_run_of_small_models_fills_the_table(monkeypatch, tmp_path, capsys):
    models = {"LU-Net": lambda: WEIGHTS, "RealNVP, dense": lambda: realnvp.dense(16, 4)}
    monkeypatch.setattr(table1, "MODELS", models)
    monkeypatch.setattr(networks, "DIM", 16)
    monkeypatch.setattr(table1.memory, "growth_of", lambda *arguments: 10**6)
    monkeypatch.setattr(report, "options", lambda question, seconds: Parser(tmp_path))
    table1.main()
    document = json.loads((tmp_path / "table1.json").read_text())
    assert document["over_lunet"]["sampling, batch 1"]["LU-Net, onnxruntime"] == 1.0
    assert document["over_fused"]["sampling, batch 1"]["LU-Net, onnxruntime fused"] == 1.0
    part = document["training"]["batch 256"]["LU-Net"]
    steps = part["step"]["p50"] / 1e3 * 60_000 / 256
    assert part["epoch_s"] == pytest.approx(steps + document["training"]["loading_s"])
    assert max(document["checked"].values()) <= 1
    out = capsys.readouterr().out
    assert out.count("\n") == 1 + len(table1.rows(document))
    cell = document["runs"]["density, batch 100"]["LU-Net, onnxruntime"]["p50"] / 100
    assert f"| density, batch 100, ONNX Runtime, ms per image | {cell:.3g} |" in out


class Parser:
    """The options of a quick run."""

    def __init__(self, output):
        self.output = output

    def parse_args(self):
        return SimpleNamespace(seconds=0.01, threads=1, output=self.output)


def test_the_papers_figures_are_said_to_mean_something():
    printed = table1.PAPER
    assert set(printed["LU-Net"]) == set(printed["RealNVP"]) >= set(printed["meaning"])
    per_image = np.array([37.10 * 256, 259.15 * 128]) / 60_000
    assert per_image == pytest.approx([0.158, 0.553], abs=1e-3)
