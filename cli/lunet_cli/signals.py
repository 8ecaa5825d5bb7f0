"""What ends a command from outside gets a sentence, at any time. This module imports the standard library alone."""

import _thread
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from time import sleep
from types import FrameType
from typing import NoReturn

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
if hasattr(signal, "SIGHUP"):
    _NAMES[signal.SIGHUP] = "SIGHUP"  # the terminal was closed


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end; `exit_code` is 128 and its number, as of any tool."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.sentence = f"Stopped by {_NAMES[signal.Signals(number)]}{_what_is_left()}"
        self.exit_code = 128 + number


_received: list[Stopped] = []
_tellers: list[Callable[[], str]] = []


@contextmanager
def telling(what_is_left: Callable[[], str]) -> Iterator[None]:
    """While this lasts, a signal's sentence ends by what the function returns, from behind the signal's name on.

    It is called when the signal comes, whatever the command is doing: it must be quick, and change nothing.
    """
    _tellers.append(what_is_left)
    try:
        yield
    finally:
        _tellers.remove(what_is_left)


def _what_is_left() -> str:
    try:
        return _tellers[-1]()
    except Exception:  # of a command that tells nothing, or of files that cannot be looked at: this holds always
        return "; no file is half-written."


def received() -> Stopped | None:
    """The signal that came, whatever became of its exception: modules in C answer it with an ImportError of theirs."""
    return _received[0] if _received else None


def prepare() -> None:
    """Put the process in order before anything else is imported: its streams, its warnings, its signals."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends the command as it ends any other tool
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path that the terminal cannot spell is no failure
    if os.environ.get("COLUMNS") == "0":
        del os.environ["COLUMNS"]  # it means unknown, and not that there is no room for a word
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # a home without a place for its cache is no news
    warnings.simplefilter("ignore")  # what matters is said in one sentence
    _handle(_leave)


def run(command: Callable[[], object]) -> None:
    """Run the command line, which ends by SystemExit; a signal or a disk that is full ends it by a sentence."""
    sys.unraisablehook = _unraisable
    _handle(_stop)
    try:
        command()
    except (Stopped, Exception):
        stopped = received()
        if stopped is None:
            raise
        say_and_leave(stopped.sentence, stopped.exit_code)
    except SystemExit as ended:
        ignore_signals()
        _flush(ended.code)
        raise


def ignore_signals() -> None:
    """The command is ending, well or not: a signal would only tear what is said last."""
    for number in _NAMES:
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_IGN)


def _handle(handler: "signal._HANDLER") -> None:
    for number in _NAMES:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` sets it
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    _received.append(Stopped(number))
    raise _received[-1]


def _leave(number: int, frame: FrameType | None) -> None:
    """While modules are imported nothing is written yet, and an exception may come out as any other."""
    del frame
    stopped = Stopped(number)
    say_and_leave(stopped.sentence, stopped.exit_code)


def _flush(code: object) -> None:
    """Write out what stdout still holds; Python itself would answer a full disk with a traceback at its end."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if code:  # the command met it too, and said so
            os._exit(code if isinstance(code, int) else 1)
        say_and_leave(f"The operating system refused: {error.strerror} (stdout).", 4)


def say_and_leave(sentence: str, code: int) -> NoReturn:
    """End the process at once, by a sentence and an exit code."""
    try:
        os.write(2, f"lunet-export: {sentence}\n".encode())
    finally:
        os._exit(code)


def _unraisable(event: "sys.UnraisableHookArgs") -> None:
    """A signal that comes in a callback, where Python cannot raise: it comes again in a moment."""
    if isinstance(event.exc_value, Stopped):
        main_thread = threading.main_thread().ident or 0
        # It waits for no thread to begin: on a busy machine the signal would be there first, amid this hook.
        _thread.start_new_thread(_again, (main_thread, event.exc_value.exit_code - 128))
    else:
        sys.__unraisablehook__(event)


def _again(thread: int, number: int) -> None:
    sleep(0.05)
    signal.pthread_kill(thread, number)
