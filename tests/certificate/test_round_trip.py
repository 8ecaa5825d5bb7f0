"""The predicted error of x -> z -> x stays above what the exported graphs do, with every solver, and not far above."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.commands import ROUND_TRIPS
from lunet_export import ExportedFlow, checkpoint, data, noise
from lunet_export.certificate import Linearization, predicted_round_trip
from lunet_export.checks.rounding import RoundingModel
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.flows import layered
from lunet_export.graphs import solvers
from lunet_export.graphs.blueprint import Blueprint
from lunet_export.graphs.builder import serialize
from lunet_export.layers import LU, Affine
from lunet_export.preprocessing import dequantize
from tests.conftest import ROOT
from tests.networks import NETWORKS, network, rows


def shares(weights, x, dtype="float32"):
    """Measured / predicted of each row, by solver."""
    x = RoundingModel(weights, dtype).clamp(x.astype(dtype).astype(np.float64))
    predicted = predicted_round_trip(Linearization(weights), x, dtype=dtype)
    names = {solver.name for solver in solvers.available(weights.dim)}
    whole = build_artifact(weights, Provenance("case"), ExportSettings(dtype=dtype))
    metadata = {entry.key: entry.value for entry in onnx.load_from_string(whole.graphs["sampling"]).metadata_props}
    for name in sorted(names):  # each has a sampling graph of its own, and all else is the same
        model = Blueprint.choose(weights, ExportSettings(name, dtype=dtype)).build("sampling", metadata)
        graphs = {**whole.graphs, "sampling": serialize(model)}
        flow = ExportedFlow(replace(whole, graphs=graphs), provider="cpu", threads=1)
        error = flow.decode(flow.encode(x)).astype(np.float64) - x
        yield name, np.linalg.norm(error, axis=1) / predicted


@pytest.mark.slow
@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_right_graphs_stay_below(make, dtype):
    weights = make()
    for name, share in shares(weights, rows(weights, 100), dtype):
        assert share.max() < 1, name
        assert np.median(share) > 0.01, name


@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=pytest.mark.data if name == "mnist" else ()) for name in ROUND_TRIPS]
)
def test_the_committed_models_stay_below_on_their_test_rows(model):
    dataset, n, largest = ROUND_TRIPS[model]
    folder = os.environ.get("LUNET_DATA_DIR")
    if dataset == "mnist" and not folder:
        pytest.skip("needs MNIST: set LUNET_DATA_DIR to the folder that holds it")
    weights = checkpoint.read(ROOT / "exported" / f"{model}.pt").weights
    split = data.load(dataset, data_dir=Path(folder or "data"))
    x = split.test[:n]
    x = dequantize(x, noise.uniform(0, range(len(x)), split.dim)) if split.preprocessing else x
    found = dict(shares(weights, x))
    assert {"unrolled", "meeting", "inverse", "fused"} <= set(found)
    assert max(share.max() for share in found.values()) < largest


def test_it_follows_the_conditioning():
    """What a tiny entry of U loses is predicted; a prediction from |z| alone would not see a block in the middle."""
    weights = network(6, 3)
    first, middle, last = weights.of(LU)
    upper = middle.upper.copy()
    upper[2, 2] = 1e-3
    bad = weights.with_layers([first, replace(middle, upper=upper), last])
    x = rows(weights, 50)
    good, worse = (predicted_round_trip(Linearization(case), x, dtype="float32") for case in (weights, bad))
    assert np.median(worse / good) > 30
    assert max(share.max() for _, share in shares(bad, x)) < 1


@pytest.mark.parametrize("scale", [1e-200, 1e-300, 1e200, 1e300])
def test_it_is_blind_to_the_units_of_the_data(scale):
    """Squares of such numbers are 0 or infinite in float64; a row of zeros is among the rows."""
    x, predicted = rows(network(3, 2), 5), []
    x[0] = 0.0
    for unit in (1.0, scale):
        weights = layered(3, [Affine(np.full(3, 1 / unit), np.zeros(3)), *network(3, 2).layers])
        predicted.append(predicted_round_trip(Linearization(weights), unit * x, dtype="float64") / unit)
    np.testing.assert_allclose(*predicted, rtol=1e-6)


def test_it_is_proportional_to_the_unit_and_wider_for_short_products():
    linear, x = Linearization(network(6, 3)), rows(network(6, 3), 4)
    single, double = (predicted_round_trip(linear, x, dtype=dtype) for dtype in ("float32", "float64"))
    np.testing.assert_allclose(single / double, 2.0**29, rtol=1e-12)
    half = predicted_round_trip(linear, x, dtype="float32", products="float16")
    assert (half > 1000 * single).all()
