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

    Unlike a `Mixture`, which can be sampled too, they may have different domains: a row is scored if all of them are
    defined there.

    Args:
        flows: Exported folders of one width and one pre-processing.
        weights: Weights w_k, positive, summing to 1.
    """

    flows: tuple[Exported[Any], ...]
    weights: Sequence[float]

    @property
    def _parts(self) -> tuple[Exported[Any], ...]:
        return self.flows

    @property
    def manifest(self) -> Manifest:
        """Manifest of the first folder, with what all of them share."""
        return self.flows[0].manifest

    def accepts(self, x: ArrayLike) -> NDArray[np.bool_]:
        """Return for every row (N, D) whether every folder takes it, (N,). Raises as `ExportedFlow.accepts` does."""
        return np.logical_and.reduce([flow.accepts(x) for flow in self.flows])

    def _scored(self, x: Floats, context: ArrayLike | None = None) -> tuple[dict[str, Floats], Array]:
        """Return `log_prob` (N,) and `each` (N, K) of rows x, and the least |z|^2 / D of any flow for a sample."""
        found = [flow._scored(x, context) for flow in self.flows]
        each = np.stack([answers["log_prob"].astype(np.float64) for answers, _ in found], axis=1)
        squared = np.minimum.reduce([of_flow for _, of_flow in found])
        return {"log_prob": reference.mixture_log_prob(each, self.weights), "each": each}, squared


def score(
    model: Exported[Any] | Together,
    rows: NDArray[np.generic],
    *,
    context: ArrayLike | None = None,
    draws: int = 1,
    seed: int = 0,
    first: int = 0,
    on_draw: Callable[[], None] = lambda: None,
    on_misfit: Callable[[Misfit], None] = warn,
) -> Array:
    """Return the mean over noise draws of log p of each row, in nats, float64 (N,): `log_prob` of `scores`."""
    found = scores(
        model, rows, context=context, draws=draws, seed=seed, first=first, on_draw=on_draw, on_misfit=on_misfit
    )
    return found["log_prob"]


def scores(
    model: Exported[Any] | Together,
    rows: NDArray[np.generic],
    *,
    context: ArrayLike | None = None,
    draws: int = 1,
    seed: int = 0,
    first: int = 0,
    paper: bool = False,
    on_draw: Callable[[], None] = lambda: None,
    on_misfit: Callable[[Misfit], None] = warn,
) -> dict[str, Array]:
    """Return the figures of each row by name, float64, as means over noise draws: `log_prob` (N,) in nats.

    A mixture adds `posterior` (N, C); several folders together add `each` (N, K), the log p of every one; `paper` adds
    `paper_convention` (N,), bits/dim as `lunet_export.likelihood` defines it.

    Integers given to an image model are grey levels and get the uniform noise of `lunet_export.noise`, draw by draw;
    with them the mean of -log2 p / D is an upper bound of the discrete bits/dim. Floats are taken as they are. Folders
    are mixed draw by draw, all with the same noise; rows are reported as a misfit only if they are one for every
    folder.

    Args:
        model: The exported flow or mixture, or several folders.
        rows: Rows (N, D), or images of any shape with D numbers each.
        context: Contexts of conditional flows, as `ExportedFlow.log_prob` takes them.
        draws: Number of noise draws to average over; floats take no noise and are scored once.
        seed: Seed of the noise.
        first: Number of the first row, by which its noise is drawn.
        paper: Whether to add `paper_convention`.
        on_draw: Called after each draw.
        on_misfit: Called if the model was not made for the rows; by default it gives a `RowsWarning`.

    Raises:
        BadInputError: if there are no rows, as `ExportedFlow.log_prob` does, or if `draws` is not a whole number of 1
            or more, `first` of 0 or more, or `seed` in [0, 2^64).
        OverflowingRowsError, OutOfMemoryError, ProviderError: as `ExportedFlow.log_prob` does.
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
            answers, squared = model._scored(x, context)
            if not totals:
                for misfit in (_beyond(flows, context, len(x)), _misfit(flows, x, squared)):
                    if misfit:
                        on_misfit(misfit)
            found = {name: values.astype(np.float64) for name, values in answers.items()}
            if paper:
                before = log_det_of(x, model.manifest.preprocessing)
                found["paper_convention"] = paper_convention(found["log_prob"], before, x.shape[1])
            totals = {name: totals[name] + values if totals else values for name, values in found.items()}
            if not plain:
                on_draw()
        return totals if plain else {name: total / draws for name, total in totals.items()}


def _beyond(flows: Sequence[Exported[Any]], context: ArrayLike | None, n: int) -> Misfit | None:
    """Return the misfit of contexts that lie outside those of some flow's training."""
    found = (flow._rows.beyond(flow._rows.contexts(context, n)) for flow in flows)
    return next((misfit for misfit in found if misfit), None)


def _misfit(flows: Sequence[Exported[Any]], x: NDArray[np.generic], squared: Array) -> Misfit | None:
    """Return the misfit that rows and |z|^2 / D of the first draw show; for classes |z|^2 is a lower bound."""
    exact = not any(flow._has_classes for flow in flows)
    made_for = flows[0]._rows.made_for
    return made_for.of_rows(x) or made_for.of_squares(sample(x), squared, exact=exact)
