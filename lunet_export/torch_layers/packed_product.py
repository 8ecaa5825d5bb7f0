"""The product of rows with both triangular factors of one packed matrix, and its gradients, tile by tile."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Least side of a tile. Smaller products no longer use a processor well.
_TILE = 112


def packed_product(x: Tensor, packed: Tensor, diagonal: Tensor) -> Tensor:
    """Return L (U x) for rows x, (N, D) -> (N, D), once differentiable in all arguments.

    On a CPU the factors are cut into n rows of tiles, and each is multiplied up to its diagonal tile only: (n + 1) / 2n
    of the operations of dense products, in the gradients too, and neither factor is ever copied whole. Elsewhere, and
    where D is small, n is 1.

    Args:
        x: Rows.
        packed: L below the diagonal and U above it, (D, D); what is on its diagonal does not count.
        diagonal: Diagonal of U, (D,); that of L is 1.
    """
    product: Tensor = _PackedProduct.apply(x, packed, diagonal)  # type: ignore[no-untyped-call]
    return product


def upper_product(x: Tensor, upper: Tensor) -> Tensor:
    """Return U x for rows x (N, D) and a constant upper triangular U (D, D), whose other half is 0."""
    product: Tensor = _UpperProduct.apply(x, upper)  # type: ignore[no-untyped-call]
    return product


class _PackedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: Tensor, diagonal: Tensor) -> Tensor:  # noqa: ANN401
        middle, product = torch.empty_like(x), torch.empty_like(x)
        tiles = _tiles(packed)
        for tile in tiles:
            upper, after = _upper(packed, diagonal, tile), slice(tile.stop, None)
            torch.mm(x[:, tile], upper.T, out=middle[:, tile]).addmm_(x[:, after], packed[tile, after].T)
        for tile in tiles:
            lower, before = _lower(packed, tile), slice(0, tile.start)
            torch.mm(middle[:, tile], lower.T, out=product[:, tile]).addmm_(middle[:, before], packed[tile, before].T)
        ctx.save_for_backward(x, middle, packed, diagonal)
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_product: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:  # noqa: ANN401
        x, middle, packed, diagonal = ctx.saved_tensors
        tiles = _tiles(packed)
        of_middle, of_packed, of_diagonal = (torch.empty_like(each) for each in (x, packed, diagonal))
        for tile in tiles:
            lower, after = _lower(packed, tile), slice(tile.stop, None)
            column = torch.mm(of_product[:, tile], lower, out=of_middle[:, tile])
            column.addmm_(of_product[:, after], packed[after, tile])
        for tile in tiles:
            until, since = slice(0, tile.stop), slice(tile.start, None)
            torch.mm(of_product[:, tile].T, middle[:, until], out=of_packed[tile, until])
            below = of_packed[tile, tile].tril(-1)
            torch.mm(of_middle[:, tile].T, x[:, since], out=of_packed[tile, since])
            corner = of_packed[tile, tile]
            of_diagonal[tile] = corner.diagonal()
            corner.copy_(corner.triu(1) + below)
        return _of_rows(ctx, of_middle, packed, diagonal, tiles), of_packed, of_diagonal


class _UpperProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, upper: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(upper)
        product = torch.empty_like(x)
        for tile in _tiles(upper):
            since = slice(tile.start, None)
            torch.mm(x[:, since], upper[tile, since].T, out=product[:, tile])
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_product: Tensor) -> tuple[Tensor | None, None]:  # noqa: ANN401
        (upper,) = ctx.saved_tensors
        return _of_rows(ctx, of_product, upper, upper.diagonal(), _tiles(upper)), None


def _of_rows(ctx: Any, above: Tensor, packed: Tensor, diagonal: Tensor, tiles: list[slice]) -> Tensor | None:  # noqa: ANN401
    """Return the gradient of x from that of U x, None if it is not asked for."""
    if not ctx.needs_input_grad[0]:
        return None
    found = torch.empty_like(above)
    for tile in tiles:
        upper, before = _upper(packed, diagonal, tile), slice(0, tile.start)
        torch.mm(above[:, tile], upper, out=found[:, tile]).addmm_(above[:, before], packed[before, tile])
    return found


def _tiles(matrix: Tensor) -> list[slice]:
    """Return the rows of every row of tiles; columns have the same tiles."""
    dim = len(matrix)
    count = max(1, dim // _TILE) if matrix.device.type == "cpu" else 1
    ends = [dim * number // count for number in range(count + 1)]
    return [slice(begin, end) for begin, end in pairwise(ends)]


def _upper(packed: Tensor, diagonal: Tensor, tile: slice) -> Tensor:
    """Return a diagonal tile of U."""
    return packed[tile, tile].triu(1).diagonal_scatter(diagonal[tile])


def _lower(packed: Tensor, tile: slice) -> Tensor:
    """Return a diagonal tile of L."""
    return packed[tile, tile].tril(-1).fill_diagonal_(1.0)
