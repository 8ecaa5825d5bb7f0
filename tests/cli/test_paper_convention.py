"""`--paper-convention` of score, diagnose and classify: the figure that the released code prints."""

import json
from math import log, pi

import numpy as np
import pytest
import torch

from lunet_export import checkpoint, data, noise
from lunet_export.checks import reference
from lunet_export.data.arrow_files import arrow
from lunet_export.preprocessing import NAMED, dequantize, logit
from tests import tolerances
from tests.cli.conftest import run
from tests.conftest import ROOT
from tests.networks import network
from tests.test_checkpoint import authors_state, saved

DIM = 16


def as_released(state, h):
    """Its own formula, in PyTorch: bits/dim of rows behind the pre-processing, log(pi) and all."""
    z = torch.from_numpy(h)
    log_det = z.new_zeros(len(h))
    blocks = len(state) // 3
    for number in range(blocks):
        upper, lower = [f"intermediate_lu_blocks.{2 * number + k}" for k in (0, 1)]
        if number == blocks - 1:
            upper, lower = "final_lu_block.0", "final_lu_block.1"
        z = z @ state[f"{upper}.weight"].T @ state[f"{lower}.weight"].T + state[f"{lower}.bias"]
        log_det = log_det + state[f"{upper}.weight"].diagonal().abs().log().sum()
        if number < blocks - 1:
            log_det = log_det + (0.1 + 0.9 * z.sigmoid()).log().sum(1)
            z = 0.1 * z + 0.9 * torch.nn.functional.softplus(z, threshold=1e9)
    nll = 0.5 * DIM * log(pi) + 0.5 * z.square().sum(1) - log_det
    return (nll / log(2) / DIM).numpy()


@pytest.fixture(scope="module")
def authors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("authors")
    state = authors_state(network(DIM, 3))
    best = saved(state, folder / "best.pth")
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8)
    np.save(folder / "images.npy", images)
    assert run(best, "-o", folder / "out", "--preprocess", "paper", "--dtype", "float64")[0] == 0
    return folder, state, images.reshape(40, DIM)


def drawn(images, draw=0):
    return dequantize(images, noise.uniform(0, range(len(images)), DIM, draw=draw))


def bits_allowed(folder, rows):
    """Tolerances in bits/dim of two answers in float64, ours and theirs."""
    of_density = tolerances.of_density(
        checkpoint.read(folder / "best.pth", preprocessing=NAMED["paper"]).weights, rows, "float64"
    )
    return tolerances.TWO * of_density["log_prob"] / log(2) / DIM


def test_score_prints_the_figure_of_the_released_code(authors):
    folder, state, images = authors
    options = ["--draws", "2", "--paper-convention", "--json"]
    code, out, _ = run("score", folder / "out", folder / "images.npy", *options)
    document = json.loads(out)
    theirs = np.mean([as_released(state, logit(drawn(images, n), NAMED["paper"])[0]) for n in (0, 1)], axis=0)
    assert code == 0
    allowed = np.mean([bits_allowed(folder, drawn(images, n)) for n in (0, 1)], axis=0)
    tolerances.assert_within(document["per_row"]["paper_convention"], theirs, allowed)
    tolerances.assert_within(document["mean"]["paper_convention"], theirs.mean(), allowed.mean())
    assert abs(document["mean"]["bits_per_dim"] - theirs.mean()) > 1  # another figure
    code, out, _ = run("score", folder / "out", folder / "images.npy", *options[:-1])
    assert f"{theirs.mean():.4f} bits/dim as the released code prints it" in out.splitlines()[-1]


def test_without_it_nothing_changes(authors):
    folder, _, _ = authors
    out = run("score", folder / "out", folder / "images.npy", "--json")[1]
    assert list(json.loads(out)["per_row"]) == ["log_prob", "bits_per_dim"]
    assert "released code" not in run("score", folder / "out", folder / "images.npy")[1]


def of_csv(path):
    return np.genfromtxt(path, delimiter=",", names=True)


def of_parquet(path):
    return arrow("pyarrow.parquet").read_table(path)


def of_parts(path):
    return of_parquet(path / "part-00000.parquet")


@pytest.mark.parametrize("name", ["s.csv", "s.npy", "s.parquet", "parts"])
def test_files_and_parts_have_the_column(authors, tmp_path, name):
    folder, _, _ = authors
    scored = json.loads(run("score", folder / "out", folder / "images.npy", "--paper-convention", "--json")[1])
    target = tmp_path / name
    given = ["score", folder / "out", folder / "images.npy", "--paper-convention", "-o", target, "--json"]
    code, out, err = run(*given)
    assert code == 0, err
    mean, rows = scored["mean"]["paper_convention"], scored["per_row"]["paper_convention"]
    of_sum = tolerances.of_roundings(len(rows), np.abs(rows).max(), "float64")
    tolerances.assert_within(json.loads(out)["means"]["paper_convention"], mean, of_sum)
    found = {".csv": of_csv, ".npy": np.load, ".parquet": of_parquet, "": of_parts}[target.suffix](target)
    written = 0.5e-6 + np.spacing(np.abs(rows).max()) if name == "s.csv" else 0.0  # six digits behind the point
    assert np.abs(np.asarray(found["paper_convention"]) - rows).max() <= written


def test_a_run_of_parts_without_it_is_another_one(authors, tmp_path):
    folder, _, _ = authors
    given = ["score", folder / "out", folder / "images.npy", "-o", tmp_path / "parts"]
    assert run(*given)[0] == 0
    code, _, err = run(*given, "--paper-convention", "--resume")
    assert code == 2
    assert "paper_convention" in err


def test_rows_that_cannot_be_scored_have_none(authors, tmp_path):
    folder, _, images = authors
    rows = drawn(images)
    rows[3, 2] = np.nan
    np.save(tmp_path / "rows.npy", rows)
    given = ["score", folder / "out", tmp_path / "rows.npy", "--invalid", "nan", "--paper-convention", "--json"]
    found = np.array(json.loads(run(*given)[1])["per_row"]["paper_convention"], dtype=float)
    assert np.isnan(found).tolist() == [number == 3 for number in range(40)]


def test_several_models_share_the_pre_processing(authors):
    folder, _, _ = authors
    given = ["score", folder / "out", folder / "images.npy", "--paper-convention", "--json"]
    alone = json.loads(run(*given)[1])["per_row"]["paper_convention"]
    twice = json.loads(run(*given, "--with", folder / "out")[1])["per_row"]["paper_convention"]
    allowed = tolerances.of_roundings(
        8, DIM * log(2) * np.abs(alone).max(), "float64"
    )  # logsumexp of two equal numbers
    assert np.abs(np.array(alone) - twice).max() <= allowed


def test_without_pre_processing_half_a_bit_is_left(tmp_path):
    checkpoint.write_weights(tmp_path / "m.pt", network(2, 2), image_shape=None, training={}, examples=None)
    assert run(tmp_path / "m.pt", "-o", tmp_path / "out")[0] == 0
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).standard_normal((20, 2)))
    found = json.loads(run("score", tmp_path / "out", tmp_path / "rows.npy", "--paper-convention", "--json")[1])["mean"]
    expected = found["bits_per_dim"] - 0.5
    tolerances.assert_within(found["paper_convention"], expected, tolerances.of_roundings(40, expected, "float64"))


@pytest.mark.parametrize("form", ["best.pth", "out"])
def test_diagnose_prints_it(authors, tmp_path, form):
    folder, state, _ = authors
    images = np.random.default_rng(1).integers(0, 256, (200, DIM), dtype=np.uint8)
    np.save(tmp_path / "more.npy", images)
    options = ["--preprocess", "paper"] if form == "best.pth" else []
    code, out, err = run("diagnose", folder / form, tmp_path / "more.npy", *options, "--json")
    assert code == 0, err
    found = json.loads(out)["paper_convention"]
    test = data.load(str(tmp_path / "more.npy"), data_dir=tmp_path, levels=256).test
    theirs = as_released(state, logit(drawn(test, draw=1), NAMED["paper"])[0]).mean()
    tolerances.assert_within(found["test"], theirs, bits_allowed(folder, drawn(test, draw=1)).mean())
    given = ["diagnose", folder / form, tmp_path / "more.npy", *options]
    assert "released code" not in run(*given)[1]
    line = next(line for line in run(*given, "--paper-convention")[1].splitlines() if "released code" in line)
    assert f"train {found['train']:.4f}, test {found['test']:.4f} bits/dim" in line


def test_classify_prints_it_of_each_class(tmp_path):
    source = ROOT / "exported" / "digits-classes.pt"
    document = json.loads(run("classify", source, "digits", "--json")[1])
    model, rows = checkpoint.read(source).mixture, data.load("digits")
    x = dequantize(rows.test, noise.uniform(0, range(len(rows.test)), 64, draw=1)).astype(float)
    log_det, own = logit(x, NAMED["digits"])[1], reference.class_log_prob(model, x)
    of_nats, to_bits = tolerances.of_classes(model, x, "float64"), tolerances.TWO / log(2) / 64
    for number, entry in enumerate(document["classes"]):
        mine = rows.classes().test == number
        expected = (-(own[mine, number] - log_det[mine]) / 64 / log(2) - 0.5).mean()
        allowed = to_bits * of_nats["class_log_prob"][mine, number].mean()
        tolerances.assert_within(entry["paper_convention"], expected, allowed)
    mixed = reference.mixture_log_prob(own, model.priors)
    expected = (-(mixed - log_det) / 64 / log(2) - 0.5).mean()
    tolerances.assert_within(document["paper_convention"], expected, to_bits * of_nats["log_prob"].mean())
    out = run("classify", source, "digits", "--paper-convention")[1]
    assert f"as the released code prints it {document['paper_convention']:.4f}" in out
    assert f"{document['classes'][0]['paper_convention']:.4f}" in out
    assert "released code" not in run("classify", source, "digits")[1]
