"""Conditional flows in Node, native and WASM: contexts of each row or of all, what is refused, what is warned of."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lunet_export import ExportedFlow
from lunet_export.artifact import sealed
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.embedding import write_project
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.files.reading import sha256
from tests import tolerances
from tests.conditional import DIM, WIDTH, lu_net, network
from tests.embedding.builds import PACKAGES, ROOT, Done, command
from tests.embedding.conftest import checks_of
from tests.embedding.test_programs import CHECKS, same_words

NAMES = ("mass", "age", "Größe, m")
NAMED = replace(network(), context=replace(network().context, names=NAMES))
UNKNOWN = replace(lu_net(), context=replace(lu_net().context, low=None, high=None))
MODELS = {
    "network": (NAMED, "float32"),
    "network, float64": (NAMED, "float64"),
    "lu_net": (lu_net(), "float32"),
    "unknown range": (UNKNOWN, "float32"),
}
WHICH = ("node", "web")
COUNT, SEED = 100, 5
LARGEST_BATCH = 4096

ASKED = """
import { readFile } from "node:fs/promises";
import { open } from "./lunet.mjs";
const [folder, which, questions] = process.argv.slice(2);
const ort = await import(which === "node" ? "onnxruntime-node" : "onnxruntime-web");
const read = (name) => readFile(`${folder}/${name}`).catch(() => null);
const said = [], providers = [which === "node" ? "cpu" : "wasm"];
const numbers = (key, value) => (value === "NaN" ? NaN : value === "Infinity" ? Infinity : value);
const listed = (value) => (ArrayBuffer.isView(value) ? [...value]
  : value?.z ? Object.fromEntries(Object.entries(value).map(([name, one]) => [name, [...one]])) : value);
try {
  const warn = (line) => said.push(line);
  const flow = await open(ort.InferenceSession ? ort : ort.default, read, { providers, warn });
  const answers = [];
  for (const [method, ...given] of JSON.parse(await readFile(questions, "utf8"), numbers)) {
    said.length = 0;
    const call = async () => ({ answer: listed(await flow[method](...given)) });
    answers.push({ ...(await call().catch(({ code, message }) => ({ code, message }))), warned: [...said] });
  }
  console.log(JSON.stringify({ context: flow.context, answers }));
} catch (error) {
  console.error(error.message);
  process.exitCode = error.code ?? 9;
}
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("conditional")
    for number, (weights, dtype) in enumerate(MODELS.values()):
        export(weights, root / str(number), Provenance("c"), ExportSettings(dtype=dtype))
    return {name: root / str(number) for number, name in enumerate(MODELS)}


@pytest.fixture(scope="module")
def ask(node_project, tmp_path_factory):
    """Calls of methods of a flow in Node: [method, arguments ..] each -> what each answers, refuses and warns of."""
    (node_project / "asked.mjs").write_text(ASKED)
    path = tmp_path_factory.mktemp("asked") / "questions.json"

    def asked(folder: Path, which: str, *questions: list) -> dict:
        path.write_text(json.dumps(questions))
        done = command("node", "asked.mjs", folder, which, path, cwd=node_project)
        assert (done.code, done.err) == (0, ""), done.err
        return json.loads(done.out)

    return asked


def _flat(array: np.ndarray) -> list[float]:
    return np.asarray(array, dtype=np.float64).ravel().tolist()


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("model", MODELS)
def test_a_hundred_contexts_give_the_answers_of_the_reference(model, which, folders, ask):
    weights, dtype = MODELS[model]
    contexts = weights.context.drawn(SEED, range(COUNT)).astype(dtype).astype(np.float64)
    flow = ExportedFlow(folders[model], provider="cpu")
    z = flow.latent(COUNT, seed=SEED).astype(np.float64)
    rows = reference.decode(weights, z, contexts).astype(dtype).astype(np.float64)
    one = contexts[3]
    density, decoded, sampled, alone, repeated = ask(
        folders[model],
        which,
        ["density", _flat(rows), {"context": _flat(contexts)}],
        ["decode", _flat(z), {"context": _flat(contexts)}],
        ["sample", COUNT, {"seed": SEED, "context": _flat(contexts)}],
        ["density", _flat(rows), {"context": _flat(one)}],
        ["density", _flat(rows), {"context": _flat(np.tile(one, COUNT))}],
    )["answers"]
    rounding = RoundingModel(weights, dtype)
    allowed = rounding.density(rows, contexts)
    got = np.array(density["answer"]["z"]).reshape(COUNT, DIM)
    tolerances.assert_within(got, reference.encode(weights, rows, contexts)[0], allowed["z"])
    log_prob = reference.log_prob(weights, rows, contexts)
    tolerances.assert_within(density["answer"]["log_prob"], log_prob, allowed["log_prob"])
    expected, moved = reference.decode(weights, z, contexts), rounding.sampling(z, contexts)["x"]
    tolerances.assert_within(np.reshape(decoded["answer"], (COUNT, DIM)), expected, moved)
    tolerances.assert_within(np.reshape(sampled["answer"], (COUNT, DIM)), expected, 2 * moved)  # cosines differ too
    same = np.broadcast_to(one, contexts.shape)
    expected, allowed = reference.log_prob(weights, rows, same), rounding.density(rows, same)["log_prob"]
    for found in (alone, repeated):
        tolerances.assert_within(found["answer"]["log_prob"], expected, allowed)
    assert tolerances.beyond(alone["answer"]["log_prob"], log_prob, allowed) > 1, "contexts change nothing"


def test_contexts_go_with_their_rows_where_there_are_several_batches(folders, ask):
    count = LARGEST_BATCH + 3
    contexts = lu_net().context.drawn(SEED, range(count)).astype(np.float32)
    each = [contexts, contexts[0]]
    asked = [["sample", count, {"seed": SEED, "context": _flat(given)}] for given in each]
    flow = ExportedFlow(folders["lu_net"], provider="cpu")
    latents = flow.latent(count, seed=SEED).astype(np.float64)
    for given, found in zip(each, ask(folders["lu_net"], "node", *asked)["answers"], strict=True):
        of_rows = np.broadcast_to(given, contexts.shape).astype(np.float64)
        allowed = RoundingModel(lu_net(), "float32").sampling(latents, of_rows)["x"]
        got = np.array(found["answer"]).reshape(count, DIM)
        tolerances.assert_within(got, flow.sample(count, seed=SEED, context=given), 2 * allowed)


def test_a_flow_tells_what_its_context_is(folders, ask):
    ends = {"low": [-3.0] * WIDTH, "high": [3.0] * WIDTH}
    assert ask(folders["network"], "node")["context"] == {"dim": WIDTH, "names": list(NAMES), "range": ends}
    assert ask(folders["unknown range"], "node")["context"] == {"dim": WIDTH, "names": None, "range": None}
    assert ask(ROOT / "exported" / "toy2d", "node")["context"] is None


EXPECTED = "Expected a context of 3 numbers for all 2 rows, or 3 for each; got"
WRONG = {
    "none": ({}, f"{EXPECTED} none. Give {{ context }}."),
    "null": ({"context": None}, f"{EXPECTED} none. Give {{ context }}."),
    "a number": ({"context": 1.0}, f"{EXPECTED} no array. Give {{ context }}."),
    "too few": ({"context": [1.0, 2.0]}, f"{EXPECTED} 2 in all. Give {{ context }}."),
    "too many": ({"context": [1.0] * 9}, f"{EXPECTED} 9 in all. Give {{ context }}."),
    "NaN": (
        {"context": [1, 1, 1, 1, "NaN", 1]},
        "Expected finite numbers in context; row 1 (from 0), column 2 is NaN.",
    ),
    "infinity": (
        {"context": ["Infinity", 1, 1]},
        "Expected finite numbers in context; row 0 (from 0), column 1 is Inf",
    ),
    "an overflow": (
        {"context": [1, 1, 1e39]},
        "Expected finite numbers in context; row 0 (from 0), column 3 is 1e+39.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_context_is_one_sentence(case, folders, ask):
    options, words = WRONG[case]
    rows = [0.1] * (2 * DIM)
    calls = [["density", rows, options], ["decode", rows, options], ["sample", 2, {"seed": 1, **options}]]
    for answer in ask(folders["network"], "node", *calls)["answers"]:
        assert (answer["code"], answer["message"].startswith(words)) == (2, True), answer
        assert len(answer["message"].splitlines()) == 1


def test_a_context_for_a_flow_that_takes_none_is_refused(ask):
    rows, options = [0.1] * 4, {"context": [1.0]}
    plain = [["density", rows, options], ["decode", rows, options], ["sample", 2, {"seed": 1, **options}]]
    for folder, calls in (
        ("toy2d", [*plain, ["beyond", [1.0]]]),
        ("digits-classes", [["sample", 2, {"seed": 1, "label": 3, **options}]]),
    ):
        for answer in ask(ROOT / "exported" / folder, "node", *calls)["answers"]:
            assert answer["message"] == "Expected no context for a flow that takes none; got one. Leave it out."


def test_contexts_beyond_training_are_told_and_warned_of_once_per_column(folders, ask):
    row, inside, outside = [0.1] * DIM, [3.0, -3.0, 0.0], [0.0, 4.0, -3.5]
    questions = [
        ["beyond", inside], ["beyond", [*inside, *outside]], ["density", row, {"context": inside}],
        ["density", row, {"context": [0.0, 4.0, 0.0]}], ["decode", row, {"context": outside}], ["beyond", [1.0]],
    ]  # fmt: skip
    found = ask(folders["network"], "node", *questions)["answers"]
    within, beyond, good, first, second, wrong = found
    assert (within["answer"], beyond["answer"], good["warned"]) == ([], [1, 2], [])
    assert first["warned"] == [
        "Expected contexts within those of training; column 2 (age) has 4 .. 4, and training had -3 .. 3. "
        "Nothing was fitted there."
    ]
    (only,) = second["warned"]
    assert only.startswith("Expected contexts within those of training; column 3 (Größe, m) has -3.5 .. -3.5, and")
    assert "Expected context in rows of 3 numbers" in wrong["message"]
    far = ask(folders["unknown range"], "node", ["beyond", outside], ["density", row, {"context": outside}])["answers"]
    assert (far[0]["answer"], far[1]["warned"]) == ([], [])


def test_contexts_that_name_no_class_are_beyond_training(folders, ask, tmp_path):
    def named(document):
        document["model"]["context"]["classes"] = [{"name": name, "prior": 1 / 3} for name in ("a", "b", "c")]

    folder = changed(folders["network"], tmp_path / "f", manifest=named)
    row, good, bad = [0.1] * DIM, [0, 1, 0], [0, 0.5, 0.5]
    asked = [["beyond", good], ["beyond", [*good, *bad]], ["beyond", [0, 0, 0]], ["density", row, {"context": bad}]]
    inside, outside, none, scored = ask(folder, "node", *asked)["answers"]
    assert [inside["answer"], outside["answer"], none["answer"]] == [[], [0, 1, 2], [0, 1, 2]]
    assert scored["warned"] == [
        "Expected contexts that name one of 3 classes, by 1 in its place and 0 elsewhere; row 0 (from 0) names none. "
        "Nothing was fitted there."
    ]


def test_the_ends_of_the_range_are_rounded_as_contexts_are(folders, ask, tmp_path):
    """0.1 in float32 lies above 0.1; it is the end of the range, not beyond it."""
    ends = np.full(WIDTH, 0.1)
    weights = replace(network(), context=replace(network().context, low=-ends, high=ends))
    export(weights, tmp_path / "f", Provenance("c"))
    asked = [["beyond", [float(np.float32(0.1))] * WIDTH], ["beyond", [-0.1, 0.1, 0.1001]]]
    assert [one["answer"] for one in ask(tmp_path / "f", "node", *asked)["answers"]] == [[], [2]]


def replayed(node_project: Path, folder: Path, which: str = "node") -> Done:
    return command("node", node_project / "replay.mjs", folder, which)


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("model", MODELS)
def test_the_vectors_are_replayed_at_their_contexts(model, which, folders, node_project):
    done = replayed(node_project, folders[model], which)
    assert (done.code, done.err) == (0, ""), done.out + done.err
    found = checks_of(done.out)
    assert tuple(found) == CHECKS
    assert all(passed and 0 < ratio <= 1 for ratio, passed in found.values())
    assert done.out.splitlines()[0].endswith(", context of 3 numbers")
    assert same_words(done.out) == same_words(replayed(node_project, folders[model]).out)


def changed(folder: Path, target: Path, **changes) -> Path:
    """A copy of a folder whose vectors or manifest are changed; the hashes agree."""
    shutil.copytree(folder, target)
    vectors, manifest = (json.loads((target / f"{name}.json").read_text()) for name in ("vectors", "manifest"))
    changes.get("vectors", lambda _: None)(vectors)
    (target / "vectors.json").write_text(json.dumps(vectors))
    manifest["sha256"]["vectors.json"] = sha256((target / "vectors.json").read_bytes())
    changes.get("manifest", lambda _: None)(manifest)
    (target / "manifest.json").write_text(json.dumps(sealed(manifest)))
    return target


def swap_columns(vectors):
    vectors["density"]["context"] = [row[::-1] for row in vectors["density"]["context"]]


def swap_rows(vectors):
    vectors["sampling"]["context"] = vectors["sampling"]["context"][::-1]


def move_one(vectors):
    vectors["density"]["context"][2][1] += 0.5


FAULTS = {
    "swapped columns": (swap_columns, {"density z", "density log_prob", "x -> z -> x"}),
    "swapped rows": (swap_rows, {"sampling x", "log_prob of sampled x"}),
    "one wrong context": (move_one, {"density z", "density log_prob"}),
}


@pytest.mark.parametrize("case", FAULTS)
def test_wrong_contexts_in_the_vectors_are_exit_code_1(case, folders, node_project, tmp_path):
    fault, expected = FAULTS[case]
    done = replayed(node_project, changed(folders["network"], tmp_path / "f", vectors=fault))
    assert (done.code, done.err) == (1, ""), done.out + done.err
    failed = {name for name, (_, passed) in checks_of(done.out).items() if not passed}
    assert {"density z", "density log_prob", "sampling x", "log_prob of sampled x"} & expected <= failed


def _of(*path, to):
    def change(document):
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = to

    return change


def _model_of(change):
    return {"manifest": lambda document: change(document["model"])}


MALFORMED = {
    "no contexts": ({"vectors": lambda v: v["density"].pop("context")}, "density.context of vectors.json for each row"),
    "too few": ({"vectors": lambda v: v["sampling"]["context"].pop()}, "sampling.context of vectors.json for each row"),
    "a short one": ({"vectors": lambda v: v["density"]["context"][1].pop()}, "density.context of vectors.json in rows"),
    "version 1": ({"manifest": _of("format_version", to=1)}, "Expected format version 2; got 1."),
    "version 3": ({"manifest": _of("format_version", to=3)}, "Expected format version 2; got 3."),
    "not conditional": (_model_of(lambda m: m.pop("context")), "Expected format version 1; got 2."),
    "no dim": (_model_of(lambda m: m["context"].pop("dim")), "model.context is wrong"),
    "another dim": (_model_of(lambda m: m.update(context={"dim": 2})), "rows of 2 numbers in context"),
    "names twice": (_model_of(lambda m: m["context"].update(names=["a"] * 3)), "model.context is wrong"),
    "half a range": (_model_of(lambda m: m["context"]["range"].pop("low")), "model.context is wrong"),
    "too few classes": (_model_of(lambda m: m["context"].update(classes=[])), "model.context is wrong"),
    "a range upside down": (_model_of(lambda m: m["context"]["range"].update(low=[9.0] * 3)), "model.context is wrong"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_folder_is_one_sentence(case, folders, node_project, tmp_path):
    changes, words = MALFORMED[case]
    done = replayed(node_project, changed(folders["network"], tmp_path / "f", **changes))
    assert (done.code, words in done.said, len(done.said.splitlines())) == (2, True, 1), done.out + done.err


def test_a_graph_with_a_context_that_the_manifest_does_not_name_is_refused(folders, node_project, tmp_path):
    def without(document):
        document["model"].pop("context")
        document["format_version"] = 1

    done = replayed(node_project, changed(folders["network"], tmp_path / "f", manifest=without))
    assert (done.code, done.said) == (
        2,
        "Expected density.onnx to take x, as the manifest says; it takes x and context. Export again.",
    )


def test_contexts_in_the_vectors_of_another_flow_are_refused(node_project, tmp_path):
    def add(vectors):
        vectors["density"]["context"] = vectors["density"]["x"]

    done = replayed(node_project, changed(ROOT / "exported" / "toy2d", tmp_path / "f", vectors=add))
    assert (done.code, "density.context of vectors.json to be missing" in done.said) == (2, True), done.err


def test_the_project_has_a_conditional_model(folders, tmp_path):
    write_project("node", folders["lu_net"], tmp_path / "p")
    (tmp_path / "p" / "node_modules").symlink_to(PACKAGES)
    done = command("node", "replay.mjs", "model", cwd=tmp_path / "p")
    assert (done.code, done.out.splitlines()[-1]) == (0, "all 6 vectors are within their tolerance"), done.err


def test_the_example_of_the_readme_runs(folders, tmp_path):
    project, context = tmp_path / "p", np.array([0.5, -1.0, 2.0])
    write_project("node", folders["network"], project)
    (project / "node_modules").symlink_to(PACKAGES)
    first, given = re.findall(r"```js\n(.*?)```", (project / "README.md").read_text(), re.DOTALL)
    opened, _ = first.split("const x")
    (project / "example.mjs").write_text(f"{opened}{given}console.log(log_prob[0]);\n")
    done = command("node", "example.mjs", cwd=project)
    assert (done.code, done.err) == (0, "")
    z = ExportedFlow(folders["network"], provider="cpu").latent(1, seed=7).astype(np.float64)
    expected = reference.log_prob(NAMED, reference.decode(NAMED, z, context[None]), context[None])
    allowed = RoundingModel(NAMED, "float32").sampling(z, context[None])["log_prob"]
    tolerances.assert_within([float(done.out)], expected, allowed)


def test_it_prints_the_lines_of_c(folders, node_project, c_program, runtime):
    said = command(c_program, folders["network"], "cpu", runtime)
    assert (said.code, said.err) == (0, "")
    assert same_words(replayed(node_project, folders["network"]).out) == same_words(said.out)
