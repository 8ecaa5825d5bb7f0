"""Terms that training adds to the mean negative log-likelihood, to keep the map well conditioned."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.linalg import solve_triangular

from lunet_export.torch_layers import Flow
from lunet_export.torch_layers.lu_linear import LULinear


def log_diagonal(flow: Flow) -> Tensor:
    """Return 1/2 sum_l sum_i (log|u_ii^l|)^2: a normal prior on the logarithms of the diagonals. It costs nothing."""
    return 0.5 * torch.stack([layer.log_diagonal().square().sum() for layer in flow.modules_of(LULinear)]).sum()


def balance(flow: Flow) -> Tensor:
    """Return 1/2 sum_l (|A_l|_F^2 + |A_l^-1|_F^2 - 2 D) = 1/2 sum_l sum_i (s_i - 1/s_i)^2 with A_l = L_l U_l.

    s_i are the singular values of A_l: the term is 0 if A_l is orthogonal, and penalizes stretching and squeezing
    equally. A_l^-1 comes from two triangular solves: O(D^3) per layer and step, which in wide networks costs more than
    the likelihood.
    """
    terms = []
    for layer in flow.modules_of(LULinear):
        lower, upper = layer.lower(), layer.upper()
        unit = torch.eye(flow.dim, dtype=lower.dtype, device=lower.device)
        inverse = solve_triangular(upper, solve_triangular(lower, unit, upper=False, unitriangular=True), upper=True)
        terms.append(0.5 * ((lower @ upper).square().sum() + inverse.square().sum()) - flow.dim)
    return torch.stack(terms).sum()


#: Regularisers by name.
REGULARISERS: dict[str, Callable[[Flow], Tensor]] = {"log-diagonal": log_diagonal, "balance": balance}
