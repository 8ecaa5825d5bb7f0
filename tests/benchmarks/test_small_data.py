"""The benchmark of few rows: what is known is not trained again, and the table says what was recorded."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import report, small_data


@pytest.mark.parametrize("kind", small_data._SETS)
def test_draws_differ_and_their_distribution_does_not(kind):
    """Of two large draws the means agree within 6 standard errors, column by column."""
    one, other = (small_data.rows_of(kind, 20_000, 3, seed) for seed in (0, 1))
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(one, small_data.rows_of(kind, 20_000, 3, 0))
    assert (np.abs(one.mean(0) - other.mean(0)) < 6 * np.hypot(one.std(0), other.std(0)) / np.sqrt(20_000)).all()


def test_a_stopped_script_goes_on_with_what_is_missing(monkeypatch, tmp_path, capsys):
    options = SimpleNamespace(threads=1, output=tmp_path, before=None)
    parser = SimpleNamespace(add_argument=lambda *a, **k: None, parse_args=lambda: options)
    ran = []

    def measured(kind, n, dim, seed):
        ran.append((kind, n, dim, seed))
        return {
            **dict(zip(("kind", "rows", "columns", "draw"), ran[-1], strict=True)),
            "test": 2.0,
            "gaussian": 2.5,
            "kept": "gaussian" if seed else "epoch",
            "seconds": 1.0,
        }

    monkeypatch.setattr(report, "options", lambda question, seconds: parser)
    monkeypatch.setattr(small_data, "measured", measured)
    monkeypatch.setattr(small_data, "_SETS", {"normal": ((20, 2),)})
    small_data.main()
    assert ran == [("normal", 20, 2, seed) for seed in range(3)]
    monkeypatch.setattr(small_data, "_SETS", {"normal": ((20, 2), (30, 2))})
    options.before = tmp_path / "older.json"
    options.before.write_text(json.dumps({"runs": [measured("normal", 20, 2, 0) | {"test": 1e6}]}))
    del ran[:]
    small_data.main()
    assert ran == [("normal", 30, 2, seed) for seed in range(3)]
    out = capsys.readouterr().out
    assert "| normal | 1 | +1e+06 | +1e+06 | 6 | -0.5000 | -0.5000 | 4 |" in out
    assert (tmp_path / "small_data.png").stat().st_size > 10_000


def test_one_draw_is_measured():
    found = small_data.measured("normal", 20, 2, 0)
    assert (found["kept"], small_data.gaps([found])[0]) == ("gaussian", pytest.approx(0.0, abs=1e-9))
