"""Conditional flows at run time: contexts of every shape, what is refused, what is warned of, and the device."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lunet_export import ExportedClasses, ExportedFlow
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.errors import BadInputError, RowsWarning
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.pictures import html
from lunet_export.runtime.device import DeviceFlow
from lunet_export.runtime.device_graph import Device
from lunet_export.runtime.providers import open_sessions
from lunet_export.runtime.rows import LARGEST_BATCH
from lunet_export.runtime.scoring import Together, score, scores
from tests import tolerances
from tests.conditional import DIM, WIDTH, network
from tests.networks import mixture
from tests.networks import network as unconditional

NAMES = ("mass", "age", "size")
WEIGHTS = replace(network(), context=replace(network().context, names=NAMES))
ALL = ExportSettings(dtype="float64", with_log_prob=True, rng=True)
COUNT = 7


@pytest.fixture(scope="module")
def flow():
    return ExportedFlow(build_artifact(WEIGHTS, Provenance("c"), ALL), provider="cpu", threads=1)


@pytest.fixture(scope="module")
def narrow():
    return ExportedFlow(build_artifact(WEIGHTS, Provenance("c"), ExportSettings()), provider="cpu", threads=1)


@pytest.fixture(scope="module")
def contexts():
    return WEIGHTS.context.drawn(1, range(COUNT))


@pytest.fixture(scope="module")
def rows(contexts):
    z = np.random.default_rng(0).standard_normal((COUNT, DIM))
    return reference.decode(WEIGHTS, z, contexts)


def test_a_flow_tells_what_its_context_is(flow):
    context = flow.context
    assert (context.dim, context.names) == (WIDTH, NAMES)
    np.testing.assert_array_equal([context.low, context.high], [[-3.0] * WIDTH, [3.0] * WIDTH])
    page = flow._repr_html_()
    assert "3 numbers per row: mass, age, size; samples are shown given mass = 0, age = 0, size = 0, the middle" in page
    assert html.samples(flow.sample(html.ROWS, seed=0, context=np.zeros(WIDTH)), flow.manifest) in page
    unknown = replace(WEIGHTS, context=replace(WEIGHTS.context, low=None, high=None))
    artifact = build_artifact(unknown, Provenance("c"), ExportSettings())
    assert "samples" not in ExportedFlow(artifact, provider="cpu", threads=1)._repr_html_()
    plain = ExportedFlow(build_artifact(unconditional(2, 2), Provenance("p"), ExportSettings()), provider="cpu")
    assert plain.context is None
    assert "context" not in plain._facts()


def test_every_method_gives_the_answers_of_the_reference(flow, rows, contexts):
    """float64 graphs of an ill-conditioned flow, hence the tolerances of its conditioning."""
    allowed = RoundingModel(WEIGHTS, "float64").density(rows, contexts)
    z, log_prob = flow.density(rows, context=contexts)
    tolerances.assert_within(z, reference.encode(WEIGHTS, rows, contexts)[0], allowed["z"])
    tolerances.assert_within(log_prob, reference.log_prob(WEIGHTS, rows, contexts), allowed["log_prob"])
    np.testing.assert_array_equal(flow.encode(rows, context=contexts), z)
    np.testing.assert_array_equal(flow.log_prob(rows, context=contexts), log_prob)
    drawn = flow.latent(COUNT, seed=3)
    allowed = RoundingModel(WEIGHTS, "float64").sampling(drawn, contexts)
    x = flow.decode(drawn, context=contexts)
    tolerances.assert_within(x, reference.decode(WEIGHTS, drawn, contexts), allowed["x"])
    np.testing.assert_array_equal(flow.sample(COUNT, seed=3, context=contexts), x)
    sampled, of_sampled = flow.sample_and_log_prob(COUNT, seed=3, context=contexts)
    np.testing.assert_array_equal(sampled, x)
    np.testing.assert_array_equal(of_sampled, flow.log_prob(x, context=contexts))
    again, with_it = flow.decode_with_log_prob(drawn, context=contexts)
    tolerances.assert_within(again, x, 2 * allowed["x"])
    tolerances.assert_within(with_it, of_sampled, 2 * allowed["log_prob"])
    x, z = flow.draw(COUNT, context=contexts)
    np.testing.assert_array_equal(flow.decode(z, context=contexts), x)
    np.testing.assert_array_equal(score(flow, rows, context=contexts), log_prob)


@pytest.mark.parametrize(
    "given",
    [
        lambda c: c,
        lambda c: c[None],
        lambda c: np.repeat(c[None], COUNT, axis=0),
        lambda c: c.tolist(),
        lambda c: np.asfortranarray(np.repeat(c[None], COUNT, axis=0)),
        lambda c: pd.DataFrame([dict(zip(NAMES, c, strict=True))])[["size", "mass", "age"]],
    ],
)
def test_one_context_serves_all_rows_in_every_form(given, flow, rows, contexts):
    one = contexts[2]
    expected = flow.log_prob(rows, context=np.repeat(one[None], COUNT, axis=0))
    found = flow.log_prob(rows, context=given(one))  # the sums of one row may have another order than those of many
    allowed = tolerances.of_density(WEIGHTS, rows, "float64", np.repeat(one[None], COUNT, axis=0))["log_prob"]
    tolerances.assert_within(found, expected, allowed)
    np.testing.assert_array_equal(score(flow, rows, context=given(one)), found)


def test_one_context_enters_the_graph_as_one_row(flow, rows, contexts, monkeypatch):
    """What the graph makes of it is then made once, whatever the number of rows."""
    seen = []
    run = ExportedFlow._run
    monkeypatch.setattr(ExportedFlow, "_run", lambda self, *given: (seen.append(given[2]), run(self, *given))[1])
    flow.log_prob(rows, context=contexts[2])
    flow.decode(rows, context=contexts[2:3])
    flow.decode(rows, context=contexts)
    assert [fed["context"].shape for fed in seen] == [(1, WIDTH), (1, WIDTH), (COUNT, WIDTH)]


def test_contexts_are_sliced_with_their_rows_where_there_are_several_batches(flow):
    n = 2 * LARGEST_BATCH + 3
    contexts = np.random.default_rng(4).uniform(-1, 1, (n, WIDTH))
    x = flow.sample(n, seed=1, context=contexts)
    some = np.array([0, LARGEST_BATCH - 1, LARGEST_BATCH, n - 1])
    parts = [flow.sample(1, seed=1, first=int(row), context=contexts[row]) for row in some]
    np.testing.assert_allclose(x[some], np.concatenate(parts), rtol=1e-9)
    alone = np.concatenate([flow.log_prob(x[[row]], context=contexts[row]) for row in some])
    np.testing.assert_allclose(flow.log_prob(x, context=contexts)[some], alone, rtol=1e-9)
    assert flow.sample(0, seed=1, context=contexts[0]).shape == (0, DIM)
    assert flow.log_prob(np.empty((0, DIM)), context=np.empty((0, WIDTH))).shape == (0,)


WRONG = {
    "none": (None, r"Expected a context of shape \(3,\) or \(7, 3\) for 7 rows; got none. Give `context`"),
    "too narrow": (np.zeros(2), r"got shape \(2,\). Give `context`, one per row or one for all rows"),
    "too few": (np.zeros((3, WIDTH)), r"got shape \(3, 3\)"),
    "too many axes": (np.zeros((COUNT, 1, WIDTH)), r"got shape \(7, 1, 3\)"),
    "a number": (1.0, r"got shape \(\)"),
    "NaN": (np.full(WIDTH, np.nan), r"Expected finite float64 numbers in context; row 0 \(from 0\), column 1 \(mass\)"),
    "infinite": (
        np.vstack([np.zeros((COUNT - 1, WIDTH)), [0.0, np.inf, 0.0]]),
        r"row 6 \(from 0\), column 2 \(age\) is inf",
    ),
    "text": ("young", "Expected numbers in context; got the text"),
    "texts": (["a", "b", "c"], "Expected numbers in context; got an array of <U1"),
    "masked": (np.ma.masked_equal([0.0, 1.0, 2.0], 1.0), "1 are masked"),
    "ragged": ([[0.0], [0.0, 1.0]], "Expected an array of numbers for context"),
    "a frame without a column": (pd.DataFrame([{"mass": 0.0, "age": 0.0}]), r"lacks column 3 \(size\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_context_is_one_sentence_of_every_method(case, flow, rows):
    given, said = WRONG[case]
    for call in (
        lambda: flow.log_prob(rows, context=given),
        lambda: flow.encode(rows, context=given),
        lambda: flow.decode(rows, context=given),
        lambda: flow.sample(COUNT, seed=0, context=given),
        lambda: flow.sample_and_log_prob(COUNT, seed=0, context=given),
        lambda: flow.decode_with_log_prob(rows, context=given),
        lambda: flow.draw(COUNT, context=given),
        lambda: flow.on_device.density(rows, context=given),
        lambda: flow.on_device.sample(COUNT, seed=0, context=given),
        lambda: score(flow, rows, context=given),
    ):
        with pytest.raises(BadInputError, match=said) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_context_for_a_flow_or_a_mixture_that_takes_none_is_refused():
    said = "Expected no context for a flow that takes none; got one. Leave it out"
    plain = ExportedFlow(build_artifact(unconditional(2, 2), Provenance("p"), ExportSettings()), provider="cpu")
    for call in (
        lambda: plain.log_prob(np.zeros((1, 2)), context=[0.0]),
        lambda: plain.sample(2, seed=0, context=[0.0]),
        lambda: plain.on_device.decode(np.zeros((1, 2)), context=np.zeros((1, 1))),
        lambda: score(plain, np.zeros((1, 2)), context=[0.0]),
    ):
        with pytest.raises(BadInputError, match=said):
            call()
    classes = ExportedClasses(build_artifact(mixture(2, 2), Provenance("p"), ExportSettings()), provider="cpu")
    with pytest.raises(BadInputError, match=said):
        score(classes, np.zeros((1, 2)), context=[0.0])
    with pytest.raises(BadInputError, match=said):
        score(Together((plain, plain), (0.5, 0.5)), np.zeros((1, 2)), context=[0.0])


def test_contexts_beyond_those_of_training_are_warned_of_with_their_column(flow, rows, contexts):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RowsWarning)
        flow.log_prob(rows, context=contexts)  # whose ends are those of training
        beyond = contexts.copy()
        beyond[3, 1] = 3.5
        for call in (
            lambda: flow.density(rows, context=beyond),
            lambda: flow.decode(rows, context=beyond),
            lambda: flow.sample(COUNT, seed=0, context=beyond),
            lambda: flow.draw(COUNT, context=beyond[3]),
            lambda: flow.on_device.decode(rows, context=beyond),
        ):
            with pytest.raises(RowsWarning, match=r"column 2 \(age\) is not: it has .* 3.5, and training had -3 .. 3"):
                call()
        with pytest.raises(RowsWarning, match=r"column 1 \(mass\), like 2 more, is not"):
            flow.log_prob(rows, context=np.full(WIDTH, -4.0))
    with pytest.warns(RowsWarning) as caught:
        flow.sample_and_log_prob(COUNT, seed=0, context=beyond)
    assert [warning.filename for warning in caught] == [__file__]  # once, at the call
    found = []
    scores(flow, rows, context=beyond, on_misfit=found.append)
    assert [misfit.kind for misfit in found] == ["context"]


def test_a_range_that_float32_rounds_is_not_exceeded_at_its_ends():
    ends = {"low": np.full(WIDTH, -0.1), "high": np.full(WIDTH, 0.1)}
    weights = replace(WEIGHTS, context=replace(WEIGHTS.context, **ends))
    flow = ExportedFlow(build_artifact(weights, Provenance("c"), ExportSettings()), provider="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RowsWarning)
        flow.sample(1, seed=0, context=ends["high"])
        flow.sample(1, seed=0, context=ends["low"].astype(np.float32))


def test_a_flow_is_pickled_with_its_context(flow, rows, contexts):
    again = pickle.loads(pickle.dumps(flow))
    np.testing.assert_array_equal(again.log_prob(rows, context=contexts), flow.log_prob(rows, context=contexts))


def test_the_device_gives_what_the_host_gives(narrow, rows, contexts):
    there = narrow.on_device
    x, c = rows.astype(np.float32), contexts.astype(np.float32)
    expected = narrow.log_prob(x, context=c)
    for given in (c, torch.from_numpy(c)):
        np.testing.assert_array_equal(there.log_prob(x, context=given).numpy(), expected)
        np.testing.assert_array_equal(there.log_prob(torch.from_numpy(x), context=given).numpy(), expected)
    of_all = there.log_prob(x, context=torch.from_numpy(c[2:3].copy())).numpy()
    np.testing.assert_array_equal(of_all, narrow.log_prob(x, context=c[2]))
    one = there.sample(COUNT, seed=1, context=c[0]).numpy()
    np.testing.assert_array_equal(one, narrow.sample(COUNT, seed=1, context=c[0]))
    for wrong, said in (
        (torch.from_numpy(c[:2].copy()), "Expected a context for each of 7 rows on the device, or one for all; got 2"),
        (torch.from_numpy(c[:, :2].copy()), r"Expected a tensor of shape \(N, 3\) and float32; got \(7, 2\)"),
        (torch.from_numpy(c.astype(np.float64)), "float32; got"),
    ):
        with pytest.raises(BadInputError, match=said):
            there.log_prob(x, context=wrong)


@pytest.fixture
def captured(narrow):
    """The flow with the bookkeeping of captured graphs."""
    names = ("density", "sampling")
    sessions, _ = open_sessions([narrow.artifact.graphs[name] for name in names], "cpu", threads=1)
    opened = dict(zip(names, sessions, strict=True))
    return DeviceFlow(opened, Device("cpu"), narrow._rows, narrow.latent, captured=True)


def test_a_captured_graph_reads_the_contexts_of_every_call(captured, narrow, rows, contexts):
    x, c = rows.astype(np.float32), contexts.astype(np.float32)
    for turn in range(3):
        given = np.roll(c, turn, axis=0)
        np.testing.assert_array_equal(captured.decode(x, context=given).numpy(), narrow.decode(x, context=given))
    np.testing.assert_array_equal(
        captured.decode(x, context=c[0]).numpy(), narrow.decode(x, context=np.repeat(c[:1], COUNT, axis=0))
    )


def test_contexts_are_written_where_a_captured_graph_reads(captured, narrow, rows, contexts):
    z, c = rows.astype(np.float32), contexts.astype(np.float32)
    there, of_context = captured.input("sampling", COUNT), captured.input("sampling", COUNT, tensor="context")
    there.ortvalue.update_inplace(z)
    of_context.ortvalue.update_inplace(c)
    got = captured.decode(there, context=of_context).numpy()
    np.testing.assert_array_equal(got, narrow.decode(z, context=c))
    other = captured.decode(there, context=c[::-1].copy()).numpy()  # rows stay there, contexts come from the host
    np.testing.assert_array_equal(other, narrow.decode(z, context=c[::-1]))
    with pytest.raises(BadInputError, match="Expected rows that are still valid"):
        captured.decode(there, context=of_context)
    with pytest.raises(BadInputError, match="Expected rows where the captured graph reads"):
        captured.decode(there, context=torch.from_numpy(c))
    with pytest.raises(BadInputError, match="Expected a tensor of z, context; got 'x'"):
        captured.input("sampling", COUNT, tensor="x")
