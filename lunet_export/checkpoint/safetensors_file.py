"""Files of safetensors: tensors by name, and texts by name.

A state is such a file alone. In our own model files a tensor is named by its place, as `layers.0.scale`, and the text
`lunet_export.model` holds the rest as JSON, in which {"tensor": NAME} stands for each tensor.

The library checks that the tensors lie inside the file, one after another, and have as many numbers as they claim.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lunet_export.checkpoint.tensor_file import validate_values
from lunet_export.errors import CheckpointError, MissingPackageError, brief
from lunet_export.installation import install

_OURS, _STANDS = "lunet_export.model", "tensor"
_LENGTH = 8  # bytes of the header's length; the header is JSON


def is_one(data: bytes) -> bool:
    """Return whether a file is of safetensors."""
    return data[_LENGTH : _LENGTH + 1] == b"{" and _header(data).stop <= len(data)


def _header(data: bytes) -> slice:
    return slice(_LENGTH, _LENGTH + int.from_bytes(data[:_LENGTH], "little"))


def content(data: bytes, path: Path, *, cure: str) -> object:
    """Return the tensors by name, or the dictionary of one of our own model files.

    Args:
        data: Bytes of the file.
        path: Path of the file, for a sentence.
        cure: What to do if the file is damaged.

    Raises:
        CheckpointError: if the file is damaged.
        MissingPackageError: if safetensors is not installed.
    """
    library = _library()
    try:
        tensors: dict[str, Tensor] = library.load(data)
        texts = json.loads(data[_header(data)]).get("__metadata__", {})
        if _OURS not in texts:
            return tensors
        found = _put_back(json.loads(texts[_OURS]), tensors)
        validate_values(found, values=_header(data).stop, held=len(data))
        return found
    except Exception as error:  # errors of the library, PyTorch and JSON
        raise CheckpointError(
            f"Expected a file of safetensors; {path} is truncated or damaged ({brief(error)}). {cure}"
        ) from None


def bytes_of(content: Mapping[str, Any]) -> bytes:
    """Return one of our own dictionaries, of text, numbers, tensors, dictionaries and lists, as the bytes of a file.

    Raises:
        MissingPackageError: if safetensors is not installed.
    """
    library = _library()
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_taken_out(content, "", tensors), allow_nan=False)
    whole: bytes = library.save(tensors, {"format": "pt", _OURS: text})
    return whole


def _taken_out(value: object, place: str, tensors: dict[str, Tensor]) -> object:
    """Return a value as JSON takes it, and put its tensors into `tensors`."""
    if isinstance(value, Tensor):
        tensors[place] = value.detach().cpu().contiguous().clone()
        return {_STANDS: place}
    if isinstance(value, Mapping):
        return {key: _taken_out(part, f"{place}.{key}".lstrip("."), tensors) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_taken_out(part, f"{place}.{number}", tensors) for number, part in enumerate(value)]
    return value


def _put_back(value: Any, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        if value.keys() == {_STANDS}:
            return tensors[value[_STANDS]]
        return {key: _put_back(part, tensors) for key, part in value.items()}
    return [_put_back(part, tensors) for part in value] if isinstance(value, list) else value


def _library() -> Any:  # noqa: ANN401
    try:
        from safetensors import torch as library
    except ModuleNotFoundError:
        raise MissingPackageError(f"Expected safetensors; it is not installed. Run: {install('safetensors')}") from None
    return library
