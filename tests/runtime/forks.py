"""`python -m tests.runtime.forks`: flows in forked processes; a line of JSON says how each kind of fork ended.

In a process of its own, since pytest and PyTorch have threads. A child that hangs is ended by its alarm.
"""

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from threading import Event, Thread

from lunet_export.runtime import sessions
from tests.runtime.answers import answers, opened

NAMES = ("lunet", "lunet-leaky-tanh-float64")
TURN = 4

flows = [opened(name, 2) for name in NAMES]
expected = [answers(flow, TURN) for flow in flows]
inherited = [id(flow._sessions["density"]) for flow in flows]
on_device = flows[0].on_device.sample(9, seed=1).numpy()


def same() -> bool:
    """Sessions of its own, and the parent's answers, from the flow on the device too."""
    anew = [id(flow._sessions["density"]) for flow in flows] != inherited
    right = [answers(flow, TURN) for flow in flows] == expected
    return anew and right and bool((flows[0].on_device.sample(9, seed=1).numpy() == on_device).all())


def forked(work: Callable[[], bool] = same, leave: Callable[[int], object] = sys.exit) -> int:
    """The exit code of a child, 0 if the work was right. It leaves as programs do, and releases all that it holds."""
    process = os.fork()
    if process == 0:
        signal.alarm(120)
        leave(0 if work() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def pool() -> bool:
    """Workers of a pool, as multiprocessing forks them."""
    with multiprocessing.get_context("fork").Pool(2) as workers:
        return all(workers.apply(same) for _ in range(4))


def busy() -> list[int]:
    """Children of a process whose other threads run the flows."""
    done = Event()

    def work() -> None:
        while not done.is_set():
            for flow in flows:
                flow.sample(64, seed=0)

    threads = [Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    codes = [forked(leave=os._exit) for _ in range(3)]
    done.set()
    for thread in threads:
        thread.join()
    return codes


def unaware() -> int:
    """The planted fault: nobody is told of the fork."""
    sessions._LIVE.clear()
    return forked(leave=os._exit)


if __name__ == "__main__":
    found = {
        "child": forked(),
        "child of a child": forked(lambda: same() and forked() == 0),
        "pool": pool(),
        "busy": busy(),
        "parent": [answers(flow, TURN) for flow in flows] == expected,
        "unaware": unaware(),
    }
    sys.stdout.write(json.dumps(found))
