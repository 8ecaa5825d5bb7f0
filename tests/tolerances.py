"""How far answers may lie apart by rounding alone: what tests state in the place of constants.

Each comes from `lunet_export.rounding`, so from the model's own conditioning, or from a count of roundings. Two
implementations that are each within a tolerance of the reference are within `TWO` of it of one another.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lunet_export import reference
from lunet_export.parity import compare
from lunet_export.rounding import RoundingModel, of_mixture, unit_roundoff
from lunet_export.weights import Mixture, Weights

Array = NDArray[np.float64]

TWO = 2.0


def held(rows: ArrayLike, dtype: str = "float32") -> Array:
    """The rows as a runtime of `dtype` holds them, in float64 for the reference."""
    return np.asarray(rows).astype(dtype).astype(np.float64)


def of_density(weights: Weights, x: ArrayLike, dtype: str = "float32") -> dict[str, Array]:
    """Tolerances (N,) of z, log_prob and x -> z -> x, against the reference on the same `held` rows."""
    return RoundingModel(weights, dtype).density(held(x, dtype))


def of_sampling(weights: Weights, z: ArrayLike, dtype: str = "float32") -> dict[str, Array]:
    """Tolerances (N,) of x, of log_prob at that x and of z -> x -> z, against the reference on the same `held` rows."""
    return RoundingModel(weights, dtype).sampling(held(z, dtype))


def of_classes(mixture: Mixture[Weights], x: ArrayLike, dtype: str = "float32") -> dict[str, Array]:
    """Tolerances of class_log_prob (N, C), and of the mixture's log_prob and the posterior (N,)."""
    rows = held(x, dtype)
    each = np.stack([RoundingModel(network, dtype).density(rows)["log_prob"] for network in mixture.networks], axis=1)
    exact = reference.class_log_prob(mixture, rows)
    return {"class_log_prob": each, **of_mixture(exact, each, mixture.priors, dtype)}


def of_roundings(count: float, size: ArrayLike, dtype: str = "float32") -> Array:
    """The most that so many roundings of numbers of that size come to."""
    return count * unit_roundoff(dtype) * np.abs(np.asarray(size, dtype=np.float64))


def of_estimate(deviation: float, draws: int, *, errors: float = 4.0) -> float:
    """So many standard errors of a mean of independent draws: one seed in 16,000 misses 4 of them."""
    return errors * deviation / np.sqrt(draws)


def beyond(got: ArrayLike, expected: ArrayLike, tolerance: ArrayLike) -> float:
    """The largest difference over its tolerance, which is one for all, one a row or one a number; 1 is allowed."""
    got, expected = np.asarray(got), np.asarray(expected, dtype=np.float64)
    assert got.shape == expected.shape
    allowed = np.asarray(tolerance, dtype=np.float64)
    if allowed.ndim < expected.ndim and allowed.ndim:
        allowed = allowed.reshape(allowed.shape + (1,) * (expected.ndim - allowed.ndim))
    allowed = np.broadcast_to(allowed, expected.shape)
    if not expected.size:
        return 0.0
    return compare("", expected=expected.ravel(), got=got.ravel(), tolerance=allowed.ravel()).ratio


def assert_within(got: ArrayLike, expected: ArrayLike, tolerance: ArrayLike, what: object = "") -> None:
    """Every number is within its tolerance; NaN never is."""
    ratio = beyond(got, expected, tolerance)
    assert ratio <= 1.0, f"{what} differs by {ratio:.3g} times its tolerance"
