"""The affine couplings of RealNVP (arXiv 1605.08803, section 3), with their batch norm folded in."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from math import fsum, prod
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.layers import networks
from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.graph import Graph, Track, Value
from lunet_export.layers.layer import Layer, Step, step
from lunet_export.layers.networks import Dense, Network, Writer

Array = NDArray[np.float64]


class Written(NamedTuple):
    """These are outputs of a coupling's networks in a graph: S - log_scale and S, both times a sign, and T."""

    bent: Value
    log_scale: Value
    shift: Value


@dataclass(frozen=True)
class Coupling(Layer):
    """This layer computes y = x e^S + T on the first k columns, with S and T made of the columns that `mask` keeps.

    S = scale_factor tanh(s) + log_scale,    T = shift_factor t + shift;    both factors are 0 where `mask` is set.

    The other columns pass. A subclass says how s and t are made. Shapes: mask, scale_factor, log_scale, shift_factor
    and shift (k,).

    Rounding errors: 2 (|factor value| + |constant|) of S and T; |x e^S| (4 + 2 |S|) + |T| of y, and
    (|y| + |T|) e^-S (4 + 2 |S|) of the inverse.
    """

    shape: tuple[int, ...]
    mask: NDArray[np.bool_]
    scale_factor: Array
    log_scale: Array
    shift_factor: Array
    shift: Array

    @abstractmethod
    def outputs(self, h: Array, errors: Errors = EXACT) -> tuple[Array, Array]:
        """Return s and t of h, (N, k) each; they depend only on what the mask keeps of h."""

    @abstractmethod
    def network_arrays(self) -> list[list[Array]]:
        """Return the arrays of each network, in the order in which they are applied."""

    @abstractmethod
    def network_shapes(self) -> list[list[tuple[int, ...]]]:
        """Return the shapes that the arrays of each network must have."""

    @cached_property
    def width_changed(self) -> int:
        """Return k, the number of first columns that the coupling acts on."""
        return prod(self.shape)

    def vectors(self) -> list[Array]:
        """Return the four vectors (k,)."""
        return [self.scale_factor, self.log_scale, self.shift_factor, self.shift]

    def arrays(self) -> list[NDArray[Any]]:
        return [*self.vectors(), *(array for net in self.network_arrays() for array in net)]

    @property
    def free(self) -> int:
        """Return the numbers of the networks, and three per column that changes."""
        return sum(array.size for net in self.network_arrays() for array in net) + 3 * int((~self.mask).sum())

    def normed(self, mean: Array | float, log_deviation: Array) -> Self:
        """Return the coupling followed by (y - mean) e^-log_deviation."""
        shrink = np.exp(-log_deviation)
        return replace(
            self,
            log_scale=self.log_scale - log_deviation,
            shift_factor=self.shift_factor * shrink,
            shift=(self.shift - mean) * shrink,
        )

    def scale_and_shift(self, h: Array, errors: Errors = EXACT) -> tuple[Array, Array]:
        """Return S and T of h (N, k), (N, k) each."""
        s, t = self.outputs(h, errors)
        bent, moved = self.scale_factor * errors.value(np.tanh(s)), self.shift_factor * t
        return (
            errors.value(bent + self.log_scale, lambda: 2 * (np.abs(bent) + np.abs(self.log_scale))),
            errors.value(moved + self.shift, lambda: 2 * (np.abs(moved) + np.abs(self.shift))),
        )

    def forward(self, x: Array, errors: Errors = EXACT) -> Step:
        changing, others = np.split(x, [self.width_changed], axis=1)
        log_scale, shift = self.scale_and_shift(changing, errors)
        grown = changing * np.exp(log_scale)
        changed = errors.value(grown + shift, lambda: np.abs(grown) * (4 + 2 * np.abs(log_scale)) + np.abs(shift))
        return step(np.concatenate([changed, others], axis=1), log_scale)

    def inverse(self, y: Array, errors: Errors = EXACT) -> Array:
        changed, others = np.split(y, [self.width_changed], axis=1)
        back = np.exp(-self.log_scale)
        entering = np.where(self.mask, (changed - self.shift) * back, 0.0)  # what the mask keeps, as it was
        entering = errors.value(entering, lambda: 2 * self.mask * (np.abs(changed) + np.abs(self.shift)) * back)
        log_scale, shift = self.scale_and_shift(entering, errors)
        shrink = np.exp(-log_scale)
        x = errors.value(
            (changed - shift) * shrink,
            lambda: (np.abs(changed) + np.abs(shift)) * shrink * (4 + 2 * np.abs(log_scale)),
        )
        return np.concatenate([x, others], axis=1)

    def add_constant(self, track: Track) -> None:
        """Add the sum of log_scale to the log-determinant."""
        track.constant(fsum(self.log_scale))

    def validate(self, dim: int, where: str) -> None:
        k = self.width_changed
        shapes = [array.shape for array in (self.mask, *self.vectors())]
        if not 0 < k <= dim or any(shape != (k,) for shape in shapes):
            raise CheckpointError(
                f"Expected vectors of {k} numbers, up to {dim}, in {where}; got {', '.join(map(str, shapes))}."
            )
        if self.mask.dtype != np.bool_:
            raise CheckpointError(f"Expected a mask of truth values in {where}; got {self.mask.dtype}. Train it again.")
        if not 0 < int(self.mask.sum()) < k or not self.fits_mask():
            raise CheckpointError(
                f"Expected a mask of some columns in {where}, the first or the last ones of a dense coupling; got "
                "another."
            )
        got = [[array.shape for array in net] for net in self.network_arrays()]
        if got != self.network_shapes():
            raise CheckpointError(f"Expected networks whose arrays fit each other in {where}; got shapes {got}.")
        for array in self.arrays():
            if not np.isfinite(array).all():
                raise CheckpointError(
                    f"Expected finite numbers in {where}; got NaN or infinity. The training diverged or the file is "
                    "damaged; use an earlier checkpoint."
                )
        if self.scale_factor[self.mask].any() or self.shift_factor[self.mask].any():
            raise CheckpointError(
                f"Expected factors of 0 where the mask of {where} is set; got others. Train it again."
            )

    def fits_mask(self) -> bool:
        """Return whether this mask can feed the networks."""
        return True


def forth_nodes(g: Graph, x: Value, written: Written) -> Value:
    """Write x e^S + T."""
    return g.node("Add", g.node("Mul", x, g.node("Exp", written.log_scale)), written.shift)


def back_nodes(g: Graph, y: Value, written: Written) -> Value:
    """Write (y - T) e^-S; `written` holds -S."""
    return g.node("Mul", g.node("Sub", y, written.shift), g.node("Exp", written.log_scale))


def affine_nodes(g: Graph, x: Value, scale: Array, shift: Array) -> Value:
    """Write scale x + shift; no node is written where that is x."""
    if (scale == 1.0).all() and not shift.any():
        return x
    return g.node("Add", g.node("Mul", x, g.constant(scale, "scale")), g.constant(shift, "shift"))


@dataclass(frozen=True)
class DenseNet:
    """This network has affine maps with rectifiers between them: matrices (out, in), biases (out,).

    A network n of the context makes the first of them W h + b + n(c).
    """

    layers: tuple[tuple[Array, Array], ...]
    conditional: Network = ()

    @property
    def first(self) -> Dense:
        """Return the first affine map."""
        return Dense(*self.layers[0], self.conditional)

    def arrays(self) -> list[Array]:
        """Return matrices and biases, in the order in which they are applied."""
        return [array for layer in self.layers for array in layer]

    def apply(self, h: Array, errors: Errors = EXACT) -> Array:
        """Return the network's values, (N, in) -> (N, out)."""
        for number, (matrix, bias) in enumerate(self.layers):
            h = np.maximum(h, 0.0) if number else h
            h = Dense(matrix, bias).apply(h, errors)
        return h

    def given(self, context: Array, errors: Errors = EXACT) -> "DenseNet":
        """Return the network for a context (N, C), for rows that belong to it."""
        first = self.first.given(context, errors)
        return DenseNet(((first.weight, first.bias), *self.layers[1:]))


@dataclass(frozen=True)
class DenseCoupling(Coupling):
    """In this coupling one dense network of x[mask] gives s and t of the other columns, in this order, side by side.

    `shape` is (k,), and `mask` keeps the first or the last columns. A network that takes a context has hidden layers.
    """

    net: DenseNet

    @property
    def takes_context(self) -> int:
        return networks.takes_context((self.net.first,))

    def given(self, context: Array, errors: Errors = EXACT) -> "DenseCoupling":
        return replace(self, net=self.net.given(context, errors)) if self.net.conditional else self

    def arrays(self) -> list[NDArray[Any]]:
        return [*super().arrays(), *networks.arrays(self.net.conditional)]

    def settings(self) -> dict[str, Any]:
        return {"conditional": networks.shape(self.net.conditional)} if self.net.conditional else {}

    @property
    def free(self) -> int:
        """Return the numbers of the networks, and three per column that changes; n(c) has the bias of the first map."""
        if not self.net.conditional:
            return super().free
        of_context = sum(array.size for array in networks.arrays(self.net.conditional))
        return super().free + of_context - len(self.net.first.bias)

    def network_arrays(self) -> list[list[Array]]:
        return [self.net.arrays()]

    def network_shapes(self) -> list[list[tuple[int, ...]]]:
        kept = int(self.mask.sum())
        widths = [kept, *(len(bias) for _, bias in self.net.layers[:-1]), 2 * (self.width_changed - kept)]
        pairs = zip(widths[1:], widths[:-1], strict=True)
        return [[shape for out, into in pairs for shape in ((out, into), (out,))]] if len(self.shape) == 1 else []

    def fits_mask(self) -> bool:
        return np.count_nonzero(np.diff(self.mask)) == 1

    def validate(self, dim: int, where: str) -> None:
        super().validate(dim, where)
        if not self.net.conditional:
            return
        if len(self.net.layers) < 2:
            raise CheckpointError(f"Expected hidden layers in the network of {where}, which takes a context; got none.")
        networks.validate(self.net.conditional, self.takes_context, len(self.net.first.bias), where)

    def outputs(self, h: Array, errors: Errors = EXACT) -> tuple[Array, Array]:
        found = self.net.apply(h[:, self.mask], errors)
        s, t = np.zeros_like(h), np.zeros_like(h)
        s[:, ~self.mask], t[:, ~self.mask] = np.split(found, 2, axis=1)
        return s, t

    def nodes(self, track: Track) -> None:
        g, here = track.g, self.mask
        kept, free, kept_first = self._halves(track)
        written = self._written(track, kept, sign=1.0)
        passed = affine_nodes(g, kept, np.exp(self.log_scale[here]), self.shift[here])
        changed = forth_nodes(g, free, written)
        track.replace(*((passed, changed) if kept_first else (changed, passed)))
        track.log_slope(written.bent, int((~here).sum()))
        self.add_constant(track)

    def inverse_nodes(self, track: Track) -> None:
        g, here = track.g, self.mask
        back = np.exp(-self.log_scale[here])
        kept, free, kept_first = self._halves(track)
        passed = affine_nodes(g, kept, back, -self.shift[here] * back)
        written = self._written(track, passed, sign=-1.0)
        changed = back_nodes(g, free, written)
        track.replace(*((passed, changed) if kept_first else (changed, passed)))
        if track.wants_density:
            track.log_slope(g.node("Neg", written.bent), int((~here).sum()))
        self.add_constant(track)

    def _halves(self, track: Track) -> tuple[Value, Value, bool]:
        """Return what the mask keeps, what it does not, and whether the kept columns come first."""
        boundary = int(np.argmax(self.mask != self.mask[0]))
        first, second = track.front([boundary, self.width_changed - boundary])
        return (first, second, True) if self.mask[0] else (second, first, False)

    def _written(self, track: Track, kept: Value, *, sign: float) -> Written:
        """Write the networks where the mask is not set; T's factor and shift go into the last product."""
        g, free = track.g, ~self.mask
        count = int(free.sum())
        *inner, (matrix, bias) = self.net.layers
        factor = np.concatenate([np.ones(count), self.shift_factor[free]])
        matrix, bias = factor[:, None] * matrix, factor * bias
        bias = bias + np.concatenate([np.zeros(count), self.shift[free]])
        h = kept
        for number, (weight, addend) in enumerate(inner):
            of_context = self.net.conditional and not number
            moved = self.net.first.addend(Writer(g, track.context)) if of_context else addend
            h = g.node("Relu", g.gemm(h, weight, moved))
        s, shift = g.split(g.gemm(h, matrix, bias), [count, count])
        bent = g.node("Mul", g.node("Tanh", s), g.constant(sign * self.scale_factor[free], "scale_factor"))
        log_scale = g.node("Add", bent, g.constant(sign * self.log_scale[free], "log_scale"))
        return Written(bent, log_scale, shift)
