"""A JKO-iFlow of two dimensions, block by block: data on the way to N(0, I), and noise on the way to data."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.checks import reference
from lunet_export.data import Dataset
from lunet_export.errors import BadInputError
from lunet_export.layers import Chain, Velocity

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BlockStrip:
    """These are h_0, ..., h_K of test rows, and h_0, ..., h_K of samples from h_K = z: (K + 1, n, 2) each.

    moved is E|h_k - h_{k-1}| of the test rows, (K,).
    """

    data: Array
    samples: Array
    moved: Array


def validate_blocks(chain: Chain) -> Chain:
    """Return the chain if its blocks can be drawn.

    Raises:
        BadInputError: if it has no velocity fields, or has another number of dimensions than 2.
    """
    if not chain.of(Velocity):
        raise BadInputError(
            f"Expected a JKO-iFlow for a picture of its blocks; got a {chain.kind.name} model. Give a JKO-iFlow."
        )
    if chain.dim != 2:
        raise BadInputError(f"Expected a model of 2 dimensions for a picture of its blocks; got {chain.dim}.")
    return chain


def block_strip(chain: Chain, dataset: Dataset, *, points: int, seed: int) -> BlockStrip:
    """Return the first test rows and as many samples, behind every block.

    Args:
        chain: A chain of two dimensions.
        dataset: Its data.
        points: Largest number of rows, and of samples.
        seed: Random seed of the samples.
    """
    h, _ = reference.behind_logit(chain, dataset.test[:points].astype(np.float64))
    reached = [step.rows for layer, _, step in chain.passages(h)]
    first = next(number for number, layer in enumerate(chain.layers) if isinstance(layer, Velocity))
    data = np.stack(reached[first - 1 :] if first else [h, *reached])
    back = [noise.normal(seed, range(points), 2)]
    for layer in reversed(chain.layers[first:]):
        back.append(layer.inverse(back[-1]))
    moved = np.sqrt((np.diff(data, axis=0) ** 2).sum(axis=2)).mean(axis=1)
    return BlockStrip(data, np.stack(back[::-1]), moved)
