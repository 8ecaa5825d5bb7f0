"""A trained RealNVP as plain float64 arrays, checked once. Flow batch norm is folded into the couplings."""

import hashlib
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.preprocessing import Logit

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ConvNet:
    """3 x 3 convolutions without biases, zeros around: C -> P, residual blocks P -> P -> P, P -> C.

    Shapes: first (P, C, 3, 3), residuals of pairs (P, P, 3, 3), last (C, P, 3, 3).
    """

    first: Array
    residuals: tuple[tuple[Array, Array], ...]
    last: Array

    def arrays(self) -> list[Array]:
        """All kernels, in the order in which they are applied."""
        return [self.first, *(kernel for pair in self.residuals for kernel in pair), self.last]


@dataclass(frozen=True)
class DenseNet:
    """Affine maps with rectifiers between them: matrices (out, in), biases (out,)."""

    layers: tuple[tuple[Array, Array], ...]

    def arrays(self) -> list[Array]:
        """Matrices and biases, in the order in which they are applied."""
        return [array for layer in self.layers for array in layer]


@dataclass(frozen=True)
class Coupling:
    """y = x e^S + T on the first k columns, with S and T made of the columns that `mask` keeps; the others pass.

    S = scale_factor tanh(s) + log_scale,    T = shift_factor t + shift;    both factors are 0 where `mask` is set.

    Convolutional: s and t are two networks of mask x, an image of `shape` (C, H, W) with k = C H W.
    Dense: one network of x[mask] gives s and t of the others, in this order, side by side; `shape` is (k,).

    Shapes: mask, scale_factor, log_scale, shift_factor and shift (k,).
    """

    shape: tuple[int, ...]
    mask: NDArray[np.bool_]
    nets: tuple[ConvNet, ConvNet] | tuple[DenseNet]
    scale_factor: Array
    log_scale: Array
    shift_factor: Array
    shift: Array

    @property
    def width(self) -> int:
        """k."""
        return prod(self.shape)

    def vectors(self) -> list[Array]:
        """The four vectors (k,)."""
        return [self.scale_factor, self.log_scale, self.shift_factor, self.shift]


@dataclass(frozen=True)
class Reorder:
    """y = x[:, order]."""

    order: NDArray[np.int64]


@dataclass(frozen=True)
class RealNVPWeights:
    """Couplings, and changes of the order of columns between them, after an optional logit.

    Raises:
        CheckpointError: A shape does not fit, a number is not finite, a factor is not 0 where the mask is set, or an
            order is none.
    """

    family: ClassVar[str] = "realnvp"
    domain: ClassVar[None] = None

    dim: int
    layers: tuple[Coupling | Reorder, ...]
    preprocessing: Logit | None = None  # None: x is the network's own input

    def __post_init__(self) -> None:
        if not self.couplings:
            raise CheckpointError("Expected at least one coupling; got none. The file holds no network.")
        for number, coupling in enumerate(self.couplings, 1):
            _check_coupling(coupling, self.dim, f"coupling {number} of {len(self.couplings)}")
        for layer in self.layers:
            if isinstance(layer, Reorder) and not _is_order(layer.order, self.dim):
                raise CheckpointError(f"Expected an order of {self.dim} columns; got another. Train the model again.")

    @property
    def couplings(self) -> tuple[Coupling, ...]:
        """The couplings, in the order of density."""
        return tuple(layer for layer in self.layers if isinstance(layer, Coupling))

    @property
    def convolutional(self) -> bool:
        """Whether the networks are convolutions."""
        return isinstance(self.couplings[0].nets[0], ConvNet)

    @property
    def stored(self) -> int:
        """Numbers that the arrays hold."""
        return self._in_networks + sum(array.size for entry in self.couplings for array in entry.vectors())

    @property
    def _in_networks(self) -> int:
        return sum(array.size for entry in self.couplings for net in entry.nets for array in net.arrays())

    def facts(self) -> dict[str, Any]:
        """As `lunet_export.weights.Weights.facts`. Free: the networks, and three numbers where a coupling changes x."""
        changed = sum(int((~entry.mask).sum()) for entry in self.couplings)
        networks = "convolutional" if self.convolutional else "dense"
        free = self._in_networks + 3 * changed
        return {"couplings": len(self.couplings), "networks": networks, "free_parameters": free}

    def without_preprocessing(self) -> Self:
        """The same network on its own input, the logit left out."""
        return replace(self, preprocessing=None)

    def digest(self) -> str:
        """SHA-256 over every number and setting, the identity of the model in manifests."""
        state = hashlib.sha256(f"realnvp preprocessing={self.preprocessing!r} dim={self.dim}".encode())
        for layer in self.layers:
            if isinstance(layer, Reorder):
                state.update(np.ascontiguousarray(layer.order, dtype="<i8").tobytes())
                continue
            state.update(f"coupling {layer.shape}".encode() + np.packbits(layer.mask).tobytes())
            for array in (*layer.vectors(), *(array for net in layer.nets for array in net.arrays())):
                state.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return state.hexdigest()


def _is_order(order: NDArray[np.generic], dim: int) -> bool:
    return order.dtype == np.int64 and np.array_equal(np.sort(order), np.arange(dim))


def _check_coupling(coupling: Coupling, dim: int, where: str) -> None:
    k = coupling.width
    shapes = [array.shape for array in (coupling.mask, *coupling.vectors())]
    if not 0 < k <= dim or any(shape != (k,) for shape in shapes):
        raise CheckpointError(
            f"Expected vectors of {k} numbers, up to {dim}, in {where}; got {', '.join(map(str, shapes))}."
        )
    if coupling.mask.dtype != np.bool_:
        raise CheckpointError(f"Expected a mask of truth values in {where}; got {coupling.mask.dtype}. Train it again.")
    kept = int(coupling.mask.sum())
    if not 0 < kept < k or (len(coupling.shape) == 1 and np.count_nonzero(np.diff(coupling.mask)) != 1):
        raise CheckpointError(
            f"Expected a mask of some columns in {where}, the first or the last ones of a dense coupling; got another."
        )
    wanted = [_conv_shapes(coupling)] * 2 if len(coupling.nets) == 2 else [_dense_shapes(coupling, kept, k - kept)]
    got = [[array.shape for array in net.arrays()] for net in coupling.nets]
    if got != wanted:
        raise CheckpointError(f"Expected networks whose arrays fit each other in {where}; got shapes {got}.")
    for array in (*coupling.vectors(), *(array for net in coupling.nets for array in net.arrays())):
        if not np.isfinite(array).all():
            raise CheckpointError(
                f"Expected finite numbers in {where}; got NaN or infinity. The training diverged or the file is "
                "damaged; use an earlier checkpoint."
            )
    if coupling.scale_factor[coupling.mask].any() or coupling.shift_factor[coupling.mask].any():
        raise CheckpointError(f"Expected factors of 0 where the mask of {where} is set; got others. Train it again.")


def _conv_shapes(coupling: Coupling) -> list[tuple[int, ...]]:
    net = coupling.nets[0]
    if not isinstance(net, ConvNet) or len(coupling.shape) != 3:
        return []
    planes, channels = net.first.shape[0], coupling.shape[0]
    inner = [(planes, planes, 3, 3)] * (2 * len(net.residuals))
    return [(planes, channels, 3, 3), *inner, (channels, planes, 3, 3)]


def _dense_shapes(coupling: Coupling, entering: int, leaving: int) -> list[tuple[int, ...]]:
    net = coupling.nets[0]
    if not isinstance(net, DenseNet) or len(coupling.shape) != 1:
        return []
    widths = [entering, *(len(bias) for _, bias in net.layers[:-1]), 2 * leaving]
    pairs = zip(widths[1:], widths[:-1], strict=True)
    return [shape for out, into in pairs for shape in ((out, into), (out,))]
