"""`export --for-verifier` and `replay`, as a user types them."""

import json

import numpy as np
import onnx
import pytest

from lunet_export import checkpoint
from lunet_export.preprocessing import NAMED
from lunet_export.torch_layers import Flow
from lunet_export.verification import WORDS
from tests.cli.conftest import run
from tests.networks import network
from tests.verification.cases import dense, piecewise_linear


def saved(path, weights):
    checkpoint.write(path, Flow.of(weights), image_shape=None, training={}, examples=None)
    return path


@pytest.fixture
def bent(tmp_path):
    """A model of leaky ReLU."""
    return saved(tmp_path / "bent.pt", piecewise_linear(4, 2))


@pytest.fixture
def classifier(tmp_path):
    path = tmp_path / "classifier.onnx"
    onnx.save(dense(4), path)
    return path


@pytest.fixture
def asked(bent, classifier, tmp_path):
    """A folder with a claim."""
    folder = tmp_path / "asked"
    options = ("--for-verifier", "--classifier", classifier, "--claim", "class 1", "--mass", 0.5)
    code, _, err = run("export", bent, "-o", folder, *options)
    assert code == 0, err
    return folder


def test_the_folder_is_written_and_told(bent, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(bent, "--for-verifier", "--mass", 0.5, "--mass", 0.9, "--claim", "Y_0 <= 3")
    assert code == 0, err
    folder = tmp_path / "runs" / "bent-verifier"
    assert {file.name for file in folder.iterdir()} == {
        "generator.onnx",
        "generator_with_log_prob.onnx",
        "verifier.json",
        "README.md",
        *(f"{kind}-{mass}.vnnlib" for kind in ("box", "query") for mass in (0.5, 0.9)),
    }
    assert "generator.onnx: z -> x, opset" in out
    assert "generator_with_log_prob.onnx: z -> x, log_prob, opset" in out
    assert "exact in model mass" in out
    assert "no density level sets" in out
    assert "2 Gemm, 1 LeakyRelu" in out
    assert "lunet-export replay" in err
    document = json.loads((folder / "verifier.json").read_text())
    assert document["words"] == WORDS
    assert (document["model"]["activation"], document["model"]["slope"]) == ("leaky-relu", 0.1)
    assert all(WORDS in file.read_text() for file in folder.glob("*.vnnlib"))


def test_json_is_the_description(bent, tmp_path):
    code, out, _ = run("export", bent, "-o", tmp_path / "f", "--for-verifier", "--json")
    found = json.loads(out)
    assert (code, found["passed"], found["boxes"][0]["mass"]) == (0, True, 0.9)
    assert all(check["passed"] for check in found["checks"])


def test_the_share_of_held_out_rows_is_told(bent, tmp_path):
    """Rows of N(0, 9 I): few of their latents lie in the box, and the figure says so."""
    rows = tmp_path / "rows.npy"
    np.save(rows, 3 * np.random.default_rng(0).standard_normal((2000, 4)))
    code, out, err = run("export", bent, "-o", tmp_path / "f", "--for-verifier", "--data", rows)
    assert code == 0, err
    assert "of 200 held-out rows of rows" in out
    (box,) = json.loads((tmp_path / "f" / "verifier.json").read_text())["boxes"]
    assert box["held_out"]["rows"] == 200
    assert box["held_out"]["share"] < 0.9 - 3 * box["held_out"]["standard_error"]


def test_held_out_rows_of_the_model_lie_in_the_box_at_the_nominal_share(bent, tmp_path):
    from lunet_export.checks import reference

    rows = tmp_path / "rows.npy"
    z = np.random.default_rng(1).standard_normal((20_000, 4))
    np.save(rows, reference.decode(checkpoint.read(bent).weights, z))
    assert run("export", bent, "-o", tmp_path / "f", "--for-verifier", "--data", rows)[0] == 0
    (box,) = json.loads((tmp_path / "f" / "verifier.json").read_text())["boxes"]
    assert abs(box["held_out"]["share"] - 0.9) <= 3 * box["held_out"]["standard_error"]


def test_behind_a_logit_the_output_is_named(tmp_path):
    path = saved(tmp_path / "images.pt", piecewise_linear(16, 2, preprocessing=NAMED["digits"]))
    code, out, _ = run("export", path, "-o", tmp_path / "f", "--for-verifier")
    assert code == 0
    assert "the generator's output is h = logit(x)" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--for-verifier", "--solver", "fused"), "Expected no --solver with --for-verifier"),
        (("--for-verifier", "--dtype", "float64"), "Expected no --dtype"),
        (("--mass", 0.9), "Expected --for-verifier with --mass"),
        (("--claim", "class 1"), "Expected --for-verifier with --claim"),
        (("--for-verifier", "--mass", 1.5), "mass between 0 and 1; got 1.5"),
        (("--for-verifier", "--mass", 0.9, "--mass", 0.9), "masses that differ"),
        (("--for-verifier", "--claim", "all is well"), "Expected a claim like"),
        (("--for-verifier", "--classifier", "none.onnx"), "none.onnx does not exist"),
        (("--for-verifier", "--data", "none.npy"), "none.npy does not exist"),
        (("--for-verifier", "--data", "two-moons"), "Expected rows of 4 dimensions"),
    ],
)
def test_other_options_are_refused(options, said, bent, tmp_path):
    code, _, err = run("export", bent, "-o", tmp_path / "f", *options)
    assert (code, err.count("\n")) == (2, 1)
    assert said in err
    assert not (tmp_path / "f").exists()


def test_other_models_are_refused(tmp_path):
    path = saved(tmp_path / "soft.pt", network(3, 2))
    code, _, err = run("export", path, "-o", tmp_path / "f", "--for-verifier")
    assert (code, err.count("\n")) == (2, 1)
    assert "--activation leaky-relu" in err


def test_folders_are_replaced_only_with_force_and_only_if_they_are_ours(bent, asked, tmp_path):
    again = ("export", bent, "-o", asked, "--for-verifier")
    assert run(*again)[0] == 2
    assert run(*again, "--force")[0] == 0
    assert not (asked / "merged.onnx").exists()
    (asked / "notes.txt").write_text("mine")
    code, _, err = run(*again, "--force")
    assert (code, "holds notes.txt" in err) == (2, True)
    plain = tmp_path / "plain"
    assert run("export", bent, "-o", plain)[0] == 0
    assert run("export", bent, "-o", plain, "--for-verifier", "--force")[0] == 2
    assert (plain / "density.onnx").exists()


def witnesses(folder):
    """Of the classifier's claim: one that violates it and one that does not."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "merged.onnx"), providers=["CPUExecutionProvider"])
    z = np.random.default_rng(0).uniform(-1, 1, (200, 4)).astype(np.float32)
    margins = []
    for row in z:
        (y,) = session.run(None, {"z": row[None]})[0]
        margins.append(max(y[0], y[2]) - y[1])
    return z[int(np.argmax(margins))], z[int(np.argmin(margins))]


def test_a_witness_is_confirmed_or_not(asked, tmp_path):
    true, false = witnesses(asked)
    path = tmp_path / "w.npy"
    np.save(path, true)
    code, out, _ = run("replay", asked, path)
    assert code == 0
    assert out.rstrip().endswith("confirmed")
    assert "log p(x) = " in out
    assert "not for the witness" not in out
    np.save(path, false)
    code, out, err = run("replay", asked, path)
    assert (code, err.count("\n")) == (1, 1)
    assert "does not hold. Not confirmed." in err
    np.save(path, 9 * true)
    code, out, err = run("replay", asked, path)
    assert code == 1
    assert "outside the box by" in err
    assert f"the witness's own z = [{', '.join(f'{value:.7g}' for value in 9 * true)}]\n" in out
    assert out.index("nearest point in the box, not for the witness") < out.index("log p(x) = ")
    found = json.loads(run("replay", asked, path, "--json")[1])
    assert found["given"] == pytest.approx((9 * true).tolist())
    assert found["z"] != found["given"]


def test_replay_prints_json_either_way(asked, tmp_path):
    true, false = witnesses(asked)
    path = tmp_path / "w.json"
    for z, wanted in ((true, 0), (false, 1)):
        path.write_text(json.dumps(z.tolist()))
        code, out, _ = run("replay", asked, path, "--json")
        found = json.loads(out)
        assert (code, found["confirmed"], found["in_box"]) == (wanted, not wanted, True)
        assert len(found["x"]) == 4
        assert (found["margin"] >= 0) == (not wanted)


@pytest.mark.parametrize("options", [("--query", "none.vnnlib"), ("--tolerance", "-1"), ("--tolerance", "inf")])
def test_other_options_of_replay_are_refused(options, asked, tmp_path):
    np.save(tmp_path / "w.npy", np.zeros(4))
    assert run("replay", asked, tmp_path / "w.npy", *options)[0] == 2


def test_replay_takes_no_other_folder(ready, tmp_path):
    np.save(tmp_path / "w.npy", np.zeros(16))
    for folder in (ready, tmp_path / "nowhere"):
        code, _, err = run("replay", folder, tmp_path / "w.npy")
        assert (code, err.count("\n")) == (2, 1)
        assert "Expected a folder for verifiers" in err
