"""The RealNVP of the code released with arXiv 2302.10524, which compares LU-Net with it.

A checkpoint holds for coupling i the networks at `s.{i}` and `t.{i}`, (C, H, W) at `s_scale.{i}`, `t_scale.{i}` and
`t_bias.{i}`, and the norm behind it, per channel, at `norms.{i}`. Three couplings act on the image, three on its 2 x 2
cells as channels, the others on half of these channels; the other half are the first numbers of z.
"""

import re
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lunet_export.checkpoint.states import Layout
from lunet_export.checkpoint.tensor_file import floats
from lunet_export.errors import CheckpointError, brief
from lunet_export.flows import realnvp
from lunet_export.flows.realnvp import cells, channels, checkerboard
from lunet_export.layers import Chain, ConvNet, ConvolutionalCoupling, Layer, Permutation

Array = NDArray[np.float64]

_SCALES = 6  # couplings before the last ones
_NORM_EPSILON = 1e-5
_MOMENTS = ("running_mean", "running_var")


def _count(keys: Collection[str]) -> int:
    count = 0
    while f"s_scale.{count}" in keys:
        count += 1
    return max(1, count)


def _kernels(net: str, number: int) -> list[str]:
    inner = [f"{block}.conv{convolution}" for block in (1, 2) for convolution in (1, 2)]
    return [f"{net}.{number}.{part}.weight" for part in ("0", *inner, "3")]


def _wanted(keys: Collection[str]) -> set[str]:
    wanted: set[str] = set()
    for i in range(_count(keys)):
        wanted |= {f"s_scale.{i}", f"t_scale.{i}", f"t_bias.{i}", *_kernels("s", i), *_kernels("t", i)}
        wanted |= {f"norms.{i}.{kind}" for kind in (*_MOMENTS, "num_batches_tracked")}
    return wanted


_KNOWN = re.compile(r"(s_scale|t_scale|t_bias)\.\d{1,6}|norms\.\d{1,6}\.running_(mean|var)")
LAYOUT = Layout("RealNVP", lambda key: _KNOWN.fullmatch(key) is not None, _wanted)


def chain_of(tensors: Mapping[str, Tensor]) -> Chain:
    """Return the network behind its pre-processing, with z in the order of the released code.

    Args:
        tensors: Tensors by the keys of `LAYOUT`.

    Raises:
        CheckpointError: if the network has other couplings than the code makes, or is not invertible.
    """
    shapes = [floats(tensors, f"s_scale.{i}").shape for i in range(_count(tensors))]
    _validate_shapes(shapes)
    _, height, width = shapes[0]
    dim, half = height * width, height * width // 2
    layers: list[Layer] = []
    for i, shape in enumerate(shapes):
        if i == _SCALES // 2:
            layers.append(Permutation(cells((height, width))))
        layers.append(_coupling(tensors, i, shape))
    layers.append(Permutation(np.concatenate([np.arange(half, dim), np.arange(half)])))
    return realnvp(dim, layers)


def _validate_shapes(shapes: list[tuple[int, ...]]) -> None:
    first, three, last = shapes[0], _SCALES // 2, max(1, len(shapes) - _SCALES)
    if len(first) == 3 and first[1] % 2 == first[2] % 2 == 0:
        half = (first[1] // 2, first[2] // 2)
        if shapes == [(1, *first[1:])] * three + [(4, *half)] * three + [(2, *half)] * last:
            return
    raise CheckpointError(
        "Expected a RealNVP of num_coupling 6 and num_final_coupling 1 or more, on grey images of even sides; got "
        f"s_scale of the shapes {brief(', '.join(map(str, shapes)))}. Train it with these settings."
    )


def _coupling(tensors: Mapping[str, Tensor], number: int, shape: tuple[int, ...]) -> ConvolutionalCoupling:
    """Return a coupling with the norm behind it folded in."""
    mask = (channels if _SCALES // 2 <= number < _SCALES else checkerboard)(shape, number)

    def vector(key: str) -> Array:
        found = floats(tensors, f"{key}.{number}")
        if found.shape != shape:
            raise CheckpointError(f"Expected {key}.{number} of shape {shape}; got {found.shape}.")
        return np.where(mask, 0.0, found.ravel())

    def moment(kind: str) -> Array:
        key = f"norms.{number}.{kind}"
        found = floats(tensors, key)
        if found.shape != shape[:1] or not np.isfinite(found).all() or (kind != _MOMENTS[0] and (found < 0).any()):
            raise CheckpointError(f"Expected {shape[0]} finite numbers, and no negative variances, at {key}.")
        return np.repeat(found, mask.size // shape[0])

    def network(net: str) -> ConvNet:
        first, a, b, c, d, last = (floats(tensors, key) for key in _kernels(net, number))
        return ConvNet(first, ((a, b), (c, d)), last)

    coupling = ConvolutionalCoupling(
        shape,
        mask,
        scale_factor=vector("s_scale"),
        log_scale=np.zeros(mask.size),
        shift_factor=vector("t_scale"),
        shift=vector("t_bias"),
        nets=(network("s"), network("t")),
    )
    mean, variance = map(moment, _MOMENTS)
    return coupling.normed(mean, 0.5 * np.log(variance + _NORM_EPSILON))
