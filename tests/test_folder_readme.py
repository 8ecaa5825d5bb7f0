"""README.md of an exported folder: what it says is the manifest's, and what it says to run runs as it stands."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from lunet_export import ExportedFlow, artifact
from lunet_export.artifact import README, README_MARK, open_folder, read_readme
from lunet_export.distribution import Mixture
from lunet_export.embedding import write_project
from lunet_export.errors import ArtifactError, BadInputError
from lunet_export.export import ExportSettings, Provenance, Question, export, export_for_verifier, readme
from lunet_export.files.reading import sha256
from lunet_export.preprocessing import NAMED
from tests import conditional
from tests.cli.conftest import run
from tests.conftest import ROOT, copied
from tests.families import composed, jko, realnvp
from tests.networks import CLASS_NAMES, mixture, network
from tests.readmes import FOLDERS, renewed
from tests.verification.cases import piecewise_linear

TRAINED = {"dataset": "moons", "test": 0.780202, "test_nats": 1.08159, "gaussian_test": 1.377840}
#: Every kind of folder, with the settings that change what a reader must know.
KINDS = {
    "an LU-Net": (lambda: network(3, 2), {}, {"training": TRAINED, "columns": ("mass", "b", "flux")}),
    "float64, all graphs": (lambda: network(2, 2), {"dtype": "float64", "with_log_prob": True, "rng": True}, {}),
    "float16 products": (lambda: network(4, 2), {"dtype": "float16"}, {}),
    "images": (lambda: network(16, 2, preprocessing=NAMED["digits"]), {}, {"image_shape": (4, 4)}),
    "a RealNVP": (realnvp.NETWORKS["dense, plane"], {}, {}),
    "a JKO-iFlow": (jko.NETWORKS["one hidden layer"], {"hutchinson": True}, {}),
    "an imported flow": (
        composed.NETWORKS["a logit in front"],
        {},
        {"training": {"imported_from": "nflows"}, "assumed": ("The statistics are of this network.",)},
    ),
    "a conditional flow": (conditional.network, {"with_log_prob": True}, {}),
    "classes": (lambda: mixture(4, 2), {"with_log_prob": True}, {"training": {"dataset": "c", "accuracy": 0.5}}),
    "a mixture": (
        lambda: Mixture((network(4, 2), composed.NETWORKS["couplings, turned round"]()), CLASS_NAMES[:2], (0.6, 0.4)),
        {"dtype": "float64"},
        {},
    ),
}


def made(name: str, folder: Path) -> Path:
    """A folder of a kind."""
    make, settings, known = KINDS[name]
    export(make(), folder, Provenance(folder.name, **known), ExportSettings(**settings))
    return folder


def for_verifier(folder: Path, **asked) -> Path:
    question = Question(**{"masses": (0.9, 0.5), "claim": "Y_0 <= 2.5 and Y_1 >= Y_0", **asked})
    export_for_verifier(piecewise_linear(2, 2), folder, Provenance(folder.name), question)
    return folder


def blocks(folder: Path, language: str) -> list[str]:
    """The blocks of a language in the folder's README.md, in their order."""
    text = (folder / README).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def ran(folder: Path, *programs: str, alone: bool = False) -> subprocess.CompletedProcess[str]:
    """Python programs, one after the other in one process that stands in the folder; `alone` hides lunet_export."""
    hidden = "import sys; sys.modules['lunet_export'] = None" if alone else "pass"
    code = "\n".join([hidden, *(f"exec({program!r}, {{}})" for program in programs)])
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def with_a_wrong_bit(path: Path) -> None:
    """Flip the exponent's highest bit of a weight in a graph."""
    model = onnx.load(path)
    weight = max(model.graph.initializer, key=lambda entry: len(entry.raw_data) if entry.data_type == 1 else 0)
    data = path.read_bytes()
    place = data.index(weight.raw_data) + 3  # the last byte of the first float32
    path.write_bytes(data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :])


@pytest.mark.slow  # exports every kind, and starts two programs for each
@pytest.mark.parametrize("name", KINDS)
def test_what_a_readme_says_to_run_runs_as_it_stands(name, tmp_path):
    folder = made(name, tmp_path / "some flow")
    with_package, without, replay = blocks(folder, "python")
    done = ran(folder, with_package)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert np.isfinite([float(word) for word in done.stdout.split()]).all()
    done = ran(folder, without, replay, alone=True)
    mean, *said = done.stdout.splitlines()
    assert (done.returncode, said, done.stderr) == (0, ["all within their tolerances"], "")
    assert np.isfinite(float(mean))
    _facts_are_the_manifests(folder)


def _facts_are_the_manifests(folder: Path) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    text, model = (folder / README).read_text(encoding="utf-8"), document["model"]
    (row,) = re.findall("^- Row: (.*)$", text, re.MULTILINE)
    (training,) = re.findall("^- Training: (.*)$", text, re.MULTILINE)
    (numbers,) = re.findall("^- Numbers: (.*)$", text, re.MULTILINE)
    assert text.startswith(f"{README_MARK}\n# `{model['name']}`\n")
    assert f"; {model['dim']} dimensions\n" in text
    assert numbers.startswith(document["dtype"])
    assert ("float16" in numbers) == (document["products"] == "float16")
    for graph in document["graphs"].values():
        for tensor in (*graph["inputs"], *graph["outputs"]):
            shape = ", ".join(map(str, tensor["shape"]))
            assert f"`{tensor['name']}` [{shape}] (" in text
            assert f"{tensor['unit']})" in text
        assert f"`{graph['file']}`" in text or "_1" in graph["file"]  # between the first and the last class
        assert all(warning in text for warning in graph.get("warnings", []))
    for entry in document.get("classes", []):
        assert f"`{entry['name']}` ({entry['prior']:.4g})" in text
    if model["image_shape"]:
        assert row == "an image of 4 x 4, row by row"
        assert "levels 17, margin 0.1\n" in text
        assert "a grey level, 0 to 16, plus noise in [0, 1)" in text
    elif "columns" in model:
        assert row == "the columns `mass`, `b`, `flux`"
    else:
        assert row == f"{model['dim']} numbers"
    assert ("`model.domain`" in text) == bool(model.get("domain"))
    for key in ("test", "test_nats", "gaussian_test", "accuracy"):
        assert (f"{document['training'].get(key, 0):.6g} " in f"{training} ") == (key in document["training"])
    assert ("nflows" in training) == ("imported_from" in document["training"])
    assert all(sentence in text for sentence in document["provenance"].get("assumed", []))
    assert f'.astype("{document["dtype"]}")' in text


@pytest.mark.parametrize("graph", ["density", "sampling"])
def test_the_replay_sees_a_wrong_bit(graph, folder):
    *_, replay = blocks(folder, "python")
    with_a_wrong_bit(folder / f"{graph}.onnx")
    done = ran(folder, replay, alone=True)
    output = {"density": "z", "sampling": "x"}[graph]
    assert (done.returncode, done.stderr) == (1, f"{graph}: {output} is outside its tolerance\n")


def test_the_replay_of_classes_sees_a_wrong_bit(class_folder):
    *_, replay = blocks(class_folder, "python")
    with_a_wrong_bit(class_folder / "sampling_2.onnx")
    done = ran(class_folder, replay, alone=True)
    assert (done.returncode, done.stderr) == (1, "sampling_2: x is outside its tolerance\n")


def test_the_replay_sees_a_number_that_is_none(folder):
    *_, replay = blocks(folder, "python")
    document = json.loads((folder / "vectors.json").read_text())
    document["density"]["z"][0][0] = float("nan")
    (folder / "vectors.json").write_text(json.dumps(document))
    assert ran(folder, replay, alone=True).returncode == 1


def test_a_verifiers_readme_says_what_there_is_and_runs(tmp_path):
    folder = for_verifier(tmp_path / "moons")
    text, document = (folder / README).read_text(encoding="utf-8"), json.loads((folder / "verifier.json").read_text())
    for graph in document["graphs"].values():
        assert f"- `{graph['file']}`: {graph['input']} -> {graph['output']}" in text
    for entry in document["boxes"]:
        assert f"- `{entry['file']}`: every |z_i| <= {entry['bound']}, of mass {entry['mass']}\n" in text
    assert f"`{document['claim']}`" in text
    assert "- 4 other queries: " in text
    assert "Marabou generator.onnx query-0.9.vnnlib > witness.txt\n" in text
    (program,) = blocks(folder, "python")
    assert ran(folder, program, alone=True).returncode == 0
    (told,) = re.findall(r"^lunet-export (replay \. witness\.txt.*)$", text, re.MULTILINE)
    (tmp_path / "witness.txt").write_text("((X_0 0.1) (X_1 0.1))")
    words = told.replace("witness.txt", str(tmp_path / "witness.txt")).replace(" . ", f" {folder} ").split()
    assert run(*words)[0] in (0, 1)
    assert run("verify", folder)[0] == 0


def test_a_verifiers_readme_without_a_claim_asks_about_the_box(tmp_path):
    folder = for_verifier(tmp_path / "moons", masses=(0.9,), claim=None)
    text = (folder / README).read_text(encoding="utf-8")
    assert "- Claim: none, hence no queries\n" in text
    assert "Marabou generator.onnx box-0.9.vnnlib > witness.txt\nlunet-export replay . witness.txt\n" in text


@pytest.mark.parametrize("name", ["sampling.onnx", "vectors.json", README])
def test_the_line_of_the_shell_names_an_altered_file(folder, name):
    _, block = blocks(folder, "sh")
    by_hand, signature = block.splitlines()
    assert signature == "ssh-keygen -Y verify -n lunet-export -f FILE -I NAME -s manifest.json.sig < manifest.json"

    def said() -> tuple[int, str]:
        found = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        command = ["sh", "-c", by_hand]
        done = subprocess.run(command, cwd=folder, env=found, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    files = ("density.onnx", "sampling.onnx", "vectors.json", README)
    assert said() == (0, "".join(f"{file}: OK\n" for file in files))
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert said() == (1, "".join(f"{file}: {'FAILED' if file == name else 'OK'}\n" for file in files))


# What is written, and what is replaced


def test_the_same_model_gives_the_same_readme(tmp_path):
    first, second = (made("an LU-Net", tmp_path / where / "m") for where in ("a", "b"))
    assert (first / README).read_bytes() == (second / README).read_bytes()


def test_the_manifest_knows_the_readme_and_points_to_it(exported):
    document, data = exported.manifest.document, (exported.folder / README).read_bytes()
    assert document["readme"] == {"sha256": sha256(data), "bytes": len(data)}
    assert README not in document["sha256"]  # of which 1.0.0 says that they are read and verified
    assert document["noise"]["specification"] == README
    assert artifact.section("Noise").rstrip() in data.decode()
    assert read_readme(exported.folder, document) == data


def test_no_program_needs_the_readme(folder):
    (folder / README).unlink()
    assert len(ExportedFlow(folder, provider="cpu").sample(2, seed=0)) == 2
    assert run("verify", folder)[::2] == (
        2,
        f"lunet-export: Expected README.md in {folder}; it is missing. Export again.\n",
    )


def test_verify_names_an_altered_readme(folder):
    text = (folder / README).read_text()
    (folder / README).write_text(text.replace("lunet-export verify", "lunet-export-verify"))
    code, _, err = run("verify", folder)
    assert (code, f"Expected {folder / README} with SHA-256" in err) == (2, True)


@pytest.mark.parametrize("entry", ["x", [], {}, {"sha256": 3, "bytes": 1}, {"sha256": "a", "bytes": -1}, {"bytes": 1}])
def test_a_malformed_entry_gets_a_sentence_where_it_is_read(folder, rewrite, entry):
    rewrite(folder, lambda document: document.update(readme=entry))
    assert open_folder(folder).graphs
    code, _, err = run("verify", folder)
    assert (code, "Expected sha256 and bytes of readme in the manifest" in err) == (2, True)


def test_a_readme_that_lies_elsewhere_is_refused(folder, tmp_path):
    (folder / README).rename(tmp_path / "elsewhere.md")
    (folder / README).symlink_to(tmp_path / "elsewhere.md")
    with pytest.raises(ArtifactError, match=r"README\.md in .*; it lies elsewhere"):
        read_readme(folder, open_folder(folder).manifest.document)


@pytest.mark.parametrize("write", [lambda target: made("an LU-Net", target), for_verifier], ids=["flow", "verifier"])
def test_force_replaces_a_readme_of_ours_and_nobodys_own(write, tmp_path):
    folder = write(tmp_path / "m")
    with pytest.raises(BadInputError, match="Give another path, or `force=True`"):
        write(folder)
    first = (folder / README).read_bytes()
    (folder / README).write_text(f"{README_MARK}\nedited\n")
    again = {"force": True}
    if (folder / "manifest.json").exists():
        export(network(3, 2), folder, Provenance("m"), ExportSettings(), **again)
    else:
        export_for_verifier(piecewise_linear(2, 2), folder, Provenance("m"), Question(), **again)
    assert (folder / README).read_bytes() not in (first, b"edited\n")
    assert run("verify", folder)[0] == 0
    (folder / README).write_text("# Mine\n")
    with pytest.raises(BadInputError, match=r"exists and holds README\.md\. Give another path"):
        write(folder)
    assert (folder / README).read_text() == "# Mine\n"


def test_an_older_folder_is_replaced_and_its_owners_readme_is_not(tmp_path):
    old = copied(ROOT / "tests" / "version1" / "folders" / "lunet-first", tmp_path / "old")
    export(network(3, 2), old, Provenance("m"), ExportSettings(), force=True)
    assert (old / README).exists()
    older = copied(ROOT / "tests" / "version1" / "folders" / "lunet-first", tmp_path / "older")
    (older / README).write_text("# Mine\n")
    with pytest.raises(BadInputError, match=r"holds README\.md"):
        export(network(3, 2), older, Provenance("m"), ExportSettings(), force=True)


def test_a_project_takes_the_readme_along_and_renews_it(exported, tmp_path):
    made("an LU-Net", tmp_path / "m")
    write_project("c", tmp_path / "m", tmp_path / "project")
    model = tmp_path / "project" / "model"
    assert (model / README).read_bytes() == (tmp_path / "m" / README).read_bytes()
    write_project("c", exported.folder, tmp_path / "project", force=True)
    assert (model / README).read_bytes() == (exported.folder / README).read_bytes()
    (model / README).write_text("# Mine\n")
    with pytest.raises(BadInputError, match=r"Expected .*README\.md to be a file of lunet-export.*Rename it"):
        write_project("c", tmp_path / "m", tmp_path / "project", force=True)
    assert (model / README).read_text() == "# Mine\n"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_committed_readmes_are_those_of_their_manifests(folder):
    """Where this fails: python -m tests.readmes."""
    parts = renewed(folder)
    assert (folder / README).read_text(encoding="utf-8") == parts.readme
    assert json.loads((folder / "manifest.json").read_text())["readme"] == parts.document["readme"]
    assert run("verify", folder)[0] == 0


# Names and records of strangers


def test_names_are_no_markup_and_no_lines(exported):
    name = "a`b|c\n# Run: rm -rf /\x1b[31m"
    document = {**exported.manifest.document, "model": {**exported.manifest.document["model"], "name": name}}
    text = readme.of_folder({**document, "training": {"dataset": name}})
    assert text.splitlines()[1] == "# `a'b|c # Run: rm -rf /?[31m`"
    assert "\x1b" not in text
    assert "\n# Run" not in text


def test_a_strange_record_of_training_is_no_failure(exported):
    strange = {"dataset": ["x"], "test": "low", "test_nats": 10**400, "gaussian_test": None}
    document = {**exported.manifest.document, "training": strange}
    document["model"] = {**document["model"], "image_shape": None}
    assert "- Training: on `['x']`\n" in readme.of_folder(document)


def test_columns_have_their_names_and_many_are_counted(exported):
    model = {**exported.manifest.document["model"], "image_shape": None}

    def row(*names: str) -> str:
        document = {**exported.manifest.document, "model": {**model, "dim": len(names), "columns": list(names)}}
        text = readme.of_folder(document)
        assert "(blocks 3, alpha 0.1); " in text  # names are no settings
        return re.findall("^- Row: (.*)$", text, re.MULTILINE)[0]

    assert row("mass", "a|b", "c`d") == "the columns `mass`, `a|b`, `c'd`"
    assert row(*(f"n{number}" for number in range(40))).endswith("`n31` and 8 more")


# The whole format


def test_the_command_prints_the_format():
    text = (Path(artifact.__file__).parent / "FORMAT.md").read_text(encoding="utf-8")
    assert run("format") == (0, text, "")
    assert json.loads(run("format", "--json")[1]) == {"text": text}


def test_links_inside_the_format_lead_to_its_own_headings():
    """It is read on a code host, in a wheel and in the documentation: no other link is right in all three."""
    text = artifact.specification()
    titles = re.findall("^#+ (.*)$", text, re.MULTILINE)
    headings = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert links
    assert {link.removeprefix("#") for link in links} <= set(headings)
    for path in re.findall(r"`(lunet_export/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path


def test_a_section_that_there_is_not_is_a_defect():
    with pytest.raises(LookupError):
        artifact.section("Noises")
