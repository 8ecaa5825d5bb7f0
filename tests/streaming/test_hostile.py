"""Folders of parts that were altered: nothing of it is believed, and nothing outside is opened."""

import json
import os

import numpy as np
import pyarrow as pa
import pytest

from lunet_export.data.finished import RUN
from lunet_export.data.sources import open_source
from lunet_export.errors import BadInputError, DataError
from lunet_export.runtime.rows import LARGEST_BATCH
from lunet_export.streaming import Run, SampleJob, local
from tests.streaming.cases import CPU, finished, job_of

BESIDE = "_part-00001.json"


def altered(path, edit):
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d["sums"].update(log_prob=[0.0]),
        lambda d: d.update(sums={}),
        lambda d: d.update(invalid=7),
        lambda d: d.update(provider="cuda"),
        lambda d: d.update(rows=1.0),
        lambda d: d.update(more=1),
        lambda d: d.pop("sha256_record"),
    ],
)
def test_an_altered_record_of_a_part_is_not_believed(models, data, tmp_path, edit):
    """Its sums went into the summary."""
    run = Run(tmp_path / "out", job_of(models, data), rows_per_part=LARGEST_BATCH)
    summary = finished(run)
    altered(run.folder / BESIDE, edit)
    with pytest.raises(BadInputError, match="Expected part 1 of"):
        run.finish()
    assert run.begin(resume=True) == [1]
    local(run, [1])
    assert run.finish() == summary


def test_a_record_that_names_another_file_has_none_opened(models, data, tmp_path):
    run = Run(tmp_path / "out", job_of(models, data), rows_per_part=LARGEST_BATCH)
    finished(run)
    for name in ("../../x.npy", "/dev/zero"):  # of which the second has no end
        altered(run.folder / BESIDE, lambda d, name=name: d.update(file=name))
        assert run.record(1) is None


def test_a_part_that_is_a_link_is_computed_again(models, data, tmp_path):
    run = Run(tmp_path / "out", job_of(models, data), rows_per_part=LARGEST_BATCH)
    finished(run)
    (run.folder / "part-00001.parquet").rename(tmp_path / "elsewhere")
    (run.folder / "part-00001.parquet").symlink_to(tmp_path / "elsewhere")
    assert run.record(1) is None


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "{}", b"\xff\xfe\x00\xd8", '{"format": "lunet_export.run"}'])
def test_a_run_file_of_anything_else_gets_a_sentence(models, data, tmp_path, text):
    run = Run(tmp_path / "out", job_of(models, data), rows_per_part=LARGEST_BATCH)
    finished(run)
    (run.folder / RUN).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInputError, match="Expected"):
        run.begin(resume=True)
    with pytest.raises(BadInputError, match="Expected"):
        run.validate_unchanged()
    with pytest.raises(DataError, match="its run is not complete"):
        open_source(run.folder)


def test_a_run_file_larger_than_any_is_not_read(models, tmp_path):
    run = Run(tmp_path / "out", SampleJob(str(models / "m0"), 10, place=CPU), rows_per_part=LARGEST_BATCH)
    finished(run)
    with (run.folder / RUN).open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DataError, match="its run is not complete"):
        open_source(run.folder)


def test_complete_is_true_and_nothing_else(models, tmp_path):
    run = Run(tmp_path / "out", SampleJob(str(models / "m0"), 10, place=CPU), rows_per_part=LARGEST_BATCH)
    finished(run)
    for value in ("no", 1, [False]):
        altered(run.folder / RUN, lambda d, value=value: d.update(complete=value))
        with pytest.raises(DataError, match="its run is not complete"):
            open_source(run.folder)


def test_batches_of_columns_that_are_too_short_get_a_sentence(tmp_path):
    """A slice of them ended the process: Check failed: (off) <= (length)."""
    path = tmp_path / "x.arrow"
    table = pa.table({"a": np.arange(6.0), "b": np.arange(6.0)})
    with pa.ipc.new_file(str(path), table.schema) as file:
        file.write_table(table)
    data = path.read_bytes()
    whole = (6).to_bytes(8, "little")
    places = [place for place in range(0, len(data) - 8, 8) if data[place : place + 8] == whole]
    refused = 0
    for place in places:
        path.write_bytes(data[:place] + (1030).to_bytes(8, "little") + data[place + 8 :])
        try:
            source = open_source(path)
            source.read(source.rows - 1, 1)
        except DataError:
            refused += 1
    assert refused


def test_a_damaged_part_is_no_rows(models, tmp_path):
    """The folder says what is in it; a flipped bit of a number was read without a word."""
    run = Run(tmp_path / "out", SampleJob(str(models / "m0"), LARGEST_BATCH + 5, place=CPU), LARGEST_BATCH)
    finished(run)
    rows = open_source(run.folder).read(0, run.job.rows)
    path = run.folder / "part-00001.parquet"
    data = bytearray(path.read_bytes())
    data[data.index(rows[LARGEST_BATCH].tobytes()[:4])] ^= 1
    path.write_bytes(bytes(data))
    source = open_source(run.folder)
    np.testing.assert_array_equal(source.read(0, 10), rows[:10])
    with pytest.raises(DataError, match=r"part-00001\.parquet as its run wrote it; it was altered"):
        source.read(LARGEST_BATCH, 5)
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"part-00001\.parquet in .*; it is missing or a link"):
        open_source(run.folder)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"part-00001\.parquet in .*; it is missing or a link"):
        open_source(run.folder)


@pytest.mark.parametrize("name", ["x.npy", "x.parquet", "x.arrow"])
def test_a_pipe_is_no_source(tmp_path, name):
    """Reading it would wait for a writer that never comes."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="Expected rows in a file"):
        open_source(tmp_path / name)
    with pytest.raises(DataError, match="Expected files of one kind"):
        open_source(tmp_path)
