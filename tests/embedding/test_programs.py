"""Every program, from the project that `lunet-export embed` writes: right answers, and a sentence for what is wrong."""

import json
import math
import re

import numpy as np
import onnx
import pytest

from lunet_export import ExportedFlow, checkpoint, noise
from lunet_export.artifact import sealed
from lunet_export.checks.rounding import RoundingModel
from lunet_export.embedding import write_project
from lunet_export.embedding.project import PROJECTS
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.files.reading import sha256
from lunet_export.preprocessing import NAMED
from lunet_export.runtime.rows import Rows
from tests import tolerances
from tests.conftest import copied
from tests.embedding.builds import ROOT, Done, build, command, flip, library
from tests.embedding.conftest import LANGUAGES, MODELS, checks_of
from tests.families import composed, jko, realnvp
from tests.networks import network
from tests.test_external_data import outside

CHECKS = (
    "density z", "density log_prob", "sampling x", "x -> z -> x", "z -> x -> z", "log_prob of sampled x",
)  # fmt: skip
SAMPLES = 100


@pytest.fixture(scope="module")
def said(programs):
    """What each program says of each committed model, run once."""
    return {(name, model): programs[name](ROOT / "exported" / model) for name in LANGUAGES for model in MODELS}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", LANGUAGES)
def test_every_program_replays_every_model_within_tolerance(name, model, said):
    done = said[name, model]
    assert (done.code, done.said) == (0, ""), done.err
    assert done.out.splitlines()[-1] == "all 6 vectors are within their tolerance"
    found = checks_of(done.out)
    assert tuple(found) == CHECKS
    assert all(passed and 0 <= ratio <= 1 for ratio, passed in found.values())
    # No comparison of nothing: somewhere float32 differs from float64.
    assert all(ratio > 0 for ratio, _ in found.values())


def same_words(out: str) -> list[str]:
    """What a program said without its numbers, and without the lines that tell the runtime and the noise."""
    lines = (line for line in out.splitlines() if not line.startswith(("runtime", "noise")))
    return [re.sub(r"-?\d[\d.e+-]*", "#", line) for line in lines]


@pytest.mark.parametrize("model", MODELS)
def test_all_languages_print_the_same_lines(model, said):
    for name in LANGUAGES:
        assert same_words(said[name, model].out) == same_words(said["c", model].out), name


@pytest.mark.parametrize("name", LANGUAGES)
def test_noise_is_pythons_bit_by_bit(name, said):
    lines = [line for line in said[name, "digits"].out.splitlines() if line.startswith("noise")]
    assert len(lines) == 3
    for line in lines:
        seed, row, words, numbers = re.fullmatch(r"noise seed (\d+), row (\d+): ([\da-f ]{35}); (.*)", line).groups()
        seed, row = int(seed), int(row)
        counter = np.array([0, row % 2**32, row >> 32, 0], dtype=np.uint64)
        expected = noise.philox4x32(counter, (seed % 2**32, seed >> 32))
        assert [int(word, 16) for word in words.split()] == expected.tolist()
        normal = noise.normal(seed, range(row, row + 1), 4)[0]
        np.testing.assert_allclose([float(number) for number in numbers.split()], normal, atol=1e-6)
    assert any(int(line.split()[2].rstrip(",")) > 2**53 for line in lines), "a seed that no double holds"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", LANGUAGES)
def test_samples_and_scores_of_a_seed_are_pythons(name, model, said):
    """Two runtimes are each within the tolerance of the reference, so within twice that of one another."""
    first, mean = (line for line in said[name, model].out.splitlines() if line.startswith("sample"))
    x, nats, bits = re.fullmatch(r"sample seed 7, row 0: (.*); (\S+) nats, (\S+) bits/dim", first).groups()
    flow = ExportedFlow(ROOT / "exported" / model, provider="cpu")
    expected, log_prob = flow.sample_and_log_prob(SAMPLES, seed=7)
    weights = checkpoint.read(ROOT / "exported" / f"{model}.pt").weights
    allowed = RoundingModel(weights, str(flow.dtype)).sampling(flow.latent(SAMPLES, seed=7).astype(np.float64))
    printed = 6e-6  # six digits
    np.testing.assert_allclose(
        [float(number) for number in x.split()], expected[0, :4], atol=2 * allowed["x"][0], rtol=printed
    )
    assert math.isclose(float(nats), log_prob[0], abs_tol=2 * allowed["log_prob"][0], rel_tol=printed)
    in_bits = flow.dim * math.log(2)
    assert math.isclose(
        float(bits), -log_prob[0] / in_bits, abs_tol=2 * allowed["log_prob"][0] / in_bits, rel_tol=printed
    )
    got = float(re.fullmatch(r"sample seed 7, 100 rows: mean log_prob (\S+) nats", mean)[1])
    assert math.isclose(got, log_prob.mean(), abs_tol=2 * allowed["log_prob"].mean(), rel_tol=printed)


def _wrong(document):
    document["density"]["z"][3][1] += 0.5


def test_a_planted_wrong_vector_is_exit_code_1(program, altered):
    done = program(altered("digits", vectors=_wrong))
    assert (done.code, done.said) == (1, ""), done.err
    found = checks_of(done.out)
    assert [name for name, (_, passed) in found.items() if not passed] == ["density z"]
    assert "FAILED: row 3 is off by 0.5" in done.out
    assert done.out.splitlines()[-1] == "1 of 6 vectors are outside their tolerance"


def _no_number(document):
    document["sampling"]["log_prob"][1] = float("nan")


def _no_tolerance(document):
    document["density"]["tolerance"]["z"][1] = None


@pytest.mark.parametrize("change", [_no_number, _no_tolerance])
def test_what_is_no_number_fails_or_is_refused(change, program, altered):
    done = program(altered("toy2d", vectors=change))
    assert done.code in (1, 2)
    assert "Traceback" not in done.err


def _remove(name):
    return lambda folder: (folder / name).unlink()


def _append(name):
    def change(folder):
        with (folder / name).open("ab") as file:
            file.write(b" ")

    return change


def _flip(name):
    return lambda folder: flip(folder / name)


def _cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:100])


FOLDERS = {
    "no density graph": (_remove("density.onnx"), "Expected density.onnx"),
    "no sampling graph": (_remove("sampling.onnx"), "Expected sampling.onnx"),
    "no vectors": (_remove("vectors.json"), "Expected vectors.json"),
    "no manifest": (_remove("manifest.json"), "Expected manifest.json"),
    "altered graph": (_flip("density.onnx"), "SHA-256"),
    "cut graph": (_cut("sampling.onnx"), "SHA-256"),
    "altered vectors": (_append("vectors.json"), "SHA-256"),
    "cut manifest": (_cut("manifest.json"), "manifest.json is not valid JSON"),
    "empty manifest": (lambda folder: (folder / "manifest.json").write_bytes(b""), "manifest.json is not valid JSON"),
}


@pytest.mark.parametrize(("change", "words"), FOLDERS.values(), ids=FOLDERS)
def test_missing_and_altered_files_get_a_sentence(program, altered, change, words):
    folder = altered("toy2d")
    change(folder)
    done = program(folder)
    assert (done.code, words in done.said, len(done.said.splitlines())) == (2, True, 1), done.err


def test_a_missing_folder_gets_a_sentence(program, tmp_path):
    done = program(tmp_path / "none")
    assert (done.code, "Expected manifest.json" in done.said, len(done.said.splitlines())) == (2, True, 1), done.err


def _of(*path, to):
    def change(document):
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = to

    return change


def _short_row(document):
    document["density"]["x"][2].pop()


SHAPES = {
    "dim of another model": ({"manifest": _of("model", "dim", to=3)}, "rows of"),
    "a short row": ({"vectors": _short_row}, "rows of"),
    "dim of no model": ({"manifest": _of("model", "dim", to=-2)}, "Expected"),
    "dim as a word": ({"manifest": _of("model", "dim", to="two")}, "Expected"),
    "another format": ({"manifest": _of("format", to="else")}, "this is another file"),
    "a later version": ({"manifest": _of("format_version", to=2)}, "ersion"),
    "an unknown dtype": ({"manifest": _of("dtype", to="int8")}, "Expected"),
}


@pytest.mark.parametrize(("changes", "words"), SHAPES.values(), ids=SHAPES)
def test_wrong_shapes_and_manifests_get_a_sentence(program, altered, changes, words):
    done = program(altered("toy2d", **changes))
    assert (done.code, words in done.said, len(done.said.splitlines())) == (2, True, 1), done.err


@pytest.mark.parametrize("name", ["c", "c, sanitized", "c++", "rust"])
def test_the_oldest_runtime_gives_the_same_answers(name, programs):
    """One binary: what ran with the newest one runs with 1.16.3."""
    done = programs[name](ROOT / "exported" / "digits", library("oldest-node"))
    assert (done.code, "ONNX Runtime 1.16.3, cpu" in done.out) == (0, True), done.out + done.err


def test_the_oldest_package_of_node_gives_the_same_answers(node_project, tmp_path):
    """Its tensors have no getData. The same holds for the oldest onnxruntime-web, which `make compat` runs."""
    script = tmp_path / "oldest.mjs"
    script.write_text(
        f'import {{ createRequire }} from "node:module";\nimport {{ readFile }} from "node:fs/promises";\n'
        f'import {{ open, replay }} from "{node_project}/lunet.mjs";\n'
        f'const ort = createRequire("{node_project}/replay.mjs")("oldest-node");\n'
        f'const flow = await open(ort, (file) => readFile("{ROOT}/exported/digits/" + file));\n'
        "console.log((await replay(flow)).map((check) => check.passed).join());\n"
    )
    done = command("node", script)
    assert (done.code, done.out) == (0, ",".join(["true"] * 6) + "\n"), done.out + done.err


@pytest.mark.parametrize("name", ["c", "c, sanitized", "c++", "rust"])
def test_a_runtime_that_is_too_old_gets_a_sentence(name, programs):
    done = programs[name](ROOT / "exported" / "digits", library("old-node"))
    assert (done.code, done.out) == (3, "")
    assert done.said == "Expected ONNX Runtime 1.16 or newer; got 1.15.1. Install a newer one."


@pytest.mark.parametrize("package", ["old-node", "old-web"])
def test_node_refuses_a_package_that_is_too_old(package, node_project, tmp_path):
    script = tmp_path / "old.mjs"
    script.write_text(
        f'import {{ createRequire }} from "node:module";\n'
        f'import {{ open }} from "{node_project}/lunet.mjs";\n'
        f'const ort = createRequire("{node_project}/replay.mjs")("{package}");\n'
        "await open(ort, () => null).catch((error) => {\n"
        "  console.error(error.message);\n  process.exit(error.code);\n});\n"
    )
    done = command("node", script)
    assert (done.code, len(done.said.splitlines())) == (3, 1), done.err
    assert done.said.startswith("Expected ONNX Runtime 1.16 or newer; got one that is older"), done.said


@pytest.mark.parametrize("name", ["c", "c, sanitized", "c++", "rust"])
@pytest.mark.parametrize("path", ["/nowhere/libonnxruntime.so.1", "/usr/bin/env"])
def test_a_missing_runtime_gets_a_sentence(name, path, programs):
    done = programs[name](ROOT / "exported" / "digits", path)
    assert (done.code, len(done.said.splitlines())) == (3, 1)
    assert done.said.startswith("Expected ONNX Runtime's library; got ")
    assert path in done.said
    assert done.said.endswith(". Install it, or give its path.")


def test_cuda_on_a_runtime_without_it_is_refused(c_program, rust_program, programs, runtime):
    for program in (c_program, rust_program):
        done = command(program, ROOT / "exported" / "digits", "cuda", runtime)
        assert (done.code, done.out) == (3, "")
        assert done.said.startswith("Expected ONNX Runtime to"), done.said
        assert "CUDA" in done.said
    done = command(c_program, ROOT / "exported" / "digits", "tpu", runtime)
    assert (done.code, done.said) == (2, "Expected a provider of cpu, cuda; got tpu.")


def test_a_folder_with_a_network_a_class_is_refused_by_those_that_read_one(program, request):
    done = program(ROOT / "exported" / "digits-classes")
    if "node" in request.node.callspec.id:
        assert (done.code, done.said) == (0, ""), done.err
        assert len(checks_of(done.out)) == 13  # three of density, and x of ten samplers
    else:
        assert (done.code, "one" in done.said, len(done.said.splitlines())) == (2, True, 1)


def test_rows_is_the_judge_of_the_border(node_project, tmp_path):
    """What rounds up to the border of the domain steps back, as in Python."""
    script = tmp_path / "border.mjs"
    script.write_text(
        f'import * as ort from "{node_project}/node_modules/onnxruntime-node/dist/index.js";\n'
        f'import {{ readFile }} from "node:fs/promises";\nimport {{ open }} from "{node_project}/lunet.mjs";\n'
        f"const read = (file) => readFile(`{ROOT}/exported/digits/${{file}}`);\n"
        "const flow = await open(ort.default, read);\n"
        "const x = new Float64Array(64).fill(16.99999999999);\n"
        "const { log_prob } = await flow.density(x);\n"
        "const refused = await Promise.allSettled([17, -1, NaN].map((bad) => flow.density(x.with(3, bad))));\n"
        "const odd = await flow.density(x.subarray(1)).catch((error) => error.message);\n"
        "console.log(JSON.stringify([log_prob[0], ...refused.map((one) => one.reason.message), odd]));\n"
    )
    done = command("node", script)
    log_prob, *refused, odd = json.loads(done.out)
    flow = ExportedFlow(ROOT / "exported" / "digits", provider="cpu")
    x = np.full((1, 64), 16.99999999999)
    assert Rows(64, np.dtype("float32"), flow.manifest.preprocessing).data(x).max() < 17
    weights = checkpoint.read(ROOT / "exported" / "digits.pt").weights
    allowed = tolerances.TWO * tolerances.of_density(weights, x)["log_prob"]
    tolerances.assert_within(np.array([log_prob]), flow.log_prob(x), allowed)
    assert tolerances.beyond(np.array([log_prob]), flow.log_prob(x - 1), allowed) > 1
    assert [message.split(";")[0] for message in refused] == [
        "Expected x in [0, 17): grey level plus noise",
        "Expected x in [0, 17): grey level plus noise",
        "Expected finite numbers in x",
    ]
    assert odd == "Expected x in rows of 64 numbers; got 63 numbers in all."


@pytest.fixture(scope="session")
def others(tmp_path_factory):
    """Exports of other kinds: doubles, products of halves, another family, a name that no terminal spells."""
    folder = tmp_path_factory.mktemp("others")
    kinds = {
        "float64": (network(16, 3, preprocessing=NAMED["digits"]), ExportSettings(dtype="float64"), "float64"),
        "float16": (network(16, 2), ExportSettings(dtype="float16"), "float16"),
        "one dimension": (network(1, 2), ExportSettings(), "one dimension"),
        "realnvp": (realnvp.dense(6, 8), ExportSettings(), "realnvp"),
        "composed": (composed.NETWORKS["couplings"](), ExportSettings(), "composed"),
        "splines": (composed.NETWORKS["spline couplings"](), ExportSettings(), "splines"),
        "jko": (jko.flow(6, (8, 8), preprocessing="digits"), ExportSettings(hutchinson=True), "jko"),
        "odd name": (network(3, 2), ExportSettings(), 'a "b" \\ Zoë/流𝄞'),
    }
    for kind, (weights, settings, name) in kinds.items():
        export(weights, folder / kind, Provenance(name), settings)
    return folder


@pytest.mark.parametrize(
    "kind", ["float64", "float16", "one dimension", "realnvp", "composed", "splines", "jko", "odd name"]
)
def test_exports_of_other_kinds_are_within_tolerance_or_refused(kind, program, others, request):
    done = program(others / kind)
    assert (done.code, done.said) == (0, ""), done.out + done.err
    found = checks_of(done.out)
    assert tuple(found) == CHECKS
    if kind == "odd name":
        assert done.out.startswith('model a "b" \\ Zoë/流𝄞: lunet, 3')
    assert {
        "float64": ", 16 dimensions, float64",
        "realnvp": ": realnvp, 6",
        "composed": ": composed, 5",
        "splines": ": composed, 5",
        "jko": ": jko, 6",
    }.get(kind, "float32") in done.out


@pytest.mark.parametrize("language", ["c", "cpp", "node"])
def test_the_example_of_the_readme_runs(language, node_project, runtime, tmp_path):
    project = tmp_path / "project"
    write_project(language, ROOT / "exported" / "digits", project)
    example, *_ = re.findall(r"```(?:c|cpp|js)\n(.*?)```", (project / "README.md").read_text(), re.DOTALL)
    if language == "c":
        (project / "example.c").write_text(example)
        build("gcc", "-std=c11", "-Wall", "-Wextra", "example.c", "-o", "example", "-lm", "-ldl", cwd=project)
        done = command("./example", cwd=project, env={"LD_LIBRARY_PATH": str(runtime.parent)})
    elif language == "cpp":
        (project / "example.cpp").write_text(example)
        build("gcc", "-std=c11", "-c", "lunet.c", cwd=project)
        build("g++", "-std=c++20", "-Wall", "example.cpp", "lunet.o", "-o", "example", "-lm", "-ldl", cwd=project)
        done = command("./example", cwd=project, env={"LD_LIBRARY_PATH": str(runtime.parent)})
    else:
        (project / "node_modules").symlink_to(node_project / "node_modules")
        (project / "example.mjs").write_text(example)
        done = command("node", "example.mjs", cwd=project)
    _is_the_first_of_seed_7(done, "digits")


@pytest.mark.parametrize("model", MODELS)
def test_the_c_lines_of_a_folders_readme_run(model, runtime, tmp_path):
    folder = copied(ROOT / "exported" / model, tmp_path / model)
    (example,) = re.findall(r"```c\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    (folder / "flow.c").write_text(example)
    header = f"-I{PROJECTS / 'c'}"
    build("gcc", "-std=c11", "-Wall", "-Wextra", header, "flow.c", "-o", "flow", "-lm", "-ldl", cwd=folder)
    _is_the_first_of_seed_7(command("./flow", cwd=folder, env={"LD_LIBRARY_PATH": str(runtime.parent)}), model)


def _is_the_first_of_seed_7(done: Done, model: str) -> None:
    """Whether the number that a program printed is the log density of the first row of seed 7."""
    expected = ExportedFlow(ROOT / "exported" / model, provider="cpu").sample_and_log_prob(1, seed=7)[1][0]
    assert (done.code, done.err) == (0, "")
    weights = checkpoint.read(ROOT / "exported" / f"{model}.pt").weights
    latent = noise.normal(7, range(1), weights.dim)
    allowed = tolerances.TWO * tolerances.of_sampling(weights, latent)["log_prob"][0]
    assert math.isclose(float(done.out), expected, abs_tol=allowed, rel_tol=6e-6)  # six digits are printed


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", LANGUAGES)
def test_weights_in_another_file_are_not_read(name, padded, programs, tmp_path):
    """ONNX Runtime would read whatever file a graph names; hashes and sizes agree."""
    folder = copied(ROOT / "exported" / "toy2d", tmp_path / "toy2d")
    graph = onnx.load(folder / "density.onnx")
    graph.graph.initializer[0].CopyFrom(outside(graph.graph.initializer[0].name, "secret.bin"))
    data = graph.SerializeToString()
    if padded:  # a length in more bytes than it needs, which protobuf's readers take
        data = data.replace(b"\x08location", b"\x88\x00location")
    (folder / "density.onnx").write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["density.onnx"], manifest["bytes"]["density.onnx"] = sha256(data), len(data)
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    done = programs[name](folder)
    words = "Expected density.onnx to hold its weights; it keeps them in another file, which is not read. Export again."
    assert (done.code, done.said) == (2, words), done.err
