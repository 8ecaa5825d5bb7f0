"""`diagnose` and `recalibrate`: what they print and what they write."""

import json

import numpy as np
import pytest
from PIL import Image

from lunet_export import checkpoint, data, noise
from lunet_export.checks import reference
from lunet_export.diagnostics import FLAGS
from lunet_export.diagnostics.rows import TEST
from lunet_export.preprocessing import dequantize
from lunet_export.runtime import ExportedFlow
from tests import tolerances
from tests.cli.conftest import SMALL, run
from tests.networks import network
from tests.test_imports import loaded_by


@pytest.fixture
def grey(tmp_path):
    np.save(tmp_path / "grey.npy", np.random.default_rng(0).integers(0, 17, (400, 4, 4), dtype=np.uint8))
    return tmp_path / "grey.npy"


def test_diagnose_prints_a_table_and_its_flags(model, grey, tmp_path):
    code, out, err = run("diagnose", model, grey, "--plot", tmp_path / "q.png")
    words = ["mean NLL of grey", "PPCA, q = 8", "gain over the Gaussian", "Gaussian gap G =", "activation 2", "log f'"]
    assert (code, [word for word in words if word not in out], err) == (0, [], "")
    assert "WORSE_THAN_GAUSSIAN: The model is" in out
    with Image.open(tmp_path / "q.png") as picture:
        assert picture.size[0] > 500


def test_diagnose_prints_json(model, ready, grey):
    whole, folder = (json.loads(run("diagnose", path, grey, "--json")[1]) for path in (model, ready))
    assert (len(whole["ppca_train"]), whole["dim"], whole["rows_train"], whole["rows_test"]) == (17, 16, 320, 40)
    assert {flag["name"] for flag in whole["flags"]} <= set(FLAGS)
    assert (whole["not_available"].keys(), folder["activations"]) == ({"entropy"}, None)
    assert folder["not_available"]["activations"].endswith("give the model file")
    rows = data.arrays.load(grey, levels=17).test
    x = dequantize(rows, noise.uniform(0, range(40), 16, draw=TEST))
    allowed = tolerances.of_density(SMALL, x)["log_prob"].mean()
    gap = abs(folder["model"]["test"]["nats"] - whole["model"]["test"]["nats"])
    assert gap <= allowed


def test_diagnose_says_what_a_folder_cannot_tell(ready, grey):
    code, out, _ = run("diagnose", ready, grey)
    assert (code, "activations" in out, "not available" in out) == (0, True, True)


def test_diagnose_tells_other_data_apart(model, grey, tmp_path):
    np.save(tmp_path / "white.npy", np.full((400, 4, 4), 16, np.uint8))
    code, out, _ = run("diagnose", model, grey, "--against", tmp_path / "white.npy")
    assert (code, "log p against white" in out, "AUROC" in out) == (0, True, True)
    document = json.loads(run("diagnose", model, grey, "--against", grey, "--json")[1])
    assert document["detection"]["auroc"] == pytest.approx(0.5)
    code, out, err = run("diagnose", model, grey, "--against", "two-moons")
    assert (code, out) == (2, "")
    assert "Expected rows of 16 dimensions, as the model has; two-moons has 2" in err


def test_the_entropy_of_two_moons_is_known(tmp_path):
    checkpoint.write_weights(tmp_path / "m.pt", network(2, 2), image_shape=None, training={}, examples=None)
    code, out, _ = run("diagnose", tmp_path / "m.pt", "two-moons")
    assert (code, "by known density of 10000 rows" in out, "h(Z) - h(X) =" in out) == (0, True, True)


def test_diagnosing_a_folder_loads_neither_torch_nor_onnx(ready, grey):
    code = (
        "from typer.testing import CliRunner\n"
        "from lunet_cli.main import app\n"
        f"assert CliRunner().invoke(app, ['diagnose', {str(ready)!r}, {str(grey)!r}]).exit_code == 0\n"
    )
    assert loaded_by(code) <= {"typer"}


def test_recalibrate_writes_a_model_that_everything_reads(model, grey, tmp_path):
    better = tmp_path / "better.pt"
    code, out, err = run("recalibrate", model, grey, "-o", better)
    assert (code, "falls by G = " in out) == (0, True)
    assert err.strip() == f"next: lunet-export diagnose {better} {grey}"
    before, after = (json.loads(run("diagnose", path, grey, "--json")[1]) for path in (model, better))
    read = checkpoint.read(better)
    (note,) = read.training["recalibrated"]
    fell = before["model"]["train"]["nats"] - after["model"]["train"]["nats"]
    assert fell == pytest.approx(note["gain_nats"], abs=1e-8)
    assert before["latents_train"]["gap_nats"] == pytest.approx(note["gain_nats"], abs=1e-10)
    assert after["latents_train"]["gap_nats"] == pytest.approx(0, abs=1e-10)
    assert (read.training["dataset"], read.image_shape, note["rows"], note["dataset"]) == ("demo", (4, 4), 320, "grey")
    assert run(better, "-o", tmp_path / "folder")[0] == 0
    assert run("check", tmp_path / "folder", "--model", better)[0] == 0
    assert "gain_nats" in run("inspect", better)[1]
    flow = ExportedFlow(tmp_path / "folder", provider="cpu")
    x = np.full((1, 16), 3.5)
    exact, allowed = reference.log_prob(read.weights, x), tolerances.of_density(read.weights, x)["log_prob"]
    tolerances.assert_within(flow.log_prob(x), exact, allowed)
    assert tolerances.beyond(flow.log_prob(x + 0.1), exact, allowed) > 1


def test_recalibrate_prints_json_and_replaces_with_force(model, grey):
    code, out, _ = run("recalibrate", model, grey, "-o", model, "--force", "--json")
    document = json.loads(out)
    assert (code, document["dataset"], document["gain_nats"] > 0) == (0, "grey", True)
