"""What a reader may take and touch while it reads: time, memory, files, processes.

Memory is the growth of the address space, not of what is touched: 2^33 numbers that nobody fills are noticed.
Time is that of the processor, so that a loaded machine changes nothing; a reader that waits is stopped by its parent.
Files and processes are those that Python itself opens, by its audit hooks.
"""

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 10.0  # of the processor, for one input
MOST_BYTES = 768 * 2**20  # of growth, for one input
_ROOM = 4 * 2**30  # beyond which an allocation fails, so that a finding does not take the machine with it
_STARTING = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "os.fork", "socket.connect")
_CHANGING = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "shutil.rmtree", "os.truncate")
#: Of these the ones that change a name, and not what a link of that name leads to.
_OF_THE_NAME = ("os.remove", "os.rename", "os.rmdir", "os.mkdir")
#: What the interpreter and libraries open for themselves.
_PLACES = "/proc /sys /dev/null /dev/urandom /usr/lib /usr/share /etc/localtime /etc/nsswitch.conf /etc/passwd"
_OWN = tuple({os.path.realpath(path) for path in (*sys.path, sys.prefix, sys.base_prefix, *_PLACES.split()) if path})


class Slow(BaseException):
    """The time is up. No reader catches it with what it catches of its libraries."""


@dataclass
class Watch:
    """What was noticed while a reader read."""

    folders: tuple[str, ...]
    escapes: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    grown: int = 0


_watching: list[Watch] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching or not (event == "open" or event in _STARTING or event in _CHANGING):
        return
    watch = _watching[-1]
    if event in _STARTING:
        watch.started.append(f"{event} {arguments[0]!r}"[:200])
        return
    path = arguments[0]
    if not isinstance(path, str | bytes | os.PathLike):
        return  # a file that is open already
    real = os.path.realpath(os.fsdecode(path))
    if event in _OF_THE_NAME:
        named = Path(os.fsdecode(path))
        real = str(named.parent.resolve() / named.name)
    if real.startswith((*watch.folders, *(own for own in _OWN if event == "open"))):
        return
    watch.escapes.append(f"{event} {real}")


def install() -> None:
    """Begin to listen; for the rest of the process's life."""
    sys.addaudithook(_hook)


def limit_memory() -> None:
    """Make allocations fail that no finding needs."""
    most = _address_space("VmSize") + _ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


@contextmanager
def watched(folder: Path, home: Path, seconds: float = SECONDS) -> Iterator[Watch]:
    """Watch what is done within; raises Slow where it takes longer.

    Args:
        folder: Of the input.
        home: Of good files that are read beside it.
        seconds: Of the processor.
    """
    watch, before = Watch((os.path.realpath(folder), os.path.realpath(home))), _address_space("VmPeak")

    def stop(number: int, frame: Any) -> None:
        raise Slow

    former = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    _watching.append(watch)
    try:
        yield watch
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        _watching.pop()
        signal.signal(signal.SIGPROF, former)
        watch.grown = _address_space("VmPeak") - before


def _address_space(name: str) -> int:
    """Bytes, by the kernel's account of this process."""
    with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123
        line = next(line for line in file if line.startswith(name))
    return 1024 * int(line.split()[1])
