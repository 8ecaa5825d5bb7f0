"""The soak itself: that it finds a leak, and an answer that changed by one bit."""

import json
import mmap
import shutil

import numpy as np
import pytest

from benchmarks import soak
from lunet_export.errors import BadInputError, CheckFailedError
from tests.conftest import ROOT

FOLDER = "tests/version1/folders/lunet"
NAMES = [*soak.SCENARIOS, *soak.IN_C]


def curve(size):
    return [(1000 * k, int(size(1000 * k))) for k in range(1, 201)]


def result(size, wrong=0):
    return soak.Result(200_000, wrong, curve(size), 1.0, {})


@pytest.mark.parametrize(
    "scenario",
    [
        soak.Scenario(FOLDER, 1.0),
        soak.Scenario(FOLDER, 1.0, threads=(2, 1), callers=3, reopened=50),
        soak.Scenario("tests/version1/folders/classes", 1.0, callers=2),
    ],
    ids=["one thread", "opened anew", "classes"],
)
def test_calls_are_counted_and_answers_held(scenario):
    found = soak.soak(scenario, 601, 0)
    assert (found.calls, found.wrong, len(found.curve), found.curve[-1][0]) == (601, 0, soak.SLICES, 601)
    assert {*found.digests} == {str(threads) for threads in scenario.threads}
    assert len({*found.digests.values()}) == 1  # whatever the threads of the sessions


def test_half_of_the_calls_sample_and_sizes_differ():
    turns = soak.schedule(0)
    assert [kind for kind, _, _ in turns] == ["sample", "log_prob"] * (soak.TURNS // 2)
    sizes = {n for _, n, _ in turns}
    assert min(sizes) == 1
    assert max(sizes) <= soak.LARGEST
    assert len(sizes) > 20
    assert soak.schedule(1) != turns


def test_one_bit_of_one_answer_is_seen():
    def spoiled(flow):
        log_prob, calls = flow.log_prob, []

        def once(x):
            calls.append(1)
            found = log_prob(x)
            return np.nextafter(found, np.inf, dtype=found.dtype) if len(calls) == 100 else found

        flow.log_prob = once
        return flow

    found = soak.soak(soak.Scenario(FOLDER, 1.0), 400, 0, change=spoiled)
    assert found.wrong == 1
    with pytest.raises(CheckFailedError, match="Expected the same answers for ever in x; 1 calls gave others"):
        found.assess("x")


def test_a_leak_is_seen():
    """Of pages that the system gives anew: an allocator may have some left of what ran in this process before."""
    kept = []

    def leaking(flow):
        sample = flow.sample

        def leaky(n, *, seed):
            kept.append(mmap.mmap(-1, 16_384))
            kept[-1].write(bytes([1]) * 16_384)
            return sample(n, seed=seed)

        flow.sample = leaky
        return flow

    found = soak.soak(soak.Scenario(FOLDER, 1.0), 1600, 0, change=leaking)
    assert found.wrong == 0
    with pytest.raises(CheckFailedError, match=r"Expected flat memory in x; it grew by \d+\.\d bytes per call"):
        found.assess("x")


def test_what_counts_as_flat():
    result(lambda calls: 7e7).assess("flat")
    result(lambda calls: 7e7 + 3e7 * (calls < 30_000)).assess("a warm-up")
    result(lambda calls: 7e7 + 1e6 * (calls % 7_000 == 0)).assess("a sawtooth")
    for leak in (lambda calls: 7e7 + 24 * calls, lambda calls: 7e7 + 5e6 * (calls > 150_000)):
        with pytest.raises(CheckFailedError, match="flat memory"):
            result(leak).assess("a leak")


def test_too_few_calls_get_a_sentence():
    with pytest.raises(BadInputError, match="Expected 200 calls or more for each scenario; got 199"):
        soak.soak(soak.Scenario(FOLDER, 1.0), 199, 0)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_program_in_c_counts_and_sees_a_changed_bit(tmp_path):
    for flags, wrong in (((), 0), (("-DPLANTED=123",), 1)):
        folder = tmp_path / str(wrong)
        folder.mkdir()
        found = soak.in_c(soak.compiled(folder, *flags), ROOT / FOLDER, 400, threads=3)
        assert (found.calls, found.wrong, len(found.curve)) == (400, wrong, soak.SLICES)
        assert found.curve[-1][1] > 2**20


def test_the_recorded_run_is_of_two_million_calls_and_passes():
    document = json.loads((soak.report.RESULTS / "soak.json").read_text())
    assert [*document["scenarios"]] == NAMES
    for names in (soak.SCENARIOS, soak.IN_C):
        assert sum(document["scenarios"][name]["calls"] for name in names) == 1_000_000
    for name, entry in document["scenarios"].items():
        points = [tuple(point) for point in entry["curve"]]
        soak.Result(entry["calls"], entry["wrong"], points, entry["seconds"], entry["digests"]).assess(name)
        assert len({*entry["digests"].values()}) <= 1
