"""Ablations: every variant trains, a stopped script goes on, and figures are compared within a seed."""

import json

import pytest

from benchmarks import ablation
from lunet_export.errors import BadInputError
from lunet_export.training.rows import gaussian_of
from tests.training.test_training import IMAGES


def test_names_are_unique_and_the_first_is_the_defaults():
    names = [variant.name for variant in ablation.VARIANTS]
    assert len(names) == len(set(names))
    assert ablation.VARIANTS[0] == ablation.Variant("defaults")


@pytest.mark.parametrize("variant", ablation.VARIANTS, ids=lambda variant: variant.name)
def test_every_variant_trains(variant):
    entry = ablation.run(variant, IMAGES, gaussian_of(IMAGES), epochs=1, seed=0)
    assert "failed" not in entry
    assert 0 < entry["valid"] < 100
    assert entry["lip_forward"] > 0
    json.dumps(entry)


def test_a_failed_run_is_recorded():
    variant = ablation.Variant("far too fast", {"learning_rate": 1e9})
    entry = ablation.run(variant, IMAGES, gaussian_of(IMAGES), epochs=1, seed=0)
    assert "finite loss" in entry["failed"]


def entries():
    valid = {("defaults", 0): 2.0, ("defaults", 1): 3.0, ("rate 2e-3", 0): 2.5, ("rate 2e-3", 1): 3.5}
    common = {"start": 4.0, "train": 2.0, "cpu_seconds": 10.0, "settings": {"epochs": 5}, "squeeze": 0.1}
    found = [{"variant": name, "seed": seed, "valid": value, **common} for (name, seed), value in valid.items()]
    return [*found, {"variant": "rate 8e-3", "seed": 0, "failed": "no"}]


def test_differences_are_within_a_seed():
    defaults, other = ablation.summary(entries())
    assert (defaults["valid"], defaults["against_defaults"]) == (2.5, 0.0)
    assert (other["valid"], other["against_defaults"], other["runs"]) == (3.0, 0.5, 2)
    assert other["cpu_seconds_an_epoch"] == 2.0


def test_the_table_and_the_picture_are_made(tmp_path, capsys):
    ablation.show(entries())
    assert "+0.5000" in capsys.readouterr().out
    ablation.draw(entries(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_script_goes_on_with_its_own_runs_only(tmp_path):
    path, header = tmp_path / "ablation.json", {"dataset": "mnist", "epochs": 5}
    assert ablation._known(path, header) == []
    path.write_text(json.dumps({**header, "runs": entries()}))
    assert len(ablation._known(path, header)) == 5
    with pytest.raises(BadInputError, match="Expected runs of mnist and 3 epochs"):
        ablation._known(path, {**header, "epochs": 3})
