"""A verifier's witness: inputs, and perhaps outputs, that are said to meet a query.

sat ((X_0 0.5) (X_1 -1.25) (Y_0 3.0))     text, as in VNN-COMP's counterexample files; the word `sat` is optional
input 0 = 0.5, or x0 = 0.5                lines that Marabou prints among others
{"X_0": 0.5, "X_1": -1.25}                JSON, or a plain list of the inputs [0.5, -1.25]
.npy                                      an array (D,) or (1, D)
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.data import arrays
from lunet_export.errors import BadInputError

_PAIR = re.compile(r"\(\s*([XY]_\d{1,9})\s+([^\s()]+)\s*\)")
_LINE = re.compile(r"^[ \t]*(input |output |x|y)(\d{1,9}) = (\S+)[ \t]*$", re.MULTILINE)
_KINDS = {"input ": "X", "x": "X", "output ": "Y", "y": "Y"}
_PROVED = re.compile(r"^[ \t]*(unsat|holds)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_LARGEST = 10**8


@dataclass(frozen=True)
class Witness:
    """This is a point of inputs z (D,), float64, and the outputs that the verifier gave with it, by number."""

    z: NDArray[np.float64]
    outputs: Mapping[int, float]


def read(path: Path, dim: int) -> Witness:
    """Return the witness in a file.

    Raises:
        BadInputError: if the file is missing, of another kind, says `unsat`, or does not hold D finite inputs.
    """
    if not path.is_file():
        raise BadInputError(f"Expected a witness; {path} does not exist. Save what the verifier printed.")
    if path.suffix == ".npy":
        return _of_inputs(arrays.read(path), path, dim)
    if path.stat().st_size > _LARGEST:
        raise BadInputError(f"Expected a witness of at most 100 MB; {path} is larger.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadInputError(f"Expected a witness as text, JSON or .npy; {path} is none of these.") from None
    if path.suffix == ".json":
        return _of_json(text, path, dim)
    if proved := _PROVED.search(text):
        raise BadInputError(f"Expected a witness; {path} says {proved[1]}: there is no counterexample to replay.")
    pairs = _PAIR.findall(text)
    pairs = pairs or [(f"{_KINDS[kind]}_{number}", value) for kind, number, value in _LINE.findall(text)]
    if not pairs:
        raise BadInputError(f"Expected ((X_0 NUMBER) (X_1 NUMBER) ...) in {path}; got {text[:40]!r}.")
    return _of_names(pairs, path, dim)


def _of_json(text: str, path: Path, dim: int) -> Witness:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise BadInputError(f"{path} is not valid JSON. Save what the verifier printed.") from None
    if isinstance(content, list):
        return _of_inputs(_array(content, path), path, dim)
    if isinstance(content, dict):
        return _of_names(list(content.items()), path, dim)
    raise BadInputError(f'Expected a list or {{"X_0": NUMBER, ...}} in {path}; got {type(content).__name__}.')


def _of_names(pairs: list[tuple[str, Any]], path: Path, dim: int) -> Witness:
    names = [name for name, _ in pairs]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice:
        raise BadInputError(f"Expected every variable once in {path}; {twice} occurs twice.")
    values, inputs = dict(pairs), {f"X_{i}": None for i in range(dim)}
    missing = [name for name in inputs if name not in values]
    unknown = [name for name in names if name.startswith("X_") and name not in inputs]
    if missing or unknown:
        what = f"{missing[0]} is missing" if missing else f"{unknown[0]} is not an input"
        raise BadInputError(f"Expected X_0 .. X_{dim - 1} in {path}; {what}. Is it a witness of this query?")
    outputs = {int(n[2:]): float(_array([v], path)[0]) for n, v in pairs if re.fullmatch(r"Y_\d{1,9}", n)}
    return _of_inputs(_array([values[f"X_{i}"] for i in range(dim)], path), path, dim, outputs)


def _array(values: list[Any], path: Path) -> NDArray[np.float64]:
    try:
        if not all(isinstance(value, str) or type(value) in (int, float) for value in values):
            raise TypeError
        return np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise BadInputError(
            f"Expected numbers in {path}; got something else. Save what the verifier printed."
        ) from None


def _of_inputs(array: NDArray[Any], path: Path, dim: int, outputs: Mapping[int, float] | None = None) -> Witness:
    if array.shape not in ((dim,), (1, dim)):
        raise BadInputError(f"Expected {dim} inputs in {path}; got shape {array.shape}.")
    z = array.reshape(dim).astype(np.float64)
    if not np.isfinite(z).all():
        raise BadInputError(f"Expected finite inputs in {path}; X_{int(np.argmin(np.isfinite(z)))} is not.")
    return Witness(z, outputs or {})
