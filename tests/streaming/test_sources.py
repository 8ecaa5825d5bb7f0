"""Rows in files: the same from every kind, and a sentence for what is none."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from lunet_export.data import arrays, arrow_files
from lunet_export.data.sources import open_source
from lunet_export.errors import DataError
from lunet_export.runtime.rows import LARGEST_BATCH
from lunet_export.streaming import Run, SampleJob, local
from lunet_export.streaming.tables import csv_text
from tests.conftest import ROOT
from tests.streaming.cases import CPU, DIM, ROWS, finished, job_of


def as_parquet(x, path):
    pq.write_table(pa.table({f"c{k}": x[:, k] for k in range(DIM)}), path, row_group_size=5000)


def as_list(x, path, row_group_size=777):
    lists = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), DIM)
    pq.write_table(pa.table({"id": np.arange(len(x)), "x": lists}), path, row_group_size=row_group_size)


def as_arrow(x, path):
    table = pa.table({f"c{k}": x[:, k] for k in range(DIM)})
    with pa.ipc.new_file(str(path), table.schema) as file:
        file.write_table(table, max_chunksize=1000)


def as_folder(x, path):
    path.mkdir()
    for number, part in enumerate(np.array_split(x, 3)):
        as_parquet(part, path / f"{number}.parquet")


def as_packed(x, path):
    feather.write_feather(pa.table({f"c{k}": x[:, k] for k in range(DIM)}), path, compression="lz4", chunksize=3000)


def as_arrow_folder(x, path):
    path.mkdir()
    for number, part in enumerate(np.array_split(x, 3)):
        as_arrow(part, path / f"{number}.arrow")


def as_one_piece(x, path):
    as_list(x, path, row_group_size=len(x))


SOURCES = {
    "x.parquet": as_parquet,
    "l.parquet": as_list,
    "one.parquet": as_one_piece,
    "x.arrow": as_arrow,
    "x.feather": as_packed,
    "many": as_folder,
    "arrows": as_arrow_folder,
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_kind_of_file_gives_the_same_rows(x, tmp_path, name):
    SOURCES[name](x, tmp_path / name)
    source = open_source(tmp_path / name)
    assert (source.rows, source.width) == (ROWS, DIM)
    for first, count in ((0, ROWS), (4990, 20), (ROWS - 1, 1), (700, 9000)):
        np.testing.assert_array_equal(source.read(first, count), x[first : first + count])


def test_columns_are_taken_in_the_order_that_is_asked_for(x, tmp_path):
    as_parquet(x, tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet", ["c2", "c0", "c1"])
    np.testing.assert_array_equal(source.read(5, 7), x[5:12][:, [2, 0, 1]])


def test_rows_are_read_in_any_order_from_pieces_larger_than_what_is_held(x, tmp_path, monkeypatch):
    monkeypatch.setattr(arrow_files, "_HELD", 1000)
    as_one_piece(x, tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet")
    for first, count in ((0, 10), (2500, 3000), (2400, 50), (ROWS - 5, 5), (999, 2), (0, ROWS)):
        np.testing.assert_array_equal(source.read(first, count), x[first : first + count])


def test_a_folder_may_have_more_files_than_a_process_may_open(x, tmp_path):
    for number in range(60):
        as_parquet(x[number : number + 1], tmp_path / f"{number:03d}.parquet")
    few = "import resource, sys; from pathlib import Path; from lunet_export.data.sources import open_source\n"
    few += "import pyarrow.parquet; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
    few += "print(open_source(Path(sys.argv[1])).read(0, 60).shape)"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", few, tmp_path], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == (f"(60, {DIM})\n", "")


def test_a_file_that_ends_early_gives_no_other_rows(x, tmp_path):
    """Nor does the read after it: what is held and its number stay together."""
    as_parquet(x, tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet")
    source._ends = [end + 100 for end in source._ends]  # a footer that claims more than there is
    for _ in range(2):
        with pytest.raises(DataError, match=r"x\.parquet is not: row 5000 is missing"):
            source.read(4990, 20)
    np.testing.assert_array_equal(source.read(4000, 20), x[4000:4020])


def test_an_unfinished_run_is_no_source(models, data, tmp_path):
    run = Run(tmp_path / "out", SampleJob(str(models / "m0"), 2 * LARGEST_BATCH, place=CPU), LARGEST_BATCH)
    numbers = run.begin(resume=False)
    local(run, numbers[:1])
    with pytest.raises(DataError, match="its run is not complete"):
        open_source(run.folder)
    local(run, numbers[1:])
    run.finish()
    assert open_source(run.folder).rows == 2 * LARGEST_BATCH


def test_scores_are_not_taken_for_rows(models, data, tmp_path):
    """A folder of scores, a part of it, and a .csv of them hold numbers too, of another meaning."""
    run = Run(tmp_path / "scores", job_of(models, data), LARGEST_BATCH)
    finished(run)
    for path in (run.folder, run.folder / "part-00000.parquet"):
        with pytest.raises(DataError, match=r"it holds scores of some \(log_prob, bits_per_dim\)"):
            open_source(path)
        assert open_source(path, ["bits_per_dim"]).width == 1  # who names columns knows them
    (tmp_path / "scores.csv").write_text(csv_text({"log_prob": np.ones(2), "bits_per_dim": np.ones(2)}, 0))
    with pytest.raises(DataError, match="it holds scores of rows, as its header says"):
        arrays.read(tmp_path / "scores.csv")


def npy_header(path: Path, shape: str) -> None:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + b"\0" * 64)


def two_kinds(path: Path) -> None:
    path.mkdir()
    as_parquet(np.ones((2, DIM)), path / "a.parquet")
    as_arrow(np.ones((2, DIM)), path / "b.arrow")


def two_schemas(path: Path) -> None:
    path.mkdir()
    as_parquet(np.ones((2, DIM)), path / "a.parquet")
    as_parquet(np.ones((2, DIM), dtype=int), path / "b.parquet")


BAD = {
    "missing.npy": (lambda path: None, "it does not exist"),
    "empty.npy": (lambda path: path.write_bytes(b""), "a readable .npy file"),
    "no header.npy": (lambda path: npy_header(path, "(3L, ("), "a readable .npy file"),
    "huge.npy": (lambda path: npy_header(path, "(1099511627776, 3)"), "bytes in .* as its header says; got 192"),
    "overflow.npy": (lambda path: npy_header(path, f"({2**62}, {2**62})"), "as its header says"),
    "negative.npy": (lambda path: npy_header(path, "(-1, 3)"), "Expected"),
    "text.npy": (lambda path: np.save(path, np.array([["a"]])), "integers or floats"),
    "objects.npy": (lambda path: np.save(path, np.array([[{}]]), allow_pickle=True), "integers or floats"),
    "fortran.npy": (lambda path: np.save(path, np.asfortranarray(np.ones((3, 2)))), "in Fortran order"),
    "flat.npy": (lambda path: np.save(path, np.ones(3)), "rows of integers or floats"),
    "bad.parquet": (lambda path: path.write_bytes(b"PAR1 no PAR1"), "a readable .parquet file"),
    "bad.arrow": (lambda path: path.write_bytes(b"ARROW1"), "a readable .arrow file"),
    "text.parquet": (lambda path: pq.write_table(pa.table({"a": ["b"]}), path), r"column 1 \(a\) is string"),
    "none.parquet": (lambda path: pq.write_table(pa.table({"a": pa.array([], pa.float32())}), path), "it has none"),
    "other.txt": (lambda path: path.write_text("1"), "a file of .npy, .parquet"),
    "folder": (lambda path: path.mkdir(), "got none"),
    "two kinds": (lambda path: two_kinds(path), r"got \.arrow and \.parquet"),
    "two schemas": (lambda path: two_schemas(path), r"one schema; that of .*b\.parquet differs"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_sources_get_one_sentence(tmp_path, name):
    make, sentence = BAD[name]
    make(tmp_path / name)
    with pytest.raises(DataError, match=sentence) as caught:
        open_source(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_missing_number_is_no_row(tmp_path):
    pq.write_table(pa.table({"a": pa.array([1.0, None]), "b": [1.0, 2.0]}), tmp_path / "x.parquet")
    assert np.isnan(open_source(tmp_path / "x.parquet").read(0, 2)).tolist() == [[False, False], [True, False]]
    pq.write_table(pa.table({"a": pa.array([1, None]), "b": [1, 2]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="a number is missing in column a"):
        open_source(tmp_path / "x.parquet").read(0, 2)
