"""The tiled products of LU layers and the activation with closed gradients, beside what PyTorch derives itself."""

import pytest
import torch

from lunet_export.torch_layers import packed_product as tiles
from lunet_export.torch_layers.leaky_squareplus import LeakySquareplusBijection
from lunet_export.torch_layers.packed_product import packed_product, upper_product

DIMS = (1, 5, 9, 10)  # one tile, one of more than its least side, and several equal and unequal ones


def numbers(*shape, seed=0):
    drawn = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return drawn.requires_grad_()


def dense(x, packed, diagonal):
    lower, upper = packed.tril(-1) + torch.eye(len(packed)), packed.triu(1) + diagonal.diag()
    return x @ upper.T @ lower.T


def gradients(product, arguments, above):
    return torch.autograd.grad(product(*arguments), arguments, above)


@pytest.mark.parametrize("dim", DIMS)
def test_tiles_give_the_product_and_its_gradients(dim, monkeypatch):
    monkeypatch.setattr(tiles, "_TILE", 3)
    arguments, above = (numbers(4, dim), numbers(dim, dim, seed=1), numbers(dim, seed=2)), numbers(4, dim, seed=3)
    torch.testing.assert_close(packed_product(*arguments), dense(*arguments), rtol=1e-12, atol=1e-12)
    ours, theirs = (gradients(product, arguments, above) for product in (packed_product, dense))
    for mine, exact in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, exact, rtol=1e-12, atol=1e-12)
    wrong = gradients(lambda x, packed, diagonal: dense(x, packed.T, diagonal), arguments, above)
    assert dim == 1 or not torch.allclose(ours[0], wrong[0])


@pytest.mark.parametrize("dim", DIMS)
def test_tiles_give_the_upper_product(dim, monkeypatch):
    monkeypatch.setattr(tiles, "_TILE", 3)
    x, upper, above = numbers(4, dim), numbers(dim, dim, seed=1).detach().triu(), numbers(4, dim, seed=2)
    torch.testing.assert_close(upper_product(x, upper), x @ upper.T, rtol=1e-12, atol=1e-12)
    (ours,) = gradients(lambda rows: upper_product(rows, upper), (x,), above)
    torch.testing.assert_close(ours, above @ upper, rtol=1e-12, atol=1e-12)


def test_the_tiles_of_the_papers_images_leave_out_three_eighths():
    kept = sum((tile.stop - tile.start) * (784 - tile.start) for tile in tiles._tiles(torch.empty(784, 784)))
    assert kept / 784**2 == pytest.approx(4 / 7)


@pytest.mark.parametrize("alpha", [0.1, torch.tensor([0.02, 0.1, 0.5, 0.9], dtype=torch.float64)], ids=["one", "each"])
def test_leaky_squareplus_has_the_gradients_of_its_formula(alpha):
    """Both outputs, by what PyTorch derives from p x + q sqrt(x^2 + 4) and p + q x / sqrt(x^2 + 4)."""
    x = torch.tensor([-9.0, -1.3, 0.0, 1e-3, 0.8, 11.0], dtype=torch.float64)[:, None].repeat(1, 4).requires_grad_()
    module = LeakySquareplusBijection(alpha, learned=True).double()
    alphas = module.alpha
    root = (x * x + 4).sqrt()
    value = (1 + alphas) / 2 * x + (1 - alphas) / 2 * root
    log_det = ((1 + alphas) / 2 + (1 - alphas) / 2 * x / root).log().sum(-1)
    for mine, exact in zip(module(x), (value, log_det), strict=True):
        above, inputs = numbers(*exact.shape), (x, module.theta)
        torch.testing.assert_close(mine, exact, rtol=1e-12, atol=1e-12)
        found = torch.autograd.grad(mine, inputs, above, retain_graph=True)
        for ours, theirs in zip(found, torch.autograd.grad(exact, inputs, above, retain_graph=True), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
