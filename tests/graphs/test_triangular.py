"""Folding without BLAS."""

import numpy as np
import pytest

from lunet_export.layers import LU, triangular
from tests import tolerances
from tests.networks import network


@pytest.mark.parametrize("dim", [1, 2, 17, 64])
def test_products_and_inverses(dim):
    block = network(dim, 1).of(LU)[0]
    lower, upper = block.lower, block.upper
    low, up, one = np.abs(lower), np.abs(upper), np.eye(dim)
    # Each of both sides multiplies and adds `dim` times (Higham 2002, section 3.5).
    product = tolerances.of_roundings(2 * dim, low @ up, "float64")
    tolerances.assert_within(triangular.product(lower, upper), lower @ upper, product)
    assert tolerances.beyond(triangular.product(lower, upper) * (1 + 1e-12), lower @ upper, product) > 1
    allowed = tolerances.of_roundings(2 * dim, up @ low, "float64")
    tolerances.assert_within(triangular.reversed_product(upper, lower), upper @ lower, allowed)
    for inverse, size, matrix in (
        (triangular.inverse_lower(lower), low, lower),
        (triangular.inverse_upper(upper), up, upper),
    ):
        # |X T - I| <= n u |X| |T| |X| |T| (ibid., section 14.2), and n u |X| |T| of the product here.
        around = np.abs(inverse) @ size
        allowed = tolerances.of_roundings(dim, around @ around + around, "float64")
        tolerances.assert_within(inverse @ matrix, one, allowed)
        assert tolerances.beyond(inverse @ matrix * (1 + 1e-11), one, allowed) > 1


def test_tiles_cover_every_row_once():
    for dim, tile in ((10, 5), (10, 4), (7, 1), (1, 1)):
        covered = np.concatenate([np.arange(dim)[here] for here in triangular.tiles(dim, tile)])
        np.testing.assert_array_equal(covered, np.arange(dim))


def test_a_rescaled_block_solves_in_other_units():
    """h' = scale h + shift from z - offset."""
    block, rng = network(6, 1).of(LU)[0], np.random.default_rng(0)
    z = rng.standard_normal((4, 6))
    for scale, shift in (
        (np.full(6, -2.5), np.full(6, 0.7)),
        (rng.choice([-1.0, 1.0], 6) * rng.uniform(0.5, 2.5, 6), rng.standard_normal(6)),
    ):
        moved = block.rescaled(scale, shift, np.full(6, 0.3))
        expected = scale * block.inverse(z) + shift
        np.testing.assert_allclose(moved.inverse(z - 0.3), expected, atol=1e-12)
