"""`certify`: what it prints, and its exit codes."""

import json

import numpy as np
import pytest

from tests.cli.conftest import run
from tests.test_imports import loaded_by


@pytest.fixture
def grey(tmp_path):
    np.save(tmp_path / "grey.npy", np.random.default_rng(0).integers(0, 17, (400, 4, 4), dtype=np.uint8))
    return tmp_path / "grey.npy"


def test_certify_prints_a_table(model, ready, grey):
    code, out, err = run("certify", model, grey, "--rows", 20)
    words = ["certified, data", "certified, network", "squeeze s_min(J), data", "float32 round trip, predicted"]
    words += ["20 test rows of grey", "seen on 780 pairs", "all pairs and rows within", "give an exported folder"]
    assert (code, [word for word in words if word not in out], err) == (0, [], "")
    code, out, err = run("certify", ready, grey)
    words = ["8 test vectors of the folder", "round trip, measured", "measured / predicted", "give the model file"]
    assert (code, [word for word in words if word not in out], err) == (0, [], "")


def test_certify_prints_json_of_samples(model, ready):
    whole, folder = (json.loads(run("certify", path, "--json", "--rows", 9)[1]) for path in (model, ready))
    assert (whole["data"], whole["network"]) == (folder["data"], folder["network"])
    assert (whole["rows"], whole["rows_of"], whole["violations"]) == (9, "samples of the model", [])
    assert (whole["round_trip"], folder["local"]["share"] < 1) == (None, True)
    assert 1 / whole["data"]["lip_inverse"] < whole["observed_data"]["least_ratio"]


def test_one_row_has_no_pairs(model, ready):
    for path in (model, ready):
        code, out, _ = run("certify", path, "--rows", 1)
        assert (code, "0 pairs" in out, "inf" in out.split()) == (0, True, False)


def test_a_broken_bound_is_exit_code_1(ready, grey, rewrite):
    rewrite(ready, lambda document: document["certificate"]["network"].update(lip_forward=0.01))
    code, out, err = run("certify", ready, grey)
    assert (code, "VIOLATED network: " in out) == (1, True)
    assert "Expected all rows within the certified bounds; network: " in err
    code, out, _ = run("certify", ready, grey, "--json")
    assert (code, len(json.loads(out)["violations"])) == (1, 1)


def test_check_shows_the_predicted_error(ready):
    _, out, _ = run("check", ready)
    assert "[1] predicted " in out


def test_certifying_a_folder_loads_neither_torch_nor_onnx(ready, grey):
    code = (
        "from typer.testing import CliRunner\n"
        "from lunet_cli.main import app\n"
        f"assert CliRunner().invoke(app, ['certify', {str(ready)!r}, {str(grey)!r}]).exit_code == 0\n"
    )
    assert loaded_by(code) <= {"typer"}
