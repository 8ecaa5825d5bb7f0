"""What claims a folder, and which run may go on in it."""

import json
import os
from dataclasses import replace
from math import inf, nan

import pytest

from lunet_export.errors import BadInputError
from lunet_export.runtime.rows import LARGEST_BATCH
from lunet_export.streaming import Run, SampleJob, local
from lunet_export.streaming import run as run_module
from lunet_export.streaming.jobs import Place
from tests.streaming.cases import finished, job_of


@pytest.mark.parametrize(
    "settings",
    [{"seed": -1}, {"seed": 2**64}, {"temperature": nan}, {"temperature": inf}, {"temperature": -1.0}, {"count": 0}],
)
def test_samples_that_cannot_be_drawn_are_no_job(models, settings):
    with pytest.raises(BadInputError, match="Expected"):
        SampleJob(**{"folder": str(models / "m0"), "count": 5, **settings})


@pytest.mark.parametrize("settings", [{"seed": -1}, {"draws": 0}, {"draws": 1.5}, {"draws": True}])
def test_scores_that_cannot_be_drawn_are_no_job(models, data, settings):
    with pytest.raises(BadInputError, match="Expected"):
        job_of(models, data, **settings)


def test_a_claim_without_a_part_binds_nobody(models, data, tmp_path):
    one, other = (Run(tmp_path / "out", job_of(models, data, seed=seed), LARGEST_BATCH) for seed in (1, 2))
    one.begin(resume=False)
    (one.folder / ".part-00000.attempts").write_bytes(b".")  # a worker died over it
    numbers = other.begin(resume=False)
    local(other, numbers[:1])
    with pytest.raises(BadInputError, match=r"job\.seed was 2 and is 1"):
        one.begin(resume=True)
    (other.folder / "part-00000.parquet").unlink()
    with pytest.raises(BadInputError, match=r"job\.seed was 2 and is 1"):  # its record is there
        one.begin(resume=False)


def test_a_folder_of_somebody_else_is_no_claim(models, data, tmp_path):
    one, other = (Run(tmp_path / "out", job_of(models, data, seed=seed), LARGEST_BATCH) for seed in (1, 2))
    one.begin(resume=False)
    (one.folder / "thesis.tex").write_text("x")
    with pytest.raises(BadInputError, match=r"job\.seed was 1 and is 2"):
        other.begin(resume=False)


def with_place(run, **settings):
    return replace(run, job=replace(run.job, place=Place(**settings)))


def test_a_run_goes_on_with_other_threads_and_memory(models, data, tmp_path):
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    summary = finished(run)
    other = with_place(run, provider="cpu", threads=2, cuda={"tf32": False, "memory_limit": 10**9})
    assert other.begin(resume=True) == []
    assert other.finish() == summary


def test_a_run_of_an_earlier_release_goes_on(models, data, tmp_path):
    """It wrote down threads and all of CUDA's options."""
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    local(run, run.begin(resume=False)[:1])
    known = json.loads((run.folder / "_run.json").read_text())
    known["job"]["place"] = {"provider": "cpu", "threads": 1, "cuda": {"device_id": 0, "tf32": False}}
    (run.folder / "_run.json").write_text(json.dumps(known))
    assert run.begin(resume=True) == [1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"provider": "auto"}, r'job\.place\.provider was "cpu" and is "auto"'),
        ({"provider": "cpu", "cuda": {"tf32": True}}, r"job\.place\.cuda\.tf32 was false and is true"),
    ],
)
def test_what_may_change_bits_is_named_with_both_values(models, data, tmp_path, settings, sentence):
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    local(run, run.begin(resume=False)[:1])
    with pytest.raises(BadInputError, match=sentence):
        with_place(run, **settings).begin(resume=True)


def test_a_source_of_another_time_is_named_with_both_times(models, data, tmp_path):
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    local(run, run.begin(resume=False)[:1])
    before = data.stat().st_mtime_ns
    os.utime(data, ns=(0, 5))
    with pytest.raises(BadInputError, match=rf"job\.source\.files\[0\]\.changed_ns was {before} and is 5\."):
        run.begin(resume=True)
    os.utime(data, ns=(0, before))
    assert run.begin(resume=True) == [1, 2, 3]


def test_a_full_disk_is_said_before_a_part_is_computed_again(models, data, tmp_path, monkeypatch):
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    local(run, run.begin(resume=False)[:2])
    usage = run_module.disk_usage(tmp_path)
    # Of 16 bytes per row, which Parquet may halve.
    for free, fits in ((8 * (LARGEST_BATCH + 100), True), (8 * (LARGEST_BATCH + 100) - 1, False)):
        monkeypatch.setattr(run_module, "disk_usage", lambda place, free=free: usage._replace(free=free))
        if fits:
            assert run.begin(resume=True) == [2, 3]
        else:
            with pytest.raises(BadInputError, match="Make room, ask for fewer"):
                run.begin(resume=True)
