"""A finished run is read as rows when every part is there as it was written, and refused, the part named, otherwise."""

import json
import os
import shutil

import numpy as np
import pytest

from lunet_export.data.sources import open_source
from lunet_export.errors import DataError
from lunet_export.runtime.rows import LARGEST_BATCH
from lunet_export.streaming import Run, SampleJob, ScoreJob
from tests.streaming.cases import CPU, DIM, finished

ROWS = 2 * LARGEST_BATCH + 5


@pytest.fixture
def samples(models, tmp_path):
    run = Run(tmp_path / "samples", SampleJob(str(models / "m0"), ROWS, place=CPU), LARGEST_BATCH)
    finished(run)
    return run.folder


def whole(folder):
    source = open_source(folder)
    return source.read(0, source.rows)


def lose(folder):
    (folder / "part-00001.parquet").unlink()


def add(folder):
    shutil.copy(folder / "part-00001.parquet", folder / "part-00003.parquet")


def shorten(folder):
    shutil.copy(folder / "part-00002.parquet", folder / "part-00001.parquet")


def exchange(folder):
    """Of as many rows."""
    shutil.copy(folder / "part-00000.parquet", folder / "part-00001.parquet")


def link(folder):
    (folder / "part-00001.parquet").rename(folder.parent / "elsewhere")
    (folder / "part-00001.parquet").symlink_to(folder.parent / "elsewhere")


def forget(folder):
    """A part, its record in the run's document too."""
    known = json.loads((folder / "_run.json").read_text())
    (folder / known["parts"].pop()["file"]).unlink()
    (folder / "_run.json").write_text(json.dumps(known))


CHANGES = {
    lose: r"Expected part-00001\.parquet in .*; it is missing or a link",
    add: r"part-00003\.parquet is another file",
    shorten: rf"Expected {LARGEST_BATCH} rows in .*part-00001\.parquet.* got 5",
    exchange: r"Expected .*part-00001\.parquet as its run wrote it; it was altered",
    link: r"Expected part-00001\.parquet in .*; it is missing or a link",
    forget: "its run is not complete",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_part_that_is_not_as_it_was_written_is_named(samples, change):
    assert whole(samples).shape == (ROWS, DIM)
    change(samples)
    with pytest.raises(DataError, match=CHANGES[change]):
        whole(samples)


def test_a_part_that_was_made_again_is_the_same_data(models, samples):
    """Its time of change is another, and a run that reads it goes on all the same."""
    job = ScoreJob((str(models / "m0"),), str(samples), place=CPU)
    before, answers = job.facts(), job.work()(0, 9)["log_prob"]
    for path in samples.iterdir():
        os.utime(path)
    again = ScoreJob((str(models / "m0"),), str(samples), place=CPU)
    assert again.facts() == before
    np.testing.assert_array_equal(again.work()(0, 9)["log_prob"], answers)


@pytest.mark.parametrize("spoiled", [{"file": 1}, {"rows": "5"}, {"rows": True}, {"rows": -5}, {"sha256": None}])
def test_a_record_of_other_types_is_no_record(samples, spoiled):
    document = json.loads((samples / "_run.json").read_text())
    document["parts"][1] |= spoiled
    (samples / "_run.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="its run is not complete"):
        open_source(samples)
