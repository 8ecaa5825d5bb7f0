"""Commands as processes with a fault: forked from a warm one, or started cold as a user does."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parent.parent.parent
NONE, SIGNAL, FULL, READ_ONLY, VANISH, CLOCK = range(6)  # as in interpose.c
LIMIT = 300  # seconds that no command needs; a process that takes them hangs


@dataclass(frozen=True)
class Fault:
    """What happens at the k-th file operation; or a signal so many seconds after the start."""

    what: int = NONE
    at: int = 0
    number: int = 0  # of the signal
    after: float | None = None


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, minus the number of the signal that killed it."""

    code: int
    out: str
    err: str
    operations: int  # counted; 0 where it was killed


def build(folder: Path) -> Path | None:
    """The library of `interpose.c`; None without a C compiler or off Linux."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        return None
    library = folder / "interpose.so"
    source = Path(__file__).parent / "interpose.c"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def environment(**more: str) -> dict[str, str]:
    """Of the commands: one thread, the sources of this tree first."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "cli"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", **more}


def heed() -> None:
    """A shell lets what it runs in the background ignore Ctrl-C, and children inherit it; here it is a fault to try."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Zygote:
    """A warm process; see `zygote.py`."""

    def __init__(self, library: Path, scratch: Path) -> None:
        self._library, self._scratch, self._modules = library, scratch, set()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(LD_PRELOAD=str(self._library)),
            cwd=ROOT,
            text=True,
            preexec_fn=heed,
        )
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(self, arguments: list[str], root: Path, fault: Fault = Fault(), *, cwd: Path | None = None) -> Ended:
        """Run a command in a process of its own, the fault at file operations under `root`."""
        files = {name: self._scratch / f"{name}.txt" for name in ("out", "err", "counted")}
        files["counted"].unlink(missing_ok=True)
        what = NONE if fault.after is not None else fault.what
        request = {
            "arguments": arguments,
            "cwd": str(cwd or root),
            "root": str(root),
            "library": str(self._library),
            "fault": [what, fault.at, fault.number],
            "modules": sorted(self._modules),
            **{name: str(path) for name, path in files.items()},
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        process = int(self._process.stdout.readline())
        timers = [threading.Timer(LIMIT, os.kill, (process, 6))]
        if fault.after is not None:
            timers.append(threading.Timer(fault.after, _kill, (process, fault.number)))
        for timer in timers:
            timer.start()
        code = int(self._process.stdout.readline())
        for timer in timers:
            timer.cancel()
        counted = files["counted"]
        written = counted.read_text() if counted.exists() else ""  # empty where the kill came while it was written
        known = json.loads(written) if written else {"operations": 0, "modules": []}
        self._modules |= {*known["modules"]}  # what a command loaded late is loaded at once for those that come
        return Ended(code, files["out"].read_text(), files["err"].read_text(), known["operations"])


def cold(arguments: list[str], cwd: Path, fault: Fault = Fault(), *, wrapper: tuple[str, ...] = ()) -> Ended:
    """Run a command as the console script does, imports and all, with a signal after some seconds."""
    script = "import sys; from lunet_cli.start import main; sys.exit(main())"
    process = subprocess.Popen(
        [*wrapper, sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=environment(),
        cwd=cwd,
        text=True,
        preexec_fn=heed,
    )
    timer = threading.Timer(fault.after or LIMIT, _kill, (process.pid, fault.number or 6))
    timer.start()
    out, err = process.communicate()
    timer.cancel()
    return Ended(process.returncode, out, err, 0)


def _kill(process: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)
