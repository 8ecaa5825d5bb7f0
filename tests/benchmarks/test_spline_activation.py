"""The comparison of splines with activations: where splines begin, what training moves, and what is written."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import spline_activation as trial
from lunet_export.checks import reference
from lunet_export.data import Dataset
from lunet_export.layers import LU, LeakySoftplus, LeakySquareplus, SplineAutoregressive
from lunet_export.training.lunet.architecture import LUNetArchitecture

ROWS = Dataset("small", *(np.random.default_rng(seed).gamma(2.0, size=(n, 2)) for seed, n in enumerate((100, 20, 20))))
SETTINGS = LUNetArchitecture.settings(100, 2, init="bend", optimizer="adam", epochs=1, batch_size=25)
SMALL = trial.Set("small", 3, 1)
X = np.linspace(-5.0, 7.0, 241)


def test_a_spline_from_nothing_is_the_identity():
    start = trial.Start(None)
    assert np.abs(start.value(X) - X).max() < 1e-10


def test_a_spline_from_an_activation_goes_through_it_at_the_knots():
    f, spline = LeakySoftplus(0.1), trial.SPLINE
    knots = np.linspace(spline.low, spline.high, spline.bins + 1)
    found, expected = trial.Start(f).value(knots), f.value(knots)
    assert np.abs(found[[0, -1]] - knots[[0, -1]]).max() < 1e-10
    scale = spline.span / (expected[-1] - expected[0])
    assert np.abs(found - knots[0] - scale * (expected - expected[0])).max() < 1e-10
    outside = X[(spline.low > X) | (spline.high < X)]
    assert np.array_equal(trial.Start(f).value(outside), outside)


def test_a_spline_from_the_identity_changes_no_density():
    _, squareplus, _, _, both = trial.VARIANTS
    x = np.random.default_rng(1).gamma(2.0, size=(50, 2))
    with_it, without = (reference.log_prob(each.first(ROWS, 3, SETTINGS), x) for each in (both, squareplus))
    assert both.spline == trial.Start(None)
    assert np.abs(with_it - without).max() < 1e-10


@pytest.mark.parametrize("variant", trial.VARIANTS, ids=lambda variant: variant.name)
def test_training_moves_what_is_learned_and_nothing_else(variant):
    first = variant.first(ROWS, 3, SETTINGS)
    trainer = trial.paced(variant.pace)(first, ROWS, SETTINGS, device=torch.device("cpu"))
    trainer.run_epoch(lambda step, bits: None)
    after = trainer.optimizer.model().to_chain()
    assert [type(layer) for layer in after.layers] == [type(layer) for layer in first.layers]
    for old, new in zip(first.layers, after.layers, strict=True):
        if isinstance(new, SplineAutoregressive):
            before, now = (
                layer.network[0].bias.reshape(2, 3, trial.SPLINE.bins + 1).astype(np.float32) for layer in (old, new)
            )
            assert np.array_equal(now[:, 2, [0, -1]], before[:, 2, [0, -1]])  # slope 1 at both ends
            assert (now[:, :2, :-1] != before[:, :2, :-1]).any(axis=-1).all()
            assert (now[:, 2, 1:-1] != before[:, 2, 1:-1]).any(axis=-1).all()  # not those without rows near
        elif isinstance(new, LeakySquareplus):
            assert (new.alpha != old.alpha).all()
        elif not isinstance(new, LU):
            assert new == old


def test_a_run_counts_its_parameters():
    counts = {
        variant.name: trial.run(variant, SMALL, ROWS, 0)["parameters"] - 3 * (2 * 2 + 2) for variant in trial.VARIANTS
    }
    splines = 2 * 2 * (3 * trial.SPLINE.bins - 1)  # widths, heights and inner slopes of two layers of two units
    assert [*counts.values()] == [0, 4, splines, splines, splines + 4]


def test_a_stopped_script_goes_on_with_what_is_missing(tmp_path, monkeypatch, capsys):
    ran = []

    def run(variant, chosen, rows, seed):
        ran.append((variant.name, chosen.name, seed))
        names = {"set": chosen.name, "variant": variant.name, "seed": seed}
        return {**names, "valid_nats": 1.0 + seed, "cpu_seconds": 6.0, "epochs": 3, "parameters": 1234}

    times = {"density": 0.5, "sampling": 0.25}
    speeds = [
        {"variant": variant.name, "direction": direction, "nodes": 7, "p50": p50}
        for variant in trial.VARIANTS
        for direction, p50 in times.items()
    ]
    monkeypatch.setattr(trial, "run", run)
    monkeypatch.setattr(trial, "speeds", lambda seconds, threads: speeds)
    monkeypatch.setattr(trial, "SETS", (replace(SMALL, name="digits"),))
    monkeypatch.setattr(trial.Set, "load", lambda chosen: ROWS)
    monkeypatch.setattr("sys.argv", ["spline_activation", "--threads", "1", "--output", str(tmp_path)])
    monkeypatch.setattr(trial, "SEEDS", (0,))
    trial.main()
    monkeypatch.setattr(trial, "SEEDS", (0, 2))
    trial.main()
    assert ran == [(variant.name, "digits", seed) for seed in (0, 2) for variant in trial.VARIANTS]
    out = capsys.readouterr().out
    assert "| leaky softplus | 2.000 ± 1.414 |" in out
    assert "| leaky softplus | 1,234 | 2.00 | 7 | 0.50 | 7 | 0.25 |" in out


def test_graphs_are_timed_on_rows_of_the_digits():
    found = trial.speeds(0.01, 1)
    assert [(entry["variant"], entry["direction"]) for entry in found] == [
        (variant.name, direction) for direction in ("density", "sampling") for variant in trial.VARIANTS
    ]
    assert all(entry["nodes"] > 0 for entry in found)
