"""Files and folders that appear whole or not at all: written beside their place, flushed, then renamed.

A process that is killed leaves at the destination either what was there before or all of what is new. Beside it may
remain what was not finished, under names that only this package uses:

    .STEM.XXXXXXXX.unfinished.SUFFIX   a file, for the destination STEM.SUFFIX
    .NAME.XXXXXXXX.unfinished          a folder
    .NAME.lock                         the lock of a destination that one process at a time may write

The writer holds a lock of the operating system on each of them while it lives, and the system releases it when the
process dies, however it dies. So the next writer of the same destination knows what nobody will finish, and removes
it, without looking at a clock, an age or a process number. Where there are no such locks (Windows, some network disks)
nothing is removed, and nobody is refused.
"""

import ctypes
import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lunet_export.errors import BadInputError

if sys.platform != "win32":
    import fcntl

_UNFINISHED = ".unfinished"
_LONGEST = 200  # characters of a name that are kept, since file systems allow 255 with what is added
_NOT_SUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF)
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


def make_parents(path: Path) -> None:
    """Make the folders that are to contain `path`, if they are missing.

    Raises:
        BadInputError: if one of them is a file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        file = next((parent for parent in path.parents if parent.exists()), path.parent)
        raise BadInputError(f"Expected a folder to write {path} into; {file} is a file. Give another name.") from None


def led_to(path: Path) -> Path:
    """Return where a destination is written: if the path is a symlink, its target is replaced.

    Raises:
        OSError: if the links form a circle.
    """
    if not path.is_symlink():
        return path
    end = Path(os.path.realpath(path))
    if end.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return end


@contextmanager
def whole_file(path: Path, *, follow: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on any error it is removed.

    The temporary name keeps the suffix, so that writers which look at it choose the same format.

    Args:
        path: The destination.
        follow: Whether the target of a symlink is replaced, as whoever gave the path means it. For a name inside a
            folder nobody chose the target: there the link itself is replaced.

    Raises:
        BadInputError: if `path` is a folder or a device, or would lie in a file.
    """
    path = led_to(path) if follow else path
    if path.exists() and not path.is_file():
        raise BadInputError(f"Expected a file to write; {path} is a folder or a device. Give another path.")
    make_parents(path)
    stem, suffix = path.stem[:_LONGEST], path.suffix
    sweep(path.parent, stem, suffix)
    temporary, handle = _unfinished(path.parent, stem, suffix), -1
    try:
        handle = _begin_file(temporary)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        _flush(temporary)
        temporary.replace(path)
        _flush_folder(path.parent)
    finally:
        try:
            temporary.unlink(missing_ok=True)
        finally:
            _close(handle)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; on success it replaces `folder`, on any error it is removed.

    Linux exchanges the old folder and the new one in one step. Elsewhere the old one moves aside first and comes back
    unless the new one has taken its place, also after Ctrl-C; what a kill leaves between these two steps, the next
    writer restores.

    Raises:
        BadInputError: if another process is writing this folder.
    """
    folder = led_to(folder)
    with exclusive(folder):
        sweep(folder.parent, folder.name[:_LONGEST], "", restore=folder)
        with scratch_folder(folder.parent, folder.name[:_LONGEST]) as scratch:
            fresh, old = scratch / "new", scratch / "old"
            fresh.mkdir()
            yield fresh
            for path in (*fresh.rglob("*"), fresh):
                _flush_folder(path) if path.is_dir() else _flush(path)
            _place(fresh, folder, old)
            _flush_folder(folder.parent)


@contextmanager
def scratch_folder(folder: Path, name: str) -> Iterator[Path]:
    """Yield a folder inside `folder` that is removed at the end; after a kill, `sweep` with this name finds it."""
    scratch, handle = _unfinished(folder, name, ""), -1
    try:
        handle = _begin_folder(scratch)
        yield scratch
    finally:
        try:
            _remove_folder(scratch)
        finally:
            _close(handle)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold `path`, a file with its companions or a folder, as its only writer for as long as the block lasts.

    Raises:
        BadInputError: if another process is writing it, or it would lie in a file.
    """
    path = led_to(path)
    made = [parent for parent in path.parents if not parent.exists()]
    make_parents(path)
    lock = path.parent / f".{path.name[:_LONGEST]}.lock"
    handle = None
    try:
        handle = _held(lock)
        yield
    finally:
        if handle is None:
            handle = _locked(lock)  # a signal may have come between these lines
        if handle is not None:
            try:
                with suppress(OSError):
                    lock.unlink()  # it is still held, so nobody else can hold it by this name
            finally:
                _close(handle)
        for parent in made:  # folders made for a command that wrote nothing
            with suppress(OSError):
                parent.rmdir()


def sweep(folder: Path, stem: str, suffix: str, *, restore: Path | None = None) -> None:
    """Remove from `folder` what dead writers of this name left unfinished.

    Args:
        folder: The folder.
        stem: Stem of the name.
        suffix: Suffix of the name.
        restore: Destination that is moved back if such a writer had moved it aside.
    """
    ours = re.compile(rf"\.{re.escape(stem)}\.[0-9a-f]{{8}}{re.escape(_UNFINISHED + suffix)}")
    with suppress(OSError):  # the writer reports a folder that cannot be read or written
        for path in [path for path in folder.iterdir() if ours.fullmatch(path.name)]:
            handle = _locked(path)
            if handle is None:
                continue
            try:
                if restore is not None and (path / "old").exists() and not restore.exists():
                    (path / "old").rename(restore)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                _close(handle)


def is_unfinished(name: str) -> bool:
    """Return whether a file or folder of that name was left by a killed process, or is being written."""
    return re.fullmatch(rf"\..+\.[0-9a-f]{{8}}{re.escape(_UNFINISHED)}(\.\w+)?|\..+\.lock", name) is not None


def _unfinished(folder: Path, stem: str, suffix: str) -> Path:
    """Return an unused name. It is known before the file exists, since a signal may come between any two steps."""
    return folder / f".{stem}.{secrets.token_hex(4)}{_UNFINISHED}{suffix}"


def _begin_file(path: Path) -> int:
    """Make the file; return the handle that holds it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        if sys.platform == "win32":
            os.close(handle)  # an open file cannot be renamed there
            return -1
        if not _lock(handle, wait=True) or _is(handle, path):
            return handle
        os.close(handle)  # another writer removed it between the two calls


def _begin_folder(path: Path) -> int:
    """Make the folder; return the handle that holds it."""
    while True:
        path.mkdir(0o700)
        if sys.platform == "win32":
            return -1
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        if not _lock(handle, wait=True) or _is(handle, path):
            return handle
        os.close(handle)


def _held(lock: Path) -> int:
    """Return a handle on the lock's file, which is made if need be; -1 if the system has no locks.

    Raises:
        BadInputError: if another process holds it.
    """
    if sys.platform == "win32":
        return -1
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            handle = os.open(lock, os.O_RDONLY)  # left by another user's process; else this raises again
        try:
            if not _lock(handle) or _is(handle, lock):
                return handle
        except BlockingIOError:
            os.close(handle)
            written = lock.parent / lock.name.removeprefix(".").removesuffix(".lock")
            raise BadInputError(
                f"Expected {written} to be written by one process at a time; another is writing it. Wait for it, "
                "or give another path."
            ) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its holder removed it between the two calls


def _locked(path: Path) -> int | None:
    """Return a handle that holds an existing file or folder; None if it is gone, held, or cannot be held."""
    if sys.platform == "win32":
        return None
    try:
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except OSError:
        return None
    try:
        held = _lock(handle)
    except BlockingIOError:
        held = False
    except BaseException:
        os.close(handle)
        raise
    if held:
        return handle
    os.close(handle)
    return None


def _lock(handle: int, *, wait: bool = False) -> bool:
    """Lock an open file for this process; return False if the system or the file system has no locks.

    Raises:
        BlockingIOError: if another process holds it, and `wait` is not set.
    """
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in _NOT_SUPPORTED:
            return False
        raise
    return True


def _is(handle: int, path: Path) -> bool:
    """Return whether the path still leads to the open file."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _close(handle: int) -> None:
    if handle >= 0:
        os.close(handle)


def _remove_folder(folder: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # the rest, if a signal came in between
        raise


def _place(fresh: Path, folder: Path, old: Path) -> None:
    if not folder.exists():
        fresh.rename(folder)
        return
    if exchange(fresh, folder):
        return
    try:
        folder.rename(old)
        fresh.rename(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; return False if the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_SUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(other))


def _flush(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the names in a folder survive a loss of power, if the system offers it."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
