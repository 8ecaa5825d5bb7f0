"""Conditional flows in C, C++ and Rust: contexts of each row or of all, what is refused, and what lies beyond training.

Each program is given files of rows and of their contexts, and prints four lines for each: log p and z of the rows, the
rows as latents decoded, the samples of a seed, and the column in which contexts lie beyond training; or a refusal.
"""

import json
import random
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest

from lunet_export import ExportedFlow, noise
from lunet_export.checks import reference
from lunet_export.embedding import write_project
from lunet_export.embedding.project import PROJECTS
from lunet_export.errors import BadInputError
from lunet_export.export import ExportSettings, Provenance, export
from tests import tolerances
from tests.conditional import DIM, WIDTH, lu_net, network
from tests.embedding import builds
from tests.embedding.builds import ROOT, command
from tests.embedding.conftest import checks_of
from tests.embedding.test_lunet_h import OPENED, _mutated, compiled
from tests.embedding.test_programs import CHECKS, _of, same_words

C = """
#define LUNET_IMPLEMENTATION
#include "lunet.h"

enum { MOST = 1 << 15 };
static double rows[MOST], context[MOST], log_prob[MOST], z[MOST];

static size_t numbers(const char *path, double *target)
{
    size_t count = 0;
    FILE *file = fopen(path, "r");
    while (file && count < MOST && fscanf(file, "%lf", target + count) == 1) count++;
    if (file) fclose(file);
    return count;
}

static void say(int code, const double *found, size_t count)
{
    if (code) printf("%d %s", code, lunet_error());
    for (size_t i = 0; !code && i < count; i++) printf("%.17g ", found[i]);
}

int main(int argc, char **argv)
{
    lunet_options options = {argv[2], "cpu", 1, 0, 0};
    lunet *flow;
    int code = lunet_open(&flow, argv[1], &options);
    if (code) return fprintf(stderr, "%s\\n", lunet_error()), code;
    for (int k = 3; k + 1 < argc; k += 2) {
        size_t dim = lunet_dim(flow), wide = lunet_context_dim(flow), count = numbers(argv[k], rows) / dim;
        size_t many = numbers(argv[k + 1], context) / (wide ? wide : 1);
        const double *given = many ? context : NULL;
        code = lunet_log_prob_given(flow, rows, count, given, many, log_prob, z);
        say(code, log_prob, count);
        if (!code) say(0, z, count * dim);
        code = lunet_decode_given(flow, rows, count, given, many, z);
        printf("\\n");
        say(code, z, count * dim);
        code = lunet_sample_given(flow, 5, 0, count, 1.0, given, many, z);
        printf("\\n");
        say(code, z, count * dim);
        printf("\\n%zu\\n", lunet_beyond(flow, given, many));
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

static std::vector<double> numbers(const char* path) {
    std::ifstream file(path);
    std::vector<double> found;
    for (std::string word; file >> word;) found.push_back(std::strtod(word.c_str(), nullptr));
    return found;
}

template <class Call>
void say(Call call) {
    try {
        for (double number : call()) std::printf("%.17g ", number);
    } catch (const lunet_flow::Failure& failure) {
        std::printf("%d %s", failure.code, failure.what());
    }
    std::printf("\\n");
}

int main(int argc, char** argv) try {
    const lunet_flow::Flow flow(argv[1], "cpu", argv[2]);
    for (int k = 3; k + 1 < argc; k += 2) {
        const auto rows = numbers(argv[k]), context = numbers(argv[k + 1]);
        say([&] {
            auto [found, z] = flow.density(rows, context);
            found.insert(found.end(), z.begin(), z.end());
            return found;
        });
        say([&] { return flow.decode(rows, context); });
        say([&] { return flow.sample(5, rows.size() / flow.dim(), 0, 1, context); });
        say([&] {
            const auto column = flow.beyond(context);
            return std::vector<double>{column ? double(*column) + 1 : 0};
        });
    }
    return 0;
} catch (const lunet_flow::Failure& failure) {
    std::fprintf(stderr, "%s\\n", failure.what());
    return failure.code;
}
"""

RUST = """
mod lunet;

fn numbers(path: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(|word| word.parse().expect("a number")).collect()
}

fn say(found: Result<Vec<f64>, lunet::Error>) {
    match found {
        Ok(numbers) => println!("{}", numbers.iter().map(|one| format!("{one:e} ")).collect::<String>()),
        Err(error) => println!("{} {error}", error.code),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let flow = lunet::Flow::open(&arguments[1], "cpu", Some(&arguments[2]), 1).unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(error.code)
    });
    for pair in arguments[3..].chunks(2) {
        let (rows, context) = (numbers(&pair[0]), numbers(&pair[1]));
        let given = if context.is_empty() { None } else { Some(&context[..]) };
        say(flow.density_given(&rows, given).map(|(log_prob, z)| [log_prob, z].concat()));
        say(flow.decode_given(&rows, given));
        say(flow.sample_given(5, 0, rows.len() / flow.dim(), 1.0, given));
        say(flow.beyond(&context).map(|column| vec![column.map_or(0.0, |from_0| from_0 as f64 + 1.0)]));
    }
}
"""

LANGUAGES = ("c", "c, sanitized", "c++", "rust")
CHECKED = ("c++", "rust")  # where numbers come in slices, whose length may be wrong
COUNT, SEED, LARGEST_BATCH = 100, 5, 4096
UNKNOWN = replace(lu_net(), context=replace(lu_net().context, low=None, high=None))
MODELS = {
    "network": (network(), "float32"),
    "network, float64": (network(), "float64"),
    "lu_net": (lu_net(), "float32"),
    "lu_net, float64": (lu_net(), "float64"),
    "unknown range": (UNKNOWN, "float32"),
}
NO_LEAKS = {"ASAN_OPTIONS": "detect_leaks=0"}


@dataclass(frozen=True)
class Answer:
    """What a program said of one question."""

    density: str
    decoded: str
    sampled: str
    beyond: str

    def numbers(self, what: str) -> np.ndarray:
        return np.array([float(number) for number in getattr(self, what).split()])

    def rows(self, what: str) -> np.ndarray:
        return self.numbers(what).reshape(-1, DIM)

    def scored(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """log_prob (N,) and z (N, D)."""
        found = self.numbers("density")
        return found[:count], found[count:].reshape(count, -1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("conditional")
    for name, (weights, dtype) in MODELS.items():
        export(weights, root / name, Provenance("c"), ExportSettings(dtype=dtype))
    return root


@pytest.fixture(scope="module")
def asking(tmp_path_factory, runtime):
    """Of each language the program that is asked."""
    found = {}
    for name, flags in (("c", ()), ("c, sanitized", builds.SANITIZERS)):
        project = tmp_path_factory.mktemp("c") / "project"
        write_project("c", ROOT / "exported" / "toy2d", project)
        (project / "ask.c").write_text(C)
        strict = ("gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", *flags)
        builds.build(*strict, "ask.c", "-o", "ask", "-lm", "-ldl", cwd=project)
        found[name] = project / "ask"
    project = tmp_path_factory.mktemp("rust") / "project"
    write_project("rust", ROOT / "exported" / "toy2d", project)
    (project / "src" / "main.rs").write_text(RUST)
    builds.build("cargo", "build", "--release", "--offline", "--quiet", cwd=project)
    found["rust"] = project / "target" / "release" / "replay"
    found["c++"] = builds.cpp(tmp_path_factory.mktemp("c++") / "project", source=CPP)
    return found


@pytest.fixture
def ask(asking, runtime, tmp_path):
    """Asks a program of a language about rows and contexts, None for none -> one answer each."""

    def asked(language, folder, *questions) -> list[Answer]:
        files = []
        for number, (rows, context) in enumerate(questions):
            for name, array in (("rows", rows), ("context", [] if context is None else context)):
                files.append(tmp_path / f"{name} {number}.txt")
                files[-1].write_text(" ".join(repr(float(one)) for one in np.ravel(array)))
        done = command(asking[language], folder, runtime, *files, env=NO_LEAKS)
        assert (done.code, done.err) == (0, ""), done.out + done.err
        lines = done.out.splitlines()
        assert len(lines) == 4 * len(questions)
        return [Answer(*lines[place : place + 4]) for place in range(0, len(lines), 4)]

    return asked


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_hundred_contexts_give_the_answers_of_the_reference(language, model, folders, ask):
    weights, dtype = MODELS[model]
    contexts = weights.context.drawn(SEED, range(COUNT))
    flow = ExportedFlow(folders / model, provider="cpu")
    x = flow.sample(COUNT, seed=SEED, context=contexts).astype(np.float64)
    one = contexts[3]
    same = np.broadcast_to(one, contexts.shape)
    each, alone, repeated = ask(language, folders / model, (x, contexts), (x, one), (x, same))
    for answer, of in ((each, contexts), (alone, same), (repeated, same)):
        (log_prob, z), allowed = answer.scored(COUNT), tolerances.of_density(weights, x, dtype, of)
        tolerances.assert_within(z, reference.encode(weights, x, of)[0], allowed["z"])
        tolerances.assert_within(log_prob, reference.log_prob(weights, x, of), allowed["log_prob"])
        other = reference.log_prob(weights, x, of[:, ::-1])
        assert tolerances.beyond(log_prob, other, allowed["log_prob"]) > 1, "contexts change nothing"
        for what, latents in (("decoded", x), ("sampled", noise.normal(SEED, range(COUNT), DIM))):
            expected = reference.decode(weights, latents, of)
            moved = tolerances.of_sampling(weights, latents, dtype, of)["x"]
            tolerances.assert_within(answer.rows(what), expected, moved)
    assert (each.beyond.strip() in ("0", "0e0"), each.beyond == alone.beyond) == (True, True)


@pytest.mark.parametrize("language", LANGUAGES)
def test_contexts_go_with_their_rows_where_there_are_several_batches(language, folders, ask):
    count = LARGEST_BATCH + 3
    weights, flow = lu_net(), ExportedFlow(folders / "lu_net", provider="cpu")
    contexts = weights.context.drawn(SEED, range(count))
    z = noise.normal(SEED, range(count), DIM)
    each, alone = ask(language, folders / "lu_net", (z, contexts), (z, contexts[1]))
    for answer, of in ((each, contexts), (alone, np.broadcast_to(contexts[1], contexts.shape))):
        allowed = tolerances.TWO * tolerances.of_sampling(weights, z, context=of)["x"]
        tolerances.assert_within(answer.rows("decoded"), flow.decode(z, context=of), allowed)
        tolerances.assert_within(answer.rows("sampled"), flow.decode(z, context=of), allowed)
        allowed = tolerances.TWO * tolerances.of_density(weights, z, context=of)["log_prob"]
        tolerances.assert_within(answer.scored(count)[0], flow.log_prob(z, context=of), allowed)


FOR_THREE = np.zeros((3, WIDTH))


def _with(value: float) -> np.ndarray:
    found = FOR_THREE.copy()
    found[1, 1] = value
    return found


WRONG = {
    "missing": (None, "Expected a context of 3 numbers for each of 3 rows, or one for all; got none. Give one"),
    "of two rows": (FOR_THREE[:2], "Expected a context of 3 numbers for each of 3 rows, or one for all; got 2."),
    "of four rows": (np.zeros((4, WIDTH)), "for each of 3 rows, or one for all; got 4."),
    "NaN": (_with(np.nan), "numbers in context; row 1 (from 0), column 2 is "),
    "infinite": (_with(-np.inf), "numbers in context; row 1 (from 0), column 2 is -inf"),
    "infinite, for all": ([np.inf, 0, 0], "numbers in context; row 0 (from 0), column 1 is inf"),
    "more than float32": (_with(1e39), "Expected finite float32 numbers in context; row 1 (from 0), column 2 is 1e+39"),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_wrong_context_is_one_sentence_and_python_refuses_it_too(language, folders, ask):
    flow, rows = ExportedFlow(folders / "network", provider="cpu"), np.full((3, DIM), 0.1)
    questions = [(rows, context) for context, _ in WRONG.values()]
    for answer, (name, (context, words)) in zip(
        ask(language, folders / "network", *questions), WRONG.items(), strict=True
    ):
        for said in (answer.density, answer.decoded, answer.sampled):
            assert (said.startswith("2 Expected"), words in said) == (True, True), (name, said)
        for call in (flow.density, flow.decode):
            with pytest.raises(BadInputError):
                call(rows, context=context)


@pytest.mark.parametrize("language", CHECKED)
def test_half_a_context_is_one_sentence(language, folders, ask):
    (answer,) = ask(language, folders / "lu_net", (np.zeros((3, DIM)), np.zeros(4)))
    for said in (answer.density, answer.decoded, answer.sampled, answer.beyond):
        assert said == "2 Expected context in rows of 3 numbers; got 4 numbers in all."


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_context_for_a_flow_that_takes_none_is_refused(language, ask):
    answer, plain = ask(language, ROOT / "exported" / "toy2d", (np.zeros((2, 2)), [1.0]), (np.zeros((2, 2)), None))
    for said in (answer.density, answer.decoded, answer.sampled):
        assert said == "2 Expected no context for a flow that takes none; got one. Leave it out."
    assert (float(answer.beyond), len(plain.numbers("density")), len(plain.numbers("sampled"))) == (0, 6, 4)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_first_column_beyond_training_is_told(language, folders, ask, tmp_path):
    """0.1 in float32 lies above 0.1; it is the end of the range, not beyond it."""
    ends = np.full(WIDTH, 0.1)
    weights = replace(network(), context=replace(network().context, low=-ends, high=ends))
    export(weights, tmp_path / "f", Provenance("c"))
    single, beyond = float(np.float32(0.1)), [0.0, 0.0, -0.11]
    asked = [
        [single] * 3,
        [-0.1, 0.1, 0.0],
        [0.0, 0.10001, 0.2],
        beyond,
        [[0.0] * 3, beyond],
        [np.nan] * 3,
        [1e300] * 3,
    ]
    rows = np.zeros((1, DIM))
    found = [float(one.beyond) for one in ask(language, tmp_path / "f", *((rows, context) for context in asked))]
    assert found == [0, 0, 2, 3, 3, 1, 1]
    (unknown,) = ask(language, folders / "unknown range", (rows, [1e3] * 3))
    assert float(unknown.beyond) == 0


def test_the_c_lines_of_a_folders_readme_run(folders, runtime, tmp_path):
    weights, folder, context = network(), folders / "network", np.zeros((1, WIDTH))
    (example,) = re.findall(r"```c\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    (tmp_path / "flow.c").write_text(example)
    header = f"-I{PROJECTS / 'c'}"
    strict = ("gcc", "-std=c11", "-Wall", "-Wextra", header)
    builds.build(*strict, "flow.c", "-o", "flow", "-lm", "-ldl", cwd=tmp_path)
    done = command(tmp_path / "flow", cwd=folder, env={"LD_LIBRARY_PATH": str(runtime.parent)})
    assert (done.code, done.err) == (0, "")
    z = noise.normal(7, range(1), DIM)
    expected = reference.log_prob(weights, reference.decode(weights, z, context), context)
    allowed = tolerances.of_sampling(weights, z, context=context)["log_prob"] + 5e-7  # six digits are printed
    tolerances.assert_within([float(done.out)], expected, allowed)


# The programs that replay the test vectors


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_vectors_are_replayed_at_their_contexts(language, model, folders, programs):
    done = programs[language](folders / model)
    assert (done.code, done.said) == (0, ""), done.out + done.err
    found = checks_of(done.out)
    assert tuple(found) == CHECKS
    assert all(passed and 0 < ratio <= 1 for ratio, passed in found.values())
    assert done.out.splitlines()[0].endswith(", context of 3 numbers")
    assert same_words(done.out) == same_words(programs["c"](folders / model).out)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_oldest_runtime_replays_them_too(language, folders, programs):
    done = programs[language](folders / "network", builds.library("oldest-node"))
    assert (done.code, "ONNX Runtime 1.16.3, cpu" in done.out) == (0, True), done.out + done.err


def _swap_columns(vectors):
    vectors["density"]["context"] = [row[::-1] for row in vectors["density"]["context"]]


def _swap_rows(vectors):
    vectors["sampling"]["context"] = vectors["sampling"]["context"][::-1]


def _move_one(vectors):
    vectors["density"]["context"][2][1] += 0.5


FAULTS = {
    "swapped columns": (_swap_columns, {"density z", "density log_prob"}),
    "swapped rows": (_swap_rows, {"sampling x", "log_prob of sampled x"}),
    "one wrong context": (_move_one, {"density z", "density log_prob"}),
}


@pytest.mark.parametrize("case", FAULTS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_wrong_contexts_in_the_vectors_are_exit_code_1(language, case, folders, programs, altered):
    fault, expected = FAULTS[case]
    done = programs[language](altered(folders / "network", vectors=fault))
    assert (done.code, done.said) == (1, ""), done.out + done.err
    assert expected <= {name for name, (_, passed) in checks_of(done.out).items() if not passed}


def _without(document):
    document["model"].pop("context")
    document["format_version"] = 1


def _with_another(document):
    document["model"]["context"] = {"dim": WIDTH}
    document["format_version"] = 2


def _model_of(change):
    return {"manifest": lambda document: change(document["model"])}


WRONG_CONTEXT = "Expected a whole manifest.json; model.context is missing or wrong. Export again."
MALFORMED = {
    "no contexts": ({"vectors": lambda v: v["density"].pop("context")}, "density/context of vectors.json; got 0 in"),
    "too few": ({"vectors": lambda v: v["sampling"]["context"].pop()}, "sampling/context of vectors.json; got"),
    "a short one": ({"vectors": lambda v: v["density"]["context"][1].pop()}, "density/context of vectors.json; got"),
    "version 1": (
        {"manifest": _of("format_version", to=1)},
        "Expected format version 2 for a flow with contexts; got 1",
    ),
    "version 3": ({"manifest": _of("format_version", to=3)}, "Expected format version 1 or 2; got 3. Take the lunet.h"),
    "version of text": ({"manifest": _of("format_version", to="2")}, 'Expected format version 1 or 2; got "2". Take'),
    "null": (_model_of(_of("context", to=None)), "Expected format version 1 for a flow without contexts; got 2"),
    "a number": (_model_of(_of("context", to=3)), WRONG_CONTEXT),
    "no dim": (_model_of(lambda m: m["context"].pop("dim")), WRONG_CONTEXT),
    "dim 0": (_model_of(_of("context", "dim", to=0)), WRONG_CONTEXT),
    "half a dim": (_model_of(_of("context", "dim", to=2.5)), WRONG_CONTEXT),
    "half a range": (_model_of(lambda m: m["context"]["range"].pop("low")), WRONG_CONTEXT),
    "a short range": (_model_of(_of("context", "range", "high", to=[3.0])), WRONG_CONTEXT),
    "a range without end": (_model_of(_of("context", "range", "high", to=[3.0, None, 3.0])), WRONG_CONTEXT),
    "a range upside down": (_model_of(_of("context", "range", "low", to=[9.0] * WIDTH)), WRONG_CONTEXT),
    "another dim": (
        _model_of(_of("context", to={"dim": 2})),
        "Expected density.onnx with contexts of 2 float32, as the manifest says; got 3 numbers of type 1.",
    ),
    "a context that it does not name": (
        {"manifest": _without},
        "Expected density.onnx with one input, rows, as the manifest says; got 2. Export again.",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_malformed_folder_is_one_sentence(language, case, folders, programs, altered):
    changes, words = MALFORMED[case]
    done = programs[language](altered(folders / "network", **changes))
    assert (done.code, words in done.said, len(done.said.splitlines())) == (2, True, 1), done.out + done.err


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_manifest_with_a_context_that_no_graph_takes_is_refused(language, programs, altered):
    done = programs[language](altered("toy2d", manifest=_with_another))
    words = "Expected density.onnx with two inputs, rows and contexts, as the manifest says; got 1. Export again."
    assert (done.code, done.said) == (2, words)


# lunet.h itself


def test_mutated_manifests_with_a_context_are_refused_or_read_without_a_fault(folders, tmp_path):
    """By the sanitizers, as of the others in test_lunet_h.py: contexts of any text, too many ends, none."""
    program, rng = compiled(tmp_path, OPENED), random.Random(17)
    text = (folders / "network" / "manifest.json").read_bytes()
    begin = text.index(b'"context": {')
    end = text.index(b"}", text.index(b'"range"', begin))
    for number in range(500):
        (tmp_path / f"{number}").mkdir()
        changed = text[:begin] + _mutated(text[begin : end + 2], rng) + text[end + 2 :]
        (tmp_path / f"{number}" / "manifest.json").write_bytes(changed)
    done = command(program, *range(500), cwd=tmp_path)
    assert (done.code, done.err) == (0, ""), done.out[-500:] + done.err[:2000]
    assert {line[0] for line in done.out.splitlines()} == {"2", "3"}  # refused; or whole, and the runtime is nowhere


THREADS = """
#define LUNET_IMPLEMENTATION
#include <lunet.h>
#include <pthread.h>

enum { THREADS = 4, ROWS = 5, DIM = 4, WIDTH = 3 };
static lunet *flow;
static double alone[THREADS][ROWS];

static int answer(size_t number, double *log_prob)
{
    double context[WIDTH] = {0.1 * (double)number, -0.2, 0.3}, x[ROWS * DIM];
    return lunet_sample_given(flow, 7, 0, ROWS, 1.0, context, 1, x) ||
           lunet_log_prob_given(flow, x, ROWS, context, 1, log_prob, NULL);
}

static void *work(void *of)
{
    size_t number = (size_t)((double (*)[ROWS])of - alone);
    double log_prob[ROWS], x[ROWS * DIM] = {0};
    for (int i = 0; i < 100; i++) {
        if (answer(number, log_prob)) return "failed";
        if (memcmp(log_prob, alone[number], sizeof log_prob)) return "differs";
        if (lunet_log_prob(flow, x, ROWS, log_prob, NULL) != LUNET_BAD_INPUT) return "took no context";
    }
    return NULL;
}

int main(int argc, char **argv)
{
    lunet_options options = {argv[2], "cpu", 1, 0, 0};
    pthread_t threads[THREADS];
    void *said;
    if (argc < 3 || lunet_open(&flow, argv[1], &options)) return puts(lunet_error()), 9;
    for (size_t i = 0; i < THREADS; i++)
        if (answer(i, alone[i]) || (i && !memcmp(alone[i], alone[0], sizeof alone[0]))) return puts("same"), 8;
    for (size_t i = 0; i < THREADS; i++) pthread_create(threads + i, NULL, work, alone + i);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &said);
        if (said) return puts(said), 1;
    }
    lunet_close(flow);
    return 0;
}
"""


def test_threads_share_a_flow_with_contexts_of_their_own(folders, runtime, tmp_path):
    done = command(compiled(tmp_path, THREADS), folders / "lu_net", runtime, env=NO_LEAKS)
    assert (done.code, done.out, done.err) == (0, "", "")


def test_where_training_ended_can_be_read(folders, runtime, tmp_path):
    program = """
#define LUNET_IMPLEMENTATION
#include <lunet.h>
int main(int argc, char **argv)
{
    lunet_options options = {argv[2], "cpu", 1, 0, 0};
    double *low;
    size_t count;
    lunet *flow;
    if (argc < 3 || lunet_open(&flow, argv[1], &options)) return puts(lunet_error()), 9;
    lunet_read(flow, "manifest.json", "model/context/range/low", &low, &count);
    printf("%zu", lunet_context_dim(flow));
    for (size_t i = 0; i < count; i++) printf(" %g", low[i]);
    lunet_free(low);
    lunet_close(flow);
    return 0;
}
"""
    done = command(compiled(tmp_path, program), folders / "network", runtime, env=NO_LEAKS)
    low = json.loads((folders / "network" / "manifest.json").read_text())["model"]["context"]["range"]["low"]
    assert done.out == " ".join(f"{number:g}" for number in (WIDTH, *low)), done.err
