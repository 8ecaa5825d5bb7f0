"""Autoregressive layers, couplings and elementwise ones among them: a network gives the numbers of a transformer.

The density takes one pass of the network, the inverse one pass per level.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.layers import networks
from lunet_export.layers.affine_transformer import AffineTransformer
from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.graph import Graph, Track, Value, gathered
from lunet_export.layers.layer import Ends, Interval, Layer, Step, step
from lunet_export.layers.networks import Dense, Network, Writer
from lunet_export.layers.rational_quadratic import HEIGHT, WIDTH, RationalQuadratic
from lunet_export.layers.scale_map import ScaleMap
from lunet_export.layers.transformer import Transformer

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

_ROUNDED = 2.0**-50  # by which an end of a box may be off after it was scaled and scaled back


@dataclass(frozen=True)
class Autoregressive(Layer):
    """This layer computes y_i = f(x_i; p_i) for the columns i of `changed`, with numbers p from a network of x[inputs].

    The other columns pass. f is the transformer's increasing function. Coupling layers (arXiv 1605.08803) and masked
    autoregressive ones (arXiv 1705.07057) are both of this form: what p_i depends on must be known before x_i is, in
    some order of the columns. The inverse takes one pass of the network for every level of that order: one for a
    coupling, D for a masked autoregressive layer. Without inputs p depends on the context alone, or is fixed.

    Shapes: inputs (K,) and changed (C,) columns without repetition; the network takes K numbers and gives C P, in the
    transformer's order.
    """

    dim: int
    inputs: Indices
    changed: Indices
    network: Network

    @property
    @abstractmethod
    def transformer(self) -> Transformer:
        """Return what makes functions of the network's numbers."""

    @cached_property
    def levels(self) -> list[Indices]:
        """Return the places in `changed` whose x can be found together, level after level.

        Raises:
            CheckpointError: if the dependencies have a cycle.
        """
        reached = networks.dependencies(self.network, np.eye(len(self.inputs), dtype=np.bool_))
        count = len(self.changed)
        needs = np.zeros((count, self.dim), dtype=np.bool_)
        for place in range(count):
            needs[place, self.inputs] = reached[self._places(np.array([place]))].any(axis=0)
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

    def _places(self, columns: Indices) -> Indices:
        return self.transformer.places(columns, len(self.changed))

    @property
    def width(self) -> int:
        return self.dim

    @property
    def takes(self) -> tuple[Ends, Ends]:
        return self._ends()

    @property
    def range(self) -> tuple[Ends, Ends]:
        return self._ends()

    def _ends(self) -> tuple[Array, Array]:
        low, high = np.full(self.dim, -np.inf), np.full(self.dim, np.inf)
        if self.boxed.any():
            low[self.changed[self.boxed]], high[self.changed[self.boxed]] = self.transformer.interval
        return low, high

    @property
    def boxed(self) -> NDArray[np.bool_]:
        """Return for which of the columns that change f is defined on its interval alone, (C,)."""
        return np.full(len(self.changed), self.transformer.within)

    @property
    def takes_ends(self) -> bool:
        return bool(self.boxed.any())

    def box(self, low: Array, high: Array, *, forward: bool) -> Interval:
        """Return the box itself, which the layer maps onto itself; its ends may be rounded."""
        del forward
        inside = np.isin(np.arange(self.dim), self.changed) & np.isfinite(low)
        least, most = self.transformer.interval
        return np.where(inside, least, low), np.where(inside, most, high)

    def fills(self, low: Array, high: Array) -> bool:
        """Return whether every column that changes has all numbers that f takes, or those that f maps onto themselves.

        The numbers of the latter are those of the transformer's interval.
        """
        numbers = np.stack([low, high])[:, self.changed]
        taken, mapped = np.stack(self._ends())[:, self.changed], np.array(self.transformer.interval)[:, None]
        alike = [np.isclose(numbers, ends, rtol=_ROUNDED, atol=0.0).all(axis=0) for ends in (taken, mapped)]
        return bool(np.any(alike, axis=0).all())

    @property
    def takes_context(self) -> int:
        return networks.takes_context(self.network)

    def given(self, context: Array, errors: Errors = EXACT) -> Self:
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

    def forward(self, x: Array, errors: Errors = EXACT) -> Step:
        functions = self.transformer.of(self.numbers(x, errors), errors)
        changed, log_slope = functions.forward(x[:, self.changed])
        y = x.copy()
        y[:, self.changed] = changed
        return step(y, log_slope)

    def inverse(self, y: Array, errors: Errors = EXACT) -> Array:
        x = y.copy()
        x[:, self.changed] = 0.0  # not known yet
        for level in self.levels:
            columns = self.changed[level]
            functions = self.transformer.of(self.numbers(x, errors)[:, self._places(level)], errors)
            x[:, columns] = functions.inverse(y[:, columns])
        return x

    @property
    def has_seams(self) -> bool:
        return self.transformer.has_seams

    def at_seams(self, x: Array) -> Array:
        if not self.has_seams:
            return x[:0]
        seams = self.transformer.of(self.numbers(x)).seams()
        _, columns, places = seams.shape
        row = np.arange(len(x))
        column, place = (row // places + row) % columns, row % places
        found = x.copy()
        found[row, self.changed[column]] = seams[row % len(seams), column, place]
        return found

    def numbers(self, x: Array, errors: Errors = EXACT) -> Array:
        """Return the network's numbers (N, C P) of rows x (N, D)."""
        return networks.apply(self.network, x[:, self.inputs], errors)

    def nodes(self, track: Track) -> None:
        g, h = track.g, track.rows()
        everything = np.arange(len(self.changed))
        if len(self.inputs):
            inputs = self._columns(g, h, self.inputs)
            numbers: Value | Array = networks.nodes(self.network, Writer(g, track.context), inputs)
        else:
            inputs, numbers = "", _Unrolled(track, self).numbers(everything)
        functions = self.transformer.written(track, numbers, len(everything))
        kept = np.setdiff1d(np.arange(self.dim), self.changed)
        parts = [functions.forward(self._columns(g, h, self.changed))]
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
                functions = self.transformer.written(track, net.numbers(level), len(level))
                x = functions.inverse(y)
                if number < len(self.levels):
                    net.enter(x, self.changed[level])
            parts.append(x)
        track.replace(g.concat(parts))
        track.permute(np.argsort(order))

    def _columns(self, g: Graph, rows: Value, columns: Indices) -> Value:
        return rows if np.array_equal(columns, np.arange(self.dim)) else gathered(g, rows, columns)

    def validate(self, dim: int, where: str) -> None:
        for columns, least in ((self.inputs, 0), (self.changed, 1)):
            fits = columns.dtype == np.int64 and columns.ndim == 1 and least <= len(columns) == len(np.unique(columns))
            inside = fits and (not len(columns) or (columns.min() >= 0 and columns.max() < dim))
            if not inside or self.dim != dim:
                raise CheckpointError(f"Expected columns from 0 to {dim - 1}, none twice, in {where}; got others.")
        self.transformer.validate(where)
        if not len(self.inputs) and not (self.network and isinstance(self.network[0], Dense)):
            raise CheckpointError(f"Expected a network without inputs that begins with a matrix in {where}.")
        leaving = len(self.changed) * self.transformer.count
        networks.validate(self.network, len(self.inputs), leaving, where)
        try:
            levels = self.levels  # raises where columns wait for each other
        except CheckpointError as error:
            raise CheckpointError(f"{str(error)[:-1]}: {where}.") from None
        if self.transformer.mixes and len(levels) > 1:
            raise CheckpointError(
                "Expected columns that are found together, since their functions depend on the numbers of all of them; "
                f"got {len(levels)} levels: {where}."
            )


@dataclass(frozen=True)
class AffineAutoregressive(Autoregressive):
    """In this layer f is s x + t: the network gives t (C) and, except for the scale map `none`, u (C) side by side."""

    scale: ScaleMap

    @cached_property
    def transformer(self) -> AffineTransformer:
        return AffineTransformer(self.scale)

    def settings(self) -> dict[str, Any]:
        return {"scale": self.scale, "network": networks.shape(self.network)}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        network, scale = networks.from_list(entry["network"]), ScaleMap(**entry["scale"])
        return cls(entry["dim"], entry["inputs"], entry["changed"], network, scale)


@dataclass(frozen=True)
class SplineAutoregressive(Autoregressive):
    """In this layer f is a rational-quadratic spline: the network gives all numbers of a column side by side.

    `only_inside` (C,) says which columns are defined on the box alone though the others have tails, such as angles.
    """

    spline: RationalQuadratic
    only_inside: NDArray[np.bool_] | None = None

    @property
    def transformer(self) -> RationalQuadratic:
        return self.spline

    @property
    def _stands_for_all(self) -> bool:
        """Return whether this is one fixed spline, for any number of columns."""
        return self.dim == 1 and len(self.network) == 1 and not len(self.inputs) and not self.takes_context

    def spread(self, dim: int) -> "SplineAutoregressive":
        if not self._stands_for_all or dim == 1:
            return self
        numbers = np.tile(self.numbers(np.zeros((1, 1)))[0], dim)
        network = (Dense(np.zeros((len(numbers), 0)), numbers),)
        return replace(self, dim=dim, changed=np.arange(dim), network=network)

    @property
    def boxed(self) -> NDArray[np.bool_]:
        return super().boxed if self.only_inside is None else self.only_inside

    def arrays(self) -> list[NDArray[Any]]:
        return [*super().arrays(), *([] if self.only_inside is None else [self.only_inside])]

    def settings(self) -> dict[str, Any]:
        return {"spline": self.spline, "network": networks.shape(self.network)}

    def validate(self, dim: int, where: str) -> None:
        mask = self.only_inside
        if mask is not None and (mask.dtype != np.bool_ or mask.shape != self.changed.shape):
            raise CheckpointError(f"Expected a truth value for each column that changes in {where}; got others.")
        if mask is not None and self.spline.within:
            raise CheckpointError(f"Expected columns of which all are on the box alone, or some, in {where}; got both.")
        super().validate(dim, where)
        if not self.spline.has_bins:
            self._validate_bins(where)

    def _validate_bins(self, where: str) -> None:
        """Raise unless the numbers are fixed, and make bins that all have a width and a height."""
        if len(self.inputs) or self.takes_context:
            raise CheckpointError(
                f"Expected least widths and heights above 0, or a limit, in {where}; got neither: the numbers of its "
                "network may make a bin without a width."
            )
        table = self.spline.table(self.numbers(np.zeros((1, self.dim))))
        if not (table[..., [WIDTH, HEIGHT], :] > 0).all():
            raise CheckpointError(f"Expected bins that all have a width and a height in {where}; got others.")

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in super().to_dict().items() if value is not None}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        network, spline = networks.from_list(entry["network"]), RationalQuadratic(**entry["spline"])
        return cls(entry["dim"], entry["inputs"], entry["changed"], network, spline, entry.get("only_inside"))


class _Unrolled:
    """This writes a layer's network of the columns that are known; constants are written once."""

    def __init__(self, track: Track, layer: Autoregressive) -> None:
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

    def numbers(self, level: Indices) -> Value | Array:
        """Return the numbers of the places of a level: a tensor, or constants while nothing is known."""
        layer, places = self._layer, self._layer._places(level)
        if self._sum is None:
            return layer.numbers(np.zeros((1, layer.dim)))[0, places]
        return networks.some_nodes(self._rest, self._writer, self._sum, places)


def _groups(g: Graph, rows: Value, sizes: list[int]) -> list[Value | None]:
    """Return the columns in groups; the first group may be empty."""
    first, *others = sizes
    if not first:
        return [None, *g.split(rows, others)]
    found, rest = g.split(rows, [first, sum(others)])
    return [found, *g.split(rest, others)]
