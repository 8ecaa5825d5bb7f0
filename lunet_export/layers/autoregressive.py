"""Affine autoregressive layers, couplings among them.

The density takes one pass of the network, the inverse one pass per level.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.layers import networks
from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.graph import Graph, Track, Value, gathered
from lunet_export.layers.layer import Layer, Step, step
from lunet_export.layers.networks import Dense, Network, Writer
from lunet_export.layers.scale_map import ScaleMap

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class AffineAutoregressive(Layer):
    """This layer computes y_i = s_i x_i + t_i for the columns i of `changed`, with s and t from a network of x[inputs].

    The other columns pass. Coupling layers (arXiv 1605.08803) and masked autoregressive ones (arXiv 1705.07057) are
    both of this form: what t_i and s_i depend on must be known before x_i is, in some order of the columns. The inverse
    takes one pass of the network for every level of that order: one for a coupling, D for a masked autoregressive
    layer.

    Shapes: inputs (K,) and changed (C,) columns without repetition; the network takes K numbers and gives t (C) and,
    except for the scale map `none`, u (C) side by side.

    Its rounding errors are |s x| (4 + 2 |log s|) + |t|; those of its inverse are (|y| + |t|) / s (4 + 2 |log s|).
    """

    dim: int
    inputs: Indices
    changed: Indices
    network: Network
    scale: ScaleMap

    @cached_property
    def levels(self) -> list[Indices]:
        """Return the places in `changed` whose x can be found together, level after level.

        Raises:
            CheckpointError: if the dependencies have a cycle.
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

    @property
    def width(self) -> int:
        return self.dim

    @property
    def takes_context(self) -> int:
        return networks.takes_context(self.network)

    def given(self, context: Array, errors: Errors = EXACT) -> "AffineAutoregressive":
        found = replace(self, network=networks.given(self.network, context, errors))
        found.__dict__["levels"] = self.levels  # the same weights, so the same order
        return found

    @property
    def levels_back(self) -> int:
        return len(self.levels)

    @property
    def work(self) -> float:
        """Return the passes of the network times its numbers."""
        return len(self.levels) * sum(array.size for array in networks.arrays(self.network))

    def arrays(self) -> list[NDArray[Any]]:
        return [self.inputs, self.changed, *networks.arrays(self.network)]

    def settings(self) -> dict[str, Any]:
        return {"scale": self.scale, "network": networks.shape(self.network)}

    def forward(self, x: Array, errors: Errors = EXACT) -> Step:
        log_scale, shift = self.scale_and_shift(x, errors)
        grown = x[:, self.changed] * np.exp(log_scale)
        size = lambda: np.abs(grown) * (4 + 2 * np.abs(log_scale)) + np.abs(shift)  # noqa: E731
        y = x.copy()
        y[:, self.changed] = errors.value(grown + shift, size)
        return step(y, log_scale)

    def inverse(self, y: Array, errors: Errors = EXACT) -> Array:
        x = y.copy()
        x[:, self.changed] = 0.0  # not known yet
        for level in self.levels:
            columns = self.changed[level]
            log_scale, shift = (part[:, level] for part in self.scale_and_shift(x, errors))
            x[:, columns] = self._back(y[:, columns], log_scale, shift, errors)
        return x

    @staticmethod
    def _back(y: Array, log_scale: Array, shift: Array, errors: Errors) -> Array:
        back = np.exp(-log_scale)
        return errors.value(
            (y - shift) * back, lambda: (np.abs(y) + np.abs(shift)) * back * (4 + 2 * np.abs(log_scale))
        )

    def scale_and_shift(self, x: Array, errors: Errors = EXACT) -> tuple[Array, Array]:
        """Return log s and t of the columns that change, (N, C) each, from rows x (N, D)."""
        found = networks.apply(self.network, x[:, self.inputs], errors)
        if self.scale.counts == 1:
            return np.zeros_like(found), found
        shift, u = np.split(found, 2, axis=1)
        return self.scale.log(u, errors), shift

    def nodes(self, track: Track) -> None:
        g, h = track.g, track.rows()
        inputs = self._columns(g, h, self.inputs)
        found = networks.nodes(self.network, Writer(g, track.context), inputs)
        log_scale, shift = self._split(g, found, len(self.changed))
        kept = np.setdiff1d(np.arange(self.dim), self.changed)
        changed = self._columns(g, h, self.changed)
        if log_scale is not None:
            changed = g.node("Mul", changed, g.node("Exp", log_scale))
            track.log_slope(log_scale, len(self.changed))
        parts = [g.node("Add", changed, shift)]
        if len(kept):
            parts.insert(0, inputs if np.array_equal(kept, self.inputs) else self._columns(g, h, kept))
        track.replace(g.concat(parts))
        track.permute(np.argsort(np.concatenate([kept, self.changed])))

    def inverse_nodes(self, track: Track) -> None:
        """Write the inverse level after level.

        The first layer of the network is a sum over columns: it grows as columns are found, so a level costs only the
        network's other layers, and of the last layer only the rows that the level needs.
        """
        g = track.g
        net = _Unrolled(track, self)
        kept = np.setdiff1d(np.arange(self.dim), self.changed)
        groups = [kept, *(self.changed[level] for level in self.levels)]
        order = np.concatenate(groups)
        track.permute(order)
        found, *waiting = _groups(g, track.rows(), [len(group) for group in groups])
        if found is not None:
            net.enter(found, kept)
        parts = [] if found is None else [found]
        for number, (level, y) in enumerate(zip(self.levels, waiting, strict=True), 1):
            with g.scope(f"level{number}"):
                assert y is not None
                scale, shift = net.level(level)
                x = scale.undone(track, g.node("Sub", y, shift))
                if number < len(self.levels):
                    net.enter(x, self.changed[level])
            parts.append(x)
        track.replace(g.concat(parts))
        track.permute(np.argsort(order))

    def _columns(self, g: Graph, rows: Value, columns: Indices) -> Value:
        return rows if np.array_equal(columns, np.arange(self.dim)) else gathered(g, rows, columns)

    def _split(self, g: Graph, found: Value, count: int) -> tuple[Value | None, Value]:
        """Return log s, or None where it is 0, and t."""
        if self.scale.counts == 1:
            return None, found
        shift, u = g.split(found, [count, count])
        return self.scale.nodes(g, u, count), shift

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        network, scale = networks.from_list(entry["network"]), ScaleMap(**entry["scale"])
        return cls(entry["dim"], entry["inputs"], entry["changed"], network, scale)

    def validate(self, dim: int, where: str) -> None:
        for columns in (self.inputs, self.changed):
            fits = columns.dtype == np.int64 and columns.ndim == 1 and 0 < len(columns) == len(np.unique(columns))
            if not fits or columns.min() < 0 or columns.max() >= dim or self.dim != dim:
                raise CheckpointError(f"Expected columns from 0 to {dim - 1}, none twice, in {where}; got others.")
        self.scale.validate(where)
        networks.validate(self.network, len(self.inputs), len(self.changed) * self.scale.counts, where)
        try:
            levels = self.levels  # raises where columns wait for each other
        except CheckpointError as error:
            raise CheckpointError(f"{str(error)[:-1]}: {where}.") from None
        if self.scale.centred and len(levels) > 1:
            raise CheckpointError(
                f"Expected columns that are found together for the scale map {self.scale.kind}, whose scales depend on "
                f"all of them; got {len(levels)} levels: {where}."
            )


@dataclass(frozen=True)
class _LevelScale:
    """This is log s of a level: a tensor [batch, width], numbers (width,) while nothing is known, or None for s = 1."""

    tensor: Value | None = None
    numbers: Array | None = None
    width: int = 0

    def undone(self, track: Track, moved: Value) -> Value:
        """Return moved / s."""
        g = track.g
        if self.tensor is not None:
            track.log_slope(self.tensor, self.width)
            return g.node("Mul", moved, g.node("Exp", g.node("Neg", self.tensor)))
        if self.numbers is not None:
            track.constant(float(self.numbers.sum()))
            return g.node("Mul", moved, g.constant(np.exp(-self.numbers), "scale"))
        return moved


class _Unrolled:
    """This writes a layer's network of the columns that are known; constants are written once."""

    def __init__(self, track: Track, layer: AffineAutoregressive) -> None:
        first, *rest = layer.network
        if not isinstance(first, Dense):
            first, rest = Dense(np.eye(len(layer.inputs)), np.zeros(len(layer.inputs))), list(layer.network)
        if layer.takes_context and not first.conditional:  # so that the first sum has a row per context
            nothing = Dense(np.zeros((len(first.bias), layer.takes_context)), np.zeros(len(first.bias)))
            first = Dense(first.weight, first.bias, (nothing,))
        self._g, self._layer, self._first, self._rest = track.g, layer, first, tuple(rest)
        self._writer = Writer(track.g, track.context)
        #: What enters the second operation, of the columns known so far.
        self._sum: Value | None = None
        if layer.takes_context:
            self._sum = first.addend(self._writer)

    def enter(self, x: Value, columns: Indices) -> None:
        """Add columns of x that have been found."""
        place = {int(column): number for number, column in enumerate(self._layer.inputs)}
        taken = [number for number, column in enumerate(columns) if int(column) in place]
        inputs = [place[int(columns[number])] for number in taken]
        weight = self._first.weight[:, inputs]
        if not weight.any():
            return
        if len(taken) < len(columns):
            x = gathered(self._g, x, np.array(taken, dtype=np.int64))
        self._sum = self._g.gemm(x, weight, self._first.bias if self._sum is None else self._sum)

    def level(self, level: Indices) -> tuple[_LevelScale, Value]:
        """Return s and t of the places of a level."""
        g, layer, count = self._g, self._layer, len(self._layer.changed)
        one = layer.scale.counts == 1
        if self._sum is None:
            log_scale, shift = (part[0, level] for part in layer.scale_and_shift(np.zeros((1, layer.dim))))
            return _LevelScale(numbers=None if one else log_scale), g.constant(shift, "shift")
        rows = level if one else np.concatenate([level, count + level])
        found = networks.some_nodes(self._rest, self._writer, self._sum, rows)
        tensor, moved = layer._split(g, found, len(level))
        return _LevelScale(tensor, width=len(level)), moved


def _groups(g: Graph, rows: Value, sizes: list[int]) -> list[Value | None]:
    """Return the columns in groups; the first group may be empty."""
    first, *others = sizes
    if not first:
        return [None, *g.split(rows, others)]
    found, rest = g.split(rows, [first, sum(others)])
    return [found, *g.split(rest, others)]
