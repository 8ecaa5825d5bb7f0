"""replay.html in headless Chromium, on WASM and on WebGPU's software adapter: the same steps as the other languages."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lunet_export.embedding import write_project
from tests.embedding.builds import PACKAGES, ROOT, TOOLS, command, flip
from tests.embedding.conftest import MODELS, checks_of
from tests.embedding.test_programs import CHECKS, same_words

DRIVER = Path(__file__).parent / "browser" / "drive.mjs"
RUNTIMES = ("wasm", "webgpu")
FOLDERS = (*MODELS, "digits-classes")


def drive(**job: Any) -> dict[str, Any]:
    """The report of the driver."""
    done = command("node", DRIVER, json.dumps({"modules": str(TOOLS), **job}))
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.fixture
def replayed(tmp_path) -> Callable[..., dict[str, Any]]:
    """Write the browser's project of a folder, change it, open replay.html."""

    def replay(
        folder: Path, runtime: str = "wasm", *, gpu: bool = False, change: Callable[[Path], None] = lambda site: None
    ) -> dict[str, Any]:
        site = tmp_path / "site"
        write_project("browser", folder, site, runtime=PACKAGES / "onnxruntime-web")
        change(site)
        return drive(site=str(site), page="replay", query=f"?runtime={runtime}", gpu=gpu)

    return replay


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("model", FOLDERS)
def test_every_model_is_within_tolerance(model, runtime, replayed, node_project):
    report = replayed(ROOT / "exported" / model, runtime, gpu=runtime == "webgpu")
    assert (report["code"], report["errors"], report["outside"]) == (0, [], []), report["output"]
    assert f", {runtime}" in report["output"].splitlines()[1]
    found = checks_of(report["output"])
    assert model not in MODELS or tuple(found) == CHECKS
    assert all(passed and 0 < ratio <= 1 for ratio, passed in found.values())
    said = command("node", node_project / "replay.mjs", ROOT / "exported" / model, "node").out
    assert same_words(report["output"]) == same_words(said)
    noise = [line for line in said.splitlines() if line.startswith("noise")]
    assert [line for line in report["output"].splitlines() if line.startswith("noise")] == noise


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_planted_wrong_vector_is_code_1(runtime, replayed, altered):
    def wrong(document):
        document["density"]["z"][3][1] += 0.5

    report = replayed(altered("digits", vectors=wrong), runtime, gpu=runtime == "webgpu")
    assert report["code"] == 1
    assert "FAILED: row 3 is off by 0.5" in report["output"]


def _old(site: Path) -> None:
    (site / "ort" / "ort.wasm.min.mjs").write_text(
        'export const env = { versions: { common: "1.15.1", web: "1.15.1" }, wasm: {} };\n'
    )


def _without(name: str) -> Callable[[Path], None]:
    return lambda site: (site / name).unlink()


def _flipped(site: Path) -> None:
    flip(site / "model" / "density.onnx")


def _of_another_shape(site: Path) -> None:
    path = site / "model" / "manifest.json"
    path.write_text(path.read_text().replace('"dim": 2', '"dim": 3', 1))


REFUSED = {
    "missing graph": (_without("model/density.onnx"), 2, "Expected density.onnx"),
    "missing manifest": (_without("model/manifest.json"), 2, "Expected manifest.json"),
    "altered graph": (_flipped, 2, "SHA-256"),
    "wrong shape": (_of_another_shape, 2, "rows of 3 numbers"),
    "too old a runtime": (_old, 3, "Expected ONNX Runtime 1.16 or newer; got 1.15.1"),
    "missing runtime": (_without("ort/ort-wasm-simd-threaded.wasm"), 3, "Expected"),
}


@pytest.mark.parametrize(("change", "code", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_gets_a_sentence(change, code, words, replayed):
    report = replayed(ROOT / "exported" / "toy2d", change=change)
    assert (report["code"], words in report["output"]) == (code, True), report["output"]
    assert len(report["output"].strip().splitlines()) == 1


def test_webgpu_without_an_adapter_is_code_3(replayed):
    report = replayed(ROOT / "exported" / "toy2d", "webgpu")
    assert (report["code"], "WebGPU" in report["output"]) == (3, True), report["output"]
    assert not any("webgpu" in request["url"] or "asyncify" in request["url"] for request in report["requests"])
