"""Batches of 0, 1 and 100,000 rows, in every method: a row's answers do not depend on how many others there are."""

from collections.abc import Callable
from typing import Any

import numpy as np

from lunet_export import ExportedFlow
from lunet_export.export import ExportSettings, Provenance, build_artifact
from tests.families import composed, jko, realnvp
from tests.networks import network

MANY = 100_000
MODELS: dict[str, Callable[[], Any]] = {
    "lunet": lambda: network(2, 3),
    "realnvp": lambda: realnvp.dense(2, 4),
    "jko": lambda: jko.flow(2, (4,), steps=1, blocks=1),
    "composed": lambda: composed.composed(composed.lu_layer(2), composed.affine(2), composed.lu_layer(2, seed=1)),
}


def flow_of(family: str, dtype: str = "float32") -> ExportedFlow:
    """A small flow of that family, with the graph that samples with log p."""
    settings = ExportSettings(dtype=dtype, with_log_prob=True)
    return ExportedFlow(build_artifact(MODELS[family](), Provenance("batch"), settings), provider="cpu", threads=1)


def judge_batch(flow: ExportedFlow, rows: int) -> float:
    """Largest gap of any answer to that of its row alone among a few, in units of the dtype's roundoff and its size.

    Raises:
        AssertionError: A shape, a dtype or a number is wrong.
    """
    z = flow.latent(rows, seed=3)
    x = flow.decode(z)
    encoded, log_prob = flow.density(x)
    again, its_log_prob = flow.decode_with_log_prob(z)
    drawn, drawn_log_prob = flow.sample_and_log_prob(rows, seed=3)
    shaped = (x, encoded, again, drawn)
    assert all(array.shape == (rows, flow.dim) and array.dtype == flow.dtype for array in shaped)
    flat = (log_prob, its_log_prob, drawn_log_prob)
    assert all(array.shape == (rows,) and array.dtype == flow.dtype for array in flat)
    assert flow.accepts(x).shape == (rows,)
    assert flow.accepts(x).all()
    worst = 0.0
    for row in {0, rows // 2, rows - 1} if rows else ():
        alone = flow.decode(z[row : row + 1])
        pairs = [(alone, x[row]), (flow.encode(x[row : row + 1]), encoded[row])]
        pairs += [(flow.log_prob(x[row : row + 1]), log_prob[row]), (again[row], x[row]), (drawn[row], x[row])]
        unit = np.finfo(flow.dtype).eps
        gaps = [np.abs(one - other).max() / (unit * max(1.0, np.abs(other).max())) for one, other in pairs]
        worst = max(worst, *map(float, gaps))
    return worst


def judge_batches() -> dict[str, float]:
    """`judge_batch` of every family, both dtypes and all batches."""
    return {
        f"{family}, {dtype}, {rows} rows": round(judge_batch(flow, rows), 2)
        for family in MODELS
        for dtype in ("float32", "float64")
        for flow in [flow_of(family, dtype)]
        for rows in (0, 1, MANY)
    }
