"""One input: made, read under guard, judged."""

import errno
import shutil
import warnings
from pathlib import Path
from random import Random
from typing import Any

from lunet_export.errors import LunetExportError
from tests.fuzz import guards
from tests.fuzz.outcome import Outcome, complaint
from tests.fuzz.readers.base import Case, Reader, short

#: Of errors of the operating system, which have an exit code of their own: what is no fault of the reader.
_SYSTEM = (errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)


def attempt(reader: Reader, seed: int, number: int, scratch: Path, seconds: float = guards.SECONDS) -> Outcome:
    """Make the input of a number, have it read, and judge what came."""
    folder = fresh(scratch)
    case = reader.mutate(folder, Random(f"{seed}/{reader.name}/{number}"))
    return judged(reader, case, folder, number, seconds)


def judged(reader: Reader, case: Case, folder: Path, number: int, seconds: float = guards.SECONDS) -> Outcome:
    """Have the input in a folder read, and judge what came."""

    def outcome(verdict: str, finding: str | None = None, detail: str = "") -> Outcome:
        return Outcome(reader.name, number, case.mutation, verdict, finding, detail)

    answer: Any = None
    error: BaseException | None = None
    watch = guards.Watch(())
    try:
        with warnings.catch_warnings(), guards.watched(folder, reader.home, seconds) as watch:
            warnings.simplefilter("error", RuntimeWarning)  # a number that is none, most often
            answer = reader.read(folder)
    except (Exception, guards.Slow) as raised:
        error = raised
    verdict = "accepted" if error is None else "refused"
    if reader.marker(folder).exists() or watch.started:
        return outcome(verdict, "code", "; ".join(watch.started) or "the input's marker is there")
    if watch.escapes:
        return outcome(verdict, "path escape", "; ".join(watch.escapes)[:300])
    if watch.grown > guards.MOST_BYTES:
        return outcome(verdict, "memory", f"{watch.grown / 2**20:.0f} MiB; {short(error)}")
    if isinstance(error, LunetExportError):
        reason = complaint(str(error))
        return outcome(verdict, "no sentence", reason) if reason else outcome(verdict)
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        return outcome(verdict)
    if isinstance(error, guards.Slow):
        return outcome(verdict, "hang", f"{seconds} s of the processor")
    if isinstance(error, MemoryError):
        return outcome(verdict, "memory", "an allocation failed")
    if error is not None:
        return outcome(verdict, "foreign exception", f"{type(error).__name__}: {str(error)[:300]} at {_where(error)}")
    reason = _wrong(reader, folder, case, answer)
    return outcome(verdict, "wrong answer", reason) if reason else outcome(verdict)


def fresh(scratch: Path) -> Path:
    """The empty folder of an input; what is beside it is not the input's."""
    folder = scratch / "input"
    shutil.rmtree(scratch, ignore_errors=True)
    folder.mkdir(parents=True)
    (scratch / "outside").mkdir()
    (scratch / "outside" / "secret").write_bytes(bytes(4096))
    return folder


def _wrong(reader: Reader, folder: Path, case: Case, answer: Any) -> str | None:
    with warnings.catch_warnings(action="ignore"):
        try:
            return reader.wrong(folder, case, answer)
        except Exception as error:  # of the judge's own reading
            return f"it was taken, and a plain reading says {type(error).__name__}: {str(error)[:100]}"


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    found = ""
    while trace:
        file = Path(trace.tb_frame.f_code.co_filename)
        if "lunet" in str(file) or not found:
            found = f"{file.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
