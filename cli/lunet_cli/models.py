"""Reading model files for the commands that compare an export with its source."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lunet_cli.options import PreprocessName
from lunet_export.preprocessing import NAMED

if TYPE_CHECKING:
    from lunet_export.checkpoint import Checkpoint
    from lunet_export.parity import Runner
    from lunet_export.weights import LUNetWeights


def read_model(path: Path, latent_stats: Path | None, preprocess: PreprocessName) -> "Checkpoint":
    """The checkpoint in a file."""
    from lunet_export import checkpoint

    return checkpoint.read(path, latent_stats=latent_stats, preprocessing=NAMED[preprocess.value])


def eager_of(dtype: str) -> "Callable[[LUNetWeights], Runner]":
    """Makes eager PyTorch of weights, in the dtype of the graphs."""
    from lunet_export.flows import EagerFlow

    return lambda weights: EagerFlow(weights, dtype)
