"""FrEIA (vislearn/FrEIA): data to latent is `rev=False`; the latent numbers are N(0, I), which no object of it says."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import block_diag
from torch import Tensor

from lunet_export.errors import BadInputError
from lunet_export.importers import contexts, matrices, networks
from lunet_export.importers.autoregressive import conditional, coupling
from lunet_export.importers.classes import first_known
from lunet_export.importers.contexts import repeated
from lunet_export.importers.parts import Foreign, Layers, Part, Reading, Refused
from lunet_export.importers.twin import array, row
from lunet_export.importers.walk import leaf
from lunet_export.layers import Affine, Permutation, ScaleMap, Sigmoid
from lunet_export.layers.networks import Network

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Conditions:
    """These are the conditions that a module gets, as columns of the flow's one context: all conditions side by side.

    Attributes:
        columns: Columns of each condition, in the order of the module's list `c`; None where there is no condition.
        dim: Number of dimensions of the context.
        fixed: The context that the flow is fixed to, (1, dim); None leaves it an input.
    """

    columns: tuple[Indices | None, ...]
    dim: int
    fixed: Tensor | None

    def of(self, places: Sequence[int | None]) -> "Conditions":
        """Return the conditions that a module inside gets, by their places in this module's list."""
        return replace(self, columns=tuple(self.columns[place] for place in places if place is not None))

    def listed(self, context: Tensor) -> list[Tensor | None]:
        """Return the list `c` for contexts (N, dim)."""
        return [None if columns is None else context[:, columns] for columns in self.columns]

    @property
    def select(self) -> Array:
        """Return the matrix that gives a module's own conditions, side by side, of the context."""
        chosen = [np.eye(self.dim)[columns] for columns in self.columns if columns is not None]
        return np.concatenate([np.zeros((0, self.dim)), *chosen])


def read(flow: Foreign, context: Tensor | None) -> Reading:
    """Read a `SequenceINN`, a `GraphINN` that is a chain, or one of their modules.

    Args:
        flow: Twin of the object in float64.
        context: Context that the flow is fixed to, (1, C), all conditions side by side; None leaves it an input.

    Raises:
        BadInputError: if the context is not one of the flow.
    """
    for module in flow.modules():
        if first_known(module, _GRAPHS):
            _own_nodes(module)
    conditions = _conditions(flow, context)
    parts = _walk(flow, "", conditions)
    shape = _shape(flow)

    def asked(rows: Tensor, given: Tensor | None, *, rev: bool) -> tuple[Tensor, Tensor]:
        seen = repeated(context if given is None else given, rows)
        arguments = {} if seen is None else {"c": conditions.listed(seen)}
        answer, log_det = flow((rows,), rev=rev, **arguments)
        # A flow with `force_tuple_output` and a module alone give a tuple of one; some log-determinants are one number.
        return answer if isinstance(answer, Tensor) else answer[0], torch.as_tensor(log_det).expand(len(rows))

    return Reading(
        transform=parts,
        base=None,
        dim=shape[0] if len(shape) == 1 else None,
        given=contexts.given(parts, None, conditions.dim),
        forward=lambda x, c: asked(x, c, rev=False),
        inverse=lambda z, c: asked(z, c, rev=True)[0],
        log_prob=None,
    )


def _own_nodes(graph: Foreign) -> None:
    """Give the twin of a graph nodes of its own, with its own modules; they are those of the graph itself otherwise."""
    modules = iter(graph.module_list)
    own = {node: copy(node) for node in (*graph.node_list, *graph.condition_nodes)}
    for node in own.values():
        node.module = None if node.module is None else next(modules)
        node.inputs = [(own[other], place) for other, place in node.inputs]
        node.outputs = [(own[other], place) for other, place in node.outputs]
        node.conditions = [own[other] for other in node.conditions]
    for name in ("node_list", "in_nodes", "condition_nodes", "out_nodes"):
        setattr(graph, name, [own[node] for node in getattr(graph, name)])


def _shape(module: Foreign) -> tuple[int, ...]:
    """Return the shape of what enters a module; `ActNorm` holds its only one without a list around it."""
    first = module.dims_in[0]
    return tuple(int(size) for size in (first if isinstance(first, Sequence) else module.dims_in))


def _conditions(flow: Foreign, context: Tensor | None) -> Conditions:
    """Return the conditions of a whole flow, side by side in the order of the list that its own call takes."""
    widths = _widths(flow)
    ends = np.cumsum([0, *widths.values()])
    columns: list[Indices | None] = [None] * (max(widths, default=-1) + 1)
    for number, place in enumerate(widths):
        columns[place] = np.arange(ends[number], ends[number + 1])
    dim = int(ends[-1])
    if context is not None and not dim:
        raise BadInputError("Expected no context: this flow has no conditions, and one was given. Leave it out.")
    if context is not None and context.shape[1] != dim:
        raise BadInputError(
            f"Expected a context of {dim} numbers, as many as the flow's conditions have; got {context.shape[1]}."
        )
    return Conditions(tuple(columns), dim, context)


def _widths(flow: Foreign) -> Mapping[int, int]:
    """Return how many numbers each condition has, by its place in the list `c`, in the order of places."""
    if first_known(flow, _SEQUENCES):
        found = {place: flow[number].dims_c[0] for number, place in enumerate(flow.conditions) if place is not None}
    else:
        found = dict(enumerate(flow.dims_c))
    return {place: prod(found[place]) for place in sorted(found)}


def _walk(module: Foreign, path: str, conditions: Conditions) -> tuple[Part, ...]:
    dot, where = f"{path}." if path else "", path or "the transform itself"
    try:
        inside = _inside(module, conditions)
    except Refused as refused:
        return (Part(where, type(module).__name__, refusal=str(refused)),)
    if inside is not None:
        found = [_walk(inner, f"{dot}module_list.{i}", seen) for i, (inner, seen) in enumerate(inside)]
        return tuple(part for parts in found for part in parts)
    shape = _shape(module)
    if len(shape) != 1:
        return (Part(where, type(module).__name__, refusal=f"it takes images of shape {shape}: {_IMAGES}"),)
    return (leaf(module, path, _LAYERS, conditions),)


def _inside(module: Foreign, conditions: Conditions) -> list[tuple[Foreign, Conditions]] | None:
    """Return the modules of a flow in their order, each with its conditions; None for a module that holds no others.

    Raises:
        Refused: if the nodes of a graph are no chain.
    """
    if first_known(module, _SEQUENCES):
        return [
            (inner, conditions.of([place])) for inner, place in zip(module.module_list, module.conditions, strict=True)
        ]
    if not first_known(module, _GRAPHS):
        return None
    if len(module.in_nodes) != 1 or len(module.out_nodes) != 1:
        raise Refused(f"it has several inputs or outputs; {_CHAIN}")
    nodes = [node for node in module.node_list if node.module is not None]
    for node in nodes:
        if len(node.inputs) != 1 or len(node.output_dims) != 1:
            raise Refused(f"it has branches at a {type(node.module).__name__}; {_CHAIN}")
    ends = [node.inputs[0][0] for node in (*nodes, *module.out_nodes)]
    if ends != [*module.in_nodes, *nodes]:
        raise Refused(f"several of its nodes take the output of one; {_CHAIN}")
    place = {node: number for number, node in enumerate(module.condition_nodes)}
    return [(node.module, conditions.of([place[other] for other in node.conditions])) for node in nodes]


# Couplings


def _given(network: Network, count: int, conditions: Conditions) -> Network:
    """Turn a network of `count` numbers and a module's conditions side by side into one of the flow's context.

    Raises:
        Refused: if it takes another count of numbers.
    """
    select = conditions.select
    if not len(select):
        return network
    both = block_diag(np.eye(count), select)
    return networks.fixed(networks.before(network, both, np.zeros(len(both))), conditions.fixed, count)


def _joint(subnet: Foreign, count: int, factor: float, of_shift: float = 1.0) -> Network:
    """Return the network whose first outputs are u / factor and whose last are t / of_shift, as t, then u."""
    one, none = np.eye(count), np.zeros((count, count))
    return networks.after(networks.read(subnet), np.block([[none, of_shift * one], [factor * one, none]]))


def _clamp(module: Foreign, *, centred: bool = False) -> tuple[ScaleMap, float]:
    """Return the scale that a coupling's clamp makes, and what its network's u is multiplied by before.

    Raises:
        Refused: if the clamp is a function of the user's own.
    """
    probes = torch.tensor([-50.0, -0.7, 1.3], dtype=torch.float64)
    own = module.f_clamp is torch.tanh or getattr(module.f_clamp, "__module__", "") == "FrEIA.modules.coupling_layers"
    for kind, offset, factor, clamp in _CLAMPS:
        if own and torch.allclose(module.f_clamp(probes), clamp(probes), rtol=0.0, atol=1e-12):
            return ScaleMap(f"centred-{kind}" if centred else kind, offset * float(module.clamp)), factor
    raise Refused(
        "its clamp is a function of your own, whose formula is not known; ATAN, TANH and SIGMOID are supported"
    )


#: The scale map, what the clamp is multiplied by there, what the network's u is multiplied by, and FrEIA's function.
_CLAMPS: tuple[tuple[str, float, float, Callable[[Tensor], Tensor]], ...] = (
    ("atan", 0.636, 1.0, lambda u: 0.636 * torch.atan(u)),
    ("tanh", 1.0, 1.0, torch.tanh),
    ("tanh", 1.0, 0.5, lambda u: torch.tanh(u / 2)),  # 2 (sigmoid(u) - 1/2)
)


def _sides(module: Foreign) -> tuple[Indices, Indices]:
    columns = np.arange(module.channels)
    return columns[: module.split_len1], columns[module.split_len1 :]


def _two_sided(module: Foreign, conditions: Conditions, *, centred: bool = False) -> Layers:
    """Read a block that changes its left columns by the right ones, then the right ones by the left ones."""
    left, right = _sides(module)
    scale, factor = _clamp(module, centred=centred)
    found: Layers = ()
    for inputs, changed, subnet in ((right, left, module.subnet2), (left, right, module.subnet1)):
        network = _given(_joint(subnet, len(changed), factor), len(inputs), conditions)
        found += coupling(inputs, changed, network, scale)
    return found


def _volume_preserving(module: Foreign, conditions: Conditions) -> Layers:
    return _two_sided(module, conditions, centred=True)


def _apart(module: Foreign, conditions: Conditions) -> Layers:
    """Read the same block with networks of their own for s and t: a layer that scales, then one that shifts."""
    left, right = _sides(module)
    scale, factor = _clamp(module)
    found: Layers = ()
    for inputs, changed, of_scale, of_shift in (
        (right, left, module.subnet_s2, module.subnet_t2),
        (left, right, module.subnet_s1, module.subnet_t1),
    ):
        one = np.eye(len(changed))
        scaling = networks.after(networks.read(of_scale), np.concatenate([np.zeros_like(one), factor * one]))
        found += coupling(inputs, changed, _given(scaling, len(inputs), conditions), scale)
        shifting = _given(networks.read(of_shift), len(inputs), conditions)
        found += coupling(inputs, changed, shifting, ScaleMap("none"))
    return found


def _additive(module: Foreign, conditions: Conditions) -> Layers:
    left, right = _sides(module)
    found: Layers = ()
    for inputs, changed, subnet in ((right, left, module.F), (left, right, module.G)):
        network = _given(networks.read(subnet), len(inputs), conditions)
        found += coupling(inputs, changed, network, ScaleMap("none"))
    return found


def _one_sided(module: Foreign, conditions: Conditions) -> Layers:
    left, right = _sides(module)
    scale, factor = _clamp(module)
    return coupling(left, right, _given(_joint(module.subnet, len(right), factor), len(left), conditions), scale)


def _of_conditions(module: Foreign, conditions: Conditions) -> Layers:
    """Read an affine layer whose numbers depend on the conditions alone."""
    scale, factor = _clamp(module)
    network, select = _joint(module.subnet, module.channels, factor), conditions.select
    layer = conditional(networks.before(network, select, np.zeros(len(select))), scale)
    if conditions.fixed is None:
        return (layer,)
    affine = layer.given(array(conditions.fixed))
    return (Affine(affine.scale[0], affine.shift[0]),)


def _all_in_one(module: Foreign, conditions: Conditions) -> Layers:
    """Read a coupling of the last columns, a scale and a shift, and a permutation, whose inverse may come first.

    The block multiplies what its network gives by 0.1, the shifts too. With `gin_block` it has no global scale.
    """
    matrix = _rotation(module)
    columns = np.arange(module.in_channels)
    kept, changed = np.split(columns, [module.splits[0]])
    network = _given(_joint(module.subnet, len(changed), 0.1, 0.1), len(kept), conditions)
    coupled = coupling(kept, changed, network, ScaleMap("centred-tanh" if module.GIN else "tanh", float(module.clamp)))
    scale = np.ones(1) if module.GIN else row(module.global_scale_activation(module.global_scale))
    before = _product(matrix.T) if module.reverse_pre_permute else ()
    return (*before, *coupled, Affine(scale, row(module.global_offset)), *_product(matrix))


def _rotation(module: Foreign) -> Array:
    """Return the matrix W of y = W x at the end of an `AllInOneBlock`."""
    if module.householder:
        _made_orthogonal(module.w_0)
        return array(module._construct_householder_permutation())
    _made_orthogonal(module.w_perm)
    if not torch.allclose(module.w_perm_inv, module.w_perm.T, rtol=0.0, atol=_rounding(module.w_perm)):
        raise Refused("its matrix w_perm_inv is not the inverse of its w_perm")
    module.w_perm_inv.copy_(module.w_perm.T)
    return array(module.w_perm)


# Linear layers


def _made_orthogonal(matrix: Tensor) -> None:
    """Turn a twin's matrix that float32 rounded into the nearest orthogonal one.

    FrEIA takes the transpose for its inverse, and 0 for its log-determinant: both are off by that rounding, 1e-7.

    Raises:
        Refused: if it is further from an orthogonal matrix.
    """
    gap = float((matrix.T @ matrix - torch.eye(len(matrix), dtype=torch.float64)).abs().max())
    if not gap <= _rounding(matrix):
        raise Refused(
            f"its matrix is {gap:.1e} off an orthogonal one, and FrEIA's inverse and log-determinant take it for one"
        )
    if gap > _rounding(matrix, 2.0**-53):
        left, _, right = torch.linalg.svd(matrix)
        matrix.copy_(left @ right)


def _rounding(matrix: Tensor, unit: float = 2.0**-24) -> float:
    """Return how far from orthogonal a product of rotations may be that was rounded: 4 units per column."""
    return 4 * len(matrix) * unit


def _product(matrix: Array) -> Layers:
    """Return the layers of y = W x with an orthogonal W, which may be a permutation."""
    if ((matrix == 0) | (matrix == 1)).all():
        return (Permutation(matrix.argmax(axis=1).astype(np.int64)),)
    return matrices.linear(matrix, np.zeros(len(matrix)))


def _fixed_linear(module: Foreign, conditions: Conditions) -> Layers:
    """Read y = x M + b; FrEIA computed the inverse and the log-determinant in the dtype of M when it was built."""
    module.M_inv.copy_(torch.linalg.inv(module.M))
    module.logDetM.copy_(torch.linalg.slogdet(module.M)[1])
    matrix = array(module.M).T
    return matrices.linear(matrix, np.broadcast_to(row(module.b), len(matrix)).copy())


def _householder(module: Foreign, conditions: Conditions) -> Layers:
    if module.conditional:
        raise Refused("its reflections are a condition; those that it holds itself are supported")
    if module.fixed:
        _made_orthogonal(module.W)
    (rows,), _ = module((torch.eye(module.width, dtype=torch.float64),))
    return _product(array(rows).T)


def _orthogonal(module: Foreign, conditions: Conditions) -> Layers:
    """Read y = (x W + b) e^l, whose W training leaves orthogonal at intervals only."""
    _made_orthogonal(module.weights)
    log_scale = module._log_e(module.scaling)
    return (*matrices.linear(array(module.weights).T, row(module.bias)), Affine(row(log_scale.exp()), np.zeros(1)))


def _permutation(module: Foreign, conditions: Conditions) -> Layers:
    return (Permutation(module.perm.numpy().astype(np.int64)),)


def _act_norm(module: Foreign, conditions: Conditions) -> Layers:
    if getattr(module, "init_on_next_batch", False):
        raise Refused("it was never initialised: its numbers would come from the first rows that it sees")
    return (Affine(row(module.scale.exp()), row(module.bias)),)


def _elementwise(module: Foreign, conditions: Conditions) -> Layers:
    return (Affine(row(module.s.exp()), np.zeros(1)),)


def _iterated(module: Foreign, conditions: Conditions) -> Layers:
    raise Refused("its inverse is an iteration, and its log-determinant an estimate by random numbers")


_IMAGES = (
    "flows of rows are supported; images need layers for convolutions, for moving pixels to channels, and for splits "
    "over channels"
)
_CHAIN = "chains of nodes are supported, from one InputNode to one OutputNode, without Split and Concat"
_SEQUENCES = ("FrEIA.SequenceINN",)
_GRAPHS = ("FrEIA.GraphINN", "FrEIA.ReversibleGraphNet")
_LAYERS: Mapping[str, Callable[[Foreign, Conditions], Layers]] = {
    "FrEIA.AllInOneBlock": _all_in_one,
    "FrEIA.GLOWCouplingBlock": _two_sided,
    "FrEIA.GINCouplingBlock": _volume_preserving,
    "FrEIA.RNVPCouplingBlock": _apart,
    "FrEIA.NICECouplingBlock": _additive,
    "FrEIA.AffineCouplingOneSided": _one_sided,
    "FrEIA.ConditionalAffineTransform": _of_conditions,
    "FrEIA.PermuteRandom": _permutation,
    "FrEIA.FixedLinearTransform": _fixed_linear,
    "FrEIA.HouseholderPerm": _householder,
    "FrEIA.OrthogonalTransform": _orthogonal,
    "FrEIA.ActNorm": _act_norm,
    "FrEIA.LearnedElementwiseScaling": _elementwise,
    "FrEIA.InvertibleSigmoid": lambda module, conditions: (Sigmoid(),),
    "FrEIA.IResNetLayer": _iterated,
}
