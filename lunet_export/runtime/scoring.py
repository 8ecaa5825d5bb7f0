"""log p of a user's rows: noise for grey levels, averages over noise draws."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.errors import BadInputError
from lunet_export.preprocessing import dequantize
from lunet_export.runtime.flow import ExportedFlow


def score(
    flow: ExportedFlow,
    rows: NDArray[np.generic],
    *,
    draws: int = 1,
    seed: int = 0,
    on_draw: Callable[[], None] = lambda: None,
) -> NDArray[np.float64]:
    """Mean over noise draws of log p of each row, in nats, float64 (N,).

    Integers given to an image model are grey levels and get the uniform noise of `lunet_export.noise`, draw by draw;
    with them the mean of -log2 p / D is an upper bound of the discrete bits/dim. Floats are taken as they are.

    Args:
        flow: The exported flow.
        rows: (N, D), or images of any shape with D numbers each.
        draws: Noise draws to average over; floats have none and are scored once.
        seed: Of the noise.
        on_draw: Called after each draw.

    Raises:
        BadInputError: No rows, or what `ExportedFlow.log_prob` refuses.
    """
    if not len(rows):
        raise BadInputError("Expected rows to score; got none.")
    flat = rows.reshape(len(rows), -1)
    if flow.manifest.preprocessing is None or flat.dtype.kind == "f":
        return flow.log_prob(flat).astype(np.float64)
    total = np.zeros(len(flat))
    for draw in range(draws):
        uniform = noise.uniform(seed, range(len(flat)), flat.shape[1], draw=draw).astype(flow.dtype)
        total += flow.log_prob(dequantize(flat, uniform))
        on_draw()
    return total / draws
