"""Files of results under any name that the system allows, and what is said when it refuses to write."""

import errno
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from lunet_export.data.sources import open_source
from lunet_export.streaming import tables
from lunet_export.streaming.tables import writer
from tests.streaming.cases import read

NAMES = {"words": "ünï-日本", "no text in UTF-8": os.fsdecode(b"caf\xe9-\xff")}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".npy"])
def test_any_name_is_written_and_read(tmp_path, name, suffix):
    folder = tmp_path / NAMES[name]
    rows = np.arange(12.0).reshape(6, 2)
    with writer(folder / f"x{suffix}", 6) as file:
        for part in (rows[:4], rows[4:]):
            file.append({"x": part})
    np.testing.assert_array_equal(open_source(folder / f"x{suffix}").read(0, 6), rows)
    if suffix != ".npy":
        np.testing.assert_array_equal(open_source(folder).read(3, 2), rows[3:5])


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".npy", ".csv"])
def test_a_full_disk_is_called_so_with_the_files_name(tmp_path, monkeypatch, suffix):
    @contextmanager
    def full(path):
        yield Path("/dev/full")

    monkeypatch.setattr(tables, "whole_file", full)

    def write():
        with writer(tmp_path / f"x{suffix}", 2 * 10**5) as file:
            for _ in range(2):
                file.append({"a": np.random.default_rng(0).standard_normal(10**5)})

    with pytest.raises(OSError, match="No space left on device") as caught:
        write()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / f"x{suffix}"))


def test_several_columns_are_records_in_npy(tmp_path):
    table = {"a": np.arange(3.0), "x": np.ones((3, 2), np.float32), "class": np.array(["p", "", "qr"])}
    with writer(tmp_path / "x.npy", 6) as file:
        file.append(table)
        file.append(table)
    found = read(tmp_path / "x.npy")
    for name, values in table.items():
        np.testing.assert_array_equal(found[name], np.concatenate([values, values]))


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".npy", ".csv"])
def test_a_file_that_may_not_grow_is_called_so_with_its_name(tmp_path, suffix):
    """Amid the numbers: what NumPy itself says there, "100000 requested and 496 written", has no reason."""

    def write():
        with writer(tmp_path / f"x{suffix}", 10**5) as file:
            file.append({"a": np.random.default_rng(0).standard_normal(10**5)})

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / f"x{suffix}"))
    assert list(tmp_path.iterdir()) == []
