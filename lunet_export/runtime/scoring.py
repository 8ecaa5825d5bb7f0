"""log p of a user's rows: noise for grey levels, averages over noise draws."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.checks import reference
from lunet_export.errors import BadInputError
from lunet_export.preprocessing import dequantize
from lunet_export.runtime.classes import ExportedClasses
from lunet_export.runtime.flow import ExportedFlow
from lunet_export.runtime.misfit import Misfit, sample, squares, warn
from lunet_export.runtime.rows import as_array, computing
from lunet_export.scalars import whole

Array = NDArray[np.float64]
Floats = NDArray[np.floating]
#: Answers of some rows, and |z|^2 / D of a sample of them.
Scored = tuple[Sequence[Floats], Array]


def score(
    flow: ExportedFlow | ExportedClasses,
    rows: NDArray[np.generic],
    *,
    draws: int = 1,
    seed: int = 0,
    first: int = 0,
    on_draw: Callable[[], None] = lambda: None,
    on_misfit: Callable[[Misfit], None] = warn,
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
        on_misfit: Called where the rows are not those that the model was made for; without it that is a `RowsWarning`.

    Raises:
        BadInputError: No rows, what `ExportedFlow.log_prob` refuses, or no whole number where one is expected: 1 or
            more draws, a first row of 0 or more, a seed in [0, 2^64).
        OverflowingRowsError, OutOfMemoryError, ProviderError: As `ExportedFlow.log_prob` does.
    """

    def one(x: Floats) -> Scored:
        log_prob, found = _log_prob(flow, x)
        return (log_prob,), found

    return _averaged([flow], one, rows, draws=draws, seed=seed, first=first, on_draw=on_draw, on_misfit=on_misfit)[0]


def score_classes(
    flow: ExportedClasses,
    rows: NDArray[np.generic],
    *,
    draws: int = 1,
    seed: int = 0,
    first: int = 0,
    on_draw: Callable[[], None] = lambda: None,
    on_misfit: Callable[[Misfit], None] = warn,
) -> tuple[Array, Array]:
    """log p of the mixture (N,) in nats, as `score` gives it, and the posterior (N, C), both means over the draws.

    Arguments and errors are those of `score`.
    """

    def both(x: Floats) -> Scored:
        class_log_prob, log_prob, posterior = flow._density(flow._rows.data(x))
        return (log_prob, posterior), flow._squares(class_log_prob)

    log_prob, posterior = _averaged(
        [flow], both, rows, draws=draws, seed=seed, first=first, on_draw=on_draw, on_misfit=on_misfit
    )
    return log_prob, posterior


def score_mixture(
    flows: Sequence[ExportedFlow | ExportedClasses],
    weights: Sequence[float],
    rows: NDArray[np.generic],
    *,
    draws: int = 1,
    seed: int = 0,
    first: int = 0,
    on_misfit: Callable[[Misfit], None] = warn,
) -> tuple[Array, Array]:
    """log p of p(x) = sum_k w_k p_k(x) (N,) in nats, and of every model (N, K): means over the draws of both.

    The models are mixed draw by draw, each given the same noise. A row is called another one where it is for all of
    them. Arguments and errors are otherwise those of `score`.
    """

    def both(x: Floats) -> Scored:
        scored = [_log_prob(flow, x) for flow in flows]
        each = np.stack([log_prob.astype(np.float64) for log_prob, _ in scored], axis=1)
        return (reference.mixture_log_prob(each, weights), each), np.minimum.reduce([found for _, found in scored])

    found = _averaged(flows, both, rows, draws=draws, seed=seed, first=first, on_draw=lambda: None, on_misfit=on_misfit)
    return found[0], found[1]


def _log_prob(flow: ExportedFlow | ExportedClasses, x: Floats) -> tuple[Floats, Array]:
    """log p(x) (N,), and |z|^2 / D of the sample of rows that is looked at: of classes, at least so much."""
    if isinstance(flow, ExportedClasses):
        class_log_prob, log_prob, _ = flow._density(flow._rows.data(x))
        return log_prob, flow._squares(class_log_prob)
    z, log_prob = flow._density(flow._rows.data(x))
    return log_prob, squares(z)


def _averaged(
    flows: Sequence[ExportedFlow | ExportedClasses],
    density: Callable[[Floats], Scored],
    rows: NDArray[np.generic],
    *,
    draws: int,
    seed: int,
    first: int,
    on_draw: Callable[[], None],
    on_misfit: Callable[[Misfit], None],
) -> list[Array]:
    """What `density` gives of the rows, float64, its mean over noise draws for integers of an image model."""
    flow = flows[0]
    draws = whole(draws, "a number of noise draws of 1 or more", least=1)
    seed, first = noise.seed_of(seed), noise.rows_of(0, first).start
    with computing("the rows"):
        given = as_array(rows, "the rows")
        if not given.ndim or not len(given):
            raise BadInputError("Expected rows to score; got none.")
        flat = given.reshape(len(given), -1)
        plain = flow.manifest.preprocessing is None or flat.dtype.kind == "f"
        totals: list[Array] = []
        for draw in range(1 if plain else draws):
            x = flat
            if not plain:
                numbers = noise.rows_of(len(flat), first)
                x = dequantize(flat, noise.uniform(seed, numbers, flat.shape[1], draw=draw).astype(flow.dtype))
            answers, squared = density(x)
            if not totals and (misfit := _misfit(flows, x, squared)):
                on_misfit(misfit)
            found = [values.astype(np.float64) for values in answers]
            totals = [total + values for total, values in zip(totals, found, strict=True)] if totals else found
            if not plain:
                on_draw()
        return totals if plain else [total / draws for total in totals]


def _misfit(flows: Sequence[ExportedFlow | ExportedClasses], x: NDArray[np.generic], squared: Array) -> Misfit | None:
    """What rows and |z|^2 / D of the first draw tell; networks of classes tell less of it than there is."""
    exact = not any(isinstance(flow, ExportedClasses) for flow in flows)
    made_for = flows[0]._rows.made_for
    return made_for.of_rows(x) or made_for.of_squares(sample(x), squared, exact=exact)
