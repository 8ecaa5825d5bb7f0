"""Pre-processing of grey levels: the settings of the logit, the floats next to its borders, dequantization."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lunet_export.errors import BadInputError

Floats = NDArray[np.floating]
Array = NDArray[np.float64]


_ROWS = 4096  # at a time


@dataclass(frozen=True)
class Logit:
    """These are settings of h = logit(s), s = (1 - margin) x / levels + margin / 2, for x in [0, levels).

    x is a grey level plus its dequantization noise, so a density of x gives an upper bound for the discrete image:
    -log2 p(x) / D is bits/dim on the true scale (Theis et al. 2016, arXiv 1511.01844, section 3.1).
    """

    levels: int  # number of grey levels; x lies in [0, levels)
    margin: float  # a, which keeps s inside [a/2, 1 - a/2], so that the logit is finite

    def __post_init__(self) -> None:
        if not (isinstance(self.levels, int) and self.levels >= 2):
            raise BadInputError(f"Expected at least 2 grey levels; got {self.levels!r}. Give an integer of 2 or more.")
        if not (isinstance(self.margin, float) and 0.0 < self.margin < 1.0):
            raise BadInputError(f"Expected a logit margin in (0, 1); got {self.margin!r}. The paper uses 1e-5.")


#: Pre-processing by name. `paper` is that of the released code for MNIST and Fashion-MNIST.
NAMED: dict[str, Logit | None] = {
    "paper": Logit(256, 1e-5),
    "images": Logit(256, 1e-5),
    "digits": Logit(17, 0.1),
    "none": None,
}


def logit(x: Array, p: Logit) -> tuple[Array, Array]:
    """Return log s - log(1 - s) with s = (1 - a) x / levels + a / 2, and its log_det; 1 - s comes from levels - x."""
    scale = (1 - p.margin) / p.levels
    log_s, log_rest = np.log(scale * x + p.margin / 2), np.log(scale * (p.levels - x) + p.margin / 2)
    return log_s - log_rest, (np.log(scale) - log_s - log_rest).sum(axis=1)


def log_det_of(x: Array, p: Logit | None) -> Array:
    """log|det| of the pre-processing of rows (N, D), (N,): 0 without one. A few rows at a time."""
    if p is None:
        return np.zeros(len(x))
    starts = range(0, len(x), _ROWS)
    return np.concatenate([logit(x[start : start + _ROWS].astype(np.float64), p)[1] for start in starts])


def logit_slope(x: Array, p: Logit) -> Array:
    """Return d logit / dx = c / (s (1 - s)) with c = (1 - a) / levels, (N, D) -> (N, D)."""
    scale = (1 - p.margin) / p.levels
    return scale / ((scale * x + p.margin / 2) * (scale * (p.levels - x) + p.margin / 2))


def inverse_logit(h: Array, p: Logit) -> Array:
    """Return the x with logit(x) = h; it is outside [0, levels) if h is beyond the logits of the borders."""
    return p.levels / (1 - p.margin) * (np.exp(-np.logaddexp(0.0, -h)) - p.margin / 2)


def largest_below(levels: int, dtype: np.dtype) -> np.floating:
    """Return the largest number of `dtype` below `levels`, to which sampling clamps x."""
    return np.nextafter(dtype.type(levels), dtype.type(0))


def dequantize(grey: ArrayLike, noise: Floats) -> Floats:
    """Return x = grey + noise in the noise's dtype, with floor(x) = grey whatever the rounding.

    float32 near 256 has 16 bits behind the point, so grey + noise can round up to the next level; such sums are set to
    the largest float below it.

    Args:
        grey: Integers (N, D).
        noise: Uniform numbers in [0, 1), (N, D).
    """
    level = np.asarray(grey).astype(noise.dtype)
    return np.minimum(level + noise, np.nextafter(level + 1, level))
