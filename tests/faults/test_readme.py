"""README.md has the commands of the recorded campaign, in which nothing was wrong."""

import json
from pathlib import Path

import pytest

from tests.faults.cases import CASES
from tests.faults.processes import ROOT
from tests.faults.table import DONE

README = Path(__file__).parent / "README.md"
RECORD = ROOT / "benchmarks" / "results" / "faults.json"


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text())


def test_the_commands_are_the_recorded_ones(record):
    text = README.read_text()
    assert all(command in text for command in record["command"].split("; "))


def test_the_campaign_was_long_enough_and_found_nothing_wrong(record):
    kills = record["matrix"]["kill -9"]
    assert record["runs"]["kill -9"] >= 300
    assert all(kills[name]["runs"] >= 10 for name in ("train", "export", "recalibrate", "score to a folder"))
    assert {*kills} == {*CASES}
    assert record["wrong"] == 0
    for row in record["matrix"].values():
        for cell in row.values():
            assert (cell["wrong"], cell["same_after"]) == ([], cell["runs"])


def test_every_fault_has_its_words(record):
    assert {*record["matrix"]} == {*DONE}
