"""z -> x: triangular solves unrolled over tiles, inverse activations by Newton."""

from collections.abc import Callable
from dataclasses import dataclass

import onnx

from lunet_export.errors import BadInputError
from lunet_export.graphs import elementwise, newton_start, triangular
from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.weights import LUBlock, LUNetWeights

#: The CUDA provider copies the sizes of a longer Concat to the device at every run.
_MOST_TILES = 32


@dataclass(frozen=True)
class Solver:
    """How the sampling graph solves L U h = z - b.

    `unrolled`: forward and back substitution over tiles of `tile` rows, at least two a factor; L and U are never
    multiplied together. `fused`: (L U)^-1 as one product.
    """

    name: str
    tile: int | None  # None for `fused`


SOLVERS = ("unrolled", "fused")


def choose(name: str, tile: int | None, dim: int) -> Solver:
    """The solver of that name; without a `tile` the unrolled one takes two tiles a factor, the fewest nodes.

    Raises:
        BadInputError: An unknown name, or a tile that gives fewer than 2 or more than 32 tiles.
    """
    if name not in SOLVERS:
        raise BadInputError(f"Expected a solver of {', '.join(SOLVERS)}; got {name}.")
    if name == "fused":
        if tile is not None:
            raise BadInputError("Expected no --tile with --solver fused, which has none. Leave it out.")
        return Solver(name, None)
    largest, smallest = max(1, -(-dim // 2)), -(-dim // _MOST_TILES)
    if tile is not None and not smallest <= tile <= largest:
        raise BadInputError(
            f"Expected a tile from {smallest} to {largest} for {dim} dimensions (2 to {_MOST_TILES} tiles a factor); "
            f"got {tile}. Leave --tile out for the fastest."
        )
    return Solver(name, tile or largest)


def build(weights: LUNetWeights, *, solver: Solver, dtype: str, metadata: dict[str, str]) -> onnx.ModelProto:
    """The sampling graph: z [batch, dim] -> x [batch, dim]; images are clamped to [0, largest float below levels]."""
    g = GraphBuilder("sampling", dim=weights.dim, dtype=dtype)
    start = newton_start.fit(weights.alpha, dtype)
    solve = _solve(solver)
    h = g.input("z")
    for number in range(len(weights.blocks), 0, -1):
        with g.scope(f"block{number}"):
            h = solve(g, h, weights.blocks[number - 1])
        if number > 1:
            with g.scope(f"activation{number - 1}"):
                h = elementwise.inverse_leaky_softplus(g, h, weights.alpha, start)
    if weights.preprocessing:
        with g.scope("inverse_logit"):
            h = elementwise.inverse_logit(g, h, weights.preprocessing)
    g.output("x", h)
    return g.finish(metadata)


def _solve(solver: Solver) -> Callable[[GraphBuilder, Value, LUBlock], Value]:
    if solver.tile is None:
        return _fused
    tile = solver.tile

    def unrolled(g: GraphBuilder, z: Value, block: LUBlock) -> Value:
        ranges = triangular.tiles(g.dim, tile)
        sizes = [here.stop - here.start for here in ranges]
        parts = g.split(z, sizes) if len(ranges) > 1 else [z]
        with g.scope("lower"):
            parts = triangular.solve_lower(g, parts, block, ranges)
        with g.scope("upper"):
            parts = triangular.solve_upper(g, parts, block, ranges)
        return g.concat(parts)

    return unrolled


def _fused(g: GraphBuilder, z: Value, block: LUBlock) -> Value:
    inverse = triangular.reversed_product(triangular.inverse_upper(block.upper), triangular.inverse_lower(block.lower))
    return g.gemm(z, inverse, -(inverse * block.bias).sum(axis=1))
