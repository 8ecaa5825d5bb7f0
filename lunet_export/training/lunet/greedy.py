"""A start that is grown: pairs of blocks, each the best of many random ones, refined together. For few dimensions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg
from torch import Tensor

from lunet_export.checks import reference
from lunet_export.errors import BadInputError
from lunet_export.flows import lunet
from lunet_export.layers import LU, Activation, Chain
from lunet_export.preprocessing import Logit, logit
from lunet_export.torch_layers import Bijection, bijection_of
from lunet_export.training.choice import Comparison
from lunet_export.training.fit import Batch
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.lunet.coordinates import flow_of, whiten
from lunet_export.training.optimizer import QuasiNewton

Array = NDArray[np.float64]
Affine = tuple[Array, Array]  # x -> W x + b, (D, D) and (D,)
Layer = tuple[Tensor, Tensor, Tensor]  # directions (K, D, D), slopes (K, D, 1) and places (K, D) of K candidates

#: Most dimensions. With more there are better starts, and random directions find nothing.
MAX_DIM = 16

#: Layers that are searched together: one activation compresses one tail; two compress the gap between two clouds.
PAIR = 2

_IDLE = 2  # pairs in a row that may be added without convincing the validation rows
_CANDIDATES, _ROWS, _STEPS, _RATE = 96, 1000, 200, 0.05  # a search: Adam on all candidates, on some rows
_SHARPEST = 4.0  # log of the largest initial slope of a candidate's unit, for inputs of variance 1
_REFINEMENT = 40  # L-BFGS iterations of the whole network after each pair


def grow(
    rows: Array,
    comparison: Comparison,
    *,
    blocks: int,
    f: Activation,
    preprocessing: Logit | None,
    seed: int,
    on_growth: Callable[[int, int], None],
    complete: Callable[[Chain], Chain] = lambda network: network,
) -> Chain:
    """Return a network of at most `blocks` LU layers with f between them, grown on rows (N, D) in data space.

    It begins as the Gaussian of the rows. Two layers are searched for (`_search`), the Gaussian of what leaves them is
    placed behind them, and L-BFGS lowers the mean of -log p of the whole network; this repeats. Trained from one start
    in two dimensions, an LU-Net misses clouds that no single activation can move together; in pairs of layers they are
    found one after another.

    A longer network takes the place of the one that is kept if `comparison` prefers it: in few rows a search finds gaps
    that are not real, and lets the density fall to nothing there. Growth ends after two pairs in a row that are not
    kept. `on_growth(done, all)` is called after every step of a search or refinement, with the number of steps done and
    the largest number there can be. What is compared and returned is `complete(network)`.

    Raises:
        BadInputError: if there are more than 16 dimensions.
    """
    dim = rows.shape[1]
    if dim > MAX_DIM:
        raise BadInputError(
            f"Expected at most {MAX_DIM} dimensions for a greedy start; got {dim}. Start with `init='bend'`."
        )
    x = logit(rows, preprocessing)[0] if preprocessing else rows
    random = torch.Generator().manual_seed(seed)
    network = lunet((whitening(Gaussian.fit(x, None)),), f.least, activation=f.option)
    kept = complete(replace(network, preprocessing=preprocessing))
    size, known, idle = _size(network), _log_prob(kept, comparison.rows, comparison.contexts), 0
    pairs, of_pair = -(-(blocks - 1) // PAIR), _STEPS + _REFINEMENT
    for pair in range(pairs):
        on_step = _counted(on_growth, pair * of_pair, pairs * of_pair)
        network = _longer(network, x, min(PAIR, blocks - len(network.of(LU))), f, random, on_step)
        longer = complete(replace(network, preprocessing=preprocessing))
        found = _log_prob(longer, comparison.rows, comparison.contexts)
        # Free numbers gain so much by chance on the rows they are fitted to (Akaike 1974).
        optimism = (_size(network) - size) / len(x)
        if comparison.prefers(found, known, optimism=optimism):
            size, kept, known, idle = _size(network), longer, found, 0
        elif (idle := idle + 1) == _IDLE:
            break
    return kept


def _counted(on_growth: Callable[[int, int], None], begin: int, of: int) -> Callable[[int], None]:
    """Return the function to call with the number of steps done in a pair; `begin` were done before it."""
    return lambda step: on_growth(begin + step, of)


def _size(network: Chain) -> int:
    """Return the number of free numbers."""
    return int(network.facts()["free_parameters"])


def whitening(gaussian: Gaussian) -> LU:
    """Return the layer that whitens what the Gaussian was fitted to: the best last one."""
    return LU(np.eye(len(gaussian.mean)), gaussian.whiten, -gaussian.whiten @ gaussian.mean)


def _longer(
    network: Chain,
    x: Array,
    layers: int,
    f: Activation,
    random: torch.Generator,
    on_step: Callable[[int], None],
) -> Chain:
    """Return the network with `layers` more layers in front of its last one, refined on x (N, D)."""
    hidden, seen = list(network.of(LU)[:-1]), x
    for block in hidden:
        seen = f.value(block.forward(seen).rows)
    for block in _blocks(_search(seen, layers, f, random, on_step)):
        hidden.append(block)
        seen = f.value(block.forward(seen).rows)
    return _refined(
        lunet((*hidden, whitening(Gaussian.fit(seen, None))), f.least, network.preprocessing, f.option), x, on_step
    )


def _log_prob(network: Chain, x: Array, contexts: Array | None) -> Array:
    """Return log p(x) in nats, (N, D) -> (N,); minus infinity where it overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.nan_to_num(reference.log_prob(network, x, contexts), nan=-np.inf)


def _search(
    x: Array,
    layers: int,
    f: Activation,
    random: torch.Generator,
    on_step: Callable[[int], None] = lambda step: None,
) -> list[Affine]:
    """Search affine maps of `layers` layers, each followed by its activation, that leave x (N, D) closest to Gaussian.

    The score of a candidate is, up to a constant, the mean -log p of the best network that ends with it and a Gaussian
    layer: 1/2 log det C - sum_l (log|det W_l| + E sum_i log f'(a_l,i)), where C is the covariance of what leaves the
    last layer.
    """
    activation = bijection_of(f)
    first = Gaussian.fit(x, None)
    white = torch.from_numpy((x - first.mean) @ first.whiten.T)
    some = white[torch.randperm(len(white), generator=random)[:_ROWS]]
    parameters = [_candidates(some, random) for _ in range(layers)]
    leaves = [parameter.requires_grad_() for layer in parameters for parameter in layer]
    adam = torch.optim.Adam(leaves, lr=_RATE)
    fall = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.02, total_iters=_STEPS)
    for step in range(_STEPS):
        on_step(step)
        score, _ = _follow(some, parameters, activation)
        adam.zero_grad()
        score.nan_to_num().sum().backward()  # type: ignore[no-untyped-call]
        adam.step()
        fall.step()
    with torch.no_grad():
        score, maps = _follow(white, parameters, activation)
        best = int(score.nan_to_num(nan=torch.inf).argmin())
    found = [(weight[best].numpy(), bias[best].numpy()) for weight, bias in maps]
    weight, bias = found[0]
    return [(weight @ first.whiten, bias - weight @ first.whiten @ first.mean), *found[1:]]


def _candidates(some: Tensor, random: torch.Generator) -> Layer:
    """Draw the first parameters of one layer, for every candidate."""
    dim = some.shape[1]
    direction = torch.randn(_CANDIDATES, dim, dim, generator=random, dtype=torch.float64)
    direction /= direction.norm(dim=-1, keepdim=True)
    slope = torch.rand(_CANDIDATES, dim, 1, generator=random, dtype=torch.float64) * _SHARPEST
    through = some[torch.randint(len(some), (_CANDIDATES, dim), generator=random)]  # row at each unit's curvature
    return direction, slope, (direction * through).sum(-1)


def _follow(
    x: Tensor, parameters: Sequence[Layer], activation: Bijection
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Return the score of every candidate (K,), NaN if it broke down, and its affine maps on the input as it is.

    The parameters of every layer refer to white inputs: a unit has a direction, a slope and the place of its curvature.
    """
    score, maps = torch.zeros(1, dtype=x.dtype), []
    root, centre = torch.eye(x.shape[1], dtype=x.dtype), torch.zeros(x.shape[1], dtype=x.dtype)
    for direction, slope, place in parameters:
        unit = direction / direction.norm(dim=-1, keepdim=True)
        weight = slope.exp() * unit @ root
        bias = -slope.exp()[..., 0] * place - (weight @ centre[..., None])[..., 0]
        maps.append((weight, bias))
        a = x @ weight.mT + bias[:, None]
        x, log_det = activation(a.flatten(0, 1))
        x, log_det = x.view_as(a), log_det.view(a.shape[:2])
        score = score - log_det.mean(-1) - torch.linalg.slogdet(weight)[1]
        centre = x.mean(-2)
        centred = x - centre[:, None]
        factor, _ = torch.linalg.cholesky_ex(centred.mT @ centred / x.shape[1])
        root = torch.linalg.solve_triangular(
            factor, torch.eye(x.shape[2], dtype=x.dtype).expand_as(factor), upper=False
        )
    return score - root.diagonal(dim1=-2, dim2=-1).log().sum(-1), maps


def _blocks(maps: Sequence[Affine]) -> list[LU]:
    """Return the maps as LU layers, their units in an order in which W = L U exists and is well conditioned."""
    blocks, order = [], np.arange(len(maps[0][1]))
    for weight, bias in maps:
        weight = weight[:, order]
        place, lower, upper = linalg.lu(weight, p_indices=True)
        order = np.argsort(place)
        blocks.append(LU(lower, upper, bias[order]))
    return blocks


def _refined(weights: Chain, rows: Array, on_step: Callable[[int], None]) -> Chain:
    """Refine the network by some iterations of L-BFGS on all rows, each of which may evaluate more than once."""
    looks = count()

    def objective() -> Tensor:
        on_step(_STEPS + min(next(looks), _REFINEMENT))
        return -flow.log_prob(x).mean()

    flow, x = flow_of(weights, dtype=torch.float64), torch.from_numpy(rows)
    optimizer = QuasiNewton(flow, iterations=_REFINEMENT)
    whiten([flow], [Batch(x)])
    optimizer.step(objective)
    on_step(_STEPS + _REFINEMENT)
    return flow.to_chain()
