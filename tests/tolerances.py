"""How far answers may lie apart by rounding alone: what tests state in the place of constants.

Each comes from `lunet_export.checks.rounding`, so from the model's own conditioning, or from a count of roundings. All
are against the reference in float64; two implementations that are each within a tolerance of it are within TWO of one
another. A mean of answers may be off by the mean of their tolerances.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel, of_mixture, unit_roundoff
from lunet_export.distribution import Mixture
from lunet_export.layers import Chain
from lunet_export.likelihood import bits_per_dim
from lunet_export.parity import compare

Array = NDArray[np.float64]

TWO = 2.0


def of_density(
    weights: Chain, x: ArrayLike, dtype: str = "float32", context: ArrayLike | None = None
) -> dict[str, Array]:
    """Tolerances (N,) of z, log_prob and x -> z -> x of rows x (N, D) and their contexts (N, C).

    A runtime first rounds both to its dtype.
    """
    (exact, rows), (given, held) = _given_and_held(x, dtype), _contexts(context, dtype)
    moved = [reference.encode(weights, exact, given)[0] - reference.encode(weights, rows, held)[0]]
    of_moved = reference.log_prob(weights, exact, given) - reference.log_prob(weights, rows, held)
    moved += [of_moved[:, None], exact - rows]
    allowed = RoundingModel(weights, dtype).density(rows, held)
    return _with(allowed, dict(zip(("z", "log_prob", "x"), moved, strict=True)))


def of_sampling(
    weights: Chain, z: ArrayLike, dtype: str = "float32", context: ArrayLike | None = None
) -> dict[str, Array]:
    """Tolerances (N,) of x, of log_prob at that x and of z -> x -> z of latents z (N, D), rounded first too."""
    both = list(zip(_given_and_held(z, dtype), _contexts(context, dtype), strict=True))
    model = RoundingModel(weights, dtype)
    ends = [model.clamp(reference.decode(weights, latents, contexts)) for latents, contexts in both]
    of_ends = [reference.log_prob(weights, x, contexts)[:, None] for x, (_, contexts) in zip(ends, both, strict=True)]
    (exact, _), (rows, held) = both
    moved = {"x": ends[0] - ends[1], "log_prob": of_ends[0] - of_ends[1], "z": exact - rows}
    return _with(model.sampling(rows, held), moved)


def of_classes(mixture: Mixture[Chain], x: ArrayLike, dtype: str = "float32") -> dict[str, Array]:
    """Tolerances of class_log_prob (N, C), and of the mixture's log_prob and the posterior (N,)."""
    each = np.stack([of_density(network, x, dtype)["log_prob"] for network in mixture.components], axis=1)
    exact = reference.class_log_prob(mixture, np.asarray(x, dtype=np.float64))
    return {"class_log_prob": each, **of_mixture(exact, each, mixture.priors, dtype)}


def _given_and_held(rows: ArrayLike, dtype: str) -> tuple[Array, Array]:
    """The rows, and the numbers of `dtype` that stand for them in a runtime, both in float64."""
    exact = np.asarray(rows, dtype=np.float64)
    return exact, exact.astype(dtype).astype(np.float64)


def _contexts(context: ArrayLike | None, dtype: str) -> tuple[Array | None, Array | None]:
    """The same of contexts, None for a flow that takes none."""
    return (None, None) if context is None else _given_and_held(context, dtype)


def _with(tolerance: dict[str, Array], moved: dict[str, Array]) -> dict[str, Array]:
    """What rounding allows inside, and what rounding of the given rows moves."""
    return {name: tolerance[name] + np.abs(gap).max(axis=1) for name, gap in moved.items()}


def of_bits(weights: Chain, x: ArrayLike, dtype: str = "float32") -> float:
    """The same of the mean bits/dim of rows x."""
    return float(bits_per_dim(-of_density(weights, x, dtype)["log_prob"], weights.dim).mean())


def of_roundings(count: float, size: ArrayLike, dtype: str = "float32") -> Array:
    """The most that so many roundings of numbers of that size come to."""
    return count * unit_roundoff(dtype) * np.abs(np.asarray(size, dtype=np.float64))


def of_estimate(deviation: ArrayLike, draws: int, *, errors: float = 4.0) -> Array:
    """So many standard errors of a mean of independent draws: a good one is beyond 4 of them in 1 of 16,000 seeds."""
    return errors * np.asarray(deviation, dtype=np.float64) / np.sqrt(draws)


def beyond(got: ArrayLike, expected: ArrayLike, tolerance: ArrayLike) -> float:
    """The largest difference over its tolerance, which is one for all, one per row or one per number; 1 is allowed."""
    have, wanted = np.asarray(got), np.asarray(expected, dtype=np.float64)
    assert have.shape == wanted.shape, (have.shape, wanted.shape)
    allowed = np.asarray(tolerance, dtype=np.float64)
    rows = allowed.reshape(allowed.shape + (1,) * (wanted.ndim - allowed.ndim)) if allowed.ndim else allowed
    each = np.broadcast_to(rows, wanted.shape)
    return compare("", expected=wanted.ravel(), got=have.ravel(), tolerance=each.ravel()).ratio


def assert_within(got: ArrayLike, expected: ArrayLike, tolerance: ArrayLike, what: object = "an answer") -> None:
    """Every number is within its tolerance; NaN never is."""
    ratio = beyond(got, expected, tolerance)
    assert ratio <= 1.0, f"{what} is off by {ratio:.3g} times what is allowed"
