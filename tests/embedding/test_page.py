"""The page of `lunet-export demo-page` in headless Chromium: every panel, on WASM and on WebGPU's software adapter."""

import gzip
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lunet_export import ExportedClasses, ExportedFlow
from lunet_export.embedding import write_page
from lunet_export.embedding.web_runtime import WASM, WEBGPU
from tests.embedding.builds import PACKAGES, ROOT, flip
from tests.embedding.test_replay_page import drive

CLASSES, MNIST = ROOT / "exported" / "digits-classes", ROOT / "exported" / "mnist"
SEED, COLUMNS = 7, 8


def _page(folder: Path, target: Path) -> Path:
    write_page(folder, target, runtime=PACKAGES / "onnxruntime-web")
    return target


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The page of the digits, one network per class."""
    return _page(CLASSES, tmp_path_factory.mktemp("classes") / "site")


@pytest.fixture(scope="module")
def used(site, tmp_path_factory) -> dict[str, dict[str, Any]]:
    """Every panel of pages, used once."""
    mnist = _page(MNIST, tmp_path_factory.mktemp("mnist") / "site")
    jobs = {
        "digits on wasm": {"site": str(site)},
        "digits on webgpu": {"site": str(site), "query": "?runtime=webgpu", "gpu": True},
        "mnist on wasm": {"site": str(mnist), "width": 360, "height": 740},
    }
    return {name: drive(page="index", exercise=True, seed=SEED, **job) for name, job in jobs.items()}


USED = ("digits on wasm", "digits on webgpu", "mnist on wasm")
every_use = pytest.mark.parametrize("name", USED)


@every_use
def test_nothing_goes_wrong_and_nothing_leaves_the_page(name, used):
    report = used[name]
    assert (report["state"], report["problem"], report["errors"], report["outside"]) == ("ready", "", [], [])
    assert report["after"] == "ready"
    assert report["overflow"] <= 0, "wider than the window"
    assert all(request["status"] == 200 for request in report["requests"]), report["requests"]
    assert ("WebGPU" if "webgpu" in name else "WASM") in report["status"]
    assert report["times"], "no times are shown"
    assert all(" ms" in line for line in report["times"])


def levels_of(x: np.ndarray, levels: int) -> np.ndarray:
    return np.clip(np.floor(x), 0, levels - 1)


def _expected(name: str, label: int | None = None) -> tuple[np.ndarray, int]:
    """Python's grey levels of the page's grid, (samples, pixels), and how many there are."""
    if name.startswith("mnist"):
        flow = ExportedFlow(MNIST, provider="cpu")
        return levels_of(flow.sample(64, seed=SEED), 256), 256
    of_classes = ExportedClasses(CLASSES, provider="cpu")
    labels = range(10) if label is None else [label]
    rows = COLUMNS if label is None else 64
    return levels_of(np.concatenate([of_classes.sample(rows, seed=SEED, label=one) for one in labels]), 17), 17


def same_pictures(tiles: list[list[int]], expected: np.ndarray, levels: int) -> None:
    """A level may differ by one where a number lies within rounding of it, which is rare."""
    got = np.round(np.array(tiles) * (levels - 1) / 255)
    assert got.shape == expected.shape
    gap = np.abs(got - expected)
    assert gap.max() <= 1
    assert (gap > 0).mean() < 1e-3


@every_use
def test_a_seed_draws_pythons_pictures(name, used):
    same_pictures(used[name]["grid"], *_expected(name))
    assert used[name]["seedRepeats"]
    assert used[name]["freshDiffers"]
    assert "Expected a whole number" in used[name]["wrongSeed"]


@pytest.mark.parametrize("name", USED[:2])
def test_a_class_alone_is_pythons_too(name, used):
    alone = used[name]["classGrid"]
    same_pictures(alone["grid"], *_expected(name, alone["label"]))


@every_use
def test_temperature_follows_the_slider_and_drops_what_is_late(name, used):
    drag = used[name]["drag"]
    assert 1 <= drag["calls"] <= drag["steps"] * (10 if name.startswith("digits") else 1)
    assert used[name]["coldEqual"], "at temperature 0 every sample is the same"


@every_use
def test_the_arc_leads_from_a_to_b(name, used):
    report = used[name]
    places = dict(report["marks"])
    assert places == {"A": 5, "B": 2}
    between = report["between"]
    assert between["start"]["picture"] == report["grid"][places["A"]]
    if name.startswith("mnist"):  # of classes, the network of A draws the whole way
        assert between["end"]["picture"] == report["grid"][places["B"]]
    assert between["middle"]["picture"] not in (between["start"]["picture"], between["end"]["picture"])
    assert all("bits" in point["bits"] for point in between.values())
    assert len(report["strip"]) == (10 if name.startswith("digits") else 0)


def _number(text: str) -> float:
    return float(re.search(r"[\d.]+", text)[0])


@every_use
def test_a_drawing_is_scored_and_classified_as_python_does(name, used):
    """The picture that the page shows, scored by Python with other noise: the mean of 16 draws is near."""
    report = used[name]
    _, levels = _expected(name)
    assert report["cleared"]
    for drawn in (report["stroke"], report["taken"]):
        grey = np.round(np.array(drawn["seen"]) * (levels - 1) / 255)
        x = grey + np.random.default_rng(0).random((512, grey.size))
        of_classes = name.startswith("digits")
        flow = ExportedClasses(CLASSES, provider="cpu") if of_classes else ExportedFlow(MNIST, provider="cpu")
        log_prob = flow.log_prob(x)
        bits = -log_prob / (grey.size * math.log(2))
        assert abs(_number(drawn["bits"]) - bits.mean()) < 6 * bits.std() / math.sqrt(16) + 0.01
        if of_classes:
            scores = flow.class_log_prob(x).mean(axis=0) + np.log(flow.priors)
            assert len(drawn["bars"]) == 10
            ordered = np.sort(scores)
            if ordered[-1] - ordered[-2] > 10:  # nats; nearer ones may change with the noise
                assert drawn["class"] == flow.names[int(scores.argmax())]


@every_use
def test_the_keyboard_alone_is_enough(name, used):
    report = used[name]
    names = [tab["name"] for tab in report["tabs"]]
    needed = {"seed", "temperature", "tile", "along", "draw", "verify"}
    assert needed <= set(names), names
    assert all(tab["outline"] != "none" for tab in report["tabs"] if tab["name"] != "BODY"), (
        "a focus that cannot be seen"
    )
    assert report["keyboard"]["along"] == "2"
    assert any(value for value in report["keyboard"]["drawn"]["seen"]), "space and arrows paint"
    assert report["live"]


@every_use
def test_the_vectors_are_within_tolerance(name, used):
    verify = used[name]["verify"]
    assert verify["verdict"].startswith("All ")
    assert len(verify["rows"]) == (13 if name.startswith("digits") else 6)
    assert all(row[2] == "passed" for row in verify["rows"])


def _of_runtime(report: dict[str, Any]) -> dict[str, int]:
    return {Path(request["url"]).name: request["bytes"] for request in report["requests"] if "ort/" in request["url"]}


def test_what_is_fetched_is_small_and_webgpu_only_with_an_adapter(used, site):
    wasm, webgpu = used["digits on wasm"], used["digits on webgpu"]
    assert set(_of_runtime(wasm)) == set(WASM)
    model = sum(request["bytes"] for request in wasm["requests"] if request["url"].startswith("model/"))
    assert wasm["bytes"] - model <= 15e6
    assert set(_of_runtime(webgpu)) == set(WEBGPU)
    packed = sum(len(gzip.compress((site / "ort" / name).read_bytes(), 6)) for name in WEBGPU)
    assert packed <= 8e6


def test_a_graphics_card_is_taken_by_itself_and_a_software_adapter_is_not(site):
    card = drive(site=str(site), page="index", gpu=True, pretend=True)
    assert (card["state"], "WebGPU" in card["status"]) == ("ready", True)
    assert set(_of_runtime(card)) == set(WEBGPU)
    software = drive(site=str(site), page="index", gpu=True)
    assert ("WASM" in software["status"], "software" in software["note"]) == (True, True)
    assert set(_of_runtime(software)) == set(WASM)
    none = drive(site=str(site), page="index")
    assert (none["webgpu"]["disabled"], "WASM only" in none["note"]) == (True, True)


def test_a_webgpu_that_fails_is_said_and_wasm_goes_on(site):
    report = drive(site=str(site), page="index", query="?runtime=webgpu", gpu=True, broken=True)
    assert (report["state"], "WASM" in report["status"]) == ("ready", True)
    assert report["note"].startswith("WebGPU failed, so the page uses WASM. Expected")


def test_plain_http_works_without_hashes_and_without_webgpu(site):
    report = drive(site=str(site), page="index", plain=True, gpu=True)
    assert (report["state"], report["problem"]) == ("ready", "")
    assert "https or localhost" in report["note"]


def _without(name: str) -> Callable[[Path], None]:
    return lambda target: (target / "model" / name).unlink()


def _flipped(target: Path) -> None:
    flip(target / "model" / "sampling_3.onnx")


def _wrong_shape(target: Path) -> None:
    path = target / "model" / "manifest.json"
    document = json.loads(path.read_text())
    document["model"] |= {"dim": 48, "image_shape": [6, 8]}
    path.write_text(json.dumps(document))


PROBLEMS = {
    "missing file": (_without("sampling_3.onnx"), "Expected sampling_3.onnx in the exported folder; it is missing"),
    "missing manifest": (_without("manifest.json"), "Expected manifest.json in the exported folder; it is missing"),
    "altered file": (_flipped, "SHA-256"),
    "wrong shape": (_wrong_shape, "rows of 48 numbers"),
}


@pytest.mark.parametrize(("change", "words"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_is_wrong_is_a_sentence_in_the_page(change, words, tmp_path):
    target = _page(CLASSES, tmp_path / "site")
    change(target)
    report = drive(site=str(target), page="index")
    assert (report["state"], words in report["problem"]) == ("failed", True), report["problem"]
