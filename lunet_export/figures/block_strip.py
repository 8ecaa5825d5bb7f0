"""A JKO-iFlow of two dimensions, block by block: data on their way to N(0, I), and noise on its way back."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.data import Dataset
from lunet_export.errors import BadInputError
from lunet_export.families.jko import reference
from lunet_export.families.jko.weights import JKOWeights, only_jko
from lunet_export.weights import Weights

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BlockStrip:
    """h_0, ..., h_K of test rows, and h_0, ..., h_K of samples on their way from h_K = z: (K + 1, n, 2) each.

    moved: E|h_k - h_{k-1}| of the test rows, (K,).
    """

    data: Array
    samples: Array
    moved: Array


def refuse_blocks(weights: Weights) -> JKOWeights:
    """The weights, if their blocks can be drawn.

    Raises:
        BadInputError: They are no JKO-iFlow, or have another number of dimensions than 2.
    """
    flow = only_jko(weights, "a picture of its blocks")
    if flow.dim != 2:
        raise BadInputError(f"Expected a model of 2 dimensions for a picture of its blocks; got {flow.dim}.")
    return flow


def block_strip(weights: JKOWeights, dataset: Dataset, *, points: int, seed: int) -> BlockStrip:
    """The first test rows and as many samples, behind every block.

    Args:
        weights: Of two dimensions.
        dataset: Its data.
        points: At most so many rows, and so many samples.
        seed: Of the samples.
    """
    x = dataset.test[:points].astype(np.float64)
    data = np.stack([h for h, _ in reference.blocks(weights, x)])
    back = list(reference.back_blocks(weights, noise.normal(seed, range(points), 2)))
    moved = np.sqrt((np.diff(data, axis=0) ** 2).sum(axis=2)).mean(axis=1)
    return BlockStrip(data, np.stack(back[::-1]), moved)
