"""The format of a file, by its bytes, and the way from a format that is not read to one that is."""

import io
import json
import shlex
import zipfile
from collections.abc import Collection
from pathlib import Path

#: Suffix of files of safetensors.
SUFFIX = ".safetensors"
#: Keys under which training loops keep the state of a network, in the order of the search.
_STATES = ("state_dict", "model_state_dict", "model", "flow", "net", "network", "module", "weights")

_TO_IMPORT = (
    "Load its weights into a PyTorch flow of FrEIA, glasflow, nflows, normflows or zuko, save flow.state_dict() by "
    "torch.save, and give that to: lunet-export import"
)
_OF_PYTORCH = "Save model.state_dict() by torch.save in PyTorch, and give that file."
_UNPACK = "Unpack it, and give the file inside."
#: Beginnings of files, what such a file is, and what to do with it.
_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes", _TO_IMPORT),
    (b"\x93NUMPY", "a NumPy array", _OF_PYTORCH),
    (b"GGUF", "a GGUF file", _OF_PYTORCH),
    (b"MATLAB", "a MATLAB file", _OF_PYTORCH),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "Run: git lfs pull"),
    (b"<!DOCTYPE", "a web page", "Download the file itself."),
    (b"<!doctype", "a web page", "Download the file itself."),
    (b"<html", "a web page", "Download the file itself."),
    (b"{", "a JSON file", "Give the file of the weights, which lies beside it."),
    (b"\x1f\x8b", "compressed by gzip", _UNPACK),
    (b"BZh", "compressed by bzip2", _UNPACK),
    (b"\xfd7zXZ", "compressed by xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard", _UNPACK),
    (b"7z\xbc\xaf", "a 7-Zip archive", _UNPACK),
)
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # its magic number, pickled
_ON_CPU = 'map_location="cpu"'
_ONNX_VERSIONS, _ONNX_FIELDS = range(3, 32), b"\x12\x1a\x22\x2a\x32\x3a\x42"  # tags of the field behind the version


def other(data: bytes, path: Path) -> str | None:
    """Return what a file is and what to do, in two sentences; None if it may be of torch.save or safetensors.

    Args:
        data: Bytes of the file.
        path: Path of the file, for the sentences.
    """
    found = _of_zip(data, path) if data.startswith(b"PK") else _of_bytes(data, path)
    return found and f"Expected a file of torch.save or safetensors; {path} is {found[0]}. {found[1]}"


def _of_bytes(data: bytes, path: Path) -> tuple[str, str] | None:
    if data.startswith(_OLD_TORCH):
        return "a file of torch 1.5 or older", f"Run: {state_saved(path, opened(path))}"
    if data.startswith(b"\x80"):
        return "a Python pickle", f"Load it in Python, if you trust it. {_OF_PYTORCH}"
    if data[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    if data[4:8] == b"TFL3":
        return "a TensorFlow Lite network", _TO_IMPORT
    if data[:1] == b"\x08" and len(data) > 2 and data[1] in _ONNX_VERSIONS and data[2] in _ONNX_FIELDS:
        return "an ONNX file", _of_onnx(path)
    return next(((what, way) for begin, what, way in _BEGINNINGS if data.startswith(begin)), None)


def _of_onnx(path: Path) -> str:
    if path.with_name("manifest.json").is_file():
        return f"Give the model that it was exported from; commands that take an exported folder take {path.parent}."
    return (
        "The weights in a graph are not read. Save the state_dict of the model that it was exported from by torch.save."
    )


def _of_zip(data: bytes, path: Path) -> tuple[str, str] | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = {info.filename for info in archive.infolist()}
    except Exception:  # zipfile raises many kinds; the reader of the file reports the damage
        return None
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside:
        return (
            "a TorchScript program",
            f"Run: {state_saved(path, f'torch.jit.load({_file(path)}, {_ON_CPU}).state_dict()')}",
        )
    if "serialized_exported_program.json" in names | inside or "models/model.json" in inside:
        return "a torch.export program", f"Run: {state_saved(path, f'torch.export.load({_file(path)}).state_dict')}"
    if "data.pkl" in inside:
        return None
    if any(name.endswith(".h5") for name in names):
        return "a Keras model", _TO_IMPORT
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays", _OF_PYTORCH
    return "a zip archive of other files", _UNPACK


def of_code(texts: Collection[str], path: Path) -> str:
    """Return what to do with a pickle of torch.save that holds more than tensors and plain values.

    Args:
        texts: Texts in the pickle.
        path: Path of the file, for the sentences.
    """
    if {"_modules", "_parameters"} <= set(texts):
        return (
            "It is a whole module. Save model.state_dict() instead of the model; if its classes can be imported "
            f"and you trust the file: {state_saved(path, f'{opened(path, trusted=True)}.state_dict()')}"
        )
    name = next((name for name in _STATES if name in texts), None)
    if name is None:
        return "Save model.state_dict() instead of the model."
    return (
        "It holds other objects beside the network, as training loops and Lightning save them. If you trust the file: "
        f"{state_saved(path, f'{opened(path, trusted=True)}[{in_code(name)}]')}"
    )


def state_saved(path: Path, part: str, name: str = "state") -> str:
    """Return a command that can be pasted and writes part of a file to a new file.

    Args:
        path: Path of the file.
        part: The part, as a Python expression.
        name: Suffix of the new file's stem.
    """
    imports = "torch, safetensors.torch" if "safetensors" in part else "torch"
    target = in_code(str(path.with_name(f"{path.stem}-{name}.pth")))
    return shlex.join(["python", "-c", f"import {imports}; torch.save({part}, {target})"])


def opened(path: Path, *, trusted: bool = False) -> str:
    """Return the content of a file as a Python expression.

    Args:
        path: Path of the file.
        trusted: Whether code in the file may run.
    """
    if path.suffix == SUFFIX:
        return f"safetensors.torch.load_file({_file(path)})"
    return f"torch.load({_file(path)}, {_ON_CPU}, weights_only={not trusted})"


def in_code(text: str) -> str:
    """Return a text as a Python literal in double quotes, so that the code can stand in single quotes in a shell."""
    return json.dumps(text)


def _file(path: Path) -> str:
    return in_code(str(path))
