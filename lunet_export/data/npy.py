"""The header of a .npy file: type and number of its numbers, checked before any of them is read."""

from dataclasses import dataclass
from math import prod
from tokenize import TokenError
from typing import IO, Any

import numpy as np

_VERSIONS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_LONGEST = 2**16  # bytes of a header; NumPy's own are shorter than 200
_MOST_AXES = 32

#: Errors of reading a malformed header.
MALFORMED = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    OverflowError,
    RecursionError,
    MemoryError,
    TokenError,
    SyntaxError,
)


@dataclass(frozen=True)
class Header:
    """Shape, order and type of the numbers, which begin at byte `begin`."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: "np.dtype[Any]"
    begin: int

    @property
    def bytes(self) -> int:
        """Number of bytes of the numbers."""
        return prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes]) -> Header:
    """Return the header of an open file.

    Raises:
        ValueError and the others in MALFORMED: if the header is malformed, of another version, or longer than any.
    """
    version = np.lib.format.read_magic(file)
    if version not in _VERSIONS:
        raise ValueError(f"its version is {version}")
    if version == (2, 0):  # NumPy reserves the length that its 4 bytes claim before reading
        here = file.tell()
        if int.from_bytes(file.read(4), "little") > _LONGEST:
            raise ValueError(f"its header is longer than {_LONGEST} bytes")
        file.seek(here)
    shape, fortran, dtype = _VERSIONS[version](file)
    if len(shape) > _MOST_AXES or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"its shape is {str(shape)[:80]}")
    return Header(shape, bool(fortran), dtype, file.tell())


def said(error: Exception) -> str:
    """Return the text of an error in MALFORMED, in a few words."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
