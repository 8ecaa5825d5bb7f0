"""The latent statistics of the released code, `best_stats.pth`, and the network that they belong to.

The released code computes them at the end of training with the network of the last epoch, and writes that network
beside them as `best_inverse.pth`: the forward matrices, the last block first. `best.pth` is that network only if the
last epoch was the best one; `last.pth` always is.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lunet_export.checkpoint.reading import load
from lunet_export.checkpoint.released import Names, blocks_of, keys_of, names_in
from lunet_export.checkpoint.tensor_file import held
from lunet_export.errors import CheckpointError, brief
from lunet_export.layers import LU

Array = NDArray[np.float64]
_INVERSE = "best_inverse.pth"
#: Numbers that are equal in float32 are the same: a copy may be stored in it.
_KEPT = float(np.finfo(np.float32).eps)


def read(path: Path) -> tuple[Array, Array]:
    """Return the mean (D,) and covariance (D, D) of the latents in `best_stats.pth`.

    Raises:
        CheckpointError: if the file is missing or unreadable, or holds something else.
    """
    content = load(path)
    try:
        mean, covariance = content["latent_mean"], content["latent_covariance"]
        if mean.is_complex() or covariance.is_complex():
            raise RuntimeError
        return held(mean).double().numpy(), held(covariance).double().numpy()
    except (KeyError, AttributeError, RuntimeError):
        raise CheckpointError(
            f"Expected latent_mean and latent_covariance in {path}; got {brief(', '.join(map(str, content)))}."
        ) from None


def proven(stats: Path, model: Path, blocks: Sequence[LU]) -> bool:
    """Return whether a file beside the statistics shows that they belong to this network.

    Args:
        stats: Path of the statistics. `best_inverse.pth` is looked for beside it, or a file named alike:
            `digit3_inverse.pth` beside `digit3_stats.pth`. Without it, `last.pth` serves as well.
        model: Path of the network, for the sentence.
        blocks: Blocks of the network.

    Returns:
        False if there is no such file, or it cannot be read.

    Raises:
        CheckpointError: if the statistics belong to another network.
    """
    for beside in dict.fromkeys((stats, stats.resolve())):  # if the path is a symlink, also its target
        last = beside.with_name(f"last{beside.suffix}")
        for witness in (inverse_beside(beside), last):
            found = _blocks(witness)
            if found is None:
                continue
            if _same(found, blocks):
                return True
            of_last = found if witness == last else _blocks(last)
            known = of_last is not None and _same(of_last, found)
            raise CheckpointError(_refusal(stats, model, witness, found, blocks, str(last) if known else None))
    return False


def inverse_beside(stats: Path) -> Path:
    """Return where the released code writes the network of these statistics."""
    before, there, behind = stats.name.rpartition("stats")
    return stats.with_name(f"{before}inverse{behind}" if there else _INVERSE)


def _refusal(
    stats: Path, model: Path, witness: Path, found: Sequence[LU], blocks: Sequence[LU], last: str | None
) -> str:
    sizes = [f"{len(of)} blocks of {len(of[0].bias)} numbers" for of in (found, blocks)]
    other = f" ({sizes[0]}, not {sizes[1]})" if sizes[0] != sizes[1] else ""
    cure = f"Give {last} with them" if last else "Give the last.pth of their own training with them"
    return (
        f"Expected latent statistics of {model}; {stats} belongs to another network{other}, that of "
        f"{witness.name} beside it: the released code computes them with the last epoch's network, not the best one's. "
        f"{cure}, or leave them out and fold in the latents of this model itself: lunet-export recalibrate {model} "
        "DATA -o NEW.pt"
    )


def _blocks(path: Path) -> list[LU] | None:
    """Return the network in a file of either direction; None if the file is missing or holds something else."""
    if not path.is_file():
        return None
    try:
        content = load(path)
        keys = set(map(str, content))
        backwards = "lu_layers.0.weight" in keys
        names = _reversed_names(keys) if backwards else names_in(keys)
        if keys != keys_of(names):
            return None
        blocks = blocks_of(content, names)
    except (CheckpointError, OSError, RuntimeError, TypeError, ValueError):
        return None
    return blocks[::-1] if backwards else blocks


def _reversed_names(keys: Collection[str]) -> Names:
    """Return the names in `best_inverse.pth`, in its order: L and its bias, then U."""
    count = 0
    while f"lu_layers.{2 * count}.bias" in keys:
        count += 1
    return [(f"lu_layers.{2 * k + 1}", f"lu_layers.{2 * k}") for k in range(count)]


def _same(left: Sequence[LU], right: Sequence[LU]) -> bool:
    def alike(one: Array, other: Array) -> bool:
        return one.shape == other.shape and np.allclose(one, other, rtol=_KEPT, atol=0.0)

    return len(left) == len(right) and all(
        alike(one.lower, other.lower) and alike(one.upper, other.upper) and alike(one.bias, other.bias)
        for one, other in zip(left, right, strict=True)
    )
