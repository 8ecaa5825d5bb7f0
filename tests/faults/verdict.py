"""What a folder holds after a fault: whole things, old or new, and leftovers of known names; or what is wrong."""

import json
import re
from contextlib import suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image

from lunet_cli.failures import UNEXPECTED

#: Names that the sources promise (`files.py`), all of them hidden.
LEFTOVERS = re.compile(r"\..+\.[0-9a-f]{8}\.unfinished(\.[a-z]+)?|\..+\.lock|\.part-\d+\.attempts")
_SENTENCE = re.compile(r"lunet-export: (?!warning: )[^\n]+\n")

Content = dict[str, str]


def content(folder: Path) -> Content:
    """SHA-256 of every file by its path, but for leftovers."""
    return {
        path.relative_to(folder).as_posix(): digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not _leftover_above(path.relative_to(folder))
    }


def digest(path: Path) -> str:
    """Of a file's bytes; of a resume file's values, each to its last bit.

    Pickle notes which of its strings are one object, and after reading a file back others are.
    """
    data = path.read_bytes()
    if path.name.endswith(".resume.pt"):
        with suppress(Exception):  # half a file is no pickle
            return sha256(repr(_values(torch.load(BytesIO(data), weights_only=True))).encode()).hexdigest()
    return sha256(data).hexdigest()


def _values(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), sha256(value.contiguous().numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return [(key, _values(entry)) for key, entry in value.items()]
    return [_values(entry) for entry in value] if isinstance(value, list | tuple) else value


def leftovers(folder: Path) -> list[str]:
    """Files and folders of our temporary names, the topmost of each."""
    found = [path.relative_to(folder) for path in sorted(folder.rglob("*"))] if folder.exists() else []
    return [path.as_posix() for path in found if LEFTOVERS.fullmatch(path.name) and not _leftover_above(path.parent)]


def strangers(folder: Path) -> list[str]:
    """Hidden files of any other name: nobody would know whose they are."""
    found = [path.relative_to(folder) for path in sorted(folder.rglob("*"))] if folder.exists() else []
    return [path.as_posix() for path in found if path.name.startswith(".") and not _leftover_above(path)]


def state(folder: Path, old: Content, new: Content, *, pieces: bool = False) -> tuple[str, list[str]]:
    """What lies in a folder, in a word, and what is wrong with it.

    Each top entry is nothing, old or new. With `pieces`, each file is: nothing, old, new, or one that loads, of a run
    that was on its way.
    """
    now, wrong = content(folder), [f"{name} is of no known temporary name" for name in strangers(folder)]
    if now == new:
        return "new", wrong
    if now == old:
        return "old" if old else "nothing", wrong
    for top in sorted({name.partition("/")[0] for name in now}):
        have = _of(now, top)
        if have in (_of(old, top), _of(new, top)):
            continue
        if not pieces:
            wrong.append(f"{top} is neither old nor new")
        others = [name for name in have if now[name] not in (old.get(name), new.get(name))]
        wrong += [reason for name in others for reason in unreadable(folder / name)]
    return "part", wrong


def unreadable(path: Path) -> list[str]:
    """Why a file is not whole; nothing where it is."""
    readers = {
        ".pt": lambda: torch.load(path, weights_only=True),
        ".json": lambda: json.loads(path.read_text()),
        ".png": lambda: Image.open(path).load(),
        ".parquet": lambda: pq.read_table(path),
        ".npy": lambda: np.load(path),
    }
    if path.suffix not in readers:
        return [f"{path.name} is neither old nor new"]
    try:
        readers[path.suffix]()
    except Exception as error:  # whatever a reader says of half a file
        return [f"{path.name} is not whole: {error}"]
    return []


def torn(err: str, *, code: int) -> list[str]:
    """What is wrong with what a command said: a traceback, or no sentence where it failed."""
    if "Traceback" in err or "Exception ignored" in err:
        return [f"a traceback: {err.strip().splitlines()[-1]}"]
    if code == UNEXPECTED:
        return [f"a defect: {err.strip().splitlines()[-1]}"]
    if code and not _SENTENCE.search(err):
        return [f"exit code {code} without a sentence: {err[-200:]!r}"]
    if code >= 128 and len(_SENTENCE.findall(err)) != 1:
        return [f"more than one sentence: {err[-300:]!r}"]
    return []


def _of(everything: Content, top: str) -> Content:
    return {name: value for name, value in everything.items() if name.partition("/")[0] == top}


def _leftover_above(path: Path) -> bool:
    return any(LEFTOVERS.fullmatch(part) for part in path.parts)
