"""`score` and `sample` of many rows: parts, files, tables, and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from lunet_cli import sample as sample_command
from lunet_cli import score as score_command
from lunet_cli.main import app
from lunet_export import noise, streaming
from lunet_export.files import exclusive
from tests import tolerances
from tests.cli.conftest import SMALL, run
from tests.conftest import ROOT

N, D = 9000, 16  # rows: more than two batches of 4096


@pytest.fixture
def rows(tmp_path) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 16.9, (N, D)).astype(np.float32)


@pytest.fixture
def npy(rows, tmp_path) -> Path:
    np.save(tmp_path / "x.npy", rows)
    return tmp_path / "x.npy"


@pytest.fixture
def parquet(rows, tmp_path) -> Path:
    pq.write_table(pa.table({f"c{k}": rows[:, k] for k in range(D)}), tmp_path / "x.parquet", row_group_size=1000)
    return tmp_path / "x.parquet"


def scores(folder: Path) -> np.ndarray:
    return pq.read_table(folder)["log_prob"].to_numpy()


def test_a_csv_is_the_same_from_every_kind_of_file(ready, npy, parquet, tmp_path):
    assert run("score", ready, npy, "-o", tmp_path / "npy.csv")[0] == 0
    code, out, _ = run("score", ready, parquet, "-o", tmp_path / "parquet.csv")
    assert code == 0
    assert out.startswith(f"wrote {tmp_path / 'parquet.csv'}: {N} rows, mean log_prob ")
    assert ", provider cpu" in out
    text = (tmp_path / "npy.csv").read_text()
    assert (tmp_path / "parquet.csv").read_text() == text
    code, out, _ = run("score", ready, parquet)
    assert (code, out.startswith(text)) == (0, True)
    assert out.removeprefix(text).startswith(f"mean of {N} rows: ")


def test_long_arrays_are_shown_a_piece_at_a_time(ready, npy, tmp_path, monkeypatch):
    whole = run("score", ready, npy)[1].splitlines()
    monkeypatch.setattr(score_command, "MANY", N - 1)
    monkeypatch.setattr("lunet_export.streaming.jobs._NUMBERS", 1)  # a batch at a time
    pieces = run("score", ready, npy)[1].splitlines()
    assert pieces[:-1] == whole[:-1]
    assert pieces[-1].split(" bits/dim")[0] == whole[-1].split(" bits/dim")[0]


def test_parts_and_how_they_go_on(ready, npy, tmp_path):
    out = tmp_path / "scores"
    arguments = ("score", ready, npy, "-o", out, "--rows-per-part", 4096)
    code, said, _ = run(*arguments)
    assert (code, said.startswith(f"wrote {out}: {N} rows, mean log_prob ")) == (0, True)
    assert [path.name for path in sorted(out.glob("part-*"))] == [f"part-0000{number}.parquet" for number in range(3)]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    code, _, said = run(*arguments)
    assert (code, "holds this run. Give --resume" in said) == (2, True)
    (out / "part-00001.parquet").write_bytes(b"altered")
    document = json.loads(run(*arguments, "--resume", "--json")[1])
    assert (document["parts"], document["computed"], document["rows"], document["invalid"]) == (3, 1, N, 0)
    assert document["providers"] == ["cpu"]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    code, _, said = run(*arguments, "--resume", "--seed", 1)
    assert (code, "job.seed was 0 and is 1" in said) == (2, True)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_samples_in_parts_are_rows_to_score(ready, tmp_path, form):
    drawn, out = tmp_path / "samples", tmp_path / "scores"
    options = ("-n", N, "--seed", 3, "--rows-per-part", 4096, "--with-log-prob", "--format", form)
    assert run("sample", ready, "-o", drawn, *options)[0] == 0
    assert run("score", ready, drawn, "-o", out)[0] == 0
    assert run("sample", ready, "-o", tmp_path / "x.parquet", *options[:4], "--with-log-prob")[0] == 0
    np.testing.assert_array_equal(scores(out), pq.read_table(tmp_path / "x.parquet")["log_prob"].to_numpy())


def test_many_samples_say_what_few_say(ready, tmp_path, monkeypatch):
    monkeypatch.setattr(sample_command, "_MANY", 100)
    few, many = (
        json.loads(run("sample", ready, "-n", n, "-o", tmp_path / f"{n}.npy", "--json")[1]) for n in (100, 101)
    )
    assert set(few) <= set(many)
    assert (few["samples"], many["samples"], many["provider"]) == (100, 101, few["provider"])
    whole, part = np.load(tmp_path / "101.npy"), np.load(tmp_path / "100.npy")
    allowed = tolerances.TWO * tolerances.of_sampling(SMALL, noise.normal(0, range(100), D))["x"]
    tolerances.assert_within(whole[:100], part, allowed)
    assert tolerances.beyond(whole[1:], part, allowed) > 1


def test_models_together(ready, npy, tmp_path):
    out = tmp_path / "mixed.parquet"
    assert run("score", ready, npy, "--with", ready, "--weights", "0.25,0.75", "-o", out)[0] == 0
    table = pq.read_table(out)
    np.testing.assert_allclose(table["log_prob"].to_numpy(), table["log_prob_1"].to_numpy(), rtol=1e-12)


def test_ray_from_the_command_line(ready, npy, tmp_path):
    """In a process of its own, which starts and ends Ray; nothing but the line of result is printed."""
    assert run("score", ready, npy, "-o", tmp_path / "local", "--rows-per-part", 4096)[0] == 0
    command = "from lunet_cli.main import main; main()"
    options = ["--engine", "ray", "--workers", "2", "--rows-per-part", "4096"]
    path = os.pathsep.join([str(ROOT), str(ROOT / "cli"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", command, "score", str(ready), "x.npy", "-o", "shared", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stderr
    assert done.stdout.startswith(f"wrote shared: {N} rows, mean log_prob ")
    np.testing.assert_array_equal(scores(tmp_path / "shared"), scores(tmp_path / "local"))


def test_what_ray_prints_is_no_part_of_the_result(ready, npy, tmp_path, monkeypatch, capfd):
    """As it does when a worker dies: from its libraries, and from Python."""

    def chatty(run_, numbers, progress, **settings):
        os.write(1, b"(raylet) A worker died\n")
        sys.stdout.write("and Ray says more\n")
        streaming.local(run_, numbers, progress)

    monkeypatch.setattr(streaming, "on_ray", chatty)
    code, out, err = run("score", ready, npy, "-o", tmp_path / "out", "--engine", "ray", "--json")
    assert (code, json.loads(out)["rows"]) == (0, N)
    captured = capfd.readouterr()
    assert (captured.out, "(raylet)" in captured.err, "Ray says more" in err) == ("", True, True)


def test_rows_of_which_none_is_good_have_no_mean(ready, tmp_path):
    np.save(tmp_path / "bad.npy", np.full((10, D), np.nan))
    arguments = ("score", ready, tmp_path / "bad.npy", "--invalid", "nan")
    for out in ("parts", "file.parquet", "file.npy"):
        document = json.loads(run(*arguments, "-o", tmp_path / out, "--json")[1])
        assert (document["invalid"], document["means"]) == (10, {"log_prob": None, "bits_per_dim": None})
    known = json.loads((tmp_path / "parts" / "_run.json").read_text())
    assert known["summary"]["means"] == {"log_prob": None, "bits_per_dim": None}
    assert json.loads(run(*arguments, "--json")[1])["mean"] == {"log_prob": None, "bits_per_dim": None}
    assert "mean of 0 rows: none" in run(*arguments)[1]
    assert run(*arguments, "-o", tmp_path / "file.csv")[1].startswith(
        f"wrote {tmp_path / 'file.csv'}: 10 rows, 10 invalid, provider"
    )


def test_a_refused_argument_claims_no_folder(ready, tmp_path):
    arguments = ("sample", ready, "-n", 5, "-o", tmp_path / "out")
    for option, value, sentence in (
        ("--seed", -1, "Expected a seed in [0, 2^64)"),
        ("--temperature", "nan", "Expected a temperature of 0 or more"),
    ):
        code, _, said = run(*arguments, option, value)
        assert (code, sentence in said, (tmp_path / "out").exists()) == (2, True, False)
    assert run(*arguments, "--seed", 1)[0] == 0


def test_one_process_at_a_time_goes_on_with_a_folder(ready, npy, tmp_path):
    arguments = ("score", ready, npy, "-o", tmp_path / "out")
    assert run(*arguments)[0] == 0
    (tmp_path / "out" / "part-00000.parquet").unlink()
    with exclusive(tmp_path / "out"):
        code, _, said = run(*arguments, "--resume")
    assert (code, "another is writing it" in said) == (2, True)
    assert run(*arguments, "--resume")[0] == 0


REFUSED = {
    "ray into a file": (["{npy}", "-o", "{out}.parquet", "--engine", "ray"], "Expected a folder for --engine ray"),
    "ray into nothing": (["{parquet}", "--engine", "ray"], "Expected a folder for -o with --engine ray; got none"),
    "a resume of a table": (["{parquet}", "--resume"], "Expected a folder for -o with --resume; got none"),
    "columns of .npy": (["{npy}", "-o", "{out}", "--columns", "a"], "Expected no --columns"),
    "a column that is not there": (["{parquet}", "--columns", "a"], "Expected --columns of c0, c1"),
    "too few columns": (["{parquet}", "--columns", "c0,c1"], "Expected rows of 16 numbers, as the model"),
    "weights of one model": (["{npy}", "-o", "{out}", "--weights", "0.5,0.5"], "Expected 1 positive weights"),
    "no weights": (["{npy}", "-o", "{out}", "--weights", "half"], "Expected numbers separated by commas"),
    "an odd part": (["{npy}", "-o", "{out}", "--rows-per-part", "1000"], "a multiple of 4096"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_leaves_nothing(ready, npy, parquet, tmp_path, name):
    arguments, sentence = REFUSED[name]
    places = {"npy": npy, "parquet": parquet, "out": tmp_path / "out"}
    before = sorted(tmp_path.iterdir())
    code, _, said = run("score", ready, *(argument.format(**places) for argument in arguments))
    assert (code, sentence in said) == (2, True), said
    assert sorted(tmp_path.iterdir()) == before


def test_a_bad_row_has_its_number(ready, rows, tmp_path):
    rows[5000, 3] = np.inf
    np.save(tmp_path / "bad.npy", rows)
    code, _, said = run("score", ready, tmp_path / "bad.npy", "-o", tmp_path / "out", "--rows-per-part", 4096)
    assert (code, "row 5000 (from 0) is not" in said) == (2, True)
    code, said, _ = run("score", ready, tmp_path / "bad.npy", "-o", tmp_path / "nan.csv", "--invalid", "nan")
    assert (code, f"{N} rows, 1 invalid" in said) == (0, True)
    assert (tmp_path / "nan.csv").read_text().splitlines()[5001] == "5000,nan,nan"


# stdin, stdout, and what is there already


def piped(*arguments, given: bytes = b"") -> tuple[int, bytes, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)
    return result.exit_code, result.stdout_bytes, result.stderr


def test_samples_go_to_stdout_and_scores_come_from_stdin(ready, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = ("sample", ready, "-n", 5, "--seed", 3)
    assert run(*drawn, "-o", "x.npy")[0] == 0
    code, npy, err = piped(*drawn, "-o", "-", "--format", "npy")
    assert (code, npy, "wrote to stdout: 5 samples" in err) == (0, Path("x.npy").read_bytes(), True)
    code, text, _ = piped(*drawn, "-o", "-", "--format", "csv")
    assert (code, run(*drawn, "-o", "x.csv")[0], Path("x.csv").read_bytes()) == (0, 0, text)
    wanted = run("score", ready, "x.npy")
    for rows in (npy, text):
        code, out, err = piped("score", ready, "-", given=rows)
        assert (code, out.decode(), err) == wanted
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"x.npy", "x.csv"}


@pytest.mark.parametrize("form", ["csv", "npy"])
def test_scores_go_to_stdout(ready, npy, tmp_path, form):
    code, out, err = piped("score", ready, npy, "-o", "-", "--format", form)
    assert (code, f"wrote to stdout: {N} rows, mean log_prob" in err) == (0, True)
    assert run("score", ready, npy, "-o", tmp_path / f"whole.{form}")[0] == 0
    assert out == (tmp_path / f"whole.{form}").read_bytes()


def test_latents_come_from_stdin(ready, tmp_path):
    np.save(tmp_path / "z.npy", np.zeros((2, D), np.float32))
    given = (tmp_path / "z.npy").read_bytes()
    assert piped("sample", ready, "--latent", "-", "-o", tmp_path / "x.npy", given=given)[0] == 0
    assert np.load(tmp_path / "x.npy").shape == (2, D)


REFUSED_PIPES = {
    "no format": (["sample", "{ready}", "-o", "-"], "Expected --format csv or --format npy with -o -"),
    "parquet": (["sample", "{ready}", "-o", "-", "--format", "parquet"], "which is stdout; got parquet."),
    "json": (["sample", "{ready}", "-o", "-", "--format", "csv", "--json"], "Expected no --json with -o -"),
    "resume": (
        ["sample", "{ready}", "-o", "-", "--format", "csv", "--resume"],
        "Expected a folder for -o with --resume",
    ),
    "parts of csv": (["sample", "{ready}", "-o", "{out}", "--format", "csv"], "Expected a --format of parquet"),
    "parts by force": (["sample", "{ready}", "-o", "{out}", "--force"], "Expected no --force with a folder of parts"),
    "parquet read": (["score", "{ready}", "-"], "Expected .npy or CSV from stdin; got Parquet."),
}


@pytest.mark.parametrize(("arguments", "holds"), REFUSED_PIPES.values(), ids=REFUSED_PIPES)
def test_what_no_pipe_takes_is_refused(ready, tmp_path, monkeypatch, arguments, holds):
    monkeypatch.chdir(tmp_path)
    arguments = [argument.format(ready=ready, out=tmp_path / "out") for argument in arguments]
    code, _, err = piped(*arguments, given=b"PAR1....")
    assert (code, holds in err, len(err.splitlines())) == (2, True, 1), err
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize(
    ("given", "holds"), [(b"", "it holds no rows"), (b"1,2\n3,x\n", "line 2, column 2"), (b"\x93NUMPYxx", "stdin")]
)
def test_what_is_wrong_with_stdin_is_said_of_stdin(ready, given, holds):
    code, _, err = piped("score", ready, "-", given=given)
    assert (code, holds in err, "stdin is not" in err, "/tmp" in err) == (2, True, True, False), err


def test_samples_as_csv_are_rows_to_score(ready, tmp_path, monkeypatch):
    x = tmp_path / "x.csv"
    assert run("sample", ready, "-n", N, "-o", x)[0] == 0
    first, *rest = x.read_text().splitlines()
    assert (first.split(",")[0], first.split(",")[-1], len(rest)) == ("x_1", f"x_{D}", N)
    assert run("sample", ready, "-n", N, "-o", tmp_path / "x.npy")[0] == 0
    exact = np.loadtxt(x, delimiter=",", skiprows=1, dtype=np.float32)
    np.testing.assert_array_equal(exact, np.load(tmp_path / "x.npy"))
    assert run("score", ready, x, "-o", tmp_path / "scores.csv")[0] == 0
    monkeypatch.setattr(sample_command, "_MANY", 100)
    assert run("sample", ready, "-n", N, "-o", x, "--with-log-prob", "--force")[0] == 0
    assert x.read_text().startswith(first + ",log_prob\n")
    assert len(x.read_text().splitlines()) == N + 1


@pytest.mark.parametrize("name", ["x.npy", "x.csv", "x.png", "x.parquet"])
def test_samples_and_scores_replace_a_file_only_by_force(ready, npy, tmp_path, name):
    target = tmp_path / f"old-{name}"
    target.write_text("mine")
    commands = [("sample", ready, "-n", 4, "-o", target)]
    commands += [("score", ready, npy, "-o", target)] if target.suffix != ".png" else []
    for command in commands:
        code, _, err = run(*command)
        assert (code, target.read_text()) == (2, "mine")
        assert err == f"lunet-export: Expected a new file; {target} exists already. Give --force or another -o.\n"
    for command in commands:
        assert run(*command, "--force")[0] == 0
        assert target.read_bytes() != b"mine"
