"""Files of `torch.save`, read without running code and without taking more memory than they hold.

`torch.load(weights_only=True)` reads them after they were inspected.

A file is a zip archive: `data.pkl`, a pickle of the values, in which a tensor names its numbers by key, and a record of
numbers per key. `torch.load(weights_only=True)` runs no code, but it trusts sizes: a pickle may ask for a bytearray or
a tensor of 2^40 numbers; a storage grows to what a tensor claims, with numbers that are in no file; records may unpack
to a thousand times their size, and their checksums are not compared. So this module checks, before it makes anything,
every size, that a tensor's numbers are those of its record, and that a record's numbers are those that were written.
"""

import io
import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lunet_export.errors import CheckpointError

_FOLDER = 0x10  # bit of a zip entry's attributes

#: Opcodes that torch.save writes (protocol 2). Others reserve memory by numbers alone, or name things in other ways.
_OPCODES = frozenset(
    [
        "PROTO",
        "STOP",
        "MARK",
        "EMPTY_DICT",
        "EMPTY_LIST",
        "EMPTY_TUPLE",
        "TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
        "APPEND",
        "APPENDS",
        "SETITEM",
        "SETITEMS",
        "BINUNICODE",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "LONG4",
        "BINFLOAT",
        "NEWTRUE",
        "NEWFALSE",
        "NONE",
        "BINPUT",
        "LONG_BINPUT",
        "BINGET",
        "LONG_BINGET",
        "GLOBAL",
        "REDUCE",
        "BUILD",
        "BINPERSID",
    ]
)
_DTYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
}
_MOST_AXES = 16
_DEEPEST = 256  # nested values
_LONGEST = 4096  # characters of a text
_WIDEST = 256  # bits of an integer; the state of a random generator has 128
#: Values, and bytes of tensors, that a file of any size may repeat.
_SLACK, _SLACK_BYTES = 10_000, 2**26


class Unreadable(Exception):
    """The file is not what torch.save writes; the text says what is wrong, or is empty."""


class AsksForCode(Exception):
    """The pickle names something other than tensors and plain values.

    Attributes:
        texts: All texts in the pickle, such as keys of dictionaries and names of attributes.
    """

    def __init__(self, name: str, texts: frozenset[str] = frozenset()) -> None:
        super().__init__(name)
        self.texts = texts


def content(data: bytes) -> object:
    """Return the content of a file of torch.save, on the CPU.

    Raises:
        AsksForCode: if the file holds more than tensors and plain values.
        CheckpointError: if a tensor claims more numbers than the file holds.
        Exception: of many kinds, one for each way in which a file can be bad; `Unreadable` says which.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = _records(archive, len(data))
        pickled = archive.read(records["data.pkl"])  # every read checks the checksum
        if "byteorder" in records and archive.read(records["byteorder"]) != b"little":
            raise Unreadable("its numbers are big-endian")
        _validate_opcodes(pickled)
        claimed = _Unpickler(pickled, archive, records).load()
    validate_values(claimed, values=len(pickled), held=len(data))
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _records(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the records by their names below the archive's own folder.

    Raises:
        Unreadable: if a record is packed, a folder or there twice, or the records do not fit into the file.
    """
    infos = archive.infolist()
    if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in infos):
        raise Unreadable("its records are packed")
    if any(info.file_size and (info.is_dir() or info.external_attr & _FOLDER) for info in infos):
        raise Unreadable("a record is marked as a folder")  # of which PyTorch reads nothing, and gives what memory held
    if sum(info.file_size for info in infos) > size:
        raise Unreadable("its records are larger than the file")
    records = {info.filename.partition("/")[2]: info for info in infos}
    if len(records) != len(infos):
        raise Unreadable("a record is there twice")
    return records


def _validate_opcodes(pickled: bytes) -> None:
    """Raise an error if the pickle has a name or an opcode that torch.save does not write for plain tensors.

    Raises:
        AsksForCode: if the pickle has such a name.
        Unreadable: if the pickle has such an opcode.
    """
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            if not _is_known(module, name):
                raise AsksForCode(re.sub(r"[^\w.]", "?", f"{module}.{name}")[:80], _texts(pickled))
        elif opcode.name not in _OPCODES:
            named = opcode.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4")
            raise AsksForCode("pickle", _texts(pickled)) if named else Unreadable(f"its pickle has {opcode.name}")
        elif opcode.name == "LONG_BINPUT" and int(argument or 0) > len(pickled):  # it would reserve memory
            raise Unreadable


def _texts(pickled: bytes) -> frozenset[str]:
    """Return the texts in a pickle, as far as it can be walked."""
    found = set()
    with suppress(Exception):  # a damaged pickle raises many kinds
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name in ("BINUNICODE", "SHORT_BINUNICODE"):
                found.add(str(argument))
    return frozenset(found)


def _is_known(module: str, name: str) -> bool:
    if module == "torch":
        kind = name.removesuffix("Storage")
        return name == "Size" or (name != kind and kind in _DTYPES) or _dtype_named(name) is not None
    return (module, name) in (*_MAKERS, ("collections", "OrderedDict"), ("torch.storage", "UntypedStorage"))


def _dtype_named(name: str) -> torch.dtype | None:
    found = getattr(torch, name, None) if name.isidentifier() else None
    return found if isinstance(found, torch.dtype) else None


class _Storage:
    """The numbers of one record, flat."""

    __slots__ = ("flat",)

    def __init__(self, flat: Tensor) -> None:
        self.flat = flat


class _Maker:
    """A function that a name in the pickle stands for, without attributes that a pickle could set."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *arguments: object) -> object:
        """Return what the pickle asks for."""
        return self._make(*arguments)


class _Unpickler(pickle.Unpickler):
    def __init__(self, pickled: bytes, archive: zipfile.ZipFile, records: Mapping[str, zipfile.ZipInfo]) -> None:
        super().__init__(io.BytesIO(pickled))
        self._archive, self._records = archive, records
        self._storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str, /) -> object:
        """Return what a name stands for, without looking it up among modules."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch.storage", "UntypedStorage"):
            return torch.uint8
        if module == "torch" and name == "Size":
            return _Maker(tuple)
        if module == "torch" and name.endswith("Storage"):
            return _DTYPES[name.removesuffix("Storage")]
        if module == "torch":
            return _dtype_named(name)
        return _Maker(_MAKERS[module, name])

    def persistent_load(self, pid: tuple[str, object, object, object, int]) -> _Storage:
        """Return the numbers of a record: ("storage", dtype, key, where it was, how many)."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise Unreadable
        if key not in self._storages:
            record = bytearray(self._archive.read(self._records[f"data/{key}"]))
            if len(record) != count * dtype.itemsize:
                raise Unreadable(f"it claims {str(count)[:20]} numbers in {len(record)} bytes")
            self._storages[key] = _Storage(_numbers(record, dtype))
        return self._storages[key]


def _tensor(storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: object) -> Tensor:
    """Return a tensor of a storage's numbers; gradients and hooks are left out."""
    del rest
    places = (offset, *size, *stride)
    if not all(type(place) is int and place >= 0 for place in places) or len(size) != len(stride):
        raise Unreadable
    if len(size) > _MOST_AXES:
        raise Unreadable(f"a tensor has {len(size)} axes")
    flat, count = storage.flat, prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if count > flat.numel() or (count and last >= flat.numel()):
        raise _claims(size, flat.numel() * flat.itemsize)
    return flat.as_strided(size, stride, offset) if count else flat.new_empty(size)


def _tensor_of_bytes(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: torch.dtype
) -> Tensor:
    """Return a tensor of a dtype without a storage of its own; the rest are gradient, hooks, dtype, .."""
    return _tensor(_Storage(storage.flat.view(rest[2])), offset, size, stride)


def _parameter(tensor: Tensor, *rest: object) -> Tensor:
    del rest
    return tensor


def _without_numbers(dtype: torch.dtype, size: tuple[int, ...], *rest: object) -> Tensor:
    del dtype, rest
    raise _claims(size, 0)


#: Functions that stand here for those that torch.save names.
_MAKERS: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_bytes,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _without_numbers,
}


def _numbers(record: bytearray, dtype: torch.dtype) -> Tensor:
    if not record:
        return torch.empty(0, dtype=dtype)
    if dtype is torch.bool and max(record) > 1:
        raise Unreadable("a boolean is neither true nor false")
    return torch.frombuffer(record, dtype=dtype)


def _claims(size: tuple[int, ...], held: int) -> CheckpointError:
    shape = str(tuple(size))[:80]
    return CheckpointError(
        f"Expected tensors whose numbers are in the file; one claims {shape} and holds {held} bytes."
    )


def validate_values(content: object, *, values: int, held: int) -> None:
    """Raise an error if values are not plain, or are more than the file can have stated one by one.

    A pickle may name a value again and again: ten lists, each of which holds the one before twice, make a thousand
    values.

    Args:
        content: Content of the file.
        values: Number of bytes that state the content, without tensors.
        held: Number of bytes of the file.

    Raises:
        Unreadable: if the values are not plain, or too many.
    """
    most_values, most_bytes = values + _SLACK, 4 * held + _SLACK_BYTES
    waiting, values, held = [(content, 0)], 0, 0
    while waiting:
        value, depth = waiting.pop()
        values += 1
        if depth > _DEEPEST:
            raise Unreadable(f"values lie more than {_DEEPEST} deep")
        if isinstance(value, Tensor):
            held += value.numel() * value.itemsize
        elif isinstance(value, dict):
            waiting += [(part, depth + 1) for entry in value.items() for part in entry]
        elif isinstance(value, list | tuple):
            waiting += [(part, depth + 1) for part in value]
        elif isinstance(value, str):
            if len(value) > _LONGEST:
                raise Unreadable(f"a text has {len(value)} characters")
            value.encode()  # a lone surrogate is an error here, not where it is printed
        elif not (value is None or isinstance(value, bool | float | torch.dtype)) and not (
            isinstance(value, int) and value.bit_length() <= _WIDEST
        ):
            raise Unreadable(f"there is a {type(value).__name__}")
        if values > most_values or held > most_bytes or len(waiting) > most_values:
            raise Unreadable("values are repeated without end")


def held(tensor: Tensor) -> Tensor:
    """Return the tensor if the file holds its numbers: meta tensors and views that repeat a few claim more.

    Raises:
        CheckpointError: if the tensor claims more numbers than the file holds, or has none.
    """
    bytes_held = 0 if tensor.is_meta else tensor.untyped_storage().nbytes()
    if tensor.numel() == 0 or bytes_held < tensor.numel() * tensor.element_size():
        raise CheckpointError(
            f"Expected tensors whose numbers are in the file; one claims {tuple(tensor.shape)} and holds "
            f"{bytes_held} bytes."
        )
    return tensor


def floats(tensors: Mapping[str, Any], key: str) -> NDArray[np.float64]:
    """Return a tensor as a float64 array.

    Args:
        tensors: Tensors of a file by key.
        key: Key of the tensor.

    Raises:
        CheckpointError: if the tensor is not dense, not of floats, a single number, or not in the file.
    """
    value = tensors[key]
    if not isinstance(value, Tensor) or value.is_sparse or not value.is_floating_point():
        raise CheckpointError(f"Expected a dense tensor of floats at {key}; got {type(value).__name__}.")
    if value.ndim == 0:
        raise CheckpointError(f"Expected a matrix or vector at {key}; got a single number.")
    return held(value).detach().double().numpy()
