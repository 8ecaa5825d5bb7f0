"""Files and folders that appear whole or not at all: written beside their place, then renamed."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lunet_export.errors import BadInputError


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256 of the bytes."""
    return hashlib.sha256(data).hexdigest()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on any error it is gone.

    The temporary name keeps the suffix, so that writers which look at it choose the same format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        _flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, *, force: bool) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; on success it becomes `folder`, on any error it is gone.

    Raises:
        BadInputError: `folder` exists and `force` is not set.
    """
    refuse_existing(folder, force=force)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        fresh, old = scratch / "new", scratch / "old"
        fresh.mkdir()
        yield fresh
        for file in fresh.iterdir():
            _flush(file)
        refuse_existing(folder, force=force)
        if folder.exists():
            folder.rename(old)
        try:
            fresh.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def refuse_existing(folder: Path, *, force: bool) -> None:
    """Raise unless `folder` may be written: it is free, or `force` is set and it is empty or an exported folder."""
    if not folder.exists():
        return
    ours = folder.is_dir() and ((folder / "manifest.json").is_file() or not any(folder.iterdir()))
    if not ours:
        raise BadInputError(f"Expected a new folder; {folder} exists and is not an exported folder. Give another -o.")
    if not force:
        raise BadInputError(f"Expected a new folder; {folder} exists already. Give another -o, or --force.")


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
