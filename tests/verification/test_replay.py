"""Replaying witnesses: true ones are confirmed, others are not; damaged folders and files are refused."""

import json

import numpy as np
import pytest

from lunet_export.artifact import sealed
from lunet_export.checks import reference
from lunet_export.errors import ArtifactError, BadInputError, LunetExportError
from lunet_export.export import Provenance, Question, export_for_verifier
from lunet_export.verification import LatentBox, VerifierFolder, replay, witness
from lunet_export.verification.replay import as_json
from tests import tolerances
from tests.conftest import copied
from tests.verification.cases import dense, piecewise_linear

DIM = 4
WEIGHTS = piecewise_linear(DIM, 3)
BOX = LatentBox.of_mass(0.9, DIM)
CLAIM = "class 1"
QUERY = "query-0.9.vnnlib"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay") / "m"
    export_for_verifier(WEIGHTS, folder, Provenance("m"), Question((0.9,), dense(DIM), CLAIM))
    return folder


@pytest.fixture(scope="module")
def rows(original):
    """Latents in the box, and which of them the merged graph does not give class 1."""
    opened = VerifierFolder.open(original)
    c = float(BOX.bound)
    z = np.random.default_rng(0).uniform(-c, c, (200, DIM)).astype(np.float32)
    y = np.stack([replay(opened, witness.Witness(row.astype(np.float64), {}), query=QUERY).y for row in z])
    return z.astype(np.float64), y.argmax(axis=1) != 1


def text_of(z, outputs=(), head="sat\n"):
    pairs = [f"(X_{i} {value!r})" for i, value in enumerate(z.tolist())]
    return head + "(" + "\n ".join([*pairs, *(f"(Y_{j} {value!r})" for j, value in enumerate(outputs))]) + ")\n"


def replayed(folder, z, tmp_path, *, tolerance=1e-5, **text):
    path = tmp_path / "witness.txt"
    path.write_text(text_of(np.asarray(z), **text))
    return replay(VerifierFolder.open(folder), witness.read(path, DIM), query=QUERY, tolerance=tolerance)


def test_every_counterexample_of_the_box_is_confirmed_and_nothing_else(original, rows, tmp_path):
    z, violated = rows
    assert 10 < violated.sum() < 190
    for row, wanted in zip(z[:40], violated[:40], strict=True):
        found = replayed(original, row, tmp_path, tolerance=0)
        assert (found.confirmed, found.strict, found.in_box) == (wanted, wanted, True)
        assert np.sign(found.margin) == (1 if wanted else -1)


def test_x_and_its_density_are_those_of_the_model(original, rows, tmp_path):
    z = rows[0][3]
    found = replayed(original, z, tmp_path)
    x = reference.decode(WEIGHTS, z[None])
    allowed = tolerances.of_sampling(WEIGHTS, z[None])
    tolerances.assert_within(found.x[None], x, allowed["x"])
    tolerances.assert_within([found.log_prob], reference.log_prob(WEIGHTS, x), allowed["log_prob"])
    other = replayed(original, rows[0][4], tmp_path)
    assert tolerances.beyond(other.x[None], x, allowed["x"]) > 1
    assert tolerances.beyond([other.log_prob], reference.log_prob(WEIGHTS, x), allowed["log_prob"]) > 1


def test_a_witness_outside_of_the_box_is_not_confirmed(original, rows, tmp_path):
    z = rows[0][rows[1]][0].copy()
    z[2] = float(BOX.bound) + 1e-3
    found = replayed(original, z, tmp_path)
    assert (found.in_box, found.confirmed) == (False, False)
    assert found.outside == pytest.approx(1e-3, rel=1e-6)


def test_a_witness_at_the_border_runs_at_a_float32_inside(original, tmp_path):
    """A verifier that computes in float64 names the bound itself, and may be off by its own tolerance."""
    for excess in (0.0, 1e-9):
        found = replayed(original, np.full(DIM, float(BOX.bound) + excess), tmp_path)
        assert found.in_box
        assert (found.z.astype(np.float64) <= float(BOX.bound)).all()
        # The float32 below, which is one unit in the last place away at most.
        tolerances.assert_within(found.z, np.full(DIM, float(BOX.bound)), tolerances.of_roundings(2, BOX.bound))
        assert found.strict == (found.confirmed and excess == 0)


def test_a_claim_missed_by_rounding_is_confirmed_within_the_tolerance_alone(tmp_path):
    """A witness on the border of what is claimed, where verifiers like to stop."""
    z = np.full(DIM, 0.25)
    export_for_verifier(WEIGHTS, tmp_path / "m", Provenance("m"), Question())
    opened = VerifierFolder.open(tmp_path / "m")
    x = float(replay(opened, witness.Witness(z, {}), query="box-0.9.vnnlib").x[0])
    for excess, confirmed in ((5e-7, True), (1e-4, False)):
        folder = tmp_path / f"m{excess}"
        claim = f"Y_0 <= {x + excess * abs(x):.12f}"
        export_for_verifier(WEIGHTS, folder, Provenance("m"), Question((0.9,), claim=claim))
        assert replayed(folder, z, tmp_path).confirmed == confirmed
        assert not replayed(folder, z, tmp_path, tolerance=0).confirmed


def test_a_box_alone_is_confirmed_by_lying_in_it(tmp_path):
    export_for_verifier(WEIGHTS, tmp_path / "m", Provenance("m"), Question())
    opened = VerifierFolder.open(tmp_path / "m")
    asked = opened.choose(None)
    assert asked == "box-0.9.vnnlib"
    found = replay(opened, witness.Witness(np.zeros(DIM), {}), query=asked)
    assert (found.confirmed, found.margin, found.case) == (True, None, "")
    json.dumps(as_json(found))


def test_what_the_verifier_says_of_its_outputs_is_compared(original, rows, tmp_path):
    z = rows[0][0]
    exact = replayed(original, z, tmp_path).y.tolist()
    assert replayed(original, z, tmp_path, outputs=exact).output_gap == 0
    assert replayed(original, z, tmp_path, outputs=[exact[0] + 0.5]).output_gap == pytest.approx(0.5)
    assert replayed(original, z, tmp_path).output_gap is None


@pytest.mark.parametrize("suffix", [".txt", ".out", ".json", ".list.json", ".npy", ".row.npy"])
def test_witnesses_of_every_kind_are_read(suffix, rows, tmp_path):
    z, path = rows[0][0], tmp_path / f"w{suffix}"
    if suffix.endswith(".npy"):
        np.save(path, z[None] if "row" in suffix else z)
    elif suffix == ".json":
        path.write_text(json.dumps({f"X_{i}": value for i, value in enumerate(z.tolist())}))
    elif suffix == ".list.json":
        path.write_text(json.dumps(z.tolist()))
    else:
        path.write_text(text_of(z, head="sat\n" if suffix == ".txt" else ""))
    np.testing.assert_array_equal(witness.read(path, DIM).z, z)


@pytest.mark.parametrize(
    "line",
    ["{kind} {number} = {value}", "\t{letter}{number} = {value}"],
    ids=["Marabou in Python", "Marabou's program"],
)
def test_what_marabou_prints_is_read(line, rows, tmp_path):
    """Among its other lines."""
    z, path = rows[0][0], tmp_path / "w.txt"
    told = [("input", "x", i, value) for i, value in enumerate(z.tolist())] + [("output", "y", 0, 1.5)]
    lines = [line.format(kind=kind, letter=letter, number=i, value=repr(value)) for kind, letter, i, value in told]
    path.write_text("\n".join(["Number of basis refactorizations: 2", "sat", "Input assignment:", *lines, ""]))
    found = witness.read(path, DIM)
    np.testing.assert_array_equal(found.z, z)
    assert found.outputs == {0: 1.5}
    path.write_text("Property: q.vnnlib\nunsat\n")
    with pytest.raises(BadInputError, match="says unsat"):
        witness.read(path, DIM)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("w.txt", "unsat\n", "says unsat: there is no counterexample"),
        ("w.txt", "", "Expected ((X_0 NUMBER)"),
        ("w.txt", "sat", "Expected ((X_0 NUMBER)"),
        ("w.txt", "timeout", "got 'timeout'"),
        ("w.txt", "((X_0 1) (X_1 2) (X_2 3))", "X_3 is missing"),
        ("w.txt", "((X_0 1) (X_1 2) (X_2 3) (X_3 4) (X_4 5))", "X_4 is not an input"),
        ("w.txt", "((X_0 1) (X_0 1) (X_1 2) (X_2 3) (X_3 4))", "X_0 occurs twice"),
        ("w.txt", "((X_0 one) (X_1 2) (X_2 3) (X_3 4))", "Expected numbers"),
        ("w.txt", "((X_0 nan) (X_1 2) (X_2 3) (X_3 4))", "X_0 is not"),
        ("w.txt", "((X_0 1) (X_1 2) (X_2 1e999) (X_3 4))", "X_2 is not"),
        ("w.txt", b"\xff\xfe\x00", "as text, JSON or .npy"),
        ("w.json", "{", "is not valid JSON"),
        ("w.json", "[" * 100000, "is not valid JSON"),
        ("w.json", "3", "got int"),
        ("w.json", "[1, 2]", "got shape (2,)"),
        ("w.json", '[1, 2, 3, "a"]', "Expected numbers"),
        ("w.json", "[[1], [2, 3], 4, 5]", "Expected numbers"),
        ("w.json", '{"X_0": 1}', "X_1 is missing"),
        ("w.npy", b"no array", "readable .npy"),
    ],
)
def test_other_witnesses_are_refused(name, content, said, tmp_path):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInputError) as error:
        witness.read(path, DIM)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_witness_is_refused(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(BadInputError, match="does not exist"):
            witness.read(path, DIM)


def test_of_several_queries_one_must_be_named(tmp_path):
    export_for_verifier(WEIGHTS, tmp_path / "m", Provenance("m"), Question((0.5, 0.9), claim="Y_0 <= 1"))
    opened = VerifierFolder.open(tmp_path / "m")
    with pytest.raises(ArtifactError, match=r"it has 2\. Choose one, such as `query='query-0\.5\.vnnlib'`"):
        opened.choose(None)
    assert opened.choose("box-0.5.vnnlib") == "box-0.5.vnnlib"
    with pytest.raises(ArtifactError, match=r"got nothing\.vnnlib"):
        opened.choose("nothing.vnnlib")


# Hostile folders


@pytest.mark.parametrize("name", ["generator.onnx", "generator_with_log_prob.onnx", "merged.onnx", QUERY])
def test_altered_and_missing_files_are_refused(name, original, tmp_path):
    folder = copied(original, tmp_path / "m")
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    with pytest.raises(ArtifactError, match="was altered"):
        VerifierFolder.open(folder)
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match="it is missing"):
        VerifierFolder.open(folder)


def _without(*keys):
    def edit(document):
        for key in keys[:-1]:
            document = document[key]
        del document[keys[-1]]

    return edit


def _with(value, *keys):
    def edit(document):
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        _without("sha256"),
        _without("sha256", "generator.onnx"),
        _without("sha256", QUERY),
        _without("model", "dim"),
        _without("graphs"),
        _without("boxes"),
        _without("queries"),
        _with(5, "model", "dim"),
        _with("4", "model", "dim"),
        _with([], "model"),
        _with([1], "queries"),
        _with("generator.onnx", "queries", 0, "graph"),
        _with("../../etc/passwd", "queries", 0, "graph"),
        _with("0" * 64, "sha256", "../generator.onnx"),
        _with("0" * 64, "sha256", "generator.onnx"),
        _with("other", "format"),
        _with(2, "format_version"),
    ],
)
def test_a_description_that_was_mended_by_hand_is_refused(edit, original, tmp_path):
    folder = copied(original, tmp_path / "m")
    path = folder / "verifier.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(sealed(document)))
    with pytest.raises(LunetExportError) as error:
        VerifierFolder.open(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "[" * 100000, '{"format": "lunet_export.verifier"}'])
def test_other_descriptions_are_refused(text, original, tmp_path):
    folder = copied(original, tmp_path / "m")
    (folder / "verifier.json").write_text(text)
    with pytest.raises(ArtifactError):
        VerifierFolder.open(folder)


def test_an_edited_description_is_refused(original, tmp_path):
    folder = copied(original, tmp_path / "m")
    path = folder / "verifier.json"
    path.write_text(path.read_text().replace('"mass": 0.9', '"mass": 0.99'))
    with pytest.raises(ArtifactError, match="was altered"):
        VerifierFolder.open(folder)
    with pytest.raises(ArtifactError, match="--for-verifier"):
        VerifierFolder.open(tmp_path)
