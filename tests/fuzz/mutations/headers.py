"""What stands before the numbers of .npy, IDX and safetensors files."""

import json
import struct
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.mutations import trees

_DESCRIPTIONS = (
    *("'<f4'", "'<f8'", "'<f2'", "'>f8'", "'<i8'", "'|u1'", "'|i1'", "'>u2'", "'<u8'", "'|b1'", "'<c16'", "'<f16'"),
    *("'|O'", "'<U10'", "'|S5'", "'<M8[ns]'", "'<m8'", "'|V16'", "'<f1000000000'", "'<f0'", "'|S0'", "'f'", "'float'"),
    *("[('a','<f8')]", "[('a','<f8',(2,))]", "('<f8',(3,))", "('<f8',(1073741824,))", "[]", "None", "1", "'x'", "''"),
    *("[('a','|O')]", "'<f8,<f8'", "[('a','<f8'),('a','<f8')]"),
)
_LENGTHS = ("0", "1", "2", "3", "12", "-1", "True", "1.5", "'3'", "None", "(2,)", "2**40")
_COUNTS = (2**20, 2**27, 2**28, 2**30, 2**31, 2**32, 2**34, 2**36, 2**40, 2**62, 2**63 - 1, 2**63, 2**64, 10**30)


def npy(array: np.ndarray, rng: Random) -> bytes:
    """The numbers of an array behind a header that says something else."""
    description = rng.choice(_DESCRIPTIONS) if rng.random() < 0.5 else repr(array.dtype.str)
    lengths = [str(length) for length in array.shape]
    for _ in range(rng.choice((0, 1, 1, 2))):
        lengths[rng.randrange(len(lengths))] = rng.choice((*_LENGTHS, *map(str, _COUNTS)))
    if rng.random() < 0.15:
        lengths = rng.choice(([], ["1"] * 70, lengths[:1], [*lengths, "1"], ["0", str(2**40)], lengths * 2))
    shape = f"({', '.join(lengths)}{',' if len(lengths) == 1 else ''})"
    order = rng.choice(("False", "False", "False", "True", "0", "None"))
    text = f"{{'descr': {description}, 'fortran_order': {order}, 'shape': {shape}, }}"
    if rng.random() < 0.1:
        text = rng.choice(
            ("", "{}", "x", "[" * 200, "[" * 5000, "{" + text, text[:-3], f"({text})", f"{text}\0", "-" * 3000 + "1",
             text.replace("shape", "form"), f"__import__('os').system('true') or {text}", "9" * 9000)
        )  # fmt: skip
    version = rng.choice(((1, 0), (1, 0), (1, 0), (2, 0), (3, 0), (9, 9)))
    content = text.encode() + b" " * (-(len(text) + 11) % 64) + b"\n"
    length = len(content) if rng.random() < 0.9 else rng.choice((0, 1, 60, 2**16 - 1, 2**31, 2**32 - 1))
    packed = struct.pack("<H", length & 0xFFFF) if version == (1, 0) else struct.pack("<I", length & 0xFFFFFFFF)
    return b"\x93NUMPY" + bytes(version) + packed + content + array.tobytes()


def idx(data: bytes, axes: int, rng: Random) -> bytes:
    """An IDX file with other words in its header."""
    words = list(struct.unpack(f">{1 + axes}I", data[: 4 * (1 + axes)]))
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = rng.randrange(len(words))
        words[place] = rng.choice((0, 1, 2, 2**16, 2**30, 2**31, 2**32 - 1, words[place] + 1, words[place] * 2)) % 2**32
    return struct.pack(f">{1 + axes}I", *words) + data[4 * (1 + axes) :]


def safetensors(data: bytes, rng: Random) -> bytes:
    """The numbers of a safetensors file behind another header, or a length of the header that is not its own."""
    (length,) = struct.unpack("<Q", data[:8])
    header, numbers = json.loads(data[8 : 8 + length]), data[8 + length :]
    if rng.random() < 0.4:  # of one tensor alone: what it claims of its type, its lengths and its place
        entry = header[rng.choice([name for name in header if name != "__metadata__"])]
        _claim(entry, rng)
    else:
        header = trees.mutate(header, rng)
    text = trees.text(header, rng)
    said = len(text) if rng.random() < 0.9 else rng.choice((0, 1, len(text) - 1, len(data), *_COUNTS)) % 2**64
    return struct.pack("<Q", said) + text + numbers


def _claim(entry: dict[str, Any], rng: Random) -> None:
    key = rng.choice(("dtype", "shape", "data_offsets"))
    if key == "dtype":
        entry[key] = rng.choice(("F64", "F32", "F16", "BF16", "F8_E4M3", "I64", "U8", "BOOL", "C64", "F128", "", None))
    else:
        lengths = entry[key] or [0]
        lengths[rng.randrange(len(lengths))] = rng.choice((0, 1, 2, -1, 0.5, "1", None, *_COUNTS))
        entry[key] = rng.choice((lengths, lengths[::-1], lengths * 2, lengths[:1], []))
