"""A model file of torch.save or safetensors as a dictionary; an error says what a file of another format is."""

from pathlib import Path
from typing import Any

from lunet_export.checkpoint import formats, safetensors_file, tensor_file
from lunet_export.errors import CheckpointError, UnreadableError
from lunet_export.files.reading import meant

_MODEL = "a model file"


def load(path: Path, *, what: str = _MODEL, cure: str = "Fetch or train it again.") -> dict[str, Any]:
    """Return the dictionary in a file: tensors, text, numbers, and lists, tuples and dictionaries of them.

    Args:
        path: Path of the file.
        what: Kind of the file, in a sentence.
        cure: What to do if the file is damaged.

    Raises:
        CheckpointError: if the file is missing, empty, damaged, of another format, holds code, claims more than it
            holds, or holds something else than a dictionary.
        MissingPackageError: if the file is of safetensors, which is not installed.
        UnreadableError: if the operating system does not let the file be read.
    """
    with UnreadableError.instead(path):  # the file itself may be fine
        if path.is_dir():
            raise CheckpointError(f"Expected {what}; {path} is a folder. Give the file{_exported(path)}.")
        if not path.is_file():
            make = "Make one with: lunet-export train DATA" if what == _MODEL else cure
            raise CheckpointError(f"Expected {what}; {path} does not exist.{meant(path) or f' {make}'}")
        data = path.read_bytes()
    if not data:
        raise CheckpointError(f"Expected {what}; {path} is empty. {cure}")
    content = _content(data, path, cure)
    if not isinstance(content, dict):
        raise CheckpointError(f"Expected a dictionary in {path}; got {type(content).__name__}. Save a state_dict.")
    return content


def _content(data: bytes, path: Path, cure: str) -> object:
    if safetensors_file.is_one(data):
        return safetensors_file.content(data, path, cure=cure)
    if told := formats.other(data, path):
        raise CheckpointError(told)
    if path.suffix == formats.SUFFIX and not data.startswith(b"PK"):
        return safetensors_file.content(data, path, cure=cure)
    return _of_torch(data, path, cure)


def _of_torch(data: bytes, path: Path, cure: str) -> object:
    try:
        return tensor_file.content(data)
    except tensor_file.AsksForCode as error:
        raise CheckpointError(
            f"Expected tensors and plain values in {path}; it asks to run code ({error}), which is refused. "
            f"{formats.of_code(error.texts, path)}"
        ) from None
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except Exception as error:  # zipfile and pickle raise many kinds, one per way in which a file can be bad
        reason = f" ({error})" if isinstance(error, tensor_file.Unreadable) and str(error) else ""
        raise CheckpointError(
            f"Expected a file of torch.save; {path} is truncated, damaged or another format{reason}. {cure}"
        ) from None


def _exported(folder: Path) -> str:
    """Return the end of a sentence about a folder: which file to give."""
    return " that it was exported from" if (folder / "manifest.json").is_file() else " in it, or another"
