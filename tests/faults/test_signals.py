"""Ctrl-C, SIGTERM and SIGHUP at any time: one sentence, 128 and the signal's number, never a traceback."""

import os
import signal
import subprocess
import sys

import pytest

from tests.faults import verdict
from tests.faults.processes import environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}

#: Comes while the commands are imported, before there is anything that could answer it.
IN_IMPORTS = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "lunet_cli.group":
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Finder())
from lunet_cli.start import main
main()
"""
#: Comes while a command works.
IN_A_COMMAND = """
import os
import lunet_cli.main
from lunet_export.runtime import doctor
doctor.examine = lambda *_: os.kill(os.getpid(), {number})
from lunet_cli.start import main
main()
"""
#: Comes in a callback, where Python prints an exception and forgets it.
IN_A_CALLBACK = """
import os, time
import lunet_cli.main
from lunet_export.runtime import doctor
class Dying:
    def __del__(self):
        os.kill(os.getpid(), {number})
def examine(*_):
    Dying()
    time.sleep(60)
doctor.examine = examine
from lunet_cli.start import main
main()
"""
#: Comes while a module in C is imported, which makes an ImportError of any exception, or none of ours at all.
IN_A_MODULE = """
import os
import lunet_cli.main
from lunet_export.runtime import doctor
def examine(*_):
    try:
        os.kill(os.getpid(), {number})
    except BaseException:
        raise {error}("initialization failed")
doctor.examine = examine
from lunet_cli.start import main
main()
"""
#: Comes while arguments are read.
IN_ARGUMENTS = """
import os
import lunet_cli.main
from lunet_cli.group import Group
Group.parse_args = lambda self, ctx, args: os.kill(os.getpid(), {number}) or args
from lunet_cli.start import main
main()
"""
#: Comes when all is said.
AT_THE_END = """
import atexit, os
import lunet_cli.main
from lunet_export.runtime import doctor
atexit.register(lambda: os.kill(os.getpid(), {number}))
from lunet_cli.start import main
main()
"""
TIMES = {
    "in imports": IN_IMPORTS,
    "in arguments": IN_ARGUMENTS,
    "in a command": IN_A_COMMAND,
    "in a callback": IN_A_CALLBACK,
    "in a module": IN_A_MODULE.replace("{error}", "ImportError"),
    "in another module": IN_A_MODULE.replace("{error}", "SystemError"),
}


#: Shells let what they run in the background ignore Ctrl-C, `nohup` the end of the terminal; children inherit it.
HEEDING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
"""


def run(code: str, *arguments: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", f"{HEEDING}\n{code}", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        **more,
    )


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_gets_one_sentence(time, number):
    done = run(TIMES[time].format(number=int(number)), "doctor", "--provider", "cpu")
    assert done.stderr == f"lunet-export: Stopped by {SIGNALS[number]}; no file is half-written.\n"
    assert (done.returncode, done.stdout) == (128 + number, "")


def test_a_closed_terminal_is_129_and_nohup_is_heeded():
    code = IN_A_COMMAND.format(number=int(signal.SIGHUP))
    assert run(code, "doctor").returncode == 129
    ignoring = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{code}"
    assert "SIGHUP" not in run(ignoring, "doctor").stderr


def test_a_signal_after_the_end_changes_nothing():
    done = run(AT_THE_END.format(number=int(signal.SIGINT)), "--version")
    assert (done.returncode, done.stderr, done.stdout.startswith("lunet-export ")) == (0, "", True)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("arguments", [["--version"], ["doctor", "--provider", "cpu", "--json"]], ids=["text", "json"])
def test_results_into_a_full_disk_are_exit_code_4(arguments):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-c", "from lunet_cli.start import main; main()", *arguments],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 4
    assert verdict.torn(done.stderr, code=done.returncode) == []
    assert "The operating system refused: No space left on device" in done.stderr


def test_a_traceback_and_a_silent_failure_would_be_noticed():
    assert verdict.torn("Traceback (most recent call last):\nKeyboardInterrupt\n", code=130) != []
    assert verdict.torn("", code=4) != []
    assert verdict.torn("lunet-export: one.\nlunet-export: two.\n", code=130) != []
    assert verdict.torn("lunet-export: one.\n", code=130) == []
