"""The LU-Net of the code released with arXiv 2302.10524, and the files that this code leaves beside it.

`best.pth` and `last.pth` hold, block by block, U at `intermediate_lu_blocks.{2k}`, L and its bias at `.{2k + 1}`; the
last block is apart at `final_lu_block.0` and `.1`.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lunet_export.checkpoint import refusals, released_realnvp, states
from lunet_export.checkpoint.states import Layout
from lunet_export.checkpoint.tensor_file import floats
from lunet_export.errors import CheckpointError
from lunet_export.flows import lunet
from lunet_export.layers import LU, Chain
from lunet_export.preprocessing import Logit

#: Names of U and of L with its bias, per block of a network.
Names = list[tuple[str, str]]

_ALPHA = 0.1  # a constant of the released code, absent from its checkpoints
_SORTED_AS_TEXT = 10  # from so many blocks before the last on, the mnist/ code leaves out a block other than the last
_KNOWN = re.compile(r"(intermediate_lu_blocks|final_lu_block)\.\d{1,6}\.(weight|bias)")


def names_in(keys: Collection[str]) -> Names:
    """Return the names of an LU-Net, block by block; for keys of another layout, the names of one block."""
    count = 0
    while f"intermediate_lu_blocks.{2 * count + 1}.bias" in keys:
        count += 1
    names = [(f"intermediate_lu_blocks.{2 * k}", f"intermediate_lu_blocks.{2 * k + 1}") for k in range(count)]
    return [*names, ("final_lu_block.0", "final_lu_block.1")]


def keys_of(names: Names) -> set[str]:
    """Return the keys of all blocks."""
    return {f"{u}.weight" for u, _ in names} | {f"{lower}.{kind}" for _, lower in names for kind in ("weight", "bias")}


LAYOUT = Layout("LU-Net", lambda key: _KNOWN.fullmatch(key) is not None, lambda keys: keys_of(names_in(keys)))


def blocks_of(tensors: Mapping[str, Any], names: Names) -> list[LU]:
    """Return the blocks with these names.

    Raises:
        CheckpointError: if a tensor is not dense, not of floats, or not in the file.
    """
    return [
        LU(*(floats(tensors, key) for key in (f"{lower}.weight", f"{upper}.weight", f"{lower}.bias")))
        for upper, lower in names
    ]


@dataclass(frozen=True)
class Released:
    """A network of the released code.

    Attributes:
        chain: The network as plain float64 arrays.
        kind: Kind of the file in a manifest.
        image_shape: Height and width; None if the network does not take images.
        notes: Sentences about how the file was read.
    """

    chain: Chain
    kind: str
    image_shape: tuple[int, int] | None
    notes: tuple[str, ...]


def read(content: Mapping[Any, Any], path: Path, preprocessing: Logit | None) -> Released:
    """Return the network in the content of a file.

    Args:
        content: Content of the file.
        path: Path of the file, for sentences.
        preprocessing: Pre-processing of the network, which no file records.

    Raises:
        CheckpointError: if the file holds no network, several, or one that is not invertible.
    """
    refusals.validate_not_companion(content, path)
    try:
        if state := states.of_one(content, path, LAYOUT):
            names = names_in(state.tensors)
            chain = lunet(blocks_of(state.tensors, names), _ALPHA, preprocessing)
            return Released(chain, "authors", _image(chain), state.note(path) + _about_likelihood(len(names)))
        if state := states.of_one(content, path, released_realnvp.LAYOUT):
            _validate_no_preprocessing(preprocessing)
            return Released(released_realnvp.chain_of(state.tensors), "authors-realnvp", None, state.note(path))
    except states.SeveralError:
        raise
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    raise refusals.no_model(content, path, (LAYOUT, released_realnvp.LAYOUT))


def _image(chain: Chain) -> tuple[int, int] | None:
    """Return the shape of images, 28 x 28 in the paper; None for a network without pre-processing, which has none."""
    side = int(chain.dim**0.5)
    return (side, side) if chain.preprocessing and side**2 == chain.dim else None


def _about_likelihood(blocks: int) -> tuple[str, ...]:
    if blocks - 1 < _SORTED_AS_TEXT:
        return ()
    return (
        f"The released mnist/ code prints another likelihood than this network's for {blocks - 1} + 1 blocks: from "
        f"{_SORTED_AS_TEXT} + 1 on it sorts them as text and leaves out a wrong one.",
    )


def _validate_no_preprocessing(preprocessing: Logit | None) -> None:
    if preprocessing is not None:
        raise CheckpointError(
            "Expected no `preprocess`, which is LU-Net's; that of the released code's RealNVP is x = logit(0.05 + 0.95 "
            "y / 256). Leave it out, and give rows x behind that logit."
        )
