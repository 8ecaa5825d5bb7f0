"""Rows: .npy, .npz, .csv and IDX files read whole, .npy, Parquet and Arrow read in pieces."""

import ast
import csv
import gzip
import io
import json
import struct
import zipfile
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lunet_export.data import arrays, idx
from lunet_export.data.sources import open_source
from tests.fuzz.mutations import archives, headers, raw
from tests.fuzz.readers.base import Case, Reader, same, short

_ROWS = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
_GREY = np.random.default_rng(0).integers(0, 17, (12, 4, 2), dtype=np.uint8)


def _npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def numbers_of(data: bytes) -> np.ndarray:
    """What a .npy file holds, read apart from NumPy's own reader: as many numbers as its header claims."""
    size, start = (struct.unpack("<H", data[8:10])[0], 10) if data[6] == 1 else (struct.unpack("<I", data[8:12])[0], 12)
    header = ast.literal_eval(data[start : start + size].decode("latin1").strip())
    kind, shape = np.dtype(header["descr"]), header["shape"]
    count = int(np.prod(shape, dtype=object))
    found = np.frombuffer(data, dtype=kind, count=count, offset=start + size)
    return found.reshape(shape, order="F" if header["fortran_order"] else "C")


class _Npy(Reader):
    file, share = "x.npy", 60

    def prepare(self) -> None:
        self.goods = [_ROWS, _ROWS.astype(np.float64), _GREY, _GREY.astype(">i4"), np.asfortranarray(_ROWS)]

    def good(self, folder: Path) -> None:
        (folder / self.file).write_bytes(_npy(_ROWS))

    def mutate(self, folder: Path, rng: Random) -> Case:
        array = rng.choice(self.goods)
        if rng.random() < 0.6:
            data = headers.npy(array, rng)
            data = raw.cut(data, rng) if rng.random() < 0.1 else data
            case = Case("header")
        else:
            case, data = Case("raw"), raw.mutate(_npy(array), rng)
        (folder / self.file).write_bytes(data)
        return case

    def wrong(self, folder: Path, case: Case, answer: Any) -> str | None:
        try:
            right = numbers_of((folder / self.file).read_bytes())
        except Exception as error:
            return f"it was taken, and a plain reading says {type(error).__name__}: {error}"
        return None if same(answer, right) else f"it holds {short(right)}; got {short(answer)}"


class WholeNpy(_Npy):
    name = ".npy, whole"

    def read(self, folder: Path) -> Any:
        return np.array(arrays.read(folder / self.file))


class PiecesOfNpy(_Npy):
    name = ".npy, in pieces"

    def read(self, folder: Path) -> Any:
        source = open_source(folder / self.file)
        json.dumps(source.identity())
        return pieces(source)

    def wrong(self, folder: Path, case: Case, answer: Any) -> str | None:
        right = numbers_of((folder / self.file).read_bytes())
        return None if same(answer, right.reshape(len(right), -1)) else f"it holds {short(right)}; got {short(answer)}"


def pieces(source: Any) -> np.ndarray:
    """All rows, some at a time, and some of them out of order, up to what a test can hold."""
    rows = min(source.rows, 5000)
    source.read(rows - 1, 1)
    return np.concatenate([source.read(first, min(7, rows - first)) for first in range(0, min(rows, 500), 7)])


class Npz(Reader):
    name, file, share = ".npz", "x.npz", 30

    def prepare(self) -> None:
        self.goods = [{"x": _ROWS}, {"a": _ROWS, "x": _GREY}, {"only": _ROWS.astype(np.float64)}]

    def good(self, folder: Path) -> None:
        (folder / self.file).write_bytes(self._zipped(self.goods[0], np.savez))

    def mutate(self, folder: Path, rng: Random) -> Case:
        data = self._zipped(rng.choice(self.goods), rng.choice((np.savez, np.savez_compressed)))
        draw = rng.random()
        if draw < 0.35:
            case, data = Case("raw"), raw.mutate(data, rng)
        elif draw < 0.65:
            case, data = Case("archive"), archives.mutate(data, rng)
        else:
            method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
            case, data = Case("header"), archives.packed({"x.npy": headers.npy(_ROWS, rng)}, method=method)
        (folder / self.file).write_bytes(data)
        return case

    def read(self, folder: Path) -> Any:
        return np.array(arrays.read(folder / self.file))

    def wrong(self, folder: Path, case: Case, answer: Any) -> str | None:
        with zipfile.ZipFile(folder / self.file) as archive:
            names = archive.namelist()
            name = next((name for name in names if name in ("x", "x.npy")), names[0])
            right = numbers_of(archive.read(name))
        return None if same(answer, right) else f"it holds {short(right)}; got {short(answer)}"

    def _zipped(self, content: dict[str, np.ndarray], save: Any) -> bytes:
        out = io.BytesIO()
        save(out, **content)
        return out.getvalue()


_WORDS = (
    *(
        "",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "1e-999",
        "99999999999999999999",
        "9007199254740993",
        "-0",
        "0x10",
        "1_0",
        "'1'",
    ),
    *('"1"', "#", "1;2", "\0", "\r", "\ufeff", "٣", "1.5.2", "true", "--1", "1e", " 1 ", "\n", "1" * 400),
)


class Csv(Reader):
    name, file, share = ".csv", "x.csv", 60

    def prepare(self) -> None:
        whole = "\n".join(",".join(map(str, row)) for row in (100 * _ROWS).astype(int).tolist()) + "\n"
        self.goods = [whole, "a,b,c\n" + "\n".join(",".join(map(repr, row)) for row in _ROWS.tolist()) + "\n"]

    def good(self, folder: Path) -> None:
        (folder / self.file).write_text(self.goods[0])

    def mutate(self, folder: Path, rng: Random) -> Case:
        text = rng.choice(self.goods)
        if rng.random() < 0.5:
            case, data = Case("raw"), raw.mutate(text.encode(), rng)
        else:
            lines = [line.split(",") for line in text.splitlines()]
            for _ in range(rng.choice((1, 1, 2, 5))):
                row = rng.choice(lines)
                place = rng.randrange(len(row))
                row[place] = rng.choice(_WORDS)
            joint, end = rng.choice((",", ",", ",", ";", "\t")), rng.choice(("\n", "\n", "\r\n", "\r"))
            data = end.join(joint.join(row) for row in lines).encode(
                rng.choice(("utf-8", "utf-8", "utf-16", "utf-8-sig"))
            )
            case = Case("words")
        (folder / self.file).write_bytes(data)
        return case

    def read(self, folder: Path) -> Any:
        return np.array(arrays.read(folder / self.file))

    def wrong(self, folder: Path, case: Case, answer: Any) -> str | None:
        text = (folder / self.file).read_text(encoding="utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text.replace("\0", "?"), newline=None)) if row]
        try:
            [float(word) for word in rows[-1]]
        except ValueError as error:
            return f"it was taken, and its last line says {error}"
        right = []
        for number, row in enumerate(rows):
            try:
                right.append([float(word) for word in row])
            except ValueError as error:
                if number:
                    return f"it was taken, and line {number + 1} says {error}"
        return None if same(answer.astype(np.float64), np.array(right)) else f"it holds {right[0]}; got {short(answer)}"


class _Idx(Reader):
    file, share = "x", 40
    array: np.ndarray
    magic: int

    def prepare(self) -> None:
        self.data = struct.pack(f">{1 + self.array.ndim}I", self.magic, *self.array.shape) + self.array.tobytes()

    def good(self, folder: Path) -> None:
        (folder / self.file).write_bytes(self.data)

    def mutate(self, folder: Path, rng: Random) -> Case:
        header = rng.random() < 0.5
        data = headers.idx(self.data, self.array.ndim, rng) if header else raw.mutate(self.data, rng)
        case = Case("header" if header else "raw")
        if rng.random() < 0.4:
            data = gzip.compress(data, compresslevel=1, mtime=0)
            if rng.random() < 0.3:
                case, data = Case("raw, gzipped"), raw.mutate(data, rng)
        elif rng.random() < 0.02:
            case, data = Case("bomb"), self._bomb()
        (folder / self.file).write_bytes(data)
        return case

    def wrong(self, folder: Path, case: Case, answer: Any) -> str | None:
        data = (folder / self.file).read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        axes = self.array.ndim
        shape = struct.unpack(f">{axes}I", data[4 : 4 * (1 + axes)])
        right = np.frombuffer(data, dtype=np.uint8, offset=4 * (1 + axes)).reshape(shape)
        return None if same(answer, right) else f"it holds {short(right)}; got {short(answer)}"

    def _bomb(self) -> bytes:
        """A header that claims 2^32 bytes, and 2^30 of them as a million; made once."""
        path = self.home / "bomb"
        if not path.exists():
            with gzip.GzipFile(path, "wb", compresslevel=1, mtime=0) as file:
                lengths = (2**16, 2**8, 2**8) if self.array.ndim == 3 else (2**32 - 1,)
                file.write(struct.pack(f">{1 + self.array.ndim}I", self.magic, *lengths))
                for _ in range(2**10):
                    file.write(bytes(2**20))
        return path.read_bytes()


class IdxImages(_Idx):
    name, array, magic = "IDX images", _GREY, 0x803

    def read(self, folder: Path) -> Any:
        return idx.read_images(folder / self.file)


class IdxLabels(_Idx):
    name, array, magic = "IDX labels", _GREY[:, 0, 0], 0x801

    def read(self, folder: Path) -> Any:
        return idx.read_labels(folder / self.file)


def _tables() -> dict[str, pa.Table]:
    """Tables of numbers, and tables of what are none."""
    base = {f"c{k}": pa.array(_ROWS[:, k].astype(np.float64)) for k in range(3)}
    flat = pa.array(_ROWS.ravel())
    with_null = pa.array([*_ROWS[:11, 0].tolist(), None], type=pa.float64())
    return {
        "columns": pa.table(base),
        "list": pa.table({"x": pa.FixedSizeListArray.from_arrays(flat, 3), "name": pa.array(["a"] * 12)}),
        "integers": pa.table({"a": pa.array(range(12), type=pa.int8()), "b": pa.array(range(12), type=pa.uint64())}),
        "a missing float": pa.table({**base, "c1": with_null}),
        "a missing integer": pa.table({"a": pa.array([*range(11), None])}),
        "lists missing": pa.table({"x": pa.array([[1.0, 2.0], None] * 6, type=pa.list_(pa.float64(), 2))}),
        "number in list missing": pa.table({"x": pa.array([[1, None]] * 12, type=pa.list_(pa.int32(), 2))}),
        "lists of other lengths": pa.table({"x": pa.array([[1.0], [1.0, 2.0]] * 6)}),
        "text": pa.table({"x": pa.array(["1.5"] * 12)}),
        "truth": pa.table({"x": pa.array([True, False] * 6)}),
        "time": pa.table({"x": pa.array([1] * 12, type=pa.timestamp("ns"))}),
        "dictionary": pa.table({"x": pa.array(["a", "b"] * 6).dictionary_encode()}),
        "numbers in a dictionary": pa.table({"x": pa.array([1.0, 2.0] * 6).dictionary_encode()}),
        "half": pa.table({"x": pa.array(np.arange(12, dtype=np.float16))}),
        "decimal": pa.table({"x": pa.array([Decimal(1), Decimal(2)] * 6)}),
        "empty lists": pa.table({"x": pa.array([[]] * 12, type=pa.list_(pa.float64(), 0))}),
        "no rows": pa.table({"x": pa.array([], type=pa.float64())}),
        "no columns": pa.table({}),
        "names twice": pa.Table.from_arrays([flat[:12], flat[12:24]], names=["x", "x"]),
        "nothing": pa.table({"x": pa.nulls(12)}),
        "structure": pa.table({"x": pa.array([{"a": 1.0}] * 12)}),
        "nan": pa.table({"x": pa.array([float("nan"), float("inf")] * 6)}),
        "large": pa.table({"x": pa.array([2**63 - 1, -(2**63)] * 6), "y": pa.array([0.5] * 12)}),
        "large unsigned": pa.table({"x": pa.array([2**64 - 1] * 12, type=pa.uint64()), "y": pa.array([-1] * 12)}),
    }


class _Tables(Reader):
    file: str
    share = 20

    def prepare(self) -> None:
        self.tables = _tables()
        self.goods = {
            name: data for name, table in self.tables.items() for data in [self.bytes_of(table, name)] if data
        }

    def bytes_of(self, table: pa.Table, name: str) -> bytes | None:
        """A file of the table."""
        raise NotImplementedError

    def whole(self, path: Path) -> pa.Table:
        """All rows, by pyarrow's plain reader, which checks them."""
        raise NotImplementedError

    def good(self, folder: Path) -> None:
        (folder / self.file).write_bytes(self.goods["columns"])

    def mutate(self, folder: Path, rng: Random) -> Case:
        name = rng.choice(("columns", "list", "integers", rng.choice(list(self.goods))))
        data = self.goods[name]
        case = Case(f"table: {name}")
        if rng.random() < 0.9:
            case, data = Case("raw"), raw.mutate(data, rng)
        (folder / self.file).write_bytes(data)
        return case

    def read(self, folder: Path) -> Any:
        source = open_source(folder / self.file)
        json.dumps(source.identity())
        return pieces(source)

    def wrong(self, folder: Path, case: Case, answer: Any) -> str | None:
        """By pyarrow's own conversion; numbers as float64, whose rounding both share."""
        try:
            table = self.whole(folder / self.file)
            schema = table.schema
            lists = [name for name in schema.names if pa.types.is_fixed_size_list(schema.field(name).type)]
            used = lists if len(lists) == 1 else list(dict.fromkeys(schema.names))
            columns = []
            for name in used:
                table.column(name).validate(full=True)
                columns.append(table.column(name).to_pylist())
        except Exception as error:
            return f"it was taken, and a plain reading says {type(error).__name__}: {str(error)[:80]}"
        rows = columns[0] if len(lists) == 1 else [list(row) for row in zip(*columns, strict=True)]
        right = np.array([[np.nan if v is None else v for v in row] for row in rows], dtype=np.float64)
        got = answer.astype(np.float64)
        return None if same(got, right[: len(got)]) else f"it holds {short(right)}; got {short(got)}"


class Parquet(_Tables):
    name, file = "Parquet", "x.parquet"

    def bytes_of(self, table: pa.Table, name: str) -> bytes | None:
        out = io.BytesIO()
        compression = "snappy" if len(name) % 2 else "none"
        try:
            pq.write_table(table, out, row_group_size=5, compression=compression)
        except pa.ArrowException:
            return None
        return out.getvalue()

    def whole(self, path: Path) -> pa.Table:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        lists = [name for name in schema.names if pa.types.is_fixed_size_list(schema.field(name).type)]
        return file.read(columns=lists if len(lists) == 1 else None)


class Arrow(_Tables):
    name, file = "Arrow", "x.arrow"

    def bytes_of(self, table: pa.Table, name: str) -> bytes | None:
        out = io.BytesIO()
        options = pa.ipc.IpcWriteOptions(compression=(None, "lz4", "zstd")[len(name) % 3])
        with pa.ipc.new_file(out, table.schema, options=options) as file:
            file.write_table(table, max_chunksize=5)
        return out.getvalue()

    def whole(self, path: Path) -> pa.Table:
        return pa.ipc.open_file(path.read_bytes()).read_all()


READERS = (WholeNpy, PiecesOfNpy, Npz, Csv, IdxImages, IdxLabels, Parquet, Arrow)
