"""The harness notices every kind of failure, goes on after it, and repeats an input."""

from random import Random

import pytest

from tests.fuzz import campaign
from tests.fuzz.outcome import FINDINGS, complaint
from tests.fuzz.planted import FOUND_AS, READERS
from tests.fuzz.readers.table import READERS as REAL

TABLE = "tests.fuzz.planted"


def test_every_planted_fault_is_found():
    quick = {name: 2 for name in READERS if name != "waiting"}
    tallies = campaign.run(quick, seed=0, workers=1, table=TABLE, seconds=1.0)
    for name, tally in tallies.items():
        wanted = FOUND_AS.get(name, name)
        assert tally.inputs == 2, name
        assert [outcome.finding for outcome in tally.findings] == ([] if wanted is None else [wanted] * 2)
    assert {outcome.finding for tally in tallies.values() for outcome in tally.findings} == {*FINDINGS}


def test_a_reader_that_waits_is_ended_and_the_campaign_goes_on():
    tallies = campaign.run({"waiting": 1, "without a fault": 60}, seed=0, workers=1, table=TABLE, wall=3.0)
    assert [outcome.finding for outcome in tallies["waiting"].findings] == ["hang"]
    assert tallies["without a fault"].inputs >= 60 - len(tallies["without a fault"].findings)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no such thing",
        "x.json is not valid JSON.",
        "Expected a\nline.",
        "Expected " + "x" * 5000,
        "Expected \ud800.",
    ],
)
def test_what_is_no_sentence_is_told(text):
    assert complaint(text)
    assert complaint("Expected a file; got none.") is None


def test_an_input_is_the_same_each_time(tmp_path):
    name = "VNN-LIB"
    texts = []
    for attempt in range(2):
        reader = REAL[name](tmp_path / f"good{attempt}")
        folder = tmp_path / str(attempt)
        folder.mkdir()
        reader.mutate(folder, Random(f"0/{name}/7"))
        texts.append((folder / "q.vnnlib").read_bytes())
    assert texts[0] == texts[1]


def test_shares_add_up_to_the_inputs_at_least():
    counts = campaign.shares({name: reader.share for name, reader in REAL.items()}, 2000)
    assert sum(counts.values()) >= 2000
    assert min(counts.values()) >= 1
