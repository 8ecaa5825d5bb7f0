"""Bytes of any format."""

import struct
from random import Random

_COUNTS = (0, 1, 0x7F, 0xFF, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1)


def mutate(data: bytes, rng: Random) -> bytes:
    """One to three changes; now and then many."""
    times = rng.choice((1, 1, 1, 2, 3, 20))
    for _ in range(times):
        data = rng.choice(_WAYS)(data, rng)
    return data


def _place(data: bytes, rng: Random) -> int:
    """Ends of files hold what says most."""
    size = len(data)
    near = min(size, 128)
    return rng.choice((rng.randrange(size + 1), rng.randrange(near + 1), size - rng.randrange(near + 1)))


def flip(data: bytes, rng: Random) -> bytes:
    """A bit."""
    if not data:
        return data
    place = min(_place(data, rng), len(data) - 1)
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


def _noise(data: bytes, rng: Random) -> bytes:
    place, length = _place(data, rng), rng.randrange(1, 17)
    return data[:place] + rng.randbytes(length) + data[place + length :]


def cut(data: bytes, rng: Random) -> bytes:
    """Its end."""
    return data[: _place(data, rng)]


def _beheaded(data: bytes, rng: Random) -> bytes:
    return data[_place(data, rng) :]


def _longer(data: bytes, rng: Random) -> bytes:
    return data + rng.choice((b"\0", b"\n", b" ", b"PK", rng.randbytes(rng.randrange(1, 5000)), b"\0" * 4096))


def _without(data: bytes, rng: Random) -> bytes:
    place = _place(data, rng)
    return data[:place] + data[place + rng.randrange(1, 64) :]


def _twice(data: bytes, rng: Random) -> bytes:
    start, length, place = _place(data, rng), rng.randrange(1, 512), _place(data, rng)
    return data[:place] + data[start : start + length] + data[place:]


def _moved(data: bytes, rng: Random) -> bytes:
    start, length, place = _place(data, rng), rng.randrange(1, 512), _place(data, rng)
    return data[:place] + data[start : start + length] + data[place + length :]


def _count(data: bytes, rng: Random) -> bytes:
    """A number where there may be one: in 1, 2, 4 or 8 bytes, of either order."""
    size = rng.choice((1, 2, 4, 8))
    number = rng.choice(_COUNTS) & (2 ** (8 * size) - 1)
    place = _place(data, rng) // size * size
    packed = struct.pack(rng.choice("<>") + {1: "B", 2: "H", 4: "I", 8: "Q"}[size], number)
    return data[:place] + packed + data[place + size :]


def _nothing(data: bytes, rng: Random) -> bytes:
    return rng.choice((b"", b"\0", b"\0" * 4096, b"\xff" * 4096))


_WAYS = (flip, flip, flip, _noise, cut, cut, _beheaded, _longer, _without, _twice, _moved, _count, _count, _nothing)
