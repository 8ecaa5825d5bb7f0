"""Folding without BLAS, and unrolled solves over sizes, tiles and condition numbers."""

import numpy as np
import onnxruntime
import pytest

from lunet_export.graphs import triangular
from lunet_export.graphs.builder import GraphBuilder, serialize
from lunet_export.weights import LUBlock
from tests.networks import network


@pytest.mark.parametrize("dim", [1, 2, 17, 64])
def test_products_and_inverses(dim):
    block = network(dim, 1).blocks[0]
    lower, upper = block.lower, block.upper
    np.testing.assert_allclose(triangular.product(lower, upper), lower @ upper, atol=1e-13)
    np.testing.assert_allclose(triangular.reversed_product(upper, lower), upper @ lower, atol=1e-13)
    np.testing.assert_allclose(triangular.inverse_lower(lower) @ lower, np.eye(dim), atol=1e-12)
    np.testing.assert_allclose(triangular.inverse_upper(upper) @ upper, np.eye(dim), atol=1e-12)


def test_tiles_cover_every_row_once():
    for dim, tile in ((10, 5), (10, 4), (7, 1), (1, 1)):
        covered = np.concatenate([np.arange(dim)[here] for here in triangular.tiles(dim, tile)])
        np.testing.assert_array_equal(covered, np.arange(dim))


@pytest.mark.parametrize("tile", [1, 3, 8, 16])
@pytest.mark.parametrize("condition", [1e1, 1e4, 1e8])
def test_unrolled_solve_against_substitution(tile, condition):
    """Backward stable: the residual is small whatever the condition; the error follows it."""
    dim, rng = 31, np.random.default_rng(0)
    diagonal = np.geomspace(1.0, 1.0 / condition, dim) * rng.choice([-1, 1], dim)
    upper = np.triu(0.1 * rng.standard_normal((dim, dim)), 1) * np.abs(diagonal)[:, None] + np.diag(diagonal)
    lower = np.tril(0.1 * rng.standard_normal((dim, dim)), -1) + np.eye(dim)
    block = LUBlock(lower, upper, rng.standard_normal(dim))
    g = GraphBuilder("solve", dim=dim, dtype="float64")
    ranges = triangular.tiles(dim, tile)
    parts = g.split(g.input("z"), [here.stop - here.start for here in ranges])
    solved = triangular.solve_upper(g, triangular.solve_lower(g, parts, block, ranges), block, ranges)
    g.output("h", g.concat(solved))
    session = onnxruntime.InferenceSession(serialize(g.finish({})), providers=["CPUExecutionProvider"])
    z = rng.standard_normal((5, dim))
    (h,) = session.run(None, {"z": z})
    residual = np.abs(h @ upper.T @ lower.T + block.bias - z).max()
    size = (np.abs(h) @ np.abs(upper).T @ np.abs(lower).T).max() + np.abs(z).max()
    assert residual <= 1e-13 * size
