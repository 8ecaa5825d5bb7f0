"""Equal cost: the budget ends a run, validation stops the clock, and what is known is not run again."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import equal_cost, report
from lunet_export.data import Dataset
from lunet_export.errors import BadInputError
from lunet_export.preprocessing import NAMED

SQUARES = Dataset(
    "squares",
    *(np.random.default_rng(seed).integers(0, 17, (n, 16), dtype=np.uint8) for seed, n in ((0, 200), (1, 40), (2, 40))),
    NAMED["digits"],
    (4, 4),
)


@pytest.mark.parametrize("contender", equal_cost.CONTENDERS, ids=lambda contender: contender.name)
def test_a_run_ends_with_its_budget(contender):
    found = equal_cost.run(contender, SQUARES, 0.4)
    seconds = [point["seconds"] for point in found["curve"]]
    assert (seconds[0], seconds == sorted(seconds), seconds[-1] >= 0.4) == (0.0, True, True)
    assert found["steps"] == found["curve"][-1]["steps"] > 0
    assert np.isfinite([found["test"], *(point["valid"] for point in found["curve"])]).all()
    json.dumps(found)


def test_validation_stops_the_clock(monkeypatch):
    """Steps of a second each, validations of a hundred."""
    now = [0.0]

    def passes(seconds, value=None):
        now[0] += seconds
        return value

    monkeypatch.setattr(equal_cost.time, "perf_counter", lambda: now[0])
    trainer = SimpleNamespace(
        start=500.0,
        validate=lambda: passes(100.0, 200.0 - now[0] / 100),
        flow=SimpleNamespace(train=lambda: None),
        optimizer=SimpleNamespace(model=lambda: SimpleNamespace(to_chain=lambda: now[0])),
    )
    clock = equal_cost.Clock(trainer, 60.0)
    for _ in range(59):
        passes(1.0)
        clock.on_step(1, 0.0)
    passes(1.0)
    with pytest.raises(equal_cost.Finished):
        clock.on_step(1, 0.0)
    assert (clock.curve[-1]["seconds"], clock.curve[-1]["steps"]) == (60.0, 60)
    assert clock.best == now[0]  # every validation was better than the one before
    assert [point["seconds"] for point in clock.curve] == [point["steps"] for point in clock.curve]


def test_less_than_an_epoch_is_one_epoch_of_fewer_rows(monkeypatch):
    """Two steps of a second each fit: the rate falls over them, not over the whole set."""
    now = [0.0]

    def perf_counter():
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(equal_cost.time, "perf_counter", perf_counter)
    contender = equal_cost.Contender("dense", "realnvp", image=False, given={"batch_size": 20})
    rows, settings = equal_cost.fitted(contender, SQUARES, 2.0)
    assert (len(rows.train), settings.epochs, len(SQUARES.train)) == (40, 1, 200)
    rows, settings = equal_cost.fitted(contender, SQUARES, 30.0)
    assert (len(rows.train), settings.epochs) == (200, 3)


def test_a_stopped_script_goes_on_with_what_is_missing(monkeypatch, tmp_path, capsys):
    ran = []

    def run(contender, rows, budget):
        ran.append(contender.name)
        point = {"seconds": budget, "steps": 1, "valid": 2.0}
        return {
            "dataset": rows.name,
            "name": contender.name,
            "steps": 1,
            "batch_size": 2,
            "curve": [point],
            "test": 1.5,
        }

    options = SimpleNamespace(
        seconds=60.0, threads=1, output=tmp_path, data_dir=tmp_path, datasets=["squares"], only=["LU-Net"]
    )
    monkeypatch.setattr(equal_cost, "run", run)
    monkeypatch.setattr(equal_cost.data, "load", lambda name, data_dir: replace(SQUARES, name=name))
    parser = SimpleNamespace(add_argument=lambda *a, **k: None, parse_args=lambda: options)
    monkeypatch.setattr(report, "options", lambda question, seconds: parser)
    equal_cost.main()
    options.only = None
    equal_cost.main()
    assert ran == ["LU-Net", "RealNVP, dense", "RealNVP, convolutional"]
    assert (tmp_path / "equal_cost.png").exists()
    out = capsys.readouterr().out
    assert "| squares | LU-Net | 1.500 | 1 min | 1 of 2 |" in out
    options.seconds = 30.0
    with pytest.raises(BadInputError, match=r"Expected runs of 30\.0 s"):
        equal_cost.main()
