"""Grey levels: settings, borders and dequantisation."""

import numpy as np
import pytest

from lunet_export.checks import reference
from lunet_export.errors import BadInputError
from lunet_export.likelihood import bits_per_dim, paper_convention
from lunet_export.preprocessing import Logit, dequantize, largest_below
from tests import tolerances


def test_dequantized_levels_keep_their_floor():
    """In float32 255 + 0.99999999 is 256, the next level and outside the domain."""
    grey = np.array([[0, 3, 254, 255]], dtype=np.uint8)
    noise = np.full((1, 4), np.nextafter(np.float32(1), np.float32(0)))
    assert (np.float32(255) + noise[0, 0]) == 256
    np.testing.assert_array_equal(np.floor(dequantize(grey, noise)), grey)


def test_largest_below_is_below():
    below = largest_below(256, np.dtype("float32"))
    assert below < 256
    assert np.nextafter(below, np.float32(np.inf)) == 256


@pytest.mark.parametrize("settings", [(1, 0.1), (256, 0.0), (256, 1.0), (256.0, 0.1)])
def test_nonsense_settings_are_refused(settings):
    with pytest.raises(BadInputError, match="Expected"):
        Logit(*settings)


def test_one_minus_s_is_spelled_from_the_levels():
    """Spelled as 1 - s, float32 would be over 0.1 % wrong near white."""
    p = Logit(256, 1e-5)
    x = 256 - np.arange(1, 200) * np.spacing(np.float32(255))  # the last floats below 256
    scale, half = np.float32((1 - p.margin) / 256), np.float32(p.margin / 2)
    exact = (1 - p.margin) * (256 - x.astype(np.float64)) / 256 + p.margin / 2
    naive = np.float32(1) - (scale * x.astype(np.float32) + half)
    spelled = scale * (np.float32(256) - x.astype(np.float32)) + half
    assert np.abs(naive / exact - 1).max() > 1e-3
    # levels - x is exact; the scale and the half are rounded, then a product and a sum.
    tolerances.assert_within(spelled, exact, tolerances.of_roundings(4, exact))
    assert tolerances.beyond(naive, exact, tolerances.of_roundings(4, exact)) > 1


def test_bits_per_dim_of_a_uniform_density_over_256_levels_is_8():
    log_prob = np.array([-784 * np.log(256.0)])
    assert bits_per_dim(log_prob, 784)[0] == pytest.approx(8.0, abs=1e-12)


def test_paper_convention_differs_by_the_known_constant():
    """Mean of log2 s + log2(1 - s) over the noise at grey value 0 is -9.4314 bits; the released code drops it."""
    p, dim = Logit(256, 1e-5), 4
    u = (np.arange(100_000) + 0.5) / 100_000
    x = np.repeat(u[:, None], dim, axis=1)
    log_det = reference.logit(x, p)[1]
    log_prob = np.zeros(len(x))
    true, theirs = bits_per_dim(log_prob, dim).mean(), paper_convention(log_prob, log_det, dim).mean()
    constant = 8 - np.log2(1 - p.margin) - 9.4314  # C of grey value 0
    assert true == pytest.approx(theirs + 0.5 + constant, abs=1e-3)
