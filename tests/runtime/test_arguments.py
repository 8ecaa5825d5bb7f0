"""What a caller gives beside rows: numbers, labels, and arrays that are none. Refused in one sentence, or right."""

import sys

import numpy as np
import pytest

from lunet_export import ExportedClasses, ExportedFlow, noise
from lunet_export.errors import BadInputError, OutOfMemoryError
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.runtime.scoring import score, scores
from lunet_export.scalars import real, whole
from tests.networks import network

NO_SEED = (-1, 2**64, 7.0, "7", None, True, np.array([7]), np.nan, np.bool_(True))
NO_COUNT = (-1, 1.5, 3.0, "3", None, True, np.nan, np.array([3]), [3])
NO_TEMPERATURE = (-1, -0.5, "1", None, np.nan, np.inf, True, np.array([1.0]), 10**400, 1j)
INTEGERS = (np.int8, np.int32, np.uint8, np.uint64, np.array)


@pytest.fixture(scope="module")
def plane():
    """A flow with a graph that draws its own noise."""
    return ExportedFlow(build_artifact(network(3, 3), Provenance("plane"), ExportSettings(rng=True)), provider="cpu")


@pytest.fixture(scope="module")
def images(exported):
    return ExportedFlow(exported.folder, provider="cpu")


@pytest.fixture(scope="module")
def classes(exported_classes):
    return ExportedClasses(exported_classes.folder, provider="cpu")


def refused(call, expected):
    with pytest.raises(BadInputError) as caught:
        call()
    said = str(caught.value)
    assert said.startswith(f"Expected {expected}"), said
    assert "; got " in said, said
    assert len(said) < 250, said


@pytest.mark.parametrize("seed", NO_SEED, ids=repr)
def test_a_seed_is_a_whole_number(plane, images, classes, seed):
    wanted = "a seed in [0, 2^64)"
    refused(lambda: plane.sample(2, seed=seed), wanted)
    refused(lambda: plane.on_device.sample(2, seed=seed), wanted)
    refused(lambda: classes.sample(2, seed=seed), wanted)
    refused(lambda: classes.labels(2, seed=seed), wanted)
    refused(lambda: score(images, np.zeros((2, 16), int), seed=seed), wanted)
    refused(lambda: noise.uniform(seed, range(2), 3), wanted)


@pytest.mark.parametrize("kind", INTEGERS, ids=lambda kind: kind.__name__)
def test_whole_numbers_of_numpy_are_whole_numbers(plane, classes, kind):
    np.testing.assert_array_equal(plane.sample(kind(3), seed=kind(7), first=kind(2)), plane.sample(3, seed=7, first=2))
    np.testing.assert_array_equal(classes.labels(kind(9), seed=kind(7)), classes.labels(9, seed=7))
    assert len(plane.draw(kind(3))[0]) == 3


def test_the_largest_seed_and_the_largest_row_are_numbers(plane):
    assert plane.sample(1, seed=2**64 - 1, first=2**64 - 1).shape == (1, 3)
    assert (plane.latent(1, seed=np.uint64(2**64 - 1)) == plane.latent(1, seed=2**64 - 1)).all()
    with pytest.raises(BadInputError, match=r"Expected rows of numbers below 2\^64; got 2 from number 18446"):
        plane.latent(2, seed=0, first=2**64 - 1)


@pytest.mark.parametrize("n", NO_COUNT, ids=repr)
def test_a_count_is_a_whole_number(plane, classes, n):
    refused(lambda: plane.sample(n, seed=0), "a number of samples of 0 or more")
    refused(lambda: classes.sample(n, seed=0, label=0), "a number of samples of 0 or more")
    refused(lambda: classes.labels(n, seed=0), "a number of samples of 0 or more")
    refused(lambda: plane.sample(1, seed=0, first=n), "a first row of 0 or more")
    refused(lambda: classes.labels(1, seed=0, first=n), "a first row of 0 or more")
    refused(lambda: plane.draw(n), "from 1 to 4096 samples per call")
    refused(lambda: plane.on_device.input("density", n), "from 1 to 4096 rows per call on the device")


@pytest.mark.parametrize("temperature", NO_TEMPERATURE, ids=lambda given: repr(given)[:20])
def test_a_temperature_is_a_finite_number(plane, temperature):
    refused(lambda: plane.sample(1, seed=0, temperature=temperature), "a temperature of 0 or more")


def test_a_temperature_of_any_real_type_is_a_number(plane):
    half = plane.latent(2, seed=0, temperature=0.5)
    for given in (np.float16(0.5), np.float32(0.5), np.float64(0.5)):
        np.testing.assert_array_equal(plane.latent(2, seed=0, temperature=given), half)
    np.testing.assert_array_equal(plane.latent(2, seed=0, temperature=1), plane.latent(2, seed=0))


@pytest.mark.parametrize("number", [0, -1, 1.0, "1", None, True], ids=repr)
def test_draws_of_noise_are_one_or_more(images, classes, number):
    grey = np.zeros((2, 16), int)
    refused(lambda: score(images, grey, draws=number), "a number of noise draws of 1 or more")
    refused(lambda: scores(classes, grey, draws=number), "a number of noise draws of 1 or more")
    if number != 0:
        refused(lambda: score(images, grey, first=-1 if number == 1 else number), "a first row of 0 or more")


def test_what_is_quoted_is_short():
    refused(lambda: whole("9" * 10000, "a number", least=0), "a number")
    refused(lambda: whole(-(10**6000), "a number", least=0), "a number")
    refused(lambda: real("9" * 10000, "a number", least=0), "a number")


def test_the_classes_that_were_found_are_classes(classes):
    x = classes.sample(6, seed=0)
    z = classes.latent(6, seed=0)
    for number in classes.classify(x):
        np.testing.assert_array_equal(classes.decode(z, number), classes.decode(z, int(number)))
        np.testing.assert_array_equal(
            classes.sample(2, seed=0, label=number), classes.sample(2, seed=0, label=int(number))
        )
    assert classes.number(np.str_("b, c")) == 1


@pytest.mark.parametrize("label", [True, np.bool_(False), 1.0, None, np.int64(3), np.array([1]), b"1"], ids=repr)
def test_what_is_no_class_is_refused(classes, label):
    refused(lambda: classes.decode(np.zeros((1, 16)), label), "a class of 0 .. 2 or one of T-shirt/top, b, c, 8")


MASKED = np.ma.array(np.zeros((2, 3)), mask=[[False, True, False], [False, False, False]])


@pytest.mark.parametrize("method", ["log_prob", "encode", "decode", "accepts"])
@pytest.mark.parametrize("rows", [MASKED, list(MASKED)], ids=["array", "list"])
def test_what_lies_under_a_mask_is_no_number(plane, method, rows):
    with pytest.raises(BadInputError, match=r"Expected a number in every place of [xz]; 1 are masked\. Fill them"):
        getattr(plane, method)(rows)


def test_a_mask_over_nothing_hides_nothing(plane):
    rows = np.ma.array(np.ones((2, 3)), mask=False)
    np.testing.assert_array_equal(plane.log_prob(rows), plane.log_prob(np.ones((2, 3))))


def test_masked_rows_are_not_scored(images, plane):
    for flow, rows in ((images, np.ma.array(np.zeros((2, 16), int), mask=np.eye(2, 16))), (plane, MASKED)):
        with pytest.raises(BadInputError, match="are masked"):
            score(flow, rows)


@pytest.mark.parametrize("rows", [[[0.0, 1.0, 2.0], [0.0]], [[0.0], 1.0], [[1, 2, {}]], None, "rows"], ids=repr)
def test_what_is_no_array_is_refused(plane, rows):
    for call in (plane.log_prob, plane.decode, plane.accepts, lambda rows: score(plane, rows)):
        with pytest.raises(BadInputError, match="Expected"):
            call(rows)


def test_lists_are_scored_as_arrays_are(plane):
    np.testing.assert_array_equal(score(plane, [[0.0, 1.0, 2.0]]), score(plane, np.array([[0.0, 1.0, 2.0]])))


@pytest.fixture
def strict_host():
    """A program that has NumPy raise whatever it can."""
    with np.errstate(all="raise"):
        yield


@pytest.mark.usefixtures("strict_host")
def test_numpy_that_raises_changes_no_answer(plane, images, classes):
    tiny = np.array([[1e-45, 1e-320, -5e-324]])
    with np.errstate(all="ignore"):
        expected = plane.log_prob(tiny), plane.latent(3, seed=0, temperature=1e-42)
    np.testing.assert_array_equal(plane.log_prob(tiny), expected[0])
    np.testing.assert_array_equal(plane.latent(3, seed=0, temperature=1e-42), expected[1])
    assert plane.accepts(tiny).tolist() == [True]
    assert plane.accepts(np.full((1, 3), 1e300)).tolist() == [False]
    assert plane.decode(tiny).shape == plane.sample(1, seed=0, temperature=1e-320).shape
    assert np.isfinite(score(images, np.zeros((2, 16), int), draws=2)).all()
    assert np.isfinite(scores(classes, np.full((2, 16), 16), draws=2)["log_prob"]).all()
    with pytest.raises(BadInputError, match="Expected finite float32"):
        plane.log_prob(np.full((1, 3), 1e300))


@pytest.mark.parametrize("n", [2**45, 2**62, 2**63, 2**64, 10**30], ids=str)
def test_more_rows_than_any_memory_holds_are_refused(plane, classes, n):
    for call in (plane.sample, plane.on_device.sample, classes.sample, classes.labels):
        with pytest.raises(OutOfMemoryError, match=rf"Expected memory for {n} rows.*; there is less\. Ask for fewer"):
            call(n, seed=0)


def test_lack_of_memory_is_a_memory_error_and_ours():
    import pickle

    error = OutOfMemoryError.of("9 rows", "ONNX Runtime says: no")
    assert isinstance(error, MemoryError)
    assert isinstance(error, BadInputError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(error).startswith("Expected memory for 9 rows; ONNX Runtime says: no. ")


@pytest.mark.parametrize("where", ["asarray", "ascontiguousarray", "concatenate"])
def test_numpy_without_memory_says_what_for(plane, monkeypatch, where):
    rows = np.zeros((5000, 3))

    def refuse(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np, where, refuse)
    with pytest.raises(OutOfMemoryError, match=r"Expected memory for (x|the answers of 5000 rows)"):
        plane.log_prob(rows)


def test_the_largest_count_is_not_an_overflow(plane):
    with pytest.raises(OutOfMemoryError):
        plane.latent(sys.maxsize, seed=0)
