"""lunet.h itself: its table of ONNX Runtime's functions, hostile text, threads, memory, and C++ that includes it."""

import json
import random
import re
import shutil
import subprocess
from pathlib import Path

from lunet_export import ExportedFlow, checkpoint, embedding, noise
from lunet_export.artifact import sealed
from lunet_export.files.reading import sha256
from tests import tolerances
from tests.embedding.builds import HEADERS, ROOT, SANITIZERS, build, command

HEADER = Path(embedding.__file__).parent / "projects" / "c" / "lunet.h"
DIGITS = ROOT / "exported" / "digits"
WEIGHTS = checkpoint.read(ROOT / "exported" / "digits.pt").weights
STRICT = ("-std=c11", "-Wall", "-Wextra", "-Werror", *SANITIZERS)


def compiled(folder: Path, source: str, *flags: str) -> Path:
    """A C program over lunet.h, with the sanitizers."""
    (folder / "program.c").write_text(source)
    build(
        "gcc",
        *(flags or STRICT),
        f"-I{HEADER.parent}",
        "program.c",
        "-o",
        "program",
        "-lm",
        "-ldl",
        "-lpthread",
        cwd=folder,
    )
    return folder / "program"


def _members() -> list[str]:
    table = HEADER.read_text().partition("typedef struct {\n    void (*gap_0")[2].partition("} lunet__api;")[0]
    return re.findall(r"\(LUNET__CALL\* ?(\w+)\)", table)


def test_every_function_is_in_its_place_in_the_official_table(tmp_path):
    members = _members()
    assert len(members) == 31
    checks = "\n".join(
        f'_Static_assert(offsetof(lunet__api, {name}) == offsetof(OrtApi, {name}), "{name}");' for name in members
    )
    program = f"#define LUNET_IMPLEMENTATION\n#include <lunet.h>\n{checks}\nint main(void) {{ return 0; }}\n"
    # Both declare OrtStatus, which C11 allows: the same type.
    (tmp_path / "places.c").write_text(f"#include <onnxruntime_c_api.h>\n{program}")
    build("gcc", "-std=c11", f"-I{HEADERS}", f"-I{HEADER.parent}", "-fsyntax-only", "places.c", cwd=tmp_path)


def test_a_function_out_of_place_would_be_seen(tmp_path):
    text = HEADER.read_text()
    (tmp_path / "lunet.h").write_text(text.replace("void (*gap_4[4])(void);", "void (*gap_4[5])(void);"))
    assert (tmp_path / "lunet.h").read_text() != text
    (tmp_path / "places.c").write_text(
        "#include <onnxruntime_c_api.h>\n#define LUNET_IMPLEMENTATION\n#include <lunet.h>\n"
        '_Static_assert(offsetof(lunet__api, Run) == offsetof(OrtApi, Run), "Run");\n'
    )
    done = command("gcc", "-std=c11", f"-I{HEADERS}", f"-I{tmp_path}", "-fsyntax-only", "places.c", cwd=tmp_path)
    assert (done.code, "static assertion failed" in done.err) == (1, True)


def test_no_function_is_newer_than_the_version_that_is_asked_for():
    """ONNX Runtime's own header says which function ended each version's table."""
    header = (HEADERS / "onnxruntime_c_api.h").read_text()
    table = re.sub(r"/\*.*?\*/|//[^\n]*", "", header.partition("struct OrtApi {")[2].partition("\n};")[0], flags=re.S)
    names = re.findall(
        r"ORT_API2_STATUS\(\s*(\w+)|ORT_CLASS_RELEASE\((\w+)\)|\(\s*ORT_API_CALL\s*\*\s*(\w+)\s*\)", table
    )
    places = [status or (f"Release{release}" if release else plain) for status, release, plain in names]
    last = max(places.index(name) for name in _members())
    assert last <= places.index("KernelContext_GetResource")  # the last of 1.16


def test_cpp_may_include_it(tmp_path):
    (tmp_path / "include.cpp").write_text(
        '#include <lunet.h>\nint main() { lunet* flow; return lunet_open(&flow, "model", nullptr); }\n'
    )
    build(
        "g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wpedantic", f"-I{HEADER.parent}", "-fsyntax-only",
        "include.cpp", cwd=tmp_path,
    )  # fmt: skip


MANY = """
#define LUNET_IMPLEMENTATION
#include <lunet.h>
#include <pthread.h>

static lunet *flow;

static void *work(void *expected)
{
    double x[64 * 5], log_prob[5];
    for (int i = 0; i < 50; i++) {
        if (lunet_sample(flow, 7, 0, 5, 1.0, x) || lunet_log_prob(flow, x, 5, log_prob, NULL)) return "failed";
        if (memcmp(log_prob, expected, sizeof log_prob)) return "differs";
        x[3] = NAN; /* each thread has a sentence of its own */
        if (lunet_log_prob(flow, x, 5, log_prob, NULL) != LUNET_BAD_INPUT) return "took a NaN";
        if (!strstr(lunet_error(), "column 4")) return "said something else";
    }
    return NULL;
}

int main(int argc, char **argv)
{
    lunet_options options = {argv[2], "cpu", 1, 0, 0};
    pthread_t threads[4];
    double x[64 * 5], log_prob[5];
    void *said;
    if (argc < 3 || lunet_open(&flow, argv[1], &options)) return puts(lunet_error()), 9;
    lunet_sample(flow, 7, 0, 5, 1.0, x);
    lunet_log_prob(flow, x, 5, log_prob, NULL);
    for (int i = 0; i < 5; i++) printf("%.9g ", log_prob[i]);
    for (int i = 0; i < 4; i++) pthread_create(threads + i, NULL, work, log_prob);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &said);
        if (said) return puts(said), 1;
    }
    lunet_close(flow);
    return 0;
}
"""


def test_threads_share_a_flow(tmp_path, runtime):
    done = command(compiled(tmp_path, MANY), DIGITS, runtime, env={"ASAN_OPTIONS": "detect_leaks=0"})
    assert done.code == 0, done.out + done.err
    flow = ExportedFlow(DIGITS, provider="cpu")
    allowed = tolerances.TWO * tolerances.of_sampling(WEIGHTS, flow.latent(5, seed=7))["log_prob"]
    got, expected = [float(number) for number in done.out.split()], flow.sample_and_log_prob(5, seed=7)[1]
    tolerances.assert_within(got, expected, allowed)
    assert tolerances.beyond(got[::-1], expected, allowed) > 1


MANY_ROWS = """
#define LUNET_IMPLEMENTATION
#include <lunet.h>

int main(int argc, char **argv)
{
    enum { ROWS = 5000 };
    lunet_options options = {argv[2], "cpu", 1, 0, 0};
    lunet *flow;
    double *x = malloc(ROWS * 64 * sizeof *x), *log_prob = malloc(ROWS * sizeof *log_prob), alone;
    if (argc < 3 || lunet_open(&flow, argv[1], &options)) return puts(lunet_error()), 9;
    if (lunet_sample(flow, 7, 0, ROWS, 1.0, x)) return puts(lunet_error()), 8;
    if (lunet_log_prob(flow, x, ROWS, log_prob, NULL)) return puts(lunet_error()), 7;
    lunet_log_prob(flow, x + 4999 * 64, 1, &alone, NULL);
    x[4500 * 64 + 3] = NAN;
    printf("%d ", lunet_log_prob(flow, x, ROWS, log_prob, NULL));
    printf("%.9g %.9g %s\\n", alone, log_prob[4999], lunet_error());
    free(x);
    free(log_prob);
    lunet_close(flow);
    return 0;
}
"""


def test_rows_beyond_a_batch_run_in_parts_and_are_counted_as_given(tmp_path, runtime):
    done = command(compiled(tmp_path, MANY_ROWS), DIGITS, runtime, env={"ASAN_OPTIONS": "detect_leaks=0"})
    code, alone, among_others = done.out.split()[:3]
    assert (done.code, code) == (0, "2"), done.out + done.err
    allowed = tolerances.of_sampling(WEIGHTS, noise.normal(7, range(4999, 5000), 64))["log_prob"]
    tolerances.assert_within([float(alone)], [float(among_others)], tolerances.TWO * allowed)
    assert "row 4500 (from 0), column 4 is" in done.out


OPENED = """
#define LUNET_IMPLEMENTATION
#include <lunet.h>

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) { /* folders; each must be refused, before any runtime is loaded */
        lunet_options options = {"/nowhere", "cpu", 1, 0, 0};
        lunet *flow = (lunet *)argv;
        int code = lunet_open(&flow, argv[i], &options);
        if (code == LUNET_OK || flow) return puts(argv[i]), 1;
        printf("%d %s\\n", code, lunet_error());
        lunet_close(flow);
    }
    return 0;
}
"""


def _mutated(text: bytes, rng: random.Random) -> bytes:
    data = bytearray(text)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(data))
        kind = rng.randrange(5)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.randrange(1, 40)]
        elif kind == 2:
            data[at:at] = rng.choice((b"[" * 80, b'{"a":' * 80, b'"', b"\\", b"\0", b"1e999", b"null", b"-", b","))
        elif kind == 3:
            del data[at:]
        else:
            data[at:at] = data[at : at + 50]
        if not data:
            break
    return bytes(data)


def test_two_thousand_mutated_manifests_are_refused_or_read_without_a_fault(tmp_path):
    """No leak, no read past an end: by the sanitizers. All stop at the runtime, which is nowhere."""
    program = compiled(tmp_path, OPENED)
    rng = random.Random(11)
    text = (DIGITS / "manifest.json").read_bytes()
    for number in range(2000):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        (folder / "manifest.json").write_bytes(_mutated(text, rng))
    done = command(program, *range(2000), cwd=tmp_path)
    assert (done.code, done.err) == (0, ""), done.out[-500:] + done.err[:2000]
    lines = done.out.splitlines()
    assert len(lines) == 2000
    assert {line[0] for line in lines} == {"2", "3"}  # some are still whole where it counts
    assert sum(line[0] == "2" for line in lines) > 500


READ = """
#define LUNET_IMPLEMENTATION
#include <lunet.h>

int main(int argc, char **argv)
{
    lunet_options options = {argv[1], "cpu", 1, 0, 0};
    const char *places[] = {
        "density/x", "sampling/clamped", "density/tolerance/z", "none/x", "density/x/0", "density", "", "/"};
    for (int i = 2; i < argc; i++) {
        lunet *flow;
        if (lunet_open(&flow, argv[i], &options)) return puts(lunet_error()), 1;
        for (size_t place = 0; place < sizeof places / sizeof *places; place++) {
            double *numbers, sum = 0;
            size_t count;
            int code = lunet_read(flow, "vectors.json", places[place], &numbers, &count);
            for (size_t k = 0; k < count; k++) sum += numbers[k];
            printf("%d %zu%s\\n", code, count, isnan(sum) ? " nan" : "");
            lunet_free(numbers);
        }
        lunet_close(flow);
    }
    return 0;
}
"""


def test_mutated_vectors_are_refused_or_read_without_a_fault(tmp_path, runtime):
    program = compiled(tmp_path, READ)
    rng = random.Random(12)
    whole = (ROOT / "exported" / "toy2d" / "vectors.json").read_bytes()
    for number in range(100):
        folder = tmp_path / f"{number}"
        shutil.copytree(ROOT / "exported" / "toy2d", folder)
        (folder / "vectors.json").write_bytes(_mutated(whole, rng) if number else whole)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["sha256"]["vectors.json"] = sha256((folder / "vectors.json").read_bytes())
        manifest["bytes"]["vectors.json"] = (folder / "vectors.json").stat().st_size
        (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    done = command(program, runtime, *range(100), cwd=tmp_path, env={"ASAN_OPTIONS": "detect_leaks=0"})
    assert (done.code, done.err) == (0, ""), done.out[-500:] + done.err[:2000]
    lines = done.out.splitlines()
    assert (
        lines[:8] == ["0 16", "0 16", "0 56 nan", "0 8", "0 200 nan", "0 200 nan", "0 0", "0 0"]
        or lines[:2] == ["0 16"] * 2
    )
    assert len(lines) == 800


def test_it_leaks_nothing_of_its_own(tmp_path, runtime):
    """Opening, failing and closing over and over; ONNX Runtime's own allocations are left out by name."""
    source = """
#define LUNET_IMPLEMENTATION
#include <lunet.h>
int main(int argc, char **argv)
{
    for (int i = 0; i < 20; i++) {
        lunet_options options = {argv[2], i % 4 ? "cpu" : "cuda", 1, 0, 0};
        double x[64] = {0}, log_prob, *numbers;
        size_t count;
        lunet *flow;
        if (lunet_open(&flow, i % 5 == 4 ? "nowhere" : argv[1], &options)) continue;
        lunet_sample(flow, 7, 0, 1, 1.0, x);
        lunet_log_prob(flow, x, 1, &log_prob, NULL);
        x[0] = -1;
        lunet_log_prob(flow, x, 1, &log_prob, NULL);
        lunet_read(flow, "vectors.json", "density/x", &numbers, &count);
        lunet_free(numbers);
        lunet_close(flow);
    }
    return argc < 3;
}
"""
    (tmp_path / "suppressions").write_text("leak:libonnxruntime\nleak:_dl_init\n")
    done = subprocess.run(
        [compiled(tmp_path, source), DIGITS, runtime],
        env={"LSAN_OPTIONS": f"suppressions={tmp_path / 'suppressions'}:print_suppressions=0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "lunet" in done.stderr.replace("libonnxruntime", "")) == (0, False), done.stderr
