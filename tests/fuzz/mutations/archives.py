"""Zip files, as .npz and torch.save have them."""

import io
import struct
import zipfile
from collections.abc import Mapping
from functools import cache
from random import Random

from tests.fuzz.mutations import ELSEWHERE, raw

_LOCAL, _CENTRAL = b"PK\x03\x04", b"PK\x01\x02"


def entries(data: bytes) -> dict[str, bytes]:
    """The files in it."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file of them, with right sums."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return out.getvalue()


def mutate(data: bytes, rng: Random) -> bytes:
    """Its table of contents, or what it holds, with right sums again."""
    files = entries(data)
    name = rng.choice(list(files))
    way = rng.randrange(8)
    if way == 0:
        files[name] = raw.mutate(files[name], rng)
        return packed(files)
    if way == 1:
        return packed(files, method=zipfile.ZIP_DEFLATED)
    if way == 2:
        files[rng.choice((*ELSEWHERE, f"{name}_", "", name.upper()))] = files.pop(name)
        return packed(files)
    if way == 3:
        del files[name]
        return packed(files)
    if way == 4:
        return bombed(files, name)
    if way == 5:
        return _claiming(data, rng)
    if way == 6:
        files[name] = b"\0" * rng.choice((0, 1, 10**6))
        return packed(files)
    files[f"{name}.extra"] = rng.randbytes(100)
    return packed(files)


def bombed(files: Mapping[str, bytes], name: str) -> bytes:
    """The files, one of which unpacks to a thousand times its size."""
    first = files[name][:256]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for other, content in files.items():
            if other != name:
                archive.writestr(zipfile.ZipInfo(other), content)
    return _with_deflated(out.getvalue(), name, first)


@cache
def _zeros(first: bytes) -> bytes:
    """2^30 zeros behind some bytes, deflated and alone in a zip file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open("bomb", "w") as file:
        file.write(first)
        for _ in range(2**10):
            file.write(bytes(2**20))
    return out.getvalue()


def _with_deflated(data: bytes, name: str, first: bytes) -> bytes:
    bomb = _zeros(first)
    with zipfile.ZipFile(io.BytesIO(bomb)) as archive:
        info = archive.infolist()[0]
    start = (
        info.header_offset + 30 + 4 + struct.unpack("<H", bomb[info.header_offset + 28 : info.header_offset + 30])[0]
    )
    body = bomb[start : start + info.compress_size]
    out = io.BytesIO(data)
    with zipfile.ZipFile(out, "a") as archive:
        entry = zipfile.ZipInfo(name)
        entry.compress_type, entry.CRC = zipfile.ZIP_DEFLATED, info.CRC
        entry.file_size, entry.compress_size, entry.header_offset = (
            info.file_size,
            info.compress_size,
            archive.start_dir,
        )
        archive.fp.seek(archive.start_dir)
        archive.fp.write(entry.FileHeader(False) + body)
        archive.start_dir = archive.fp.tell()
        archive.filelist.append(entry)
        archive.NameToInfo[name] = entry
        archive._didModify = True
    return out.getvalue()


def _claiming(data: bytes, rng: Random) -> bytes:
    """Other sizes, methods, flags or sums in the header of a file, or in the table of contents."""
    mark, fields = rng.choice(((_LOCAL, (6, 8, 14, 18, 22)), (_CENTRAL, (8, 10, 16, 20, 24, 42))))
    places = [place for place in range(len(data) - 4) if data[place : place + 4] == mark]
    if not places:
        return raw.mutate(data, rng)
    place = rng.choice(places) + rng.choice(fields)
    number = rng.choice((0, 1, 8, 9, 99, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF))
    return data[:place] + struct.pack("<I", number)[: rng.choice((2, 4))] + data[place + 4 :]
