"""The layers of composed flows as plain float64 arrays, one class a kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, tanh

import numpy as np
from numpy.typing import NDArray

from lunet_export import lu
from lunet_export.errors import CheckpointError
from lunet_export.families.composed import networks
from lunet_export.families.composed.networks import Network
from lunet_export.lu import LUBlock

_LARGEST_CUT = 18.0  # a little further out tanh is 1 in float64, and has no inverse
Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Permutation:
    """y = x[:, order]. Shape: order (D,)."""

    order: Indices


@dataclass(frozen=True)
class Affine:
    """y = scale x + shift, elementwise: normalisations in evaluation mode too. Shapes: (D,), no scale being 0."""

    scale: Array
    shift: Array


@dataclass(frozen=True)
class LeakyReLU:
    """y = x where x >= 0, and slope x elsewhere; slope > 0."""

    slope: float


@dataclass(frozen=True)
class Sigmoid:
    """y = 1 / (1 + e^-x), from R to (0, 1). Its inverse, the logit, first moves y into [margin, 1 - margin]."""

    margin: float = 0.0


@dataclass(frozen=True)
class Tanh:
    """y = tanh x, from R to (-1, 1)."""


@dataclass(frozen=True)
class LogTanh:
    """y = tanh x where |x| <= cut, and sign(x) (tanh cut + tail log(|x| / cut)) beyond: from R to R.

    nflows' `LogTanh`. 0 < cut < 18, tail > 0. With tail = cut (1 - tanh^2 cut) its slope would be continuous; nflows
    takes another.
    """

    cut: float
    tail: float

    @property
    def image(self) -> float:
        """tanh cut."""
        return tanh(self.cut)


@dataclass(frozen=True)
class Softclip:
    """y = x / (1 + |x| / bound), from R to (-bound, bound)."""

    bound: float


#: Of ScaleMap, with what each makes of the network's u.
SCALES = ("none", "exp", "softplus", "sigmoid", "reciprocal-sigmoid", "soft-exp")


@dataclass(frozen=True)
class ScaleMap:
    """How a network's number u becomes a positive scale.

    none                 1; the network gives no u
    exp                  e^u
    softplus             log(1 + e^u) + floor, the floor above 0
    sigmoid              1 / (1 + e^-(u + offset)) + floor
    reciprocal-sigmoid   1 + e^-(u + offset)
    soft-exp             e^(u / (1 + |u| / offset)), between e^-offset and e^offset
    """

    kind: str
    offset: float = 0.0
    floor: float = 0.0


@dataclass(frozen=True)
class AffineAutoregressive:
    """y_i = s_i x_i + t_i for the columns i of `changed`; the others pass. s and t come from a network of x[inputs].

    Coupling layers (arXiv 1605.08803) and masked autoregressive ones (arXiv 1705.07057) alike: what t_i and s_i depend
    on must be known before x_i is, in some order of the columns. The inverse takes one pass of the network for every
    level of that order: one for a coupling, D for a masked autoregressive layer.

    Shapes: inputs (K,) and changed (C,) columns without repetition; the network takes K numbers and gives t (C) and,
    but for the scale map `none`, u (C) side by side.
    """

    dim: int
    inputs: Indices
    changed: Indices
    network: Network
    scale: ScaleMap

    @cached_property
    def levels(self) -> list[Indices]:
        """The places in `changed` whose x can be found together, level after level.

        Raises:
            CheckpointError: The dependencies have a cycle.
        """
        reached = networks.dependencies(self.network, np.eye(len(self.inputs), dtype=np.bool_))
        count = len(self.changed)
        needs = np.zeros((count, self.dim), dtype=np.bool_)
        for part in range(len(reached) // count):
            needs[:, self.inputs] |= reached[part * count : (part + 1) * count]
        unknown = np.zeros(self.dim, dtype=np.bool_)
        unknown[self.changed] = True
        found, waiting = [], np.arange(count)
        while len(waiting):
            free = ~(needs[waiting] & unknown).any(axis=1)
            if not free.any():
                raise CheckpointError(
                    "Expected an autoregressive layer whose columns are found one after another; they need each other."
                )
            found.append(waiting[free])
            unknown[self.changed[waiting[free]]] = False
            waiting = waiting[~free]
        return found


@dataclass(frozen=True)
class Inverse:
    """The other direction of a layer: y = layer^-1(x)."""

    layer: "Layer"


Layer = (
    LUBlock | Permutation | Affine | LeakyReLU | Sigmoid | Tanh | LogTanh | Softclip | AffineAutoregressive | Inverse
)
Elementwise = Affine | LeakyReLU | Sigmoid | Tanh | LogTanh | Softclip


def inverted(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers of the inverse map: in reverse, each turned round."""
    return tuple(layer.layer if isinstance(layer, Inverse) else Inverse(layer) for layer in reversed(layers))


def range_of(layer: Layer) -> tuple[float, float]:
    """The open interval that a layer maps R onto, in every column."""
    if isinstance(layer, Sigmoid):
        return 0.0, 1.0
    if isinstance(layer, Tanh):
        return -1.0, 1.0
    if isinstance(layer, Softclip):
        return -layer.bound, layer.bound
    return -np.inf, np.inf


def refuse(layer: Layer, dim: int, where: str) -> None:
    """Raise unless the layer is an invertible one of `dim` dimensions.

    Raises:
        CheckpointError: It is not; the sentence says why.
    """
    if isinstance(layer, LUBlock):
        lu.refuse(layer, dim, where)
    elif isinstance(layer, Permutation):
        if layer.order.dtype != np.int64 or not np.array_equal(np.sort(layer.order), np.arange(dim)):
            raise CheckpointError(f"Expected an order of {dim} columns in {where}; got another.")
    elif isinstance(layer, Affine):
        _refuse_affine(layer, dim, where)
    elif isinstance(layer, AffineAutoregressive):
        _refuse_autoregressive(layer, dim, where)
    elif isinstance(layer, Inverse):
        if isinstance(layer.layer, Inverse):
            raise CheckpointError(f"Expected a layer turned round once in {where}; got twice. Leave both out.")
        refuse(layer.layer, dim, where)
    else:
        values = vars(layer).values()
        if not all(isinstance(value, float) and isfinite(value) for value in values) or not _within_limits(layer):
            raise CheckpointError(f"Expected a {type(layer).__name__} within its limits in {where}; got {layer}.")


def _within_limits(layer: LeakyReLU | Sigmoid | Tanh | LogTanh | Softclip) -> bool:
    if isinstance(layer, LeakyReLU):
        return layer.slope > 0
    if isinstance(layer, Sigmoid):
        return 0 <= layer.margin < 0.5
    if isinstance(layer, LogTanh):
        return 0 < layer.cut < _LARGEST_CUT and layer.tail > 0
    return not isinstance(layer, Softclip) or layer.bound > 0


def _refuse_affine(layer: Affine, dim: int, where: str) -> None:
    if layer.scale.shape != (dim,) or layer.shift.shape != (dim,):
        raise CheckpointError(
            f"Expected a scale and a shift of {dim} numbers in {where}; got shapes {layer.scale.shape} and "
            f"{layer.shift.shape}."
        )
    if not (np.isfinite(layer.scale).all() and np.isfinite(layer.shift).all() and layer.scale.all()):
        raise CheckpointError(f"Expected finite numbers and no scale of 0 in {where}; got others.")


def _refuse_autoregressive(layer: AffineAutoregressive, dim: int, where: str) -> None:
    for columns in (layer.inputs, layer.changed):
        fits = columns.dtype == np.int64 and columns.ndim == 1 and 0 < len(columns) == len(np.unique(columns))
        if not fits or columns.min() < 0 or columns.max() >= dim or layer.dim != dim:
            raise CheckpointError(f"Expected columns from 0 to {dim - 1}, none twice, in {where}; got others.")
    numbers = (layer.scale.offset, layer.scale.floor)
    if layer.scale.kind not in SCALES or not all(isinstance(v, float) and isfinite(v) for v in numbers):
        raise CheckpointError(f"Expected a scale map of {', '.join(SCALES)} in {where}; got {layer.scale}.")
    needed = {"soft-exp": layer.scale.offset, "softplus": layer.scale.floor}.get(layer.scale.kind, 1.0)
    if layer.scale.floor < 0 or needed <= 0:  # softplus alone rounds to 0 far to the left
        raise CheckpointError(f"Expected a scale map that stays positive in {where}; got {layer.scale}.")
    count = len(layer.changed) * (1 if layer.scale.kind == "none" else 2)
    networks.refuse(layer.network, len(layer.inputs), count, where)
    try:
        assert layer.levels
    except CheckpointError as error:
        raise CheckpointError(f"{str(error)[:-1]}: {where}.") from None
