"""Files of a stranger's folder: read only if they lie in it, are plain files and are not too large."""

import errno
import hashlib
import os
import stat
from pathlib import Path

from lunet_export.errors import ArtifactError, UnreadableError, near

#: Largest size of one file of an exported folder in bytes, which is ONNX's limit.
LARGEST_FILE = 2**31
_TOLD = 3  # folders, in a sentence


def sha256(data: bytes) -> str:
    """Return the hexadecimal SHA-256 of the bytes."""
    return hashlib.sha256(data).hexdigest()


def digest_and_size(path: Path) -> tuple[str, int]:
    """Return the SHA-256 and the number of bytes of a file of any size, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()


def read_inside(folder: Path, name: str, *, most: int = LARGEST_FILE, exact: bool = False) -> bytes:
    """Return the bytes of a file in a stranger's folder: a plain file that lies in it and is not too large.

    The size is checked before anything is read; devices, pipes and links to elsewhere are never read.

    Args:
        folder: The folder.
        name: Name of the file in it.
        most: Largest number of bytes.
        exact: Whether the file must have exactly that many.

    Raises:
        ArtifactError: if the file is missing, not a plain file, outside the folder, or of another size.
        UnreadableError: if the operating system does not let it be read.
    """
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ArtifactError(f"Expected {name} in {folder}; it lies elsewhere. Copy files, not the links to them.")
        with open(path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ArtifactError(f"Expected a file {name} in {folder}; it is a device or a pipe. Export again.")
            data = file.read(found.st_size + 1) if found.st_size <= most else b""
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, RuntimeError) as error:
        raise _missing(folder, name) from error
    except OSError as error:
        if error.errno == errno.ELOOP:  # a circle of links; `resolve` raised RuntimeError before Python 3.13
            raise _missing(folder, name) from error
        raise UnreadableError.of(path, error) from error
    size = max(found.st_size, len(data))
    if size > most or (exact and size != most):
        raise ArtifactError(
            f"Expected {path} of {'' if exact else 'at most '}{most} bytes; got {size}. "
            "The file was altered or damaged after export, or is being copied; copy it again, or export again."
        )
    return data


def read_verified(folder: Path, name: str, *, digest: str, size: int | None) -> bytes:
    """Return the bytes of a file in a stranger's folder, checked against its manifest.

    Args:
        folder: The folder.
        name: Name of the file in it.
        digest: SHA-256 of the bytes, in hexadecimal.
        size: Number of bytes; None if the manifest is older than sizes.

    Raises:
        ArtifactError: if `read_inside` raises it, or the bytes differ.
        UnreadableError: if `read_inside` raises it.
    """
    data = read_inside(folder, name) if size is None else read_inside(folder, name, most=size, exact=True)
    if (got := sha256(data)) != digest:
        raise ArtifactError(
            f"Expected {folder / name} with SHA-256 {digest[:12]}…; got {got[:12]}…. "
            "The file was altered or damaged after export, or is being copied; copy it again, or export again."
        )
    return data


def is_size(value: object) -> bool:
    """Return whether a value of a manifest is the size of a file that may be read."""
    return type(value) is int and 0 <= value <= LARGEST_FILE


def meant(path: Path) -> str:
    """Return a sentence that suggests what lies beside a missing path under the nearest name; empty if nothing does."""
    try:
        found = near(path.name, [entry.name for entry in path.parent.iterdir()], most=1)
    except OSError:
        return ""
    return f" Did you mean {path.with_name(found[0])}?" if found else ""


def _missing(folder: Path, name: str) -> ArtifactError:
    inside = sorted(entry.parent for entry in folder.glob(f"*/{name}"))[:_TOLD]
    cure = f"Give one of its folders: {', '.join(map(str, inside))}." if inside else "Export again."
    return ArtifactError(f"Expected {name} in {folder}; it is missing. {cure}")


def _without_waiting(path: str, flags: int) -> int:
    """Open a file without waiting; a plain `open` would wait forever for a pipe without a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def is_plain(path: Path) -> bool:
    """Return whether this is a file in its own place: no folder, pipe or device, and no link to elsewhere."""
    return path.is_file() and not path.is_symlink()
