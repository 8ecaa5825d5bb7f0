"""No answers come from two files or two models: one that changes while it is read stops the work."""

import os
import shutil
import subprocess
import sys
from struct import pack

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pytest

from lunet_export.data import record_batches
from lunet_export.data.record_batches import batch_rows
from lunet_export.data.sources import open_source
from lunet_export.errors import BadInputError, DataError
from lunet_export.runtime.rows import LARGEST_BATCH
from lunet_export.streaming import Run, jobs, local
from lunet_export.streaming.run import write_file
from tests.conftest import ROOT
from tests.streaming.cases import DIM, job_of


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(jobs, "_NUMBERS", 1)  # a batch at a time


def save(x, path, compression="lz4"):
    if path.suffix == ".npy":
        np.save(path, x)
    else:
        feather.write_feather(pa.table({f"c{k}": x[:, k] for k in range(DIM)}), path, compression, chunksize=1000)


@pytest.mark.parametrize("name", ["x.npy", "x.arrow"])
@pytest.mark.parametrize("same_time", [False, True])
def test_rows_that_are_replaced_amid_a_file(models, x, tmp_path, name, same_time):
    source, other = tmp_path / name, tmp_path / f"other-{name}"
    save(x, source)
    save(x + 1, other)
    if same_time:
        os.utime(other, ns=(0, source.stat().st_mtime_ns))

    def replace(rows):
        if other.exists():
            other.replace(source)

    with pytest.raises(DataError, match=rf"Expected .*{name} to stay as it is while it is read; it changed"):
        write_file(tmp_path / "out.parquet", job_of(models, source), replace)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_model_that_is_replaced_amid_a_file(models, data, tmp_path):
    shutil.copytree(models / "m0", tmp_path / "m")

    def replace(rows):
        shutil.rmtree(tmp_path / "m")
        shutil.copytree(models / "m1", tmp_path / "m")

    with pytest.raises(BadInputError, match=r'they changed: job\.models\[0\]\.name was "m0" and is "m1"'):
        write_file(tmp_path / "out.parquet", job_of(tmp_path, data, "m"), replace)
    assert not (tmp_path / "out.parquet").exists()


def test_rows_that_are_replaced_amid_parts_are_noticed_by_the_next(models, data, x, tmp_path):
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    with pytest.raises(DataError, match="it changed meanwhile"):
        local(run, run.begin(resume=False), lambda rows: np.save(data, x + 1))
    assert [path.name for path in run.folder.glob("part-*")] == ["part-00000.parquet"]


def test_a_model_that_is_replaced_before_it_is_opened(models, data, tmp_path):
    shutil.copytree(models / "m0", tmp_path / "m")
    run = Run(tmp_path / "out", job_of(tmp_path, data, "m"), LARGEST_BATCH)
    numbers = run.begin(resume=False)
    shutil.rmtree(tmp_path / "m")
    shutil.copytree(models / "m1", tmp_path / "m")
    with pytest.raises(BadInputError, match=r'Expected the models that .* models\[0\]\.name was "m0" and is "m1"'):
        local(run, numbers)
    assert list(run.folder.glob("part-*")) == []


TRUNCATED = """
import os, sys
from pathlib import Path
from lunet_export.errors import DataError
from lunet_export.data.sources import open_source
source = open_source(Path(sys.argv[1]))
source.read(0, 10)
os.truncate(sys.argv[1], 5000)
try:
    source.read(10000, 10)
except DataError as error:
    print(error)
"""


def test_an_arrow_file_that_is_cut_short_is_no_end_of_the_process(x, tmp_path):
    """Of a mapped file it would be: SIGBUS."""
    save(x, tmp_path / "x.arrow", compression="uncompressed")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", TRUNCATED, tmp_path / "x.arrow"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "x.arrow to stay as it is while it is read; it changed meanwhile" in done.stdout


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("compression", [None, "lz4"])
def test_rows_of_record_batches_are_pyarrows(tmp_path, compression, legacy):
    words = pa.array(["a", "b", "a"]).dictionary_encode()
    batches = [pa.record_batch({"x": np.arange(3.0), "w": words}).slice(0, count) for count in (3, 0, 2)]
    options = pa.ipc.IpcWriteOptions(compression=compression, use_legacy_format=legacy)
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), batches[0].schema, options=options) as file:
        for batch in batches:
            file.write_batch(batch)
    assert batch_rows(tmp_path / "x.arrow") == [3, 0, 2]


@pytest.mark.parametrize(("entry", "claim"), [(0, 2**40), (0, -8), (1, -1), (1, 2**30), (2, 2**40), (2, -(2**40))])
def test_a_record_batch_that_does_not_lie_in_the_file_is_not_asked_for(x, tmp_path, entry, claim):
    """Where it begins, the bytes of its header, and of its numbers."""
    path, block = tmp_path / "x.feather", "<qi4xq"
    save(x, path)
    data = path.read_bytes()
    with path.open("rb") as file:
        first, *_ = record_batches._blocks(file, len(data))
    claimed = [claim if number == entry else value for number, value in enumerate(first)]
    path.write_bytes(data.replace(pack(block, *first), pack(block, *claimed)))
    with pytest.raises(DataError, match="a record batch claims"):
        open_source(path)


def test_an_arrow_file_cut_anywhere_gives_a_sentence(tmp_path):
    path = tmp_path / "x.arrow"
    save(np.ones((5, DIM)), path, compression="uncompressed")
    data = path.read_bytes()
    for end in range(len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(DataError, match=r"Expected a readable \.arrow file"):
            open_source(path)
