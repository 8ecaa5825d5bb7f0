"""Signals end a command with a sentence at any time. This module imports only the standard library."""

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
    """A signal that asks the command to end. `exit_code` is 128 plus its number, as usual."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.sentence = f"Stopped by {_NAMES[signal.Signals(number)]}{_what_is_left()}"
        self.exit_code = 128 + number


_received: list[Stopped] = []
_tellers: list[Callable[[], str]] = []


@contextmanager
def telling(what_is_left: Callable[[], str]) -> Iterator[None]:
    """Within this context, the sentence of a signal continues, after the name of the signal, with the function's text.

    The function is called when the signal comes, whatever the command is doing: it must be quick and change nothing.
    """
    _tellers.append(what_is_left)
    try:
        yield
    finally:
        _tellers.remove(what_is_left)


def _what_is_left() -> str:
    try:
        return _tellers[-1]()
    except Exception:  # the command has no function, or files cannot be read: the sentence below is always true
        return "; no file is half-written."


def received() -> Stopped | None:
    """Return the signal that came, even if its exception was lost: C modules turn it into an ImportError."""
    return _received[0] if _received else None


def prepare() -> None:
    """Prepare the process before anything else is imported: its streams, warnings and signals."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends the command as it ends any other tool
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path that the terminal cannot encode is not an error
    if os.environ.get("COLUMNS") == "0":
        del os.environ["COLUMNS"]  # 0 means unknown, and not a width of zero
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns if the home folder has no place for its cache
    warnings.simplefilter("ignore")  # our own warnings go through lunet_cli.output
    _handle(_leave)


def run(command: Callable[[], object]) -> None:
    """Run the command line, which ends with SystemExit. A signal or a full disk ends it with a sentence."""
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
    """Ignore signals while the command ends, so that none interrupts its last output."""
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
    """Leave at once. While modules are imported nothing is written yet, and an exception could become another one."""
    del frame
    stopped = Stopped(number)
    say_and_leave(stopped.sentence, stopped.exit_code)


def _flush(code: object) -> None:
    """Flush stdout; on a full disk Python itself would end with a traceback."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if code:  # the command already reported an error
            os._exit(code if isinstance(code, int) else 1)
        say_and_leave(f"The operating system refused: {error.strerror} (stdout).", 4)


def say_and_leave(sentence: str, code: int) -> NoReturn:
    """Print a sentence and end the process at once with an exit code."""
    try:
        os.write(2, f"lunet-export: {sentence}\n".encode())
    finally:
        os._exit(code)


def _unraisable(event: "sys.UnraisableHookArgs") -> None:
    """Send a signal again in a moment if it came in a callback, where Python cannot raise."""
    if isinstance(event.exc_value, Stopped):
        main_thread = threading.main_thread().ident or 0
        # Thread.start would wait for the thread: on a busy machine the signal could come while this hook still runs.
        _thread.start_new_thread(_again, (main_thread, event.exc_value.exit_code - 128))
    else:
        sys.__unraisablehook__(event)


def _again(thread: int, number: int) -> None:
    sleep(0.05)
    signal.pthread_kill(thread, number)
