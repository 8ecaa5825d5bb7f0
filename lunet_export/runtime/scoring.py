"""log p of a user's rows: noise for grey levels, averages over noise draws."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lunet_export import noise, reference
from lunet_export.errors import BadInputError
from lunet_export.preprocessing import dequantize
from lunet_export.runtime.classes import ExportedClasses
from lunet_export.runtime.flow import ExportedFlow
from lunet_export.runtime.rows import as_array, computing
from lunet_export.scalars import whole

Array = NDArray[np.float64]
Floats = NDArray[np.floating]


def score(
    flow: ExportedFlow | ExportedClasses,
    rows: NDArray[np.generic],
    *,
    draws: int = 1,
    seed: int = 0,
    first: int = 0,
    on_draw: Callable[[], None] = lambda: None,
) -> Array:
    """Mean over noise draws of log p of each row, in nats, float64 (N,).

    Integers given to an image model are grey levels and get the uniform noise of `lunet_export.noise`, draw by draw;
    with them the mean of -log2 p / D is an upper bound of the discrete bits/dim. Floats are taken as they are.

    Args:
        flow: The exported flow.
        rows: (N, D), or images of any shape with D numbers each.
        draws: Noise draws to average over; floats have none and are scored once.
        seed: Of the noise.
        first: The number of the first row, by which its noise is drawn.
        on_draw: Called after each draw.

    Raises:
        BadInputError: No rows, what `ExportedFlow.log_prob` refuses, or no whole number where one is expected: 1 or
            more draws, a first row of 0 or more, a seed in [0, 2^64).
        OverflowingRowsError, OutOfMemoryError, ProviderError: As `ExportedFlow.log_prob` does.
    """
    return _averaged(flow, lambda x: (flow.log_prob(x),), rows, draws=draws, seed=seed, first=first, on_draw=on_draw)[0]


def score_classes(
    flow: ExportedClasses,
    rows: NDArray[np.generic],
    *,
    draws: int = 1,
    seed: int = 0,
    first: int = 0,
    on_draw: Callable[[], None] = lambda: None,
) -> tuple[Array, Array]:
    """log p of the mixture (N,) in nats, as `score` gives it, and the posterior (N, C), both means over the draws.

    Arguments and errors are those of `score`.
    """

    def both(x: Floats) -> tuple[Floats, Floats]:
        _, log_prob, posterior = flow.density(x)
        return log_prob, posterior

    log_prob, posterior = _averaged(flow, both, rows, draws=draws, seed=seed, first=first, on_draw=on_draw)
    return log_prob, posterior


def score_mixture(
    flows: Sequence[ExportedFlow | ExportedClasses],
    weights: Sequence[float],
    rows: NDArray[np.generic],
    *,
    draws: int = 1,
    seed: int = 0,
    first: int = 0,
) -> tuple[Array, Array]:
    """log p of p(x) = sum_k w_k p_k(x) (N,) in nats, and of every model (N, K): means over the draws of both.

    The models are mixed draw by draw, each given the same noise. Arguments and errors are otherwise those of `score`.
    """

    def both(x: Floats) -> tuple[Floats, Floats]:
        each = np.stack([flow.log_prob(x).astype(np.float64) for flow in flows], axis=1)
        return reference.mixture_log_prob(each, weights), each

    found = _averaged(flows[0], both, rows, draws=draws, seed=seed, first=first, on_draw=lambda: None)
    return found[0], found[1]


def _averaged(
    flow: ExportedFlow | ExportedClasses,
    density: Callable[[Floats], Sequence[Floats]],
    rows: NDArray[np.generic],
    *,
    draws: int,
    seed: int,
    first: int,
    on_draw: Callable[[], None],
) -> list[Array]:
    """What `density` gives of the rows, float64, its mean over noise draws for integers of an image model."""
    draws = whole(draws, "a number of noise draws of 1 or more", least=1)
    seed, first = noise.seed_of(seed), noise.rows_of(0, first).start
    with computing("the rows"):
        given = as_array(rows, "the rows")
        if not given.ndim or not len(given):
            raise BadInputError("Expected rows to score; got none.")
        flat = given.reshape(len(given), -1)
        if flow.manifest.preprocessing is None or flat.dtype.kind == "f":
            return [found.astype(np.float64) for found in density(flat)]
        totals: list[Array] = []
        for draw in range(draws):
            numbers = noise.rows_of(len(flat), first)
            uniform = noise.uniform(seed, numbers, flat.shape[1], draw=draw).astype(flow.dtype)
            found = [values.astype(np.float64) for values in density(dequantize(flat, uniform))]
            totals = [total + values for total, values in zip(totals, found, strict=True)] if totals else found
            on_draw()
        return [total / draws for total in totals]
