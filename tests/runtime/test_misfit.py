"""Rows that a model was not made for are told, each kind in its sentence; a model's own rows never are."""

import os
import warnings
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from lunet_export import ExportedClasses, ExportedFlow, data, noise
from lunet_export.checks import reference
from lunet_export.errors import BadInputError, RowsWarning
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.flows import KINDS
from lunet_export.preprocessing import NAMED, Logit, dequantize
from lunet_export.runtime import misfit
from lunet_export.runtime.misfit import BY_CHANCE, MadeFor, most_by_chance
from lunet_export.runtime.scoring import Together, score, scores
from tests.conftest import ROOT
from tests.networks import mixture, network

COMMITTED = ["toy2d", "digits", pytest.param("mnist", marks=pytest.mark.data)]
SETS = {"toy2d": "two-moons"}
NUMBERS = [1, 2, 3, 10, 100, 1000]

NOISE = (
    "Expected grey levels plus noise, in [0, 17), which the model was made for; got whole numbers, whose log p "
    "means something else. Give them as integers to score, which adds the noise: `lunet-export score` or "
    "lunet_export.runtime.scoring.score."
)
SCALE = (
    "Expected grey levels plus noise, in [0, 17), which the model was made for; all of these rows lie in [0, 1]: they "
    "look scaled. Multiply them by 16, round them to integers, and give those to score, which adds the noise."
)
LEVELS = (
    "Expected images of 256 grey levels, which the model was made for; none of these reaches 17: they look like images "
    "of fewer levels. Scale them to 0 .. 255, or use a model that was made for them."
)
GREY = (
    "Expected the input of a network without pre-processing; got whole numbers up to 255, half of them with |z|^2 / D "
    "above {} where 1 is usual: they look like grey levels. Export the authors' best.pth again with "
    "`preprocess='paper'`, or give rows like those that the model was trained on."
)
FAR = (
    "Expected rows like those that the model was trained on, whose latents have |z|^2 / D near 1; half of these have "
    "more than {}: they are {}, or other data. Give rows as they were given in training."
)
VECTORS, IMAGES = "in other units, standardised differently or out of order", "scaled, inverted or cropped differently"
NEAR = (
    "Expected rows like those that the model was trained on, whose latents have |z|^2 / D near 1; all of these have "
    "less than {}: they are scaled down, or samples of a low temperature. Give rows as they were given in training."
)


def told(work) -> list[str]:
    """The sentences of all warnings, each of which points at this file: where the runtime was called."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        work()
    assert {(one.category, one.filename) for one in heard} <= {(RowsWarning, __file__)}
    return [str(one.message) for one in heard]


def with_noise(grey, dtype=np.float32):
    return dequantize(grey, noise.uniform(3, range(len(grey)), grey.shape[1]).astype(dtype))


def test_rows_of(name):
    if "mnist" in name and "LUNET_DATA_DIR" not in os.environ:
        pytest.skip("needs MNIST: set LUNET_DATA_DIR to the folder that holds it")
    return data.load(SETS.get(name, name), data_dir=Path(os.environ.get("LUNET_DATA_DIR", "data"))).test


test_rows_of.__test__ = False


@pytest.fixture(scope="module")
def digits():
    return ExportedFlow(ROOT / "exported" / "digits", provider="cpu", threads=1)


@pytest.fixture(scope="module")
def toy2d():
    return ExportedFlow(ROOT / "exported" / "toy2d", provider="cpu", threads=1)


@pytest.fixture(scope="module")
def grey():
    return data.load("digits").test


@pytest.mark.parametrize("name", COMMITTED)
@pytest.mark.parametrize("n", NUMBERS)
def test_own_rows_are_not_told(name, n):
    flow, rows = ExportedFlow(ROOT / "exported" / name, provider="cpu", threads=1), test_rows_of(name)
    for start in range(0, min(len(rows), 10 * n), n):
        part = rows[start : start + n]
        assert told(lambda part=part: score(flow, part)) == []
        x = part if flow.manifest.preprocessing is None else with_noise(part)
        assert told(lambda x=x: (flow.log_prob(x), flow.encode(x), flow.density(x))) == []


@pytest.mark.parametrize("n", NUMBERS)
def test_own_rows_of_classes_are_not_told(n, grey):
    flow = ExportedClasses(ROOT / "exported" / "digits-classes", provider="cpu", threads=1)
    assert told(lambda: scores(flow, grey[:n])) == []
    assert told(lambda: (flow.classify(with_noise(grey[:n])), flow.log_prob(with_noise(grey[:n])))) == []


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.5])
@pytest.mark.parametrize("name", ["toy2d", "digits", "mnist"])
def test_samples_that_are_scored_again_are_not_told(name, temperature):
    flow = ExportedFlow(ROOT / "exported" / name, provider="cpu", threads=1)
    for n in (1, 2, 64):
        x = flow.sample(n, seed=n, temperature=temperature)
        assert told(lambda x=x: (flow.log_prob(x), score(flow, x))) == []


def test_samples_beside_their_log_prob_are_never_told(digits):
    assert told(lambda: digits.sample_and_log_prob(50, seed=0, temperature=0.1)) == []


OURS = {name: import_module(f"tests.families.{name}") for name in KINDS}
FAMILIES = {f"{name}: {case}": make for name, module in OURS.items() for case, make in module.NETWORKS.items()}


@pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)
def test_a_model_of_any_family_knows_its_own_rows(make, tmp_path):
    """Rows of the reference, and the latents as the graph gives them."""
    weights = make()
    z = noise.normal(0, range(40), weights.dim)
    x = reference.decode(weights, z)
    p = weights.preprocessing
    made_for = MadeFor(weights.dim, p)
    for n in (1, 2, 40):
        kept = np.clip(x[:n], 0, p.levels * (1 - 1e-9)) if p else x[:n]
        assert made_for.of_rows(kept) is None
        assert made_for.of_latents(kept, reference.encode(weights, kept)[0]) is None


def test_odd_rows_among_good_ones_are_not_told(toy2d, digits, grey):
    """A third of them, in any order: no median tells them."""
    for every in (slice(None, None, 3), slice(0, len(data.load("two-moons").test) // 3)):
        x = data.load("two-moons").test.copy()
        x[every] *= 100
        assert told(lambda x=x: toy2d.log_prob(x)) == []
    mixed = with_noise(grey)
    mixed[1::3] = np.random.default_rng(0).uniform(0, 17, mixed[1::3].shape)
    assert told(lambda: digits.log_prob(mixed)) == []


def test_other_data_of_the_same_kind_is_not_told(digits, grey):
    """Black pictures, and what out-of-distribution scores are computed of: rows moved by a pixel."""
    assert told(lambda: score(digits, np.zeros((20, 64), np.uint8))) == []
    moved = np.roll(grey.reshape(-1, 8, 8), 1, axis=2).reshape(-1, 64)
    assert told(lambda: score(digits, moved)) == []


@pytest.mark.data
def test_fashion_under_mnist_is_not_told():
    flow = ExportedFlow(ROOT / "exported" / "mnist", provider="cpu", threads=1)
    assert told(lambda: score(flow, test_rows_of("fashion-mnist")[:1000])) == []


def test_no_rows_are_nothing(toy2d, digits):
    for flow in (toy2d, digits):
        assert told(lambda flow=flow: flow.density(np.empty((0, flow.dim)))) == []


@pytest.mark.parametrize("n", [1, 2, 100])
@pytest.mark.parametrize(
    "as_given",
    [np.asarray, lambda rows: rows.astype(float), lambda rows: rows.tolist()],
    ids=["integers", "whole floats", "lists"],
)
def test_grey_levels_without_noise_are_told(digits, grey, n, as_given):
    rows = as_given(grey[:n])
    for method in (digits.log_prob, digits.encode, digits.density, digits.on_device.density):
        assert told(lambda method=method: method(rows)) == [NOISE]


def test_score_takes_integers_and_tells_whole_floats(digits, grey):
    assert told(lambda: score(digits, grey)) == []
    assert told(lambda: score(digits, grey.astype(np.float32))) == [NOISE]


def test_the_figure_is_another_one_without_noise(digits, grey):
    """What the warning is about."""
    row = data.load("digits").train[:1]
    assert abs(float(digits.log_prob(row)[0]) - float(score(digits, row)[0])) > 5  # nats


@pytest.mark.parametrize("n", [1, 2, 100])
def test_images_scaled_to_one_are_told(digits, grey, n):
    assert told(lambda: digits.log_prob(grey[:n] / 16)) == [SCALE]
    assert told(lambda: digits.log_prob((grey[:n] / 16).astype(np.float32))) == [SCALE]
    assert told(lambda: score(digits, grey[:n] / 16)) == [SCALE]


def test_images_with_noise_that_were_scaled_are_told(digits, grey):
    assert told(lambda: digits.log_prob(with_noise(grey) / 17)) == [SCALE]


def test_images_in_minus_one_to_one_are_refused_with_what_they_are(digits, grey):
    with pytest.raises(BadInputError, match=r"Rows in \[-1, 1\] look scaled: the model takes grey levels 0 \.\. 16"):
        digits.log_prob(grey / 8 - 1)


def test_images_of_more_levels_are_refused_with_what_they_are(digits):
    with pytest.raises(BadInputError, match=r"Whole numbers up to 255 look like images of 256 grey levels; the mod"):
        digits.log_prob(np.full((2, 64), 255, np.uint8))


@pytest.mark.parametrize("n", [1, 9, 10, 100])
def test_images_of_fewer_levels_are_told_where_they_are_many(n, grey, tmp_path):
    export(network(64, 2, preprocessing=NAMED["images"]), tmp_path / "m", Provenance("m"))
    flow = ExportedFlow(tmp_path / "m", provider="cpu", threads=1)
    assert told(lambda: score(flow, grey[:n])) == ([LEVELS] if n >= 10 else [])
    full = np.clip(flow.sample(n, seed=0), 0.5, None)
    assert told(lambda: score(flow, full)) == []


@pytest.mark.parametrize("n", [1, 50])
def test_grey_levels_for_a_network_of_the_authors_without_preprocessing_are_told(n, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (n, 16), dtype=np.uint8)
    images[0, 0] = 255
    export(network(16, 3), tmp_path / "m", Provenance("m", source="authors"))
    flow = ExportedFlow(tmp_path / "m", provider="cpu", threads=1)
    middle = np.sort(np.mean(flow.encode(images).astype(float) ** 2, axis=1))[(n - 1) // 2]
    sentence = GREY.format(f"{middle:.1g}")
    assert told(lambda: score(flow, images)) == [sentence]
    assert told(lambda: flow.log_prob(images.astype(float))) == [sentence]


def test_vectors_of_whole_numbers_are_no_grey_levels(toy2d):
    """A grid of points is what 2-D models are asked about."""
    grid = [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0]]
    assert told(lambda: toy2d.log_prob(grid)) == []
    assert told(lambda: toy2d.log_prob(np.array(grid, dtype=np.uint8))) == []


def test_bytes_for_a_vector_model_are_told(toy2d):
    pixels = np.random.default_rng(1).integers(0, 256, (100, 2), dtype=np.uint8)
    (sentence,) = told(lambda: toy2d.log_prob(pixels))
    assert sentence.startswith("Expected the input of a network without pre-processing; got whole numbers up to 2")


@pytest.mark.parametrize("scale", [100, 1e6])
def test_vectors_in_other_units_are_told(toy2d, scale):
    x = scale * data.load("two-moons").test[:1000]
    squares = np.sort(np.mean(toy2d.encode(x).astype(float) ** 2, axis=1))
    sentence = FAR.format(f"{squares[(len(x) - 1) // 2]:.1g}", VECTORS)
    assert told(lambda: toy2d.density(x)) == [sentence]
    assert told(lambda: score(toy2d, x)) == [sentence]


def test_a_single_row_is_told_where_it_is_impossible_by_far(toy2d):
    assert told(lambda: toy2d.log_prob(np.array([[50.5, 20.25]]))) == []  # an outlier
    (sentence,) = told(lambda: toy2d.log_prob(np.array([[1e6 + 0.5, 1e6]])))
    assert VECTORS in sentence


def test_standardising_twice_is_told(tmp_path):
    """A model of rows with mean 5 and deviation 1/2, standardised by those once and twice."""
    export(network(8, 1), tmp_path / "m", Provenance("m"), ExportSettings(dtype="float64"))
    flow = ExportedFlow(tmp_path / "m", provider="cpu", threads=1)
    own = flow.sample(300, seed=0)
    assert told(lambda: flow.log_prob(own)) == []
    (sentence,) = told(lambda: flow.log_prob((own - 5) / 0.1))
    assert VECTORS in sentence


def test_images_of_another_kind_are_told(digits):
    x = np.random.default_rng(0).uniform(0, 17, (100, 64))
    assert told(lambda: digits.log_prob(x)) == [FAR.format("2e+01", IMAGES)]


def test_rows_that_were_shrunk_are_told(digits):
    x = digits.sample(40, seed=0, temperature=0.1)
    assert told(lambda: digits.log_prob(x)) == [NEAR.format("0.01")]


def test_of_a_mixture_rows_are_told_that_no_model_was_made_for(tmp_path):
    """Rows of the second model are far from the first one's, as they should be."""
    flows = []
    for number, shift in enumerate((0.0, 200.0)):
        weights = network(4, 1)
        (block,) = weights.layers
        moved = replace(block, bias=block.bias - shift)
        export(weights.with_layers([moved]), tmp_path / f"m{number}", Provenance("m"))
        flows.append(ExportedFlow(tmp_path / f"m{number}", provider="cpu", threads=1))
    x = flows[1].sample(200, seed=0)
    assert len(told(lambda: score(flows[0], x))) == 1
    assert told(lambda: scores(Together(flows, [0.5, 0.5]), x)) == []
    assert len(told(lambda: scores(Together(flows, [0.5, 0.5]), 1000 * x))) == 1


def test_classes_tell_what_their_numbers_and_certificates_show(grey, tmp_path):
    flow = ExportedClasses(ROOT / "exported" / "digits-classes", provider="cpu", threads=1)
    for method in (flow.log_prob, flow.class_log_prob, flow.posterior, flow.classify, flow.density):
        assert told(lambda method=method: method(grey)) == [NOISE]
    assert told(lambda: scores(flow, grey / 16)) == [SCALE]
    export(mixture(16, 3), tmp_path / "m", Provenance("m"))
    plain = ExportedClasses(tmp_path / "m", provider="cpu", threads=1)
    x = np.random.default_rng(0).standard_normal((100, 16))
    assert told(lambda: scores(plain, x)) == []
    (sentence,) = told(lambda: score(plain, 1000 * x))
    assert VECTORS in sentence
    pixels = np.random.default_rng(0).integers(0, 256, (100, 16))
    (sentence,) = told(lambda: plain.classify(pixels))
    assert "they look like grey levels" in sentence


def test_it_is_said_once_where_it_is_called(digits, grey):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("default")
        for part in (grey[:3], grey[3:9], grey[9:20]):
            digits.log_prob(part)
        digits.log_prob(grey)
    assert [str(one.message) for one in heard] == [NOISE, NOISE]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RowsWarning)
        with pytest.raises(RowsWarning, match="got whole numbers"):
            digits.encode(grey)


def test_callers_of_this_package_look_themselves(digits):
    """Vectors of every kind of row, whole numbers too, are replayed by `check` and by an export."""
    from lunet_export import parity

    assert told(lambda: parity.run(digits, digits.vectors)) == []


def test_whoever_wants_to_be_called_is(digits, grey):
    found = []
    assert told(lambda: score(digits, grey / 16, on_misfit=found.append)) == []
    assert [(one.kind, one.sentence) for one in found] == [("scale", SCALE)]


def test_the_bound_on_a_median_holds_for_the_heaviest_tail():
    """Rows of mean 1 that are 0 or t, as Markov's inequality allows: half of them are t no more often than was said."""
    from math import comb

    for n in (1, 2, 3, 7, 10, 40):
        p, most = 1 / most_by_chance(n), n - (n - 1) // 2
        exact = sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(most, n + 1))
        assert 0 < exact <= BY_CHANCE * (1 + 1e-9)
    assert most_by_chance(1) == pytest.approx(1 / BY_CHANCE)
    assert [most_by_chance(n) for n in (10, 100, 4096)] == pytest.approx([30.0, 3.81, 2.18], rel=1e-2)


@pytest.mark.parametrize("levels", [2, 17, 256, 65536])
def test_noise_on_black_is_no_scaled_image(levels):
    """Rows of black pixels alone, many times: uniform in [0, 1) is what they are."""
    made_for = MadeFor(64, Logit(levels, 1e-5))
    for seed in range(200):
        x = noise.uniform(seed, range(3), 64).astype(np.float32)
        assert made_for.of_rows(x) is None


def test_two_levels_have_images_of_zero_and_one():
    made_for = MadeFor(64, Logit(2, 1e-5))
    bits = np.random.default_rng(0).integers(0, 2, (30, 64))
    assert made_for.of_rows(with_noise(bits)) is None
    assert made_for.of_rows(bits.astype(float)).kind == "noise"


def test_looking_costs_no_more_rows_than_it_looks_at():
    x = np.zeros((10 * misfit._LOOKED_AT + 5, 3))
    assert 0.9 * misfit._LOOKED_AT < len(misfit.sample(x)) <= misfit._LOOKED_AT
    assert len(misfit.sample(x[: misfit._LOOKED_AT])) == misfit._LOOKED_AT
    assert len(misfit.squares(x)) == len(misfit.sample(x))


def test_squares_are_those_of_the_reference(toy2d):
    x = np.random.default_rng(0).standard_normal((50, 2)) * 1e9
    z = toy2d.encode(x)
    expected = -2 * (reference.standard_normal_log_prob(z.astype(float)) + np.log(2 * np.pi)) / 2
    np.testing.assert_allclose(misfit.squares(z), expected, rtol=1e-12)
