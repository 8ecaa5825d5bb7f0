"""Counter-based noise: number (row, column) of a seed depends on nothing else, in any language.

Generator: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
    key     = (seed mod 2^32, seed div 2^32)
    counter = (column div 4, row mod 2^32, row div 2^32, stream)
gives four 32-bit words w0..w3 for the columns 4c..4c+3 of that row.

Uniform (stream 1 + draw): u = w / 2^32, in [0, 1).
Normal (stream 0): Box-Muller on the pairs (w0, w1) and (w2, w3),
    r = sqrt(-2 ln((w0 + 1/2) / 2^32)),  angle = 2 pi w1 / 2^32,  (r cos angle, r sin angle).
Both are computed in float64; the largest normal is sqrt(66 ln 2) = 6.76.
Class of a row (stream 2^32 - 1): the first c with u < pi_0 + .. + pi_c, with u of the row's column 0; else the last.
"""

from collections.abc import Callable, Sequence
from sys import maxsize
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import BadInputError, OutOfMemoryError
from lunet_export.scalars import whole

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_ROUNDS = 10
_NORMAL_STREAM = 0
_UNIFORM_STREAM = 1
_CLASS_STREAM = 2**32 - 1  # no draw of uniform numbers has this stream
_CHUNK = 1024  # rows computed at once
_NUMBERS = 2**64  # number of seeds, and of rows


def seed_of(value: SupportsIndex) -> int:
    """Return a seed after checking it.

    Raises:
        BadInputError: if it is not a whole number in [0, 2^64).
    """
    return whole(value, "a seed in [0, 2^64)", least=0, most=_NUMBERS - 1, advice="Give a non-negative integer.")


def rows_of(n: SupportsIndex, first: SupportsIndex = 0) -> range:
    """Return the n rows from number `first` on.

    Raises:
        BadInputError: if one of the two is not a whole number of 0 or more, or a row's number would be 2^64 or more.
        OutOfMemoryError: if no machine can hold that many.
    """
    count = whole(n, "a number of samples of 0 or more", least=0)
    begin = whole(first, "a first row of 0 or more", least=0, advice="Rows are counted from 0.")
    if count > maxsize:  # more than a list can hold
        raise OutOfMemoryError.of(f"{count} rows")
    if begin + count > _NUMBERS:
        raise BadInputError(f"Expected rows of numbers below 2^64; got {count} from number {begin} on. Ask for fewer.")
    return range(begin, begin + count)


def philox4x32(counter: NDArray[np.uint64], key: tuple[int, int]) -> NDArray[np.uint64]:
    """Return words of Philox4x32-10: (4, ...) counter words and two key words -> (4, ...) words, all below 2^32."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = (product1 >> _SHIFT) ^ c1 ^ np.uint64(k0)
        c2 = (product0 >> _SHIFT) ^ c3 ^ np.uint64(k1)
        c1, c3 = product1 & _LOW, product0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3])


def _words(seed: int, rows: range, dim: int, stream: int) -> NDArray[np.float64]:
    """Return the words of the rows' columns, (4, rows, ceil(dim / 4)), as float64."""
    row = np.arange(rows.start, rows.stop, dtype=np.uint64)[:, None]
    group = np.arange(-(-dim // 4), dtype=np.uint64)[None, :]
    counter = np.stack(np.broadcast_arrays(group, row & _LOW, row >> _SHIFT, np.uint64(stream)))
    return philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32)).astype(np.float64)


def _in_chunks(
    transform: Callable[[NDArray[np.float64]], NDArray[np.float64]], seed: int, rows: range, dim: int, stream: int
) -> NDArray[np.float64]:
    """Return the transformed words of the rows, (len(rows), dim), without intermediate arrays of all rows at once."""
    seed, rows = seed_of(seed), rows_of(rows.stop - rows.start, rows.start)
    try:
        result = np.empty((rows.stop - rows.start, dim))
    except (MemoryError, ValueError, OverflowError):  # the last two for more bytes than there are addresses
        raise OutOfMemoryError.of(f"{rows.stop - rows.start} rows of {dim} numbers") from None
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        numbers = transform(_words(seed, chunk, dim, stream))  # (4, rows, groups)
        result[start : start + _CHUNK] = np.moveaxis(numbers, 0, -1).reshape(len(chunk), -1)[:, :dim]
    return result


def _box_muller(words: NDArray[np.float64]) -> NDArray[np.float64]:
    radius = np.sqrt(-2.0 * np.log((words[[0, 2]] + 0.5) * 2.0**-32))
    angle = (2.0 * np.pi * 2.0**-32) * words[[1, 3]]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return pairs.reshape(words.shape)


def normal(seed: int, rows: range, dim: int) -> NDArray[np.float64]:
    """Return standard normal numbers for the given rows, (len(rows), dim) float64.

    Raises:
        BadInputError: if the seed is not a whole number in [0, 2^64), or a row's number is not.
        OutOfMemoryError: if the rows do not fit into this machine's memory.
    """
    return _in_chunks(_box_muller, seed, rows, dim, _NORMAL_STREAM)


def uniform(seed: int, rows: range, dim: int, *, draw: int = 0) -> NDArray[np.float64]:
    """Return uniform numbers in [0, 1) for the given rows, (len(rows), dim) float64; `draw` selects an independent set.

    Raises:
        BadInputError: if `normal` raises it, or the draw is not a whole number of 0 or more.
        OutOfMemoryError: if the rows do not fit into this machine's memory.
    """
    stream = _UNIFORM_STREAM + whole(draw, "a noise draw of 0 or more", least=0, most=_CLASS_STREAM - 2)
    return _in_chunks(lambda words: words * 2.0**-32, seed, rows, dim, stream)


def classes(seed: int, rows: range, priors: Sequence[float]) -> NDArray[np.int64]:
    """Return a class number for each of the given rows, drawn by the priors, (len(rows),).

    Raises:
        BadInputError: if `normal` raises it.
        OutOfMemoryError: if the rows do not fit into this machine's memory.
    """
    u = _in_chunks(lambda words: words * 2.0**-32, seed, rows, 1, _CLASS_STREAM)[:, 0]
    return np.minimum(np.searchsorted(np.cumsum(priors), u, side="right"), len(priors) - 1)
