"""In every language: rows outside a model's domain, rows that are no numbers, and rows that overflow are refused.

Each program scores the rows of files, and prints a line for each: log p of its rows, or the code and the sentence of
the refusal. What it refuses and what it answers is held against `ExportedFlow`.
"""

import json
import random

import numpy as np
import pytest

from lunet_export import ExportedFlow
from lunet_export.artifact import sealed
from lunet_export.embedding import write_project
from lunet_export.errors import BadInputError
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.layers import Affine, Inverse, Sigmoid
from lunet_export.preprocessing import NAMED
from tests.embedding import builds
from tests.embedding.builds import PACKAGES, ROOT, Done, command
from tests.embedding.test_lunet_h import OPENED, _mutated, compiled
from tests.families import composed
from tests.networks import network

C = """
#define LUNET_IMPLEMENTATION
#include "lunet.h"

int main(int argc, char **argv)
{
    lunet_options options = {argv[2], "cpu", 1, 0, 0};
    static double rows[4096], log_prob[4096];
    lunet *flow;
    int code = lunet_open(&flow, argv[1], &options);
    if (code) return fprintf(stderr, "%s\\n", lunet_error()), code;
    for (int k = 3; k < argc; k++) {
        size_t count = 0;
        FILE *file = fopen(argv[k], "r");
        while (fscanf(file, "%lf", rows + count) == 1) count++;
        fclose(file);
        count /= lunet_dim(flow);
        code = lunet_log_prob(flow, rows, count, log_prob, NULL);
        if (code) printf("%d %s", code, lunet_error());
        for (size_t i = 0; !code && i < count; i++) printf("%.17g ", log_prob[i]);
        printf("\\n");
    }
    lunet_close(flow);
    return 0;
}
"""

CPP = """
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include "flow.hpp"

int main(int argc, char** argv) try {
    lunet_flow::Flow flow(argv[1], "cpu", argv[2]);
    for (int k = 3; k < argc; ++k) {
        std::ifstream file(argv[k]);
        std::vector<double> rows;
        for (std::string word; file >> word;) rows.push_back(std::strtod(word.c_str(), nullptr));
        try {
            for (double log_prob : flow.density(rows).first) std::printf("%.17g ", log_prob);
        } catch (const lunet_flow::Failure& failure) {
            std::printf("%d %s", failure.code, failure.what());
        }
        std::printf("\\n");
    }
    return 0;
} catch (const lunet_flow::Failure& failure) {
    std::fprintf(stderr, "%s\\n", failure.what());
    return failure.code;
}
"""

RUST = """
mod lunet;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let flow = lunet::Flow::open(&arguments[1], "cpu", Some(&arguments[2]), 1).unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(error.code)
    });
    for file in &arguments[3..] {
        let text = std::fs::read_to_string(file).expect("rows");
        let rows: Vec<f64> = text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        match flow.density(&rows) {
            Ok((log_prob, _)) => println!("{}", log_prob.iter().map(|one| format!("{one:e} ")).collect::<String>()),
            Err(error) => println!("{} {error}", error.code),
        }
    }
}
"""

NODE = """
import { readFile } from "node:fs/promises";
import { open } from "./lunet.mjs";
const [folder, which, ...files] = process.argv.slice(2);
const ort = await import(which === "node" ? "onnxruntime-node" : "onnxruntime-web");
const read = (name) => readFile(`${folder}/${name}`).catch(() => null);
const number = (word) => Number(word.replace("inf", "Infinity"));
try {
  const providers = [which === "node" ? "cpu" : "wasm"];
  const flow = await open(ort.InferenceSession ? ort : ort.default, read, { providers });
  for (const file of files) {
    const words = (await readFile(file, "utf8")).split(/\\s+/).filter(Boolean);
    const scored = flow.density(words.map(number)).then((found) => Array.from(found.log_prob).join(" "));
    console.log(await scored.catch((error) => `${error.code} ${error.message}`));
  }
} catch (error) {
  console.error(error.message);
  process.exitCode = error.code ?? 9;
}
"""

LANGUAGES = ("c", "c, sanitized", "c++", "rust", "node", "node, web")


@pytest.fixture(scope="module")
def scorers(tmp_path_factory, runtime, node_project):
    """Of each language what scores the rows of files: (folder, files) -> a line of answers or of refusal each."""
    found = {}
    for name, flags in (("c", ()), ("c, sanitized", builds.SANITIZERS)):
        project = tmp_path_factory.mktemp("c") / "project"
        write_project("c", ROOT / "exported" / "toy2d", project)
        (project / "score.c").write_text(C)
        builds.build(
            *("gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", *flags, "score.c", "-o", "score", "-lm", "-ldl"),
            cwd=project,
        )
        found[name] = lambda folder, files, program=project / "score": command(
            program, folder, runtime, *files, env={"ASAN_OPTIONS": "detect_leaks=0"}
        )
    project = tmp_path_factory.mktemp("rust") / "project"
    write_project("rust", ROOT / "exported" / "toy2d", project)
    (project / "src" / "main.rs").write_text(RUST)
    builds.build("cargo", "build", "--release", "--offline", "--quiet", cwd=project)
    binary = project / "target" / "release" / "replay"
    found["rust"] = lambda folder, files: command(binary, folder, runtime, *files)
    program = builds.cpp(tmp_path_factory.mktemp("c++") / "project", source=CPP)
    found["c++"] = lambda folder, files: command(program, folder, runtime, *files)
    (node_project / "score.mjs").write_text(NODE)
    for name, which in (("node", "node"), ("node, web", "web")):
        found[name] = lambda folder, files, which=which: command(
            "node", "score.mjs", folder, which, *files, cwd=node_project
        )
    return found


def _open_box():
    return composed.composed(Inverse(Sigmoid()), composed.lu_layer(3), composed.affine(3))


def _half_open():
    """Borders at 0.1 and 1 / 3, which no binary fraction is, and a column that starts at 0."""
    scale = Affine(np.array([1 / (1 / 3 - 0.1), 1.0, 1e-3]), np.array([-0.1 / (1 / 3 - 0.1), 0.0, 0.5]))
    return composed.composed(scale, Inverse(Sigmoid(1e-30)), composed.lu_layer(3))


MODELS = {
    "closed": (composed.NETWORKS["a logit in front"], "float32"),
    "closed, float64": (composed.NETWORKS["a logit in front"], "float64"),
    "closed, borders that are rounded": (_half_open, "float32"),
    "open": (_open_box, "float32"),
    "open, float64": (_open_box, "float64"),
    "another interval for every column": (composed.NETWORKS["another interval for every column"], "float32"),
    "images": (lambda: network(4, 2, preprocessing=NAMED["digits"]), "float32"),
    "anywhere": (lambda: network(3, 3), "float32"),
    "anywhere, float64": (lambda: network(3, 3), "float64"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("domains")
    for number, (make, dtype) in enumerate(MODELS.values()):
        export(make(), root / str(number), Provenance("domain"), ExportSettings(dtype=dtype))
    return {name: root / str(number) for number, name in enumerate(MODELS)}


def questions(flow: ExportedFlow) -> dict[str, np.ndarray]:
    """Rows of three, the last of which is as its name says."""
    usual, domain, p = flow.sample(3, seed=4).astype(np.float64), flow.manifest.domain, flow.manifest.preprocessing
    found = {"as they should be": usual}
    last = {"NaN": np.nan, "infinity": np.inf, "minus infinity": -np.inf}
    if p:
        last |= {"levels": p.levels, "below 0": -1e-3, "the last below levels": np.nextafter(p.levels, 0), "zero": 0.0}
    elif domain:
        low, high = domain.low[-1], domain.high[-1]
        last |= {"at the top": high, "at the bottom": low, "above": high + 0.01, "below": low - 0.01}
        last |= {"just inside the top": np.nextafter(high, low), "just inside the bottom": np.nextafter(low, high)}
        last |= {"just outside": np.nextafter(high, np.inf)}
    else:
        last |= {"too far out": 1e30 if flow.dtype == np.float32 else 1e300, "far": 1e3, "denormal": 1e-40}
    for name, value in last.items():
        rows = usual.copy()
        rows[2, -1] = value
        found[name] = rows
    return found


def answered(flow: ExportedFlow, rows: np.ndarray) -> tuple[np.ndarray, str]:
    """log p of the rows, and the sentence that refuses them; one of the two is empty."""
    try:
        return flow.log_prob(rows), ""
    except BadInputError as error:
        return np.empty(0), str(error)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_program_refuses_what_python_refuses_and_answers_the_rest(language, model, scorers, folders, tmp_path):
    flow = ExportedFlow(folders[model], provider="cpu")
    asked, files = questions(flow), []
    for number, rows in enumerate(asked.values()):
        files.append(tmp_path / f"{number}.txt")
        files[-1].write_text("\n".join(" ".join(repr(float(one)) for one in row) for row in rows))
    done: Done = scorers[language](folders[model], files)
    assert (done.code, done.err) == (0, "")
    refused = 0
    for (name, rows), said in zip(asked.items(), done.out.splitlines(), strict=True):
        expected, sentence = answered(flow, rows)
        if sentence:
            refused += 1
            assert (said.startswith("2 Expected"), "row 2" in said, "row 2" in sentence) == (True,) * 3, (name, said)
            continue
        got = [float(number) for number in said.split()]
        np.testing.assert_allclose(got, expected, rtol=1e-4 if flow.dtype == np.float32 else 1e-9, err_msg=name)
    assert refused >= 4


def test_a_wrong_domain_in_a_manifest_is_refused(scorers, folders, tmp_path):
    """A planted fault: programs read the domain, and do not pass over one that they cannot read."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in folders["closed"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((folder / "manifest.json").read_text())
    (tmp_path / "rows.txt").write_text(" ".join(["0.5"] * 4))
    for wrong in ({"low": [0.0], "high": [1.0], "closed": True}, {"low": [2.0] * 4, "high": [1.0] * 4, "closed": True}):
        document = sealed({**manifest, "model": {**manifest["model"], "domain": wrong}})
        (folder / "manifest.json").write_text(json.dumps(document))
        for language, score in scorers.items():
            done = score(folder, [tmp_path / "rows.txt"])
            assert (done.code, "model.domain" in done.said) == (2, True), (language, done.out, done.err)


def test_mutated_manifests_with_a_domain_are_refused_or_read_without_a_fault(folders, tmp_path):
    """By the sanitizers, as of the others in test_lunet_h.py: borders too many, too few, none, of any text."""
    program, rng = compiled(tmp_path, OPENED), random.Random(13)
    text = (folders["closed"] / "manifest.json").read_bytes()
    begin, end = (text.index(word) for word in (b'"domain"', b'"closed"'))
    for number in range(500):
        (tmp_path / f"{number}").mkdir()
        changed = text[:begin] + _mutated(text[begin : end + 20], rng) + text[end + 20 :]
        (tmp_path / f"{number}" / "manifest.json").write_bytes(changed)
    done = command(program, *range(500), cwd=tmp_path)
    assert (done.code, done.err) == (0, ""), done.out[-500:] + done.err[:2000]
    assert {line[0] for line in done.out.splitlines()} == {"2", "3"}  # refused; or whole, and the runtime is nowhere


def test_the_browser_runs_the_same_file(tmp_path):
    project = tmp_path / "project"
    write_project("node", ROOT / "exported" / "toy2d", project)
    site = tmp_path / "site"
    write_project("browser", ROOT / "exported" / "toy2d", site, runtime=PACKAGES / "onnxruntime-web")
    assert (site / "lunet.mjs").read_bytes() == (project / "lunet.mjs").read_bytes()
