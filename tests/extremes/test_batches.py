"""Batches of none, one and 100,000 rows: in every method, and in every command that takes rows."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from lunet_cli.main import app
from lunet_export.checks import reference
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.torch_layers import EagerFlow
from tests.extremes.batches import MANY, MODELS, flow_of, judge_batch
from tests.networks import network

#: Sums of a few terms in another order, behind a condition of ten or so.
UNITS = 200.0


@pytest.mark.parametrize("rows", [0, 1, MANY])
@pytest.mark.parametrize("family", MODELS)
def test_a_batch_of_any_size_is_answered_row_by_row(family, rows):
    assert judge_batch(flow_of(family), rows) <= UNITS


def test_a_row_that_depends_on_its_neighbours_would_be_seen():
    flow = flow_of("lunet")
    run = flow._run
    flow._run = lambda graph, outputs, fed: [
        part + np.float32(1e-3 * (len(part) > 1)) for part in run(graph, outputs, fed)
    ]
    assert judge_batch(flow, 100) > UNITS


@pytest.mark.parametrize("family", MODELS)
def test_no_rows_are_no_rows_in_pytorch_and_in_the_reference(family):
    weights = MODELS[family]()
    none = np.empty((0, weights.dim))
    z, log_prob = EagerFlow(weights, "float64").density(none)
    assert (z.shape, log_prob.shape) == ((0, 2), (0,))
    assert EagerFlow(weights, "float64").decode(none).shape == (0, 2)
    assert [part.shape for part in reference.encode(weights, none)] == [(0, 2), (0,)]
    assert reference.decode(weights, none).shape == (0, 2)


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plane") / "plane"
    export(network(2, 3), folder, Provenance("plane"), ExportSettings())
    return folder


EMPTY = {
    "score of no rows": ["score", "{folder}", "{empty}"],
    "score of no rows into a file": ["score", "{folder}", "{empty}", "-o", "{out}.csv"],
    "score of no rows into parts": ["score", "{folder}", "{empty}", "-o", "{out}"],
    "score of no rows with nan": ["score", "{folder}", "{empty}", "--invalid", "nan"],
    "sample of none": ["sample", "{folder}", "-n", "0", "-o", "{out}.npy"],
    "sample of less than none": ["sample", "{folder}", "-n", "-3", "-o", "{out}.npy"],
    "latents of none": ["sample", "{folder}", "--latent", "{empty}", "-o", "{out}.npy"],
}


@pytest.mark.parametrize("command", EMPTY.values(), ids=EMPTY)
def test_a_command_given_no_rows_says_so_and_writes_nothing(command, plane, tmp_path):
    np.save(tmp_path / "empty.npy", np.empty((0, 2)))
    names = {"folder": plane, "empty": tmp_path / "empty.npy", "out": tmp_path / "out"}
    done = CliRunner().invoke(app, [word.format(**names) for word in command])
    assert done.exit_code == 2, done.output
    assert not isinstance(done.exception, Exception) or isinstance(done.exception, SystemExit), done.exception
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.npy"]


def test_a_hundred_thousand_rows_are_sampled_and_scored(plane, tmp_path):
    runner = CliRunner()
    drawn = runner.invoke(app, ["sample", str(plane), "-n", str(MANY), "-o", str(tmp_path / "x.npy")])
    assert (drawn.exit_code, np.load(tmp_path / "x.npy").shape) == (0, (MANY, 2)), drawn.output
    scored = runner.invoke(app, ["score", str(plane), str(tmp_path / "x.npy"), "-o", str(tmp_path / "p.npy"), "--json"])
    assert scored.exit_code == 0, scored.output
    assert json.loads(scored.stdout)["rows"] == MANY
