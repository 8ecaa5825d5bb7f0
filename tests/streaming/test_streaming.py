"""Streams give what the plain calls give, bit by bit, however they are cut, stopped and resumed."""

import json
import os
import signal
import subprocess
import sys
from math import fsum
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lunet_export import ExportedFlow, noise
from lunet_export.checks import reference
from lunet_export.data.finished import RUN
from lunet_export.data.sources import open_source
from lunet_export.errors import BadInputError
from lunet_export.export import Provenance, export
from lunet_export.preprocessing import NAMED, dequantize
from lunet_export.runtime import ExportedClasses
from lunet_export.runtime.rows import LARGEST_BATCH
from lunet_export.runtime.scoring import score
from lunet_export.streaming import Run, SampleJob, ScoreJob, compute, local
from lunet_export.streaming.run import Tally, write_rows
from lunet_export.streaming.tables import FORMATS, writer
from tests import tolerances
from tests.conftest import ROOT
from tests.families import composed
from tests.networks import mixture, network
from tests.streaming.cases import CPU, DIM, ROWS, column, finished, job_of, read


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("rows_per_part", [LARGEST_BATCH, 2 * LARGEST_BATCH, 16 * LARGEST_BATCH])
def test_scores_are_those_of_one_call_however_they_are_cut(models, data, x, tmp_path, form, rows_per_part):
    run = Run(tmp_path / "out", job_of(models, data), rows_per_part, form)
    summary = finished(run)
    plain = score(ExportedFlow(models / "m0", provider="cpu", threads=1), x)
    np.testing.assert_array_equal(column(run, "log_prob"), plain)
    assert (summary.rows, summary.invalid) == (ROWS, 0)
    assert summary.sums["log_prob"] == pytest.approx(plain.sum(), rel=1e-12)
    known = json.loads((run.folder / "_run.json").read_text())
    assert known["complete"]
    assert known["summary"]["means"]["log_prob"] == pytest.approx(plain.mean(), rel=1e-12)
    assert sum(part["rows"] for part in known["parts"]) == ROWS


def test_what_a_killed_process_left_is_no_data_and_is_swept(models, data, x, tmp_path):
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    summary = finished(run)
    whole = (run.folder / "part-00000.parquet").read_bytes()
    (run.folder / ".part-00001.abc.parquet").write_bytes(whole)
    (run.folder / ".part-00002.def.parquet").write_bytes(whole[:100])
    assert open_source(run.folder, ["log_prob", "bits_per_dim"]).rows == ROWS
    assert len(pq.read_table(run.folder)) == ROWS  # other readers pass over what is beside
    assert run.begin(resume=True) == []
    assert list(run.folder.glob(".*")) == []
    assert run.finish() == summary


def test_a_source_that_changes_on_the_way_is_noticed(models, data, x, tmp_path):
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    local(run, run.begin(resume=False))
    np.save(data, x + 1)
    with pytest.raises(BadInputError, match="it changed"):
        run.finish()


def test_models_are_mixed_draw_by_draw(exported, tmp_path):
    """log of the mean is no mean of logs: with several draws of the noise each is mixed by itself."""
    export(network(16, 3, seed=1, preprocessing=NAMED["digits"]), tmp_path / "other", Provenance("other"))
    grey = np.random.default_rng(0).integers(0, 17, (30, 16), dtype=np.uint8)
    np.save(tmp_path / "grey.npy", grey)
    folders = (str(exported.folder), str(tmp_path / "other"))
    table = ScoreJob(folders, str(tmp_path / "grey.npy"), draws=3, seed=2, place=CPU).work()(0, 30)
    flows = [ExportedFlow(folder, provider="cpu", threads=1) for folder in folders]
    mixed = []
    for draw in range(3):
        noisy = dequantize(grey, noise.uniform(2, range(30), 16, draw=draw).astype(np.float32))
        each = np.stack([flow.log_prob(noisy).astype(float) for flow in flows], axis=1)
        mixed.append(reference.mixture_log_prob(each, (0.5, 0.5)))
    np.testing.assert_allclose(table["log_prob"], np.mean(mixed, axis=0), rtol=1e-12)


def test_models_of_another_preprocessing_are_refused(models, tmp_path):
    export(network(4, 2), tmp_path / "plain", Provenance("plain"))
    np.save(tmp_path / "x.npy", np.ones((2, 4)))
    with pytest.raises(BadInputError, match="models of one pre-processing"):
        ScoreJob((str(models / "images"), str(tmp_path / "plain")), str(tmp_path / "x.npy"))


def test_grey_levels_get_the_noise_of_their_row(models, tmp_path):
    grey = np.random.default_rng(0).integers(0, 17, (LARGEST_BATCH + 50, 2, 2), dtype=np.uint8)
    np.save(tmp_path / "grey.npy", grey)
    run = Run(tmp_path / "out", job_of(models, tmp_path / "grey.npy", "images", draws=2, seed=5), LARGEST_BATCH)
    finished(run)
    flow = ExportedFlow(models / "images", provider="cpu", threads=1)
    np.testing.assert_array_equal(column(run, "log_prob"), score(flow, grey, draws=2, seed=5))


def test_models_together_are_their_mixture(models, data, x, tmp_path):
    weights = (0.5, 0.3, 0.2)
    run = Run(tmp_path / "out", job_of(models, data, "m0", "m1", "m2", weights=weights), LARGEST_BATCH)
    finished(run)
    each = np.stack([reference.log_prob(network(DIM, 2, seed=seed), x[:50].astype(float)) for seed in range(3)])
    exact = reference.mixture_log_prob(each.T, weights)
    # A weighted mean of densities is off by no more than the worst of them, but for its own logarithm in float64.
    allowed = [tolerances.of_density(network(DIM, 2, seed=seed), x[:50])["log_prob"] for seed in range(3)]
    tolerances.assert_within(column(run, "log_prob")[:50], exact, np.max(allowed, axis=0))
    tolerances.assert_within(column(run, "log_prob_2")[:50], each[2], allowed[2])
    assert tolerances.beyond(column(run, "log_prob_1")[:50], each[2], allowed[2]) > 1


def test_a_network_a_class_gives_its_classes(exported_classes, tmp_path):
    rows = np.random.default_rng(0).uniform(0, 17, (60, 16))
    np.save(tmp_path / "x.npy", rows)
    run = Run(tmp_path / "out", ScoreJob((str(exported_classes.folder),), str(tmp_path / "x.npy"), place=CPU))
    finished(run)
    flow = ExportedClasses(exported_classes.folder, provider="cpu", threads=1)
    assert column(run, "class").tolist() == [flow.names[number] for number in flow.classify(rows)]

    np.testing.assert_array_equal(np.stack(column(run, "posterior")), flow.posterior(rows).astype(np.float64))
    np.testing.assert_array_equal(column(run, "confidence"), flow.posterior(rows).astype(np.float64).max(axis=1))


def test_a_run_of_classes_with_the_columns_of_older_versions_is_another_run(exported_classes, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).uniform(0, 17, (60, 16)))
    run = Run(tmp_path / "out", ScoreJob((str(exported_classes.folder),), str(tmp_path / "x.npy"), place=CPU))
    finished(run)
    path = tmp_path / "out" / RUN
    known = json.loads(path.read_text())
    assert known["job"].pop("columns") == ["class", "confidence", "posterior"]
    path.write_text(json.dumps(known))
    with pytest.raises(BadInputError, match=r"got another: job\.columns was null and is"):
        run.begin(resume=True)


@pytest.mark.parametrize("cuts", [(), (1,), (3, 4, 900)])
@pytest.mark.parametrize("scale", [1.0, 1e200])
def test_the_standard_error_is_that_of_all_rows_however_they_are_cut(cuts, scale):
    bits = scale * np.random.default_rng(0).standard_normal(1000)
    bits[7] = np.nan
    tally = Tally()
    for part in np.split(bits, cuts):
        tally.add({"log_prob": -part, "bits_per_dim": part})
    good = bits[np.isfinite(bits)] / scale
    assert tally.standard_error == pytest.approx(scale * good.std() / np.sqrt(len(good)), rel=1e-12)
    one = Tally()
    one.add({"log_prob": bits[:1], "bits_per_dim": bits[:1]})
    assert (one.standard_error, Tally().standard_error) == (None, None)


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
def test_a_file_that_is_held_gives_what_the_flow_gives(models, suffix, tmp_path):
    x = np.random.default_rng(0).standard_normal((7, DIM))
    path = tmp_path / f"x.{suffix}"
    saves = {"npy": lambda: np.save(path, np.asfortranarray(x)), "npz": lambda: np.savez(path, x)}
    saves.get(suffix, lambda: np.savetxt(path, x, delimiter=","))()
    job, taken = ScoreJob((str(models / "m0"),), str(path), place=CPU, hold=True), {}
    done = compute(job, job.work(), lambda first, table: taken.update({first: table}))
    assert (list(taken), job.chunk, done.summary.rows) == ([0], 7, 7)
    plain = score(ExportedFlow(models / "m0", provider="cpu", threads=1), x)
    np.testing.assert_array_equal(taken[0]["log_prob"], plain)


@pytest.mark.parametrize("invalid", ["stop", "nan"])
def test_rows_that_no_graph_takes(models, tmp_path, invalid):
    rows = np.random.default_rng(0).uniform(0.1, 0.9, (LARGEST_BATCH + 10, 4))
    rows[LARGEST_BATCH + 3, 2], rows[7, 0] = np.nan, 1.5
    np.save(tmp_path / "x.npy", rows)
    run = Run(tmp_path / "out", job_of(models, tmp_path / "x.npy", "interval", invalid=invalid), LARGEST_BATCH)
    if invalid == "stop":
        with pytest.raises(BadInputError, match=r"Expected finite rows inside the domain; row 7 is not: .*1\.5"):
            finished(run)
        return
    assert finished(run).invalid == 2
    found = column(run, "log_prob")
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found)), [7, LARGEST_BATCH + 3])
    good = np.delete(rows, [7, LARGEST_BATCH + 3], axis=0)
    plain = score(ExportedFlow(models / "interval", provider="cpu", threads=1), good)
    allowed = tolerances.TWO * tolerances.of_density(composed.NETWORKS["a logit in front"](), good)["log_prob"]
    tolerances.assert_within(np.delete(found, [7, LARGEST_BATCH + 3]), plain, allowed)
    assert tolerances.beyond(np.delete(found, [8, LARGEST_BATCH + 3]), plain, allowed) > 1


def test_samples_are_those_of_one_call(models, exported_classes, tmp_path):
    count = LARGEST_BATCH + 77
    run = Run(
        tmp_path / "out", SampleJob(str(models / "m0"), count, seed=3, with_log_prob=True, place=CPU), LARGEST_BATCH
    )
    finished(run)
    x, log_prob = ExportedFlow(models / "m0", provider="cpu", threads=1).sample_and_log_prob(count, seed=3)
    np.testing.assert_array_equal(column(run, "x"), x)
    np.testing.assert_array_equal(column(run, "log_prob"), log_prob)
    run = Run(tmp_path / "classes", SampleJob(str(exported_classes.folder), count, seed=3, place=CPU), LARGEST_BATCH)
    finished(run)
    flow = ExportedClasses(exported_classes.folder, provider="cpu", threads=1)
    np.testing.assert_array_equal(column(run, "label"), flow.labels(count, seed=3))
    z, labels = noise.normal(3, range(count), 16), flow.labels(count, seed=3)
    networks = mixture(16, 3, preprocessing=NAMED["digits"]).components
    allowed = np.stack([tolerances.of_sampling(one, z)["x"] for one in networks])[labels, np.arange(count)]
    tolerances.assert_within(column(run, "x"), flow.sample(count, seed=3), tolerances.TWO * allowed)
    assert tolerances.beyond(column(run, "x"), flow.sample(count, seed=4), tolerances.TWO * allowed) > 1


def test_a_run_goes_on_where_it_stopped_and_no_other_does(models, data, tmp_path):
    whole, broken = (Run(tmp_path / name, job_of(models, data), LARGEST_BATCH) for name in ("whole", "broken"))
    finished(whole)
    local(broken, broken.begin(resume=False)[:2])
    with pytest.raises(BadInputError, match=r"part 2 .* missing or altered"):
        broken.finish()
    with pytest.raises(BadInputError, match="Give --resume"):
        broken.begin(resume=False)
    other = Run(tmp_path / "broken", job_of(models, data, seed=1), LARGEST_BATCH)
    with pytest.raises(BadInputError, match=r"got another: job\.seed was 0 and is 1\."):
        other.begin(resume=True)
    missing = broken.begin(resume=True)
    assert missing == [2, 3]
    local(broken, missing)
    assert broken.finish() == whole.finish()
    for path in whole.folder.iterdir():
        assert (broken.folder / path.name).read_bytes() == path.read_bytes()


def test_an_altered_part_is_computed_again(models, data, tmp_path):
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    summary = finished(run)
    path = run.folder / "part-00001.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    with pytest.raises(BadInputError, match=r"part 1 .* missing or altered"):
        run.finish()
    assert run.begin(resume=True) == [1]
    local(run, [1])
    assert run.finish() == summary


def test_another_folder_is_left_alone(models, data, tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("thesis.tex", ".part-of-it"):
        (tmp_path / "mine" / name).write_text("x")
    with pytest.raises(BadInputError, match="holds other files"):
        Run(tmp_path / "mine", job_of(models, data)).begin(resume=False)
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [".part-of-it", "thesis.tex"]


@pytest.mark.parametrize(
    ("settings", "sentence"), [({"rows_per_part": 1000}, "a multiple of 4096"), ({"format": "csv"}, "a --format of")]
)
def test_settings_of_a_run(models, data, tmp_path, settings, sentence):
    with pytest.raises(BadInputError, match=sentence):
        Run(tmp_path / "out", job_of(models, data), **settings)


def test_models_of_another_width_are_refused(models, data):
    with pytest.raises(BadInputError, match=r"one width; \S*m0 takes rows of 3 numbers, \S*images of \d+\. Score them"):
        job_of(models, data, "m0", "images")


@pytest.mark.parametrize(("width", "cure"), [(2, ""), (4, " Take some of them by --columns.")])
@pytest.mark.parametrize("hold", [True, False])
def test_rows_of_another_width_are_told_from_the_model(width, cure, hold, models, tmp_path):
    np.save(tmp_path / "rows.npy", np.zeros((5, width)))
    with pytest.raises(BadInputError) as error:
        ScoreJob((str(models / "m0"),), str(tmp_path / "rows.npy"), hold=hold)
    assert str(error.value) == (
        f"Expected rows of 3 numbers for {models / 'm0'}; {tmp_path / 'rows.npy'} has {width} columns.{cure}"
    )


def test_a_file_that_breaks_off_is_not_there(tmp_path):
    def broken() -> None:
        with writer(tmp_path / "x.parquet", 3) as file:
            file.append({"a": np.ones(3)})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from lunet_export.streaming import Run, ScoreJob, local
from lunet_export.streaming.jobs import Place
model, data, out = sys.argv[1:]
run = Run(Path(out), ScoreJob((model,), data, place=Place("cpu", 1)), 4096)
done = []
def progress(rows):
    done.append(rows)
    if len(done) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
local(run, run.begin(resume=False), progress)
"""


def test_a_killed_process_leaves_whole_parts_and_the_rest_is_done_later(models, data, tmp_path):
    whole = Run(tmp_path / "whole", job_of(models, data), LARGEST_BATCH)
    finished(whole)
    arguments = [sys.executable, "-c", KILLED, models / "m0", data, tmp_path / "killed"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(arguments, env={**os.environ, "PYTHONPATH": path}, check=False)
    assert done.returncode == -signal.SIGKILL
    run = Run(tmp_path / "killed", job_of(models, data), LARGEST_BATCH)
    assert run.begin(resume=True) == [2, 3]
    local(run, [2, 3])
    assert run.finish() == whole.finish()
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == {
        path.name: path.read_bytes() for path in whole.folder.iterdir()
    }


def test_text_is_as_wide_in_every_part(exported_classes, tmp_path, monkeypatch):
    """An .npy file has one width for all its names; those of the first rows may be shorter than those of the next."""
    names = ("a", "a much longer name", *(f"c{number}" for number in range(2, 10)))
    monkeypatch.setattr(ScoreJob, "_names", names)
    rows = np.random.default_rng(0).uniform(0, 17, (60, 16))
    rows[3] = np.nan
    np.save(tmp_path / "x.npy", rows)
    job = ScoreJob((str(exported_classes.folder),), str(tmp_path / "x.npy"), invalid="nan", place=CPU)
    work = job.work()
    write_rows(tmp_path / "out.npy", work, 0, 60, 4)
    write_rows(tmp_path / "out.parquet", work, 0, 60, 4)
    found, expected = np.load(tmp_path / "out.npy"), read(tmp_path / "out.parquet")
    assert set(found["class"]) <= {"", *names}
    for name, values in expected.items():
        if name != "class":
            np.testing.assert_array_equal(found[name], np.stack(values))
    assert found["class"].tolist() == expected["class"].tolist()
    assert found["class"][3] == ""


def test_parts_are_in_the_order_of_their_names(models):
    run = Run(Path("out"), SampleJob(str(models / "m0"), 100_001 * LARGEST_BATCH, place=CPU), LARGEST_BATCH)
    names = [run._name(number) for number in (0, 99_999, 100_000)]
    assert names == sorted(names)
    assert Run(Path("out"), SampleJob(str(models / "m0"), 10, place=CPU))._name(0) == "part-00000"


def test_sums_do_not_depend_on_the_split(models, data, tmp_path):
    summaries = []
    for rows_per_part in (LARGEST_BATCH, 2 * LARGEST_BATCH, 16 * LARGEST_BATCH):
        summaries.append(finished(Run(tmp_path / str(rows_per_part), job_of(models, data), rows_per_part)))
    assert summaries[0] == summaries[1] == summaries[2]
    scores = column(Run(tmp_path / str(LARGEST_BATCH), job_of(models, data), LARGEST_BATCH), "log_prob")
    assert summaries[0].sums["log_prob"] == fsum(scores)


def test_a_run_that_died_before_it_began_may_begin(models, data, tmp_path):
    run = Run(tmp_path / "out", job_of(models, data), LARGEST_BATCH)
    run.folder.mkdir()
    (run.folder / "._run.abc.json").write_text("{")
    assert run.begin(resume=False) == [0, 1, 2, 3]
    assert [path.name for path in run.folder.iterdir()] == ["_run.json"]
