"""The solver family over sizes, tiles and condition numbers, as graphs and as arrays."""

import numpy as np
import onnxruntime
import pytest

from lunet_export.checks.rounding import RoundingModel
from lunet_export.graphs import solvers
from lunet_export.graphs.builder import GraphBuilder, serialize
from lunet_export.layers import LU
from tests import tolerances
from tests.networks import network

DIM = 31


def block_of(condition: float) -> LU:
    rng = np.random.default_rng(0)
    diagonal = np.geomspace(1.0, 1.0 / condition, DIM) * rng.choice([-1, 1], DIM)
    upper = np.triu(0.1 * rng.standard_normal((DIM, DIM)), 1) * np.abs(diagonal)[:, None] + np.diag(diagonal)
    return LU(np.tril(0.1 * rng.standard_normal((DIM, DIM)), -1) + np.eye(DIM), upper, rng.standard_normal(DIM))


def run(solver: solvers.Solver, block: LU, z: np.ndarray) -> np.ndarray:
    g = GraphBuilder("solve", dim=DIM, dtype=str(z.dtype))
    g.output("h", solvers.solve(g, solver, g.input("z"), block))
    session = onnxruntime.InferenceSession(serialize(g.finish({})), providers=["CPUExecutionProvider"])
    return session.run(None, {"z": z})[0]


FAMILY = [*solvers.available(DIM), *(solvers.choose("unrolled", tile, DIM) for tile in (1, 3, 8))]
FAMILY += [solvers.choose("meeting", tile, DIM) for tile in (1, 15)]
every_solver = pytest.mark.parametrize("solver", FAMILY, ids=str)


def residual_of(h: np.ndarray, z: np.ndarray, block: LU) -> np.ndarray:
    return np.abs(h @ block.upper.T @ block.lower.T + block.bias - z)


def of_substitution(h: np.ndarray, z: np.ndarray, block: LU) -> np.ndarray:
    """What substitution may leave, number by number, whatever the condition (Higham 2002, theorem 8.5).

    Each of two solves leaves n u |T| |x|, and n u more each in the two products of the residual; and z - b is rounded.
    """
    size = np.abs(h) @ np.abs(block.upper).T @ np.abs(block.lower).T
    given = np.abs(z) + np.abs(block.bias)
    return tolerances.of_roundings(4 * DIM, size, "float64") + tolerances.of_roundings(4, given, "float64")


def of_inverses(z: np.ndarray, block: LU) -> np.ndarray:
    """What inverses may leave: X is off by n u |X| |T| |X|, a product with it by n u |X| |x|, and both go through L U.

    Twice, for triangles that are inverted tile by tile and multiplied.
    """
    lower, upper = np.abs(block.lower), np.abs(block.upper)
    of_lower, of_upper = np.abs(np.linalg.inv(block.lower)), np.abs(np.linalg.inv(block.upper))
    r = np.abs(z) + np.abs(block.bias)
    y = r @ (of_lower @ lower @ of_lower + of_lower).T
    h = y @ of_upper.T + r @ of_lower.T @ (of_upper @ upper @ of_upper + of_upper).T
    return tolerances.of_roundings(2 * DIM, h @ upper.T @ lower.T, "float64")


@every_solver
@pytest.mark.parametrize("condition", [1e1, 1e4, 1e8])
def test_residual(solver, condition):
    """Substitution is backward stable: a small residual whatever the condition. Inverses lose up to the condition."""
    block, z = block_of(condition), np.random.default_rng(1).standard_normal((5, DIM))
    h = run(solver, block, z)
    allowed = of_substitution(h, z, block)
    if solver.name not in ("rows", "unrolled"):
        allowed = allowed + of_inverses(z, block)
    assert (residual_of(h, z, block) <= allowed).all()
    wrong = h + 1e-6 * np.abs(h).max() * np.eye(5, DIM)
    assert (residual_of(wrong, z, block) > allowed).any()


@every_solver
def test_arrays_compute_what_the_graph_does(solver):
    """`Eager` predicts a solver's float32 error: the same size, the order of summation apart."""
    block, z = block_of(1e4), np.random.default_rng(1).standard_normal((5, DIM)).astype(np.float32)
    exact = block.inverse(z.astype(np.float64))
    arithmetic = solvers.Eager("float32")
    predicted = np.abs(solvers.solve(arithmetic, solver, z, block) - exact).max()
    measured = np.abs(run(solver, block, z) - exact).max()
    assert 0.2 <= predicted / measured <= 5.0
    assert arithmetic.macs >= DIM**2


def test_multiply_adds_are_those_of_the_docstring():
    block, z, tile = network(DIM, 1).of(LU)[0], np.zeros((1, DIM), dtype=np.float32), 4
    for name, expected in {
        "fused": DIM**2,
        "inverse": 2 * DIM**2,
        "rows": DIM**2 + DIM,
        "meeting": DIM**2 + tile**2,
    }.items():
        arithmetic = solvers.Eager("float32")
        solvers.solve(arithmetic, solvers.choose(name, tile if name == "meeting" else None, DIM), z, block)
        assert arithmetic.macs == expected, name


def test_eager_rounds_products_to_the_shorter_dtype():
    block, z = network(DIM, 1).of(LU)[0], np.random.default_rng(1).standard_normal((5, DIM)).astype(np.float32)
    solver = solvers.choose("fused", None, DIM)
    single, half = (
        solvers.solve(solvers.Eager("float32", products), solver, z, block) for products in (None, "float16")
    )
    weights = network(DIM, 1)
    short = RoundingModel(weights, "float32", "float16").sampling(z.astype(np.float64))["x"]
    long = tolerances.of_sampling(weights, z)["x"]
    tolerances.assert_within(half, single, short + long)
    assert tolerances.beyond(half, single, tolerances.TWO * long) > 1
