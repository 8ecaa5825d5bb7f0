"""The page of a conditional flow: sliders for its context, which samples, scores and the way between two follow."""

import json
from typing import Any

import numpy as np
import pytest

from lunet_export import ExportedClasses, ExportedFlow, checkpoint, noise
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.embedding import write_page, write_project
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.figures.interpolation import spherical
from lunet_export.files.reading import sha256
from lunet_export.flows import layered, lunet
from lunet_export.layers import LU, ConditionalAffine, Context, ScaleMap
from lunet_export.layers.networks import Dense
from tests import tolerances
from tests.conditional import lu_net, network
from tests.embedding.builds import PACKAGES, ROOT
from tests.embedding.conftest import checks_of
from tests.embedding.test_page import COLUMNS, SEED, levels_of, same_pictures
from tests.embedding.test_replay_page import drive
from tests.networks import mixture

NAMES, WIDE = ("ink", "slant"), 12
COUNT = 1000  # points of a scatter
LEVELS = 17  # of grey
OWN, DRAWS = 64, 16  # samples for what is typical, draws of the noise of a drawing
PRINTED = 0.05  # nats, where one decimal is printed


def digits():
    """The committed network of digits, whose latents a context moves: two named columns, with a range."""
    weights, rng = checkpoint.read(ROOT / "exported" / "digits.pt").weights, np.random.default_rng(0)
    blocks = weights.of(LU)
    each = [Dense(0.15 * rng.standard_normal((2 * weights.dim, 2)), np.zeros(2 * weights.dim)) for _ in blocks]
    moved = [ConditionalAffine((dense,), ScaleMap("soft-exp", 3.0)) for dense in each]
    context = Context(2, (), np.array([-1.0, 0.25]), np.array([2.0, 0.75]), NAMES)
    return lunet(blocks, weights.kind.alpha, weights.preprocessing, conditional=moved, context=context)


def wide():
    """A flow with more columns of a context than there are sliders, of an unknown range."""
    rng = np.random.default_rng(1)
    affine = ConditionalAffine((Dense(0.2 * rng.standard_normal((6, WIDE)), np.zeros(6)),), ScaleMap("exp"))
    return layered(3, [affine], None, Context(WIDE))


def one():
    """p(x | c) of one column."""
    affine = ConditionalAffine((Dense(np.array([[0.3], [1.0]]), np.zeros(2)),), ScaleMap("exp"))
    return layered(1, [affine], None, Context(1, (), np.array([-1.0]), np.array([1.0]), ("age",)))


MODELS = {
    "digits": (digits, {"image_shape": (8, 8)}),
    "network": (network, {"columns": ("mass", "radius", "spin", "charge")}),
    "lu_net": (lu_net, {}),
    "wide": (wide, {}),
    "one": (one, {}),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for name, (make, told) in MODELS.items():
        export(make(), root / name, Provenance(name, **told), ExportSettings())
    return {name: root / name for name in MODELS}


LAST = 1000  # a slider's value beyond its last stop is its last stop
MOVED = {
    "digits": [{"#context-0": LAST, "#context-1": 0}],
    "network": [{"#context-0": 10, "#context-2": LAST}, {"#context-1": 0}],
    "wide": [{"#context-7": LAST}],
    "one": [{"#context-0": 0}],
}


@pytest.fixture(scope="module")
def used(folders, tmp_path_factory) -> dict[str, dict[str, Any]]:
    """Every page, its sliders moved once."""
    sites = tmp_path_factory.mktemp("sites")
    for name in MOVED:
        write_page(folders[name], sites / name, runtime=PACKAGES / "onnxruntime-web")
    return {
        name: drive(site=str(sites / name), page="index", contexts=moves, seed=SEED) for name, moves in MOVED.items()
    }


every_page = pytest.mark.parametrize("name", MOVED)


@every_page
def test_nothing_goes_wrong(name, used):
    report = used[name]
    assert (report["state"], report["problem"], report["errors"], report["outside"]) == ("ready", "", [], [])
    assert (report["after"], report["overflow"] <= 0) == ("ready", True)
    assert report["verdict"].startswith("All 6 checks are within their tolerance")


def _number(text: str) -> float:
    return float(text.replace("\N{MINUS SIGN}", "-").removesuffix(" nats"))


SLIDERS = {
    "digits": (["ink", "slant"], [0.5, 0.5]),
    "network": (["c1", "c2", "c3"], [0.0, 0.0, 0.0]),
    "wide": ([f"c{number}" for number in range(1, 9)], None),
    "one": (["age"], [0.0]),
}


@every_page
def test_there_is_a_slider_per_column_at_the_middle_of_its_range(name, used):
    labels, middle = SLIDERS[name]
    found = used[name]["sliders"]
    assert [one["label"] for one in found] == labels
    assert all(one["said"] == one["spoken"] and not one["disabled"] and one["most"] > 20 for one in found)
    assert middle is None or [_number(one["said"]) for one in found] == middle
    first = used[name]["at"][0]["sliders"][0]
    assert {"digits": 2.0, "network": -2.0, "one": -1.0}.get(name, _number(first["said"])) == _number(first["said"])


def test_what_sliders_cannot_show_is_said(used):
    assert used["digits"]["note"] == ""
    assert used["wide"]["note"] == (
        "The range of training is not known: the sliders span the contexts of the test vectors. The context has 12 "
        "columns. These are the first 8; the others stay at the middle of their range."
    )


@every_page
def test_the_keyboard_moves_a_slider_and_the_result_is_announced(name, used):
    moved = used[name]["keyboard"]
    assert (moved["value"], moved["said"]) == (2, moved["spoken"])
    assert used[name]["live"]
    reached = {tab["name"] for tab in used[name]["tabs"]}
    own = {"tile", "along", "draw"} if name == "digits" else {"fit", "row-0", "row-take"}
    assert {"context-0", "context-middle", "seed", "verify", *own} <= reached
    assert all(tab["outline"] != "none" for tab in used[name]["tabs"] if tab["name"] != "BODY")


@every_page
def test_a_drag_drops_what_is_late(name, used):
    drag = used[name]["drag"]
    assert 1 <= drag["calls"] <= 2 * drag["steps"]  # a scatter has a call of each graph


def _same(here, there):
    return all(here[key] == there[key] for key in here)


@every_page
def test_the_middle_brings_back_what_was_there(name, used):
    """The seed's noise is kept, so the same context gives the same samples and scores."""
    assert _same(used[name]["start"], used[name]["back"])
    assert not _same(used[name]["start"], {**used[name]["start"], **used[name]["at"][0]})


def _context(name: str, sliders: list[dict[str, Any]], folder) -> np.ndarray:
    """The context that the sliders show; columns without one are at the middle."""
    given = np.array([_number(one["said"]) for one in sliders])
    if name != "wide":
        return given
    vectors = ExportedFlow(folder, provider="cpu").vectors
    drawn = np.concatenate([vectors.density.context, vectors.sampling.context])
    return np.concatenate([given, ((drawn.min(axis=0) + drawn.max(axis=0)) / 2)[len(given) :]])


def _rounding(name: str, context: np.ndarray, rows: int, seed: int) -> dict[str, np.ndarray]:
    """What rounding may do to the samples of a seed at a context, and to their log p."""
    weights, contexts = MODELS[name][0](), np.broadcast_to(context, (rows, len(context)))
    return RoundingModel(weights, "float32").sampling(noise.normal(seed, range(rows), weights.dim), contexts)


POINTS = ("network", "wide", "one")
DIGITS = 5e-4  # of four digits, relative


@pytest.mark.parametrize("name", POINTS)
def test_points_and_scores_are_pythons_at_every_context(name, used, folders):
    flow = ExportedFlow(folders[name], provider="cpu")
    states = [{**used[name]["start"], "sliders": used[name]["sliders"]}, *used[name]["at"]]
    for state in states:
        context = _context(name, state["sliders"], folders[name])
        x, log_prob = flow.sample_and_log_prob(COUNT, seed=SEED, context=context)
        allowed = _rounding(name, context, COUNT, SEED)
        assert [row[0] for row in state["figures"]] == [axis for axis in state["axes"] if axis != "density"]
        for column, (_, mean, deviation) in enumerate(state["figures"]):
            got, expected = (
                np.array([_number(mean), _number(deviation)]),
                [x[:, column].mean(), x[:, column].std(ddof=1)],
            )
            tolerances.assert_within(got, expected, 2 * allowed["x"].mean() + DIGITS * np.abs(expected).max())
        tolerances.assert_within(_number(state["logProb"]), log_prob.mean(), 2 * allowed["log_prob"].mean() + 5e-4)
    assert len({state["scatter"] for state in states}) == len(states)


def _log_prob(name: str, row: list[str], context: np.ndarray) -> tuple[float, float]:
    """log p of a row as the reference has it, and what float32 may make of it."""
    weights, x = MODELS[name][0](), np.array([[float(number) for number in row]], dtype=np.float32).astype(np.float64)
    allowed = RoundingModel(weights, "float32").density(x, context[None])["log_prob"][0]
    return reference.log_prob(weights, x, context[None])[0], allowed + 5e-4


@pytest.mark.parametrize("name", ["network", "one"])
def test_a_row_is_scored_at_every_context(name, used, folders):
    report = used[name]
    states = [{**report["start"], "sliders": report["sliders"]}, *report["at"]]
    for state in states:
        expected, allowed = _log_prob(name, state["scored"]["row"], _context(name, state["sliders"], folders[name]))
        tolerances.assert_within(_number(state["scored"]["logProb"]), expected, allowed)
        assert state["scored"]["row"] == states[0]["scored"]["row"]
    assert len({state["scored"]["logProb"] for state in states}) == len(states)
    middle = _context(name, report["sliders"], folders[name])
    assert report["rows"]["chosen"]["row"] != states[0]["scored"]["row"]
    for how in ("chosen", "written", "taken"):
        scored = report["rows"][how]
        expected, allowed = _log_prob(name, scored["row"], middle)
        tolerances.assert_within(_number(scored["logProb"]), expected, allowed)
        assert (scored["wrong"], scored["share"].startswith("log p, above that of ")) == ("", True)
    assert report["rows"]["written"]["row"] == ["0.25", *report["rows"]["chosen"]["row"][1:]]
    column = "mass" if name == "network" else "x1"
    assert report["rows"]["empty"]["wrong"] == f"Expected a number in {column}."
    assert report["rows"]["huge"]["wrong"].startswith(
        "Expected finite numbers in x; row 0 (from 0), column 1 is 1e+300"
    )
    assert report["rows"]["huge"]["logProb"] == "…"


def test_the_columns_of_a_table_have_their_names(used):
    assert used["network"]["start"]["axes"] == ["mass", "radius"]
    assert used["network"]["facts"]["Row"] == "4 numbers: mass, radius, spin, charge"
    assert used["digits"]["facts"]["Context"] == "2 numbers: ink, slant"
    assert (used["one"]["start"]["axes"], used["one"]["facts"]["Context"]) == (["x1", "density"], "1 number: age")


def test_pictures_and_scores_are_pythons_at_every_context(used, folders):
    """The samples of the grid, the typical log p, the middle of the way from A to B, and the drawing."""
    flow, report = ExportedFlow(folders["digits"], provider="cpu"), used["digits"]
    states = [{**report["start"], "sliders": report["sliders"]}, *report["at"]]
    for state in states:
        context = _context("digits", state["sliders"], folders["digits"])
        x = flow.sample(COLUMNS * COLUMNS, seed=SEED, context=context)
        same_pictures(state["grid"], levels_of(x, LEVELS), LEVELS)
        own = flow.sample_and_log_prob(OWN, seed=0, context=context)[1]
        allowed = _rounding("digits", context, OWN, 0)["log_prob"]
        typical = _number(state["typical"].split(", ")[1])
        tolerances.assert_within(typical, own.mean(), 2 * allowed.mean() + PRINTED)
        z = spherical(*flow.latent(2, seed=SEED)[:, None].astype(np.float64), np.array([0.5]))[0]
        between = flow.log_prob(flow.decode(z, context=context), context=context)[0]
        moved = RoundingModel(digits(), "float32").sampling(z, context[None])["log_prob"][0]
        tolerances.assert_within(_number(state["between"].removeprefix("log p = ")), between, 2 * moved + PRINTED)
        grey = np.round(np.array(state["seen"]) * (LEVELS - 1) / 255)
        scores = flow.log_prob(grey + noise.uniform(0, range(DRAWS), grey.size), context=context)
        contexts = np.broadcast_to(context, (DRAWS, 2))
        rows = grey + noise.uniform(0, range(DRAWS), grey.size)
        allowed = RoundingModel(digits(), "float32").density(rows, contexts)["log_prob"]
        tolerances.assert_within(
            _number(state["taken"].removeprefix("log p = ")), scores.mean(), 2 * allowed.mean() + PRINTED
        )
    first, *others = states
    for other in others:
        assert all(first[key] != other[key] for key in ("grid", "typical", "between", "taken"))
        assert first["seen"] == other["seen"]


def test_classes_are_a_choice(folders, tmp_path):
    """A context of which each column is 1 for a class, as the manifest may say."""
    write_page(folders["network"], tmp_path / "site", runtime=PACKAGES / "onnxruntime-web")
    path = tmp_path / "site" / "model" / "manifest.json"
    document = json.loads(path.read_text())
    document["model"]["context"]["classes"] = [{"name": name, "prior": 1 / 3} for name in ("a", "b", "c")]
    path.write_text(json.dumps(document))
    report = drive(site=str(tmp_path / "site"), page="index", seed=SEED, contexts=[{"#context-class": "2"}])
    assert (report["after"], report["errors"], report["facts"]["Context"]) == ("ready", [], "3 numbers: a, b, c")
    flow = ExportedFlow(folders["network"], provider="cpu")
    for state, context in ((report["start"], [1.0, 0.0, 0.0]), (report["at"][0], [0.0, 0.0, 1.0])):
        log_prob = flow.sample_and_log_prob(COUNT, seed=SEED, context=context)[1]
        allowed = _rounding("network", np.array(context), COUNT, SEED)["log_prob"]
        tolerances.assert_within(_number(state["logProb"]), log_prob.mean(), 2 * allowed.mean() + 5e-4)


def test_an_unconditional_page_has_no_sliders(tmp_path):
    write_page(ROOT / "exported" / "toy2d", tmp_path / "site", runtime=PACKAGES / "onnxruntime-web")
    report = drive(site=str(tmp_path / "site"), page="index", seed=SEED, contexts=[])
    assert (report["after"], report["sliders"], report["facts"]["Context"]) == ("ready", [], "")
    log_prob = ExportedFlow(ROOT / "exported" / "toy2d", provider="cpu").sample_and_log_prob(COUNT, seed=SEED)[1]
    weights = checkpoint.read(ROOT / "exported" / "toy2d.pt").weights
    allowed = tolerances.of_sampling(weights, noise.normal(SEED, range(COUNT), 2))["log_prob"]
    tolerances.assert_within(_number(report["start"]["logProb"]), log_prob.mean(), 2 * allowed.mean() + 5e-4)


def swapped(site):
    """Test vectors whose contexts have their columns swapped."""
    vectors, manifest = (site / "model" / f"{name}.json" for name in ("vectors", "manifest"))
    document = json.loads(vectors.read_text())
    document["density"]["context"] = [row[::-1] for row in document["density"]["context"]]
    vectors.write_text(json.dumps(document))
    told = json.loads(manifest.read_text())
    told["sha256"]["vectors.json"] = sha256(vectors.read_bytes())
    manifest.write_text(json.dumps(told))


@pytest.mark.parametrize("fault", [False, True])
@pytest.mark.parametrize("runtime", ["wasm", "webgpu"])
def test_the_replay_page_replays_contexts_and_finds_wrong_ones(runtime, fault, folders, tmp_path):
    write_project("browser", folders["lu_net"], tmp_path / "site", runtime=PACKAGES / "onnxruntime-web")
    if fault:
        swapped(tmp_path / "site")
    report = drive(site=str(tmp_path / "site"), page="replay", query=f"?runtime={runtime}", gpu=runtime == "webgpu")
    assert (report["code"], report["errors"]) == (int(fault), []), report["output"]
    failed = {name for name, (_, passed) in checks_of(report["output"]).items() if not passed}
    assert ({"density z", "density log_prob"} <= failed) == fault
    assert fault or not failed


def test_webgpu_follows_the_sliders_too(folders, tmp_path):
    write_page(folders["lu_net"], tmp_path / "site", runtime=PACKAGES / "onnxruntime-web")
    job = {"contexts": [{"#context-1": LAST}], "seed": SEED, "gpu": True, "query": "?runtime=webgpu"}
    report = drive(site=str(tmp_path / "site"), page="index", **job)
    assert (report["after"], report["errors"], "WebGPU" in report["status"]) == ("ready", [], True)
    context = _context("lu_net", report["at"][0]["sliders"], folders["lu_net"])
    flow = ExportedFlow(folders["lu_net"], provider="cpu")
    log_prob = flow.sample_and_log_prob(COUNT, seed=SEED, context=context)[1]
    allowed = _rounding("lu_net", context, COUNT, SEED)["log_prob"]
    tolerances.assert_within(_number(report["at"][0]["logProb"]), log_prob.mean(), 2 * allowed.mean() + 5e-4)


def test_points_of_a_mixture_are_drawn_by_the_priors(tmp_path):
    export(mixture(2, 3), tmp_path / "m", Provenance("mixture"))
    write_page(tmp_path / "m", tmp_path / "site", runtime=PACKAGES / "onnxruntime-web")
    flow = ExportedClasses(tmp_path / "m", provider="cpu")
    report = drive(site=str(tmp_path / "site"), page="index", seed=SEED, contexts=[{"#class": "1"}])
    assert (report["after"], report["errors"]) == ("ready", [])
    each = [max(1, round(COUNT * prior)) for prior in flow.priors]
    drawn = [flow.sample(rows, seed=SEED, label=label) for label, rows in enumerate(each)]
    for state, x in (
        (report["start"], np.concatenate(drawn)),
        (report["at"][0], flow.sample(COUNT, seed=SEED, label=1)),
    ):
        allowed = tolerances.of_classes(mixture(2, 3), x)["log_prob"]
        tolerances.assert_within(_number(state["logProb"]), flow.log_prob(x).mean(), 2 * allowed.mean() + 5e-4)
