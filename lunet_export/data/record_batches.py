"""The number of rows of each record batch of an Arrow file, read without the numbers themselves.

The file ends with a footer and its length; the footer lists where the record batches lie; each begins with a header
that states its rows (https://arrow.apache.org/docs/format/Columnar.html, "IPC File Format"). Both are FlatBuffers:

    table   at its place, how far before it its list of fields lies (int32)
    fields  bytes of the list, bytes of the table, then where in the table each field is (uint16), 0 if it is left out
"""

import os
from pathlib import Path
from struct import error as Malformed
from struct import unpack_from
from typing import BinaryIO

_MAGIC, _END = b"ARROW1", "<i6s"  # the length of the footer, then the magic bytes
_END_BYTES, _BLOCK_BYTES = 10, 24
_BLOCKS, _HEADER_KIND, _HEADER, _LENGTH = 3, 1, 2, 0  # fields of Footer, Message, Message and RecordBatch
_IS_BATCH = 3
_LONGEST = 2**28  # bytes of a footer or a header: enough for ten million record batches
_CONTINUES = 0xFFFFFFFF  # stands before the length of a header; files before Arrow 0.15 have the length alone


def batch_rows(path: Path) -> list[int]:
    """Return the number of rows of each record batch, in order.

    Raises:
        ValueError: if it is not an Arrow file, or a record batch does not lie inside the file.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            return [_rows(_header(file, *block, size)) for block in _blocks(file, size)]
        except (Malformed, IndexError):
            raise ValueError("its headers are cut short") from None


def _blocks(file: BinaryIO, size: int) -> list[tuple[int, int, int]]:
    """Return for each record batch where it begins, and the bytes of its header and of its numbers."""
    length, magic = unpack_from(_END, _read(file, size - _END_BYTES, _END_BYTES, size))
    if magic != _MAGIC:
        raise ValueError("it does not end as an Arrow file does")
    footer = _read(file, size - _END_BYTES - length, length, size)
    where = _field(footer, _pointer(footer, 0), _BLOCKS)
    if where is None:
        return []
    listed = _pointer(footer, where)
    (count,) = unpack_from("<I", footer, listed)
    return [unpack_from("<qi4xq", footer, listed + 4 + _BLOCK_BYTES * number) for number in range(count)]


def _header(file: BinaryIO, offset: int, length: int, body: int, size: int) -> bytes:
    if min(offset, length, body) < 0 or offset + length + body > size:
        raise ValueError(f"a record batch claims {body} bytes; the file has {size}")
    data = _read(file, offset, length, size)
    (first,) = unpack_from("<I", data)
    return data[8 if first == _CONTINUES else 4 :]


def _rows(message: bytes) -> int:
    root = _pointer(message, 0)
    kind, header = _field(message, root, _HEADER_KIND), _field(message, root, _HEADER)
    if kind is None or header is None or message[kind] != _IS_BATCH:
        raise ValueError("a record batch is something else")
    length = _field(message, _pointer(message, header), _LENGTH)
    return 0 if length is None else int(unpack_from("<q", message, length)[0])


def _read(file: BinaryIO, offset: int, length: int, size: int) -> bytes:
    if offset < 0 or not 0 <= length <= min(_LONGEST, size - offset):
        raise ValueError("it is cut short, or a header is too long")
    file.seek(offset)
    return file.read(length)


def _pointer(data: bytes, at: int) -> int:
    """Return the place that the offset stored at a place leads to."""
    return at + int(unpack_from("<I", data, at)[0])


def _field(data: bytes, table: int, number: int) -> int | None:
    """Return where a field of a table is; None if it is left out."""
    fields = table - int(unpack_from("<i", data, table)[0])
    (length,) = unpack_from("<H", data, fields)
    entry = 4 + 2 * number
    offset = int(unpack_from("<H", data, fields + entry)[0]) if entry + 2 <= length else 0
    return table + offset if offset else None
