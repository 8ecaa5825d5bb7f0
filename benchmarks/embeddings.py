"""How long does one row take in each language, beside Python?

The projects of `lunet-export embed` are built as their READMEs say and run in turns on the committed exports, with one
thread each. A program replays the test vectors before it times 200 calls; its times count only if all answers are
within tolerance. The page runs in headless Chromium: on WASM, and on WebGPU's software adapter, which says nothing of a
GPU. `python -m benchmarks.embeddings` writes results/embeddings.json; `make test-embed` installs the build tools.
"""

import json
import re
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import report
from lunet_export import ExportedFlow
from lunet_export.bench.measure import interleaved
from lunet_export.embedding import write_project
from lunet_export.errors import BadInputError, CheckFailedError
from tests.embedding import builds

MODELS = ("toy2d", "digits", "mnist")
LANGUAGES = (
    "Python",
    "C",
    "C++",
    "Rust",
    "Node, native",
    "Node, WASM",
    "Chromium, WASM",
    "Chromium, WebGPU (software)",
)
_ROUNDS = 3
_LATENCY = re.compile(r"latency density ([\d.]+) ms, sampling ([\d.]+) ms")
_DRIVER = builds.ROOT / "tests" / "embedding" / "browser" / "drive.mjs"

Timed = Callable[[str], tuple[float, float]]  # the name of a model -> ms of density and of sampling


def main() -> None:
    """Build, run in turns, write, print."""
    options = report.options(__doc__.splitlines()[0], seconds=0.2).parse_args()
    if not (builds.TOOLS / "setup").exists():
        raise BadInputError(f"Expected compilers and packages in {builds.TOOLS}; run: make test-embed")
    with tempfile.TemporaryDirectory() as folder:
        timed = languages(Path(folder), options.seconds)
        found: dict[str, dict[str, list[tuple[float, float]]]] = {model: {} for model in MODELS}
        for turn in range(_ROUNDS):
            for model in MODELS:
                for name, call in timed.items():
                    report.progress(f"round {turn + 1} of {_ROUNDS}: {model}, {name}")
                    found[model].setdefault(name, []).append(call(model))
    document = {
        "command": "python -m benchmarks.embeddings",
        "machine": report.machine(1),
        "rounds": _ROUNDS,
        "median_ms": {model: {name: medians(turns) for name, turns in of.items()} for model, of in found.items()},
    }
    report.write(options.output / "embeddings.json", document)
    print(report.markdown(rows(document)))


def languages(folder: Path, seconds: float) -> Mapping[str, Timed]:
    """Build every program and return it."""
    library = builds.runtime(folder)
    c, rust = builds.c(folder / "c"), builds.rust(folder / "rust")
    cpp, node = builds.cpp(folder / "cpp"), builds.node(folder / "node")
    for model in MODELS:
        runtime = builds.PACKAGES / "onnxruntime-web"
        write_project("browser", builds.ROOT / "exported" / model, folder / model, runtime=runtime)

    def program(*before: Any, after: tuple[Any, ...] = ()) -> Timed:  # noqa: ANN401
        return lambda model: latency_of(builds.command(*before, builds.ROOT / "exported" / model, *after))

    def page(runtime: str) -> Timed:
        def open_page(model: str) -> tuple[float, float]:
            job = {"site": str(folder / model), "modules": str(builds.TOOLS), "page": "replay"}
            job |= {"query": f"?runtime={runtime}", "gpu": runtime == "webgpu"}
            done = builds.command("node", _DRIVER, json.dumps(job))
            found = json.loads(done.out)
            return latency_of(builds.Done(found["code"], found["output"], done.err))

        return open_page

    calls = (
        lambda model: of_python(model, seconds),
        program(c, after=("cpu", library)),
        program(cpp, after=("cpu", library)),
        program(rust, after=("cpu", library)),
        program("node", node, after=("node",)),
        program("node", node, after=("web",)),
        page("wasm"),
        page("webgpu"),
    )
    return dict(zip(LANGUAGES, calls, strict=True))


def of_python(model: str, seconds: float) -> tuple[float, float]:
    """Time the same calls in Python, checks of the rows included."""
    flow = ExportedFlow(builds.ROOT / "exported" / model, provider="cpu", threads=1)
    z = flow.latent(1, seed=7)
    x = flow.decode(z)
    times = interleaved({"density": lambda: flow.log_prob(x), "sampling": lambda: flow.decode(z)}, seconds=seconds)
    return times["density"].p50, times["sampling"].p50


def latency_of(done: builds.Done) -> tuple[float, float]:
    """Return the times that a program printed.

    Raises:
        CheckFailedError: if it found a vector outside its tolerance, or failed.
    """
    match = _LATENCY.search(done.out)
    if done.code or not match:
        raise CheckFailedError(f"Expected a program to replay its vectors; it ended with {done.code}: {done.said}")
    return float(match[1]), float(match[2])


def medians(turns: list[tuple[float, float]]) -> dict[str, float]:
    """Return the medians over the rounds."""
    density, sampling = zip(*turns, strict=True)
    return {"density": statistics.median(density), "sampling": statistics.median(sampling)}


def rows(document: Mapping[str, Any]) -> report.Rows:
    """Return a row per language, with density and sampling of every model in milliseconds."""
    found = document["median_ms"]
    head = ("ms per call, batch 1", *(f"{model}: density, sampling" for model in MODELS))
    body = [
        (name, *(f"{found[model][name]['density']:.3g}, {found[model][name]['sampling']:.3g}" for model in MODELS))
        for name in LANGUAGES
    ]
    return [head, *body]


if __name__ == "__main__":
    report.run(main)
