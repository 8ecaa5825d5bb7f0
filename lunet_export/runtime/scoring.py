"""log p of a user's rows: noise for grey levels, averages over noise draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lunet_export import noise
from lunet_export.artifact import Manifest
from lunet_export.checks import reference
from lunet_export.errors import BadInputError
from lunet_export.likelihood import paper_convention
from lunet_export.preprocessing import log_det_of
from lunet_export.runtime.exported import Exported
from lunet_export.runtime.misfit import Misfit, sample, warn
from lunet_export.runtime.rows import computing, with_noise
from lunet_export.scalars import whole

Array = NDArray[np.float64]
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Together:
    """Exported folders scored as one mixture: p(x) = sum_k w_k p_k(x).

    Unlike a `Mixture`, which is drawn from too, they may have different domains: a row is scored where all of them are
    defined.

    Args:
        flows: Of one width and one pre-processing.
        weights: w_k, positive, summing to 1.
    """

    flows: tuple[Exported[Any], ...]
    weights: Sequence[float]

    @property
    def _parts(self) -> tuple[Exported[Any], ...]:
        return self.flows

    @property
    def manifest(self) -> Manifest:
        """Of the first: what all share is there."""
        return self.flows[0].manifest

    def accepts(self, x: ArrayLike) -> NDArray[np.bool_]:
        """For every row (N, D), whether every folder takes it, (N,). Raises as `ExportedFlow.accepts` does."""
        return np.logical_and.reduce([flow.accepts(x) for flow in self.flows])

    def _scored(self, x: Floats) -> tuple[dict[str, Floats], Array]:
        """`log_prob` (N,) and `each` (N, K) of rows x; |z|^2 / D of a sample of them, the least of all flows."""
        found = [flow._scored(x) for flow in self.flows]
        each = np.stack([answers["log_prob"].astype(np.float64) for answers, _ in found], axis=1)
        squared = np.minimum.reduce([of_flow for _, of_flow in found])
        return {"log_prob": reference.mixture_log_prob(each, self.weights), "each": each}, squared


def score(
    model: Exported[Any] | Together,
    rows: NDArray[np.generic],
    *,
    draws: int = 1,
    seed: int = 0,
    first: int = 0,
    on_draw: Callable[[], None] = lambda: None,
    on_misfit: Callable[[Misfit], None] = warn,
) -> Array:
    """Mean over noise draws of log p of each row, in nats, float64 (N,): `log_prob` of `scores`, as all else here."""
    found = scores(model, rows, draws=draws, seed=seed, first=first, on_draw=on_draw, on_misfit=on_misfit)
    return found["log_prob"]


def scores(
    model: Exported[Any] | Together,
    rows: NDArray[np.generic],
    *,
    draws: int = 1,
    seed: int = 0,
    first: int = 0,
    paper: bool = False,
    on_draw: Callable[[], None] = lambda: None,
    on_misfit: Callable[[Misfit], None] = warn,
) -> dict[str, Array]:
    """What a model tells of each row, float64, the mean over noise draws: `log_prob` (N,) in nats.

    Of a mixture also `posterior` (N, C); of several folders together also `each` (N, K), the log p of every one; where
    asked for also `paper_convention` (N,), bits/dim as `lunet_export.likelihood` defines it.

    Integers given to an image model are grey levels and get the uniform noise of `lunet_export.noise`, draw by draw;
    with them the mean of -log2 p / D is an upper bound of the discrete bits/dim. Floats are taken as they are. Folders
    are mixed draw by draw, each given the same noise; a row is called another one where it is for all of them.

    Args:
        model: The exported flow or mixture, or several folders.
        rows: (N, D), or images of any shape with D numbers each.
        draws: Noise draws to average over; floats have none and are scored once.
        seed: Of the noise.
        first: The number of the first row, by which its noise is drawn.
        paper: Whether `paper_convention` is wanted.
        on_draw: Called after each draw.
        on_misfit: Called where the rows are not those that the model was made for; without it that is a `RowsWarning`.

    Raises:
        BadInputError: No rows, what `ExportedFlow.log_prob` refuses, or no whole number where one is expected: 1 or
            more draws, a first row of 0 or more, a seed in [0, 2^64).
        OverflowingRowsError, OutOfMemoryError, ProviderError: As `ExportedFlow.log_prob` does.
    """
    flows = model._parts
    draws = whole(draws, "a number of noise draws of 1 or more", least=1)
    seed, first = noise.seed_of(seed), noise.rows_of(0, first).start
    with computing("the rows"):
        given = flows[0]._rows.given(rows, "the rows")
        if not given.ndim or not len(given):
            raise BadInputError("Expected rows to score; got none.")
        flat = given.reshape(len(given), -1)
        plain = model.manifest.preprocessing is None or flat.dtype.kind == "f"
        totals: dict[str, Array] = {}
        for draw in range(1 if plain else draws):
            x = flat
            if not plain:
                x = with_noise(flat, flows[0].dtype, seed=seed, draw=draw, first=first)
            answers, squared = model._scored(x)
            if not totals and (misfit := _misfit(flows, x, squared)):
                on_misfit(misfit)
            found = {name: values.astype(np.float64) for name, values in answers.items()}
            if paper:
                before = log_det_of(x, model.manifest.preprocessing)
                found["paper_convention"] = paper_convention(found["log_prob"], before, x.shape[1])
            totals = {name: totals[name] + values if totals else values for name, values in found.items()}
            if not plain:
                on_draw()
        return totals if plain else {name: total / draws for name, total in totals.items()}


def _misfit(flows: Sequence[Exported[Any]], x: NDArray[np.generic], squared: Array) -> Misfit | None:
    """What rows and |z|^2 / D of the first draw tell; networks of classes tell less of it than there is."""
    exact = not any(flow.manifest.names for flow in flows)
    made_for = flows[0]._rows.made_for
    return made_for.of_rows(x) or made_for.of_squares(sample(x), squared, exact=exact)
