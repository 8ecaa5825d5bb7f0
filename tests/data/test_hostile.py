"""Files of rows that claim more than they hold, or that are not what they seem."""

import gzip
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from lunet_export.data import arrays, idx
from lunet_export.data.sources import open_source
from lunet_export.errors import DataError

MOST = 2**24  # bytes that any of these may take


def npy(shape, description="'<f8'", version=(1, 0), length=None):
    text = f"{{'descr': {description}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    size = len(text) if length is None else length
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", size) + text + bytes(64)


def read(path):
    """By both readers; nothing is reserved by a claim."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="Expected") as refused:
            arrays.read(path)
        if path.suffix == ".npy":
            with pytest.raises(DataError, match="Expected"):
                open_source(path)
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()
    return str(refused.value)


@pytest.mark.parametrize(
    "shape", ["(1099511627776,)", f"({2**28}, 2)", f"({2**63}, 1)", f"(1{'0' * 30}, 4)", "(-1, 2)"]
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_header_is_not_trusted_with_memory(shape, suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    if suffix == ".npy":
        path.write_bytes(npy(shape))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", npy(shape))
    assert "claims" in read(path) or "shape" in read(path)


@pytest.mark.parametrize(
    "data",
    [
        npy("(2, 2)", version=(2, 0), length=2**32 - 1),  # of the header itself
        npy("(2, 2)", version=(2, 0), length=2**31),
        npy("(True, 2)"),
        npy("(2,) * 70"),
        npy("(" + "1, " * 60 + ")"),
        npy("(2, 2)", "'|O'"),
        npy("(2, 2)", "'<f0'"),
        npy("(2, 2)", "'x'"),
        npy("(2, 2)", version=(9, 9)),
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 3000) + b"[" * 3000,
    ],
)
def test_headers_of_other_kinds_get_a_sentence(data, tmp_path):
    (tmp_path / "x.npy").write_bytes(data)
    read(tmp_path / "x.npy")


def test_what_unpacks_to_a_thousand_times_its_size_is_refused_before_it_does(tmp_path):
    path = tmp_path / "x.npz"
    zeros = npy(f"({2**26},)") + bytes(2**20)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.npy", "w") as file,
    ):
        file.write(zeros)
        for _ in range(511):
            file.write(bytes(2**20))
    assert "would unpack to" in read(path)


def test_a_gzipped_file_is_unpacked_as_far_as_its_header_says(tmp_path):
    head = struct.pack(">IIII", 0x803, 2, 2, 2)
    (tmp_path / "x.gz").write_bytes(gzip.compress(head + bytes(8 + 2**26)))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"Expected 8 pixel bytes in .*; got 9"):
        idx.read_images(tmp_path / "x.gz")
    assert tracemalloc.get_traced_memory()[1] < MOST
    tracemalloc.stop()
    (tmp_path / "x.gz").write_bytes(gzip.compress(struct.pack(">IIII", 0x803, 2**16, 2**8, 2**8) + bytes(1000)))
    with pytest.raises(DataError, match="would unpack to 4295 MB"):
        idx.read_images(tmp_path / "x.gz")


def test_packed_arrays_with_a_wrong_sum_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.full((50, 2), 1.25))
    data = bytearray(path.read_bytes())
    data[data.index(np.full(4, 1.25).tobytes()) + 6] ^= 1
    path.write_bytes(bytes(data))
    assert "Bad CRC" in read(path)


def test_integers_beyond_those_of_float64_stay_what_they_are_nearest_to(tmp_path):
    """They were cast to int64: 10^20 became -2^63."""
    (tmp_path / "x.csv").write_text("100000000000000000000,1\n2,3\n")
    found = arrays.read(tmp_path / "x.csv")
    assert found.tolist() == [[1e20, 1.0], [2.0, 3.0]]
    (tmp_path / "x.csv").write_text("9007199254740991,1\n2,3\n")
    assert arrays.read(tmp_path / "x.csv").dtype == np.int64


def test_zip_files_that_point_before_their_beginning_get_a_sentence(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 2)))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    place = data.rindex(b"PK\x05\x06")
    data[place + 16 : place + 20] = b"\xff\xff\xff\x7f"
    (tmp_path / "x.npz").write_bytes(bytes(data))
    read(tmp_path / "x.npz")


def test_a_row_is_not_left_out_for_a_mark_of_comments(tmp_path):
    (tmp_path / "x.csv").write_text("1,2\n#3,4\n5,6\n")
    with pytest.raises(DataError, match="line 2, column 1"):
        arrays.read(tmp_path / "x.csv")
