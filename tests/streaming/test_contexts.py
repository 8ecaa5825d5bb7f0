"""Jobs of conditional flows: one context for all rows, one per row, and the columns of the rows' own file."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import lunet_export
from lunet_export.api.models import model_of
from lunet_export.errors import BadInputError, DataError
from lunet_export.runtime import open_export
from lunet_export.streaming import SampleJob, ScoreJob
from tests.cli.conftest import run
from tests.conditional import DIM, WIDTH, network
from tests.networks import network as unconditional

NAMES = ("mass", "age", "size")
COUNT = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    weights = replace(network(), context=replace(network().context, names=NAMES))
    path = tmp_path_factory.mktemp("conditional") / "c"
    lunet_export.export(model_of(weights).with_columns(["w", "x", "y", "z"]), path)
    return str(path)


@pytest.fixture(scope="module")
def flow(folder):
    return open_export(folder, provider="cpu")


@pytest.fixture(scope="module")
def contexts():
    return np.random.default_rng(0).uniform(-2, 2, (COUNT, WIDTH)).astype(np.float32)


@pytest.fixture
def rows(tmp_path, contexts, flow):
    """A file of rows, one of their contexts, and one of both with names."""
    x = flow.sample(COUNT, seed=3, context=contexts)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "c.npy", contexts)
    table = pd.DataFrame(np.hstack([contexts, x]), columns=[*NAMES, "w", "x", "y", "z"])
    table.to_parquet(tmp_path / "both.parquet")
    return tmp_path


def scored(job):
    return job.work()(0, job.rows)["log_prob"]


def test_folders_of_one_context_are_scored_together(folder, flow, rows, contexts):
    """Their contexts are compared by what they say: == does not compare arrays as a whole."""
    job = ScoreJob((folder, folder), str(rows / "x.npy"), weights=(0.5, 0.5), context=str(rows / "c.npy"))
    exact = flow.log_prob(np.load(rows / "x.npy"), context=contexts)
    np.testing.assert_allclose(scored(job), exact, rtol=1e-6)


def test_rows_are_scored_given_their_contexts(folder, flow, rows, contexts):
    x = np.load(rows / "x.npy")
    exact = flow.log_prob(x, context=contexts)
    each = ScoreJob((folder,), str(rows / "x.npy"), context=str(rows / "c.npy"))
    np.testing.assert_array_equal(scored(each), exact)
    np.testing.assert_array_equal(scored(ScoreJob((folder,), str(rows / "both.parquet"))), exact)
    one = ScoreJob((folder,), str(rows / "x.npy"), context="0.5,-1,2")
    np.testing.assert_array_equal(scored(one), flow.log_prob(x, context=[0.5, -1.0, 2.0]))
    assert np.abs(scored(one) - exact).max() > 0.01


def test_samples_are_those_of_the_runtime(folder, flow, rows, contexts):
    each = SampleJob(folder, COUNT, seed=4, with_log_prob=True, context=str(rows / "c.npy"))
    found = each.work()(2, 3)
    np.testing.assert_array_equal(found["x"], flow.sample(3, seed=4, first=2, context=contexts[2:]))
    one = SampleJob(folder, COUNT, seed=4, context="0.5,-1,2")
    exact = flow.sample(COUNT, seed=4, context=[0.5, -1.0, 2.0])
    np.testing.assert_array_equal(one.work()(0, COUNT)["x"], exact)
    assert one.facts() != each.facts()
    again = pickle.loads(pickle.dumps(each.elsewhere(each.place)))
    np.testing.assert_array_equal(again.work()(2, 3)["x"], found["x"])


@pytest.mark.parametrize(
    ("context", "error", "said"),
    [
        (None, BadInputError, "Expected a `context` for a conditional flow; got none"),
        ("1,2", BadInputError, "Expected 3 finite numbers separated by commas as the context; got 1,2"),
        ("1,2,inf", BadInputError, "Expected 3 finite numbers"),
        ("x.npy", DataError, "Expected contexts of 3 numbers in .*; its rows have 4"),
        ("few.npy", BadInputError, "Expected one context, or one for each of 5 rows; .* has 2"),
    ],
)
def test_a_wrong_context_is_one_sentence(context, error, said, folder, rows, contexts):
    np.save(rows / "few.npy", contexts[:2])
    given = str(rows / context) if context and context.endswith(".npy") else context
    with pytest.raises(error, match=said):
        SampleJob(folder, COUNT, context=given)


@pytest.mark.parametrize(
    ("file", "error", "said"),
    [
        ("x.npy", BadInputError, "Expected a `context` for a conditional flow; got none"),
        ("part.parquet", DataError, r"it lacks column 3 \(size\)\. .* Give the contexts by `context`"),
    ],
)
def test_rows_whose_file_has_not_their_contexts_need_some(file, error, said, folder, rows):
    pd.read_parquet(rows / "both.parquet").drop(columns="size").to_parquet(rows / "part.parquet")
    with pytest.raises(error, match=said):
        ScoreJob((folder,), str(rows / file))


def test_a_flow_that_takes_none_refuses_one(tmp_path, rows):
    lunet_export.export(unconditional(DIM, 2), tmp_path / "plain")
    with pytest.raises(BadInputError, match="Expected no `context` for a flow that takes none"):
        SampleJob(str(tmp_path / "plain"), 2, context="1,2,3")


def test_the_commands_take_contexts(folder, flow, rows):
    code, _, said = run("sample", folder, "-n", "4", "--context", "0.5,-1,2", "-o", rows / "s.npy")
    assert code == 0, said
    np.testing.assert_array_equal(np.load(rows / "s.npy"), flow.sample(4, seed=0, context=[0.5, -1.0, 2.0]))
    code, out, said = run("score", folder, rows / "both.parquet")
    assert code == 0, said
    assert f"mean of {COUNT} rows" in out + said
    code, _, said = run("sample", folder, "-n", "4", "-o", rows / "t.npy")
    assert (code, (rows / "t.npy").exists()) == (2, False)
    assert "Expected a --context for a conditional flow; got none. Give 3 numbers" in said
