"""Rows [batch, D] kept as groups of columns, cut and joined where a coupling needs it and nowhere else."""

from collections.abc import Sequence

from lunet_export.graphs.builder import GraphBuilder, Value


class Columns:
    """Groups of columns, from left to right."""

    def __init__(self, g: GraphBuilder, rows: Value, width: int) -> None:
        self._g = g
        self._parts = [(rows, width)]

    def front(self, widths: Sequence[int]) -> list[Value]:
        """The first columns in groups of these widths; the others stay behind them."""
        found: list[tuple[Value, int]] = []
        for width in widths:
            value, have = self._parts.pop(0)
            while have < width:
                following, more = self._parts.pop(0)
                value, have = self._g.concat([value, following]), have + more
            if have > width:
                value, rest = self._g.split(value, [width, have - width])
                self._parts.insert(0, (rest, have - width))
            found.append((value, width))
        self._parts = [*found, *self._parts]
        return [value for value, _ in found]

    def replace(self, values: Sequence[Value]) -> None:
        """Put these in the place of the first groups."""
        for number, value in enumerate(values):
            self._parts[number] = (value, self._parts[number][1])

    def whole(self) -> Value:
        """All columns as one tensor."""
        (value,) = self.front([sum(width for _, width in self._parts)])
        return value
