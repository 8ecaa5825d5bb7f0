"""The share of held-out data in a latent box. For the model's own draws it is the mass q."""

from collections.abc import Callable, Sequence

import numpy as np

from lunet_export.checks import reference
from lunet_export.data import Dataset
from lunet_export.diagnostics.rows import TEST, over_batches, validate_rows
from lunet_export.layers import Chain
from lunet_export.verification.box import LatentBox, Share


def coverage(
    weights: Chain,
    boxes: Sequence[LatentBox],
    dataset: Dataset,
    *,
    seed: int,
    on_rows: Callable[[int], None] = lambda n: None,
) -> list[Share]:
    """Return the share of the test rows whose latents lie in each box, by the float64 reference.

    Integers get the uniform noise of (seed, row). `on_rows` is called with the number of rows after each batch.

    Raises:
        DataError: if the rows are of another kind than the model was made for.
    """
    validate_rows(dataset, weights.preprocessing, weights.dim)

    def latents(x: np.ndarray, _: object) -> np.ndarray:
        return reference.encode(weights, x)[0]

    parts = over_batches(latents, dataset, dataset.part("test"), seed=seed, draw=TEST, on_rows=on_rows)
    z = np.concatenate(list(parts))
    return [Share(len(z), int(box.contains(z).sum())) for box in boxes]
