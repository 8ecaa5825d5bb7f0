"""Rows that a model was not made for: noted in the parts, said once per run, and no reason to stop."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lunet_export.streaming import Run, local
from lunet_export.streaming.run import RUN, write_file
from tests.cli.conftest import run as command
from tests.streaming.cases import finished, job_of

PART = 4096


@pytest.fixture
def far(x, tmp_path):
    np.save(tmp_path / "far.npy", 1000 * x)
    return tmp_path / "far.npy"


def warned(err: str) -> list[str]:
    lines = [line for line in err.splitlines() if not line.startswith("next: ")]
    assert all(line.startswith("lunet-export: warning: ") for line in lines)
    return [line.removeprefix("lunet-export: warning: ") for line in lines]


def test_own_rows_are_not_noted(models, data, tmp_path):
    run = Run(tmp_path / "out", job_of(models, data), PART)
    assert finished(run).misfits == {}
    assert [run.record(number).misfits for number in range(run.parts)] == [{}] * run.parts


def test_every_part_notes_them_and_the_summary_one_of_a_kind(models, far, tmp_path):
    run, heard = Run(tmp_path / "out", job_of(models, far), PART), []
    local(run, run.begin(resume=False), on_misfit=lambda kind, sentence: heard.append((kind, sentence)))
    summary = run.finish()
    parts = [run.record(number).misfits for number in range(run.parts)]
    assert heard == [("far", part["far"]) for part in parts]
    assert summary.misfits == parts[0]
    assert summary.invalid == 0
    assert json.loads((tmp_path / "out" / RUN).read_text())["summary"]["misfits"] == parts[0]
    assert write_file(tmp_path / "out.npy", run.job)[0].misfits.keys() == {"far"}


def test_a_handful_of_odd_rows_is_nothing(models, x, tmp_path):
    odd = x.copy()
    odd[::50] *= 1000
    np.save(tmp_path / "odd.npy", odd)
    assert finished(Run(tmp_path / "out", job_of(models, tmp_path / "odd.npy"), PART)).misfits == {}


def test_one_part_of_other_rows_is_told(models, x, tmp_path):
    odd = x.copy()
    odd[PART : 2 * PART] *= 1000
    np.save(tmp_path / "odd.npy", odd)
    run = Run(tmp_path / "out", job_of(models, tmp_path / "odd.npy"), PART)
    assert finished(run).misfits.keys() == {"far"}
    assert [sorted(run.record(number).misfits) for number in range(run.parts)] == [[], ["far"], [], []]


def test_a_run_that_goes_on_says_what_its_first_parts_noted(models, far, tmp_path):
    run = Run(tmp_path / "out", job_of(models, far), PART)
    local(run, run.begin(resume=False)[:2])
    assert run.begin(resume=True) == [2, 3]
    kept = run.record(0).misfits
    local(run, [2, 3])
    assert run.finish().misfits == kept


def test_parts_of_older_runs_note_nothing_and_strange_notes_are_no_part(models, data, tmp_path):
    run = Run(tmp_path / "out", job_of(models, data), PART)
    finished(run)
    from lunet_export.streaming.run import _digest

    path = tmp_path / "out" / "_part-00000.json"
    known = json.loads(path.read_text())
    for misfits, is_part in ((None, True), ({"far": "x"}, True), (["far"], False), ({"far": 3}, False)):
        content = {key: value for key, value in known.items() if key not in ("misfits", "sha256_record")}
        content |= {} if misfits is None else {"misfits": misfits}
        path.write_text(json.dumps({**content, "sha256_record": _digest(content)}))
        assert (run.record(0) is not None) == is_part


def test_grey_levels_as_floats_are_told_and_integers_are_not(models, tmp_path):
    grey = np.random.default_rng(0).integers(0, 17, (5000, 4))
    for dtype, kinds in ((np.float64, {"noise"}), (np.uint8, set())):
        np.save(tmp_path / "grey.npy", grey.astype(dtype))
        job = job_of(models, tmp_path / "grey.npy", "images")
        assert finished(Run(tmp_path / np.dtype(dtype).name, job, PART)).misfits.keys() == kinds


def test_a_mixture_is_told_of_rows_that_are_no_models(models, data, far, tmp_path):
    assert finished(Run(tmp_path / "a", job_of(models, data, "m0", "m1"), PART)).misfits == {}
    assert finished(Run(tmp_path / "b", job_of(models, far, "m0", "m1"), PART)).misfits.keys() == {"far"}


def test_scaled_images_that_stop_a_run_are_told_what_they_are(models, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).uniform(-1, 1, (100, 4)))
    code, _, err = command("score", models / "images", tmp_path / "x.npy", "-o", tmp_path / "out")
    assert code == 2
    assert "or give --invalid nan. Rows in [-1, 1] look scaled: the model takes grey levels 0 .. 16, plus noise." in err


@pytest.mark.parametrize(
    "options", [["-o", "{}/out"], ["-o", "{}/out.npy"], ["--invalid", "nan"], ["--with", "{models}/m1"], []], ids=str
)
@pytest.mark.parametrize("as_json", [False, True])
def test_score_says_it_once_whatever_way_it_takes(models, far, tmp_path, options, as_json):
    given = [option.format(tmp_path, models=models) for option in options]
    if "-o" in options:
        given += ["--rows-per-part", PART] if options[1].endswith("out") else []
    code, out, err = command("score", models / "m0", far, *given, *(["--json"] if as_json else []))
    (sentence,) = warned(err)
    assert (code, "they are in other units" in sentence) == (0, True)
    if as_json:
        document = json.loads(out)
        assert document["warnings"] == [sentence]
        assert "misfits" not in document


def test_a_finished_run_that_is_asked_again_says_it_again(models, far, tmp_path):
    arguments = ["score", models / "m0", far, "-o", tmp_path / "out", "--rows-per-part", PART]
    first = warned(command(*arguments)[2])
    assert warned(command(*arguments, "--resume")[2]) == first


def test_nothing_is_said_of_own_rows(models, data, tmp_path):
    for given in (["-o", tmp_path / "out"], ["--json"], []):
        code, out, err = command("score", models / "m0", data, *given)
        assert (code, err, '"warnings"' in out) == (0, "", False)


def test_the_settings_of_a_job_do_not_change_by_what_was_noted(models, far):
    job = job_of(models, far)
    work = job.work()
    work(0, 100)
    assert work.misfits.keys() == {"far"}
    assert replace(job).facts() == job.facts()
