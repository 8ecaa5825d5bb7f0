"""Graphs whose weights lie in other files are refused: such a graph names a file, and ONNX Runtime reads it.

Ours hold their weights. A stranger's could name whatever the process may read, and its bytes would come out as numbers:
in every ONNX Runtime from the folder that the process runs in, in old ones from anywhere on the disk.

The wire format is protobuf's: fields of a number and a type, each a varint, eight or four bytes, or a length and bytes.
"""

from collections.abc import Iterator

from lunet_export.errors import ArtifactError

#: Of the messages of onnx.proto, the fields that lead to a tensor, and what they hold.
_LEADING = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor
_VARINT, _BYTES, _WIDTHS = 0, 2, {1: 8, 5: 4}  # types of fields; bytes of those of a fixed width
_DEEPEST = 100  # messages in one another, as protobuf's own readers allow


def refuse_external_data(model: bytes) -> None:
    """Raise where a tensor of the serialized graph is kept in another file.

    Raises:
        ArtifactError: One is, or its bytes cannot be told.
    """
    # Without this word no tensor names a file. With it the graph is walked through, which takes longer.
    if b"location" not in model:
        return
    try:
        outside = _is_outside(memoryview(model), "model", 0)
    except ValueError:
        outside = True
    if outside:
        raise ArtifactError(
            "Expected a graph that holds its weights; got one that keeps them in another file, which is not read. "
            "Export again."
        )


def _is_outside(message: memoryview, kind: str, depth: int) -> bool:
    if depth > _DEEPEST:
        raise ValueError
    for field, value in _fields(message):
        if kind == "tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)):
            return True
        inner = _LEADING[kind].get(field)
        if inner and isinstance(value, memoryview) and _is_outside(value, inner, depth + 1):
            return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of every field. Raises ValueError where they are no such things."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in _WIDTHS:
            length = _WIDTHS[kind]
        else:  # groups, which onnx.proto does not have
            raise ValueError
        if at + length > len(message):
            raise ValueError
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at == len(message):
            raise ValueError
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError
