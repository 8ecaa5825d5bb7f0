"""Errors as one sentence and an exit code."""

import errno
import os
import re
import sys
import traceback
from pathlib import Path

import typer

from lunet_cli import signals
from lunet_export.errors import LunetExportError, brief, did_you_mean
from lunet_export.installation import install_extra

OPERATING_SYSTEM, UNEXPECTED, INTERRUPTED = 4, 70, 130  # 70 is EX_SOFTWARE of sysexits.h

#: Environment variable that makes defects print a traceback.
TRACEBACK = "LUNET_TRACEBACK"

_EXTRA = {"torch": "train", "onnx": "train", "scipy": "train", "sklearn": "train", "matplotlib": "train"}
_EXTRA |= {"PIL": "cpu", "onnxruntime": "cpu"}


def explain(error: BaseException) -> tuple[str, int] | None:
    """Return the sentence and the exit code of an error; None for a normal end of the command and a closed pipe.

    An unforeseen error is a defect of this package. Its sentence says so, and its exit code is not that of a failed
    check.
    """
    match error:
        case LunetExportError():
            return str(error), error.exit_code
        case signals.Stopped():
            return error.sentence, error.exit_code
        case KeyboardInterrupt():
            return "Stopped by Ctrl-C; no file is half-written.", INTERRUPTED
        case ImportError():
            return _not_imported(error)
        case MemoryError():
            return "Expected a size that fits this machine's memory; got a larger one. Ask for less.", 2
        case OverflowError():
            return f"Expected numbers in the range of float64; got larger ones: {brief(error)}. Use smaller ones.", 2
        case OSError():
            return None if error.errno == errno.EPIPE else _refused(error)
        case typer.Exit() | typer.Abort():
            return None
        case Exception():
            return _usage(error) if _of_arguments(error) else _defect(error)
    return None


def _not_imported(error: ImportError) -> tuple[str, int]:
    package = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError):
        return f"Expected {error.name or 'a package'} to be imported; {_first_line(error)}.", 2
    if package not in _EXTRA:
        return _defect(error)
    return f"Expected {package}; it is not installed. Run: {install_extra(_EXTRA[package])}", 2


def _refused(error: OSError) -> tuple[str, int]:
    where = f" ({error.filename})" if error.filename else ""
    return f"The operating system refused: {error.strerror or error}{where}.", OPERATING_SYSTEM


def _of_arguments(error: BaseException) -> bool:
    """Return whether the command line's parser raised it. Typer copies Click's classes, so names are compared."""
    return any(kind.__name__ == "ClickException" for kind in type(error).__mro__)


def _usage(error: BaseException) -> tuple[str, int] | None:
    if type(error).__name__ == "NoArgsIsHelpError":
        return None
    if (refused := _unreadable(error)) is not None:
        return _refused(refused)
    message = str(getattr(error, "message", ""))
    if message.startswith("Expected "):  # a sentence of ours
        return message, 2
    said = " ".join(str(error.format_message()).split()).replace("Value error, ", "").rstrip(".")  # type: ignore[attr-defined]
    choices = re.findall("'([^']*)'", message.partition(" is not one of ")[2])
    context = getattr(error, "ctx", None)
    help_of = f" See {context.command_path} --help." if context is not None else ""
    return f"{said}.{did_you_mean(_quoted(error), choices)}{help_of}", 2


def _unreadable(error: BaseException) -> PermissionError | None:
    """Return the PermissionError of a path that the parser reports as a wrong argument."""
    path = Path(_quoted(error))
    if path.exists() and not os.access(path, os.R_OK):
        return PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return None


def _quoted(error: BaseException) -> str:
    return str(getattr(error, "message", "")).partition("'")[2].partition("'")[0]


def _defect(error: BaseException) -> tuple[str, int]:
    if os.environ.get(TRACEBACK):
        sys.stderr.write("".join(traceback.format_exception(error)))
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    said = brief(f"{type(error).__name__}: {error}", 300).rstrip(".:")
    return (
        f"This is a defect of lunet-export, not of your input: {said}{place}. "
        f"Please report it with the command; {TRACEBACK}=1 prints the traceback.",
        UNEXPECTED,
    )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
