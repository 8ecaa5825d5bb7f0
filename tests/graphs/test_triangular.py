"""Folding without BLAS."""

import numpy as np
import pytest

from lunet_export import lu
from lunet_export.graphs import triangular
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


def test_a_rescaled_block_solves_in_other_units():
    """h' = scale h + shift from z - offset."""
    block, rng = network(6, 1).blocks[0], np.random.default_rng(0)
    z = rng.standard_normal((4, 6))
    moved = triangular.rescaled(block, scale=-2.5, shift=0.7, offset=0.3)
    expected = -2.5 * lu.inverse_affine(z, block) + 0.7
    np.testing.assert_allclose(lu.inverse_affine(z - 0.3, moved), expected, atol=1e-12)
