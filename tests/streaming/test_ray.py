"""Ray gives what one process gives, whatever becomes of its workers; and says what is wrong."""

import os
import pickle
import re
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lunet_export.data.given_context import GivenContext
from lunet_export.errors import BadInputError, MissingPackageError, ProviderError
from lunet_export.export import Provenance, export
from lunet_export.installation import install_extra
from lunet_export.runtime.rows import LARGEST_BATCH
from lunet_export.streaming import Run, SampleJob, ScoreJob, engines, local, on_ray
from lunet_export.streaming.engines import _Actor, _begin, _validate_listening, _wait_for_room
from lunet_export.streaming.jobs import Place
from tests import conditional
from tests.streaming.cases import CPU, DIM, ROWS, column, finished, job_of


class Deadly(ScoreJob):
    """Work that takes the process with it, as one that runs out of memory."""

    def work(self):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def ray():
    """A small cluster on this machine."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    paths = {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=50, runtime_env={"env_vars": paths}
    )
    yield ray
    ray.shutdown()


@pytest.mark.filterwarnings("ignore")  # of one part of Ray about another
@pytest.mark.parametrize("kill", [False, True])
def test_ray_gives_the_same_even_when_a_worker_dies(models, data, tmp_path, ray, kill):
    """Killed after its first part; the parts that it had begun are done again, and none is there twice."""
    whole, shared = (Run(tmp_path / name, job_of(models, data), LARGEST_BATCH) for name in ("whole", "shared"))
    finished(whole)
    seen = []

    def watch(process: int) -> None:
        if kill and not seen:
            os.kill(process, signal.SIGKILL)
        seen.append(process)

    on_ray(shared, shared.begin(resume=False), workers=2, on_part=watch)
    assert shared.finish() == whole.finish()
    assert len(seen) == 4
    for path in whole.folder.glob("part-*"):
        assert (shared.folder / path.name).read_bytes() == path.read_bytes()


@pytest.fixture(scope="module")
def conditional_folder(tmp_path_factory):
    """A conditional flow of named contexts, with rows in one table with them, and both in files of their own."""
    folder = tmp_path_factory.mktemp("conditional")
    weights = replace(conditional.lu_net(), context=replace(conditional.lu_net().context, names=("a", "b", "c")))
    export(weights, folder / "flow", Provenance("flow", columns=("w", "x", "y", "z")))
    x, c = conditional.rows(ROWS)
    np.save(folder / "x.npy", x)
    np.save(folder / "c.npy", c)
    pd.DataFrame(np.hstack([x, c]), columns=["w", "x", "y", "z", "a", "b", "c"]).to_parquet(folder / "both.parquet")
    return folder


CONDITIONAL = {
    "columns": lambda f: ScoreJob((str(f / "flow"),), str(f / "both.parquet"), place=CPU),
    "a context per row": lambda f: ScoreJob((str(f / "flow"),), str(f / "x.npy"), place=CPU, context=str(f / "c.npy")),
    "samples": lambda f: SampleJob(str(f / "flow"), ROWS, with_log_prob=True, place=CPU, context="0.5,-1,2"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CONDITIONAL)
def test_ray_gives_the_same_given_contexts(conditional_folder, tmp_path, ray, monkeypatch, case):
    """Contexts belong to rows by their number, whoever computes a part; the paths are relative to this process."""
    monkeypatch.chdir(conditional_folder)
    job = CONDITIONAL[case](Path())
    whole, shared = (Run(tmp_path / name, job, LARGEST_BATCH) for name in ("whole", "shared"))
    finished(whole)
    on_ray(shared, shared.begin(resume=False), workers=2)
    assert shared.finish() == whole.finish()
    for path in whole.folder.glob("part-*"):
        assert (shared.folder / path.name).read_bytes() == path.read_bytes()
    if case == "columns":
        np.testing.assert_array_equal(*(column(run, "log_prob") for run in (whole, shared)))


def test_parts_that_begin_their_contexts_anew_are_found(conditional_folder, tmp_path, monkeypatch):
    """The planted fault: every part takes the contexts of the first rows."""
    job = CONDITIONAL["a context per row"](conditional_folder)
    whole = Run(tmp_path / "whole", job, LARGEST_BATCH)
    finished(whole)
    right = GivenContext.read
    monkeypatch.setattr(GivenContext, "read", lambda self, first, count: right(self, 0, count))
    wrong = Run(tmp_path / "wrong", job, LARGEST_BATCH)
    finished(wrong)
    same = column(whole, "log_prob") == column(wrong, "log_prob")
    assert same[:LARGEST_BATCH].all()
    assert not same[LARGEST_BATCH:].any()


@pytest.mark.filterwarnings("ignore")
def test_a_disk_that_refuses_a_worker_is_the_operating_systems_error(models, data, tmp_path, ray):
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    numbers = run.begin(resume=False)
    (tmp_path / "out" / "part-00000.parquet").mkdir()  # where a file must go
    with pytest.raises((OSError, BadInputError), match="folder"):
        on_ray(run, numbers, workers=1)


@pytest.mark.filterwarnings("ignore")
def test_a_part_that_kills_every_worker_comes_to_an_end(models, data, tmp_path, ray):
    run = Run(tmp_path / "out", Deadly((str(models / "m0"),), str(data), place=CPU), 16 * LARGEST_BATCH)
    with pytest.raises(BadInputError, match="5 workers died over it"):
        on_ray(run, run.begin(resume=False), workers=1)


@pytest.mark.filterwarnings("ignore")
def test_rays_workers_say_what_is_wrong(models, tmp_path, ray):
    np.save(tmp_path / "x.npy", np.full((10, DIM), np.nan))
    run = Run(tmp_path / "out", job_of(models, tmp_path / "x.npy"), LARGEST_BATCH)
    with pytest.raises(BadInputError, match="Expected finite rows inside the domain; row 0 \\(from 0\\) is not"):
        on_ray(run, run.begin(resume=False), workers=1)


def test_a_worker_refuses_other_files_than_those_of_the_run(models, data, x, tmp_path):
    """As it would find them on a machine that does not share the storage."""
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    run.begin(resume=False)
    seen_here = pickle.loads(pickle.dumps(run))
    np.save(data, x[:-1])
    answer = _Actor(seen_here)({"number": 0})
    assert answer["kind"] == "BadInputError"
    assert "Expected the source that" in answer["error"]
    assert [path.name for path in run.folder.glob("part-*")] == []


def test_a_worker_refuses_a_folder_that_it_does_not_see(models, data, tmp_path):
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    run.begin(resume=False)
    shutil.rmtree(run.folder)
    answer = _Actor(run)({"number": 0})
    assert (answer["kind"], "there is no _run.json on" in answer["error"]) == ("BadInputError", True)
    assert not run.folder.exists()


@pytest.mark.filterwarnings("ignore")
def test_rays_workers_find_relative_paths(models, data, tmp_path, ray, monkeypatch):
    """Their working directory is the cluster's."""
    monkeypatch.chdir(tmp_path)
    model = os.path.relpath(models / "m0", tmp_path)
    run = Run(Path("out"), ScoreJob((model,), data.name, place=CPU), LARGEST_BATCH)
    on_ray(run, run.begin(resume=False), workers=1)
    assert run.finish().rows == ROWS


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_without_gpus_is_not_waited_for(models, data, tmp_path, ray):
    run = Run(tmp_path / "out", ScoreJob((str(models / "m0"),), str(data), place=Place("cuda")), LARGEST_BATCH)
    with pytest.raises(ProviderError, match="Expected GPUs in the Ray cluster for `provider='cuda'`; it has none"):
        on_ray(run, run.begin(resume=False), workers=1)


def test_a_cluster_that_is_not_there_is_said_at_once():
    with pytest.raises(BadInputError, match=r"Expected a Ray cluster at 127\.0\.0\.1:1; .*ray start"):
        _validate_listening("127.0.0.1:1")


@pytest.mark.parametrize(("package", "extra"), [("pyarrow", "scale"), ("ray", "ray")])
def test_a_package_that_is_missing_is_named_with_its_extra(models, data, tmp_path, monkeypatch, package, extra):
    run = Run(tmp_path / "out", job_of(models, data))
    numbers = run.begin(resume=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=re.escape(install_extra(extra))):
        local(run, numbers) if package == "pyarrow" else on_ray(run, numbers)
    assert list(run.folder.glob("*part*")) == []


class DiesAtItsStart(ScoreJob):
    """The first process that receives the job dies, as one whose machine is taken away."""

    def __setstate__(self, state):
        self.__dict__.update(state)
        try:
            Path(self.source).with_suffix(".dead").touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.filterwarnings("ignore")
def test_a_worker_may_die_before_its_first_part(models, data, tmp_path, ray):
    run = Run(tmp_path / "out", DiesAtItsStart((str(models / "m0"),), str(data), place=CPU), LARGEST_BATCH)
    on_ray(run, run.begin(resume=False), workers=1)
    assert data.with_suffix(".dead").exists()
    assert run.finish().rows == ROWS


def test_what_a_signal_does_stays_when_ray_begins():
    """Ray sets a handler of its own, which would end this process amid Ray's threads."""

    def ours(number, frame):
        raise AssertionError

    before = signal.signal(signal.SIGTERM, ours)
    try:
        _begin(SimpleNamespace(init=lambda **settings: signal.signal(signal.SIGTERM, lambda *_: os.abort())), None)
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)


class Cluster:
    """Its processors, free ones each time that it is asked."""

    def __init__(self, *free):
        self.free, self.asked = free, 0

    def cluster_resources(self):
        return {"CPU": 4.0}

    def available_resources(self):
        self.asked += 1
        return {"CPU": self.free[min(self.asked, len(self.free)) - 1]}


def test_a_full_cluster_is_waited_for_with_a_word_and_not_for_ever(monkeypatch):
    monkeypatch.setattr(engines, "sleep", lambda seconds: None)
    monkeypatch.setattr(engines, "_SAID_AFTER", 0.0)
    said = []
    _wait_for_room(Cluster(0.0, 0.5, 1.0), {"CPU": 1, "GPU": 0}, said.append)
    assert said == ["waiting for 1 CPU of the Ray cluster; 0 of its 4 are free"]
    monkeypatch.setattr(engines, "_PATIENCE", 0.0)
    with pytest.raises(BadInputError, match=r"Expected 1 CPU of the Ray cluster; 0\.5 of its 4 are free after 0 s"):
        _wait_for_room(Cluster(0.5), {"CPU": 1, "GPU": 0}, said.append)
