"""One opened flow in many threads, in copies of it, and in processes that are spawned and forked."""

import copy
import gc
import json
import multiprocessing
import pickle
import subprocess
import sys
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from threading import Barrier, BrokenBarrierError

import numpy as np
import pytest

from lunet_export import ExportedFlow
from lunet_export.errors import ProviderError
from lunet_export.runtime import sessions
from tests.conftest import ROOT
from tests.runtime.answers import BATCHES, answers, opened

FLOWS = ("lunet", "lunet-leaky-tanh-float64", "lunet-float16-and-all-graphs", "realnvp-dense", "jko", "classes")

every_flow = pytest.mark.parametrize("name", FLOWS)


@every_flow
@pytest.mark.parametrize("threads", [1, 2, None])
def test_many_threads_get_what_one_gets_bit_by_bit(name, threads):
    turns = [*range(len(BATCHES))] * 3
    alone = opened(name, threads)
    expected = [answers(alone, turn) for turn in turns]
    shared = opened(name, threads)  # its lazy sessions are opened by the threads
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda turn: answers(shared, turn), turns)) == expected


def test_answers_that_differ_are_seen():
    """The comparison above can fail: by one bit of one number."""
    flow = opened("lunet")
    before = answers(flow, 1)
    decode = flow.decode
    flow.decode = lambda z, **given: np.nextafter(decode(z, **given), np.float32(0))
    assert answers(flow, 1) != before


@every_flow
def test_a_flow_that_is_dropped_gives_its_sessions_back_at_once(name):
    """Not when Python next looks for cycles: a service that opens flows anew would hold many of them."""
    flow = opened(name)
    answers(flow, 1)
    held = [weakref.ref(session) for session in flow._sessions.opened().values()]
    gc.disable()
    try:
        del flow
        assert [session() for session in held] == [None] * len(held)
    finally:
        gc.enable()


def openings(monkeypatch, flow, ask):
    """How many sessions two threads open that ask at once; each waits a while for the other to open one too."""
    both, count = Barrier(2), []

    def slowly(models, provider, **settings):
        count.append(1)
        with suppress(BrokenBarrierError):
            both.wait(0.3)
        return real(models, provider, **settings)

    real = sessions.open_sessions
    monkeypatch.setattr(sessions, "open_sessions", slowly)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: ask(flow), range(2))
    assert first.shape == second.shape
    return len(count)


ASKED = [
    ("lunet-float16-and-all-graphs", lambda flow: flow.draw(3)[0]),
    ("classes", lambda flow: flow.sample(3, seed=0, label=1)),
]


@pytest.mark.parametrize(("name", "ask"), ASKED, ids=["random sampling", "a class"])
def test_threads_that_ask_at_once_open_one_session(monkeypatch, name, ask):
    """Two sessions that draw their own noise would give both threads the same rows."""
    assert openings(monkeypatch, opened(name), ask) == 1


def test_without_the_lock_they_would_open_two(monkeypatch):
    flow = opened("classes")
    flow._sessions._lock = nullcontext()
    assert openings(monkeypatch, flow, ASKED[1][1]) == 2


@every_flow
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda flow: pickle.loads(pickle.dumps(flow))])
def test_a_copy_gives_the_same_with_sessions_of_its_own(name, copied):
    flow = opened(name)
    other = copied(flow)
    assert type(other) is type(flow)
    assert (other.provider, other.provider_reason) == (flow.provider, flow.provider_reason)
    assert other._sessions["density"] is not flow._sessions["density"]
    assert answers(other, 2) == answers(flow, 2)


def test_a_copy_is_opened_by_the_same_choices(exported, cuda_on_host):
    flow = ExportedFlow(exported.folder, provider="cuda", cuda={"tf32": True, "memory_limit": 10**9}, cuda_graph=True)
    other = pickle.loads(pickle.dumps(flow))
    assert (other.cuda, other.tf32, other.on_device.captured) == (flow.cuda, True, True)


def test_a_spawned_process_takes_a_flow():
    flow = opened("lunet", 2)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(answers, flow, 2).result(120) == answers(flow, 2)


@pytest.fixture(scope="module")
def forks():
    if sys.platform == "win32":
        pytest.skip("Windows has no fork")
    command = [sys.executable, "-W", "ignore", "-m", "tests.runtime.forks"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_forked_process_has_sessions_of_its_own_and_ends(forks):
    assert forks["child"] == forks["child of a child"] == 0
    assert forks["pool"]


def test_a_process_may_fork_while_its_threads_run_flows(forks):
    assert forks["busy"] == [0, 0, 0]


def test_the_parent_of_forks_goes_on(forks):
    assert forks["parent"]


def test_a_fork_that_kept_its_parents_sessions_is_seen(forks):
    """The tests above can fail."""
    assert forks["unaware"] == 1


def test_a_fork_of_a_flow_on_cuda_gets_a_sentence(exported, cuda_on_host):
    flow = ExportedFlow(exported.folder, provider="cuda")
    flow._sessions._abandon()  # as in the child
    with pytest.raises(ProviderError, match=r"^Expected the process that opened the flow on CUDA; got a fork of it"):
        flow.sample(1, seed=0)
    with pytest.raises(ProviderError, match="Start the process with spawn, or open the flow in it"):
        flow.on_device.sample(1, seed=0)
