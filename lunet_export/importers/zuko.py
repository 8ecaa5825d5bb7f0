"""zuko (probabilists/zuko), and PyTorch's transforms: data to latent is the direction of a call."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import ComposeTransform

from lunet_export.importers import bases, contexts, matrices, networks, splines, torch_transforms
from lunet_export.importers.autoregressive import conditional, coupling, interleaved
from lunet_export.importers.classes import first_known, names
from lunet_export.importers.parts import Foreign, Given, Layers, Part, Reading, Refused, inverted_parts
from lunet_export.importers.torch_transforms import affine
from lunet_export.importers.twin import array
from lunet_export.importers.walk import Table, leaf
from lunet_export.layers import (
    LU,
    AffineAutoregressive,
    Permutation,
    RationalQuadratic,
    ScaleMap,
    Softclip,
    SplineAutoregressive,
)
from lunet_export.layers.networks import Dense, Network

Indices = NDArray[np.int64]

_FLOWS = ("zuko.Flow", "zuko.NormalizingFlow", "torch.TransformedDistribution")


def read(
    flow: Foreign,
    context: Tensor | None,
    *,
    embedding: tuple[str, Foreign] | None = None,
    width: int | None = None,
) -> Reading:
    """Read a `Flow`, a `NormalizingFlow`, or a transform, lazy or not, of zuko or of PyTorch.

    Args:
        flow: Twin of the object in float64.
        context: Context that the flow is fixed to, (1, C), behind any embedding; None leaves it an input.
        embedding: Place and module of a network that embeds contexts before the flow gets them.
        width: Number of dimensions of a context, if something besides the flow tells it.
    """
    vector = None if context is None else context.reshape(-1)

    def seen(given: Tensor | None) -> Tensor | None:
        return vector if given is None else given if embedding is None else embedding[1](given)

    kind = first_known(flow, _FLOWS)
    if kind is None:
        transform = _of_lazy(flow, _walk(flow, "", vector))
        return Reading(
            transform=transform,
            base=None,
            dim=None,
            given=contexts.given(transform, embedding, width),
            forward=lambda x, c: _call(_built(flow, seen(c)), x),
            inverse=lambda z, c: _built(flow, seen(c)).inv(z),
            log_prob=None,
        )
    if kind == "torch.TransformedDistribution":
        return _transformed(flow)
    lazy = kind == "zuko.Flow"
    base = _base(flow.base, vector) if lazy else flow.base
    shape = () if isinstance(base, Part) else tuple(base.batch_shape) + tuple(base.event_shape)
    transform = _of_lazy(flow.transform, _walk(flow.transform, "transform", vector))
    return Reading(
        transform=transform,
        base=base if isinstance(base, Part) else leaf(base, "base", bases.OF_TORCH, None),
        dim=int(shape[0]) if len(shape) == 1 else None,
        given=contexts.given(transform, embedding, width),
        forward=lambda x, c: _call(_built(flow.transform, seen(c)), x),
        inverse=lambda z, c: _built(flow.transform, seen(c)).inv(z),
        log_prob=lambda x, c: (flow(seen(c)) if lazy else flow).log_prob(x),
    )


def _transformed(flow: Foreign) -> Reading:
    """Read PyTorch's own distribution, whose transforms go from latent to data."""
    inside = [_walk(transform, f"transforms.{i}", None) for i, transform in enumerate(flow.transforms)]
    whole, shape = ComposeTransform(flow.transforms), tuple(flow.batch_shape) + tuple(flow.event_shape)
    return Reading(
        transform=inverted_parts([part for parts in inside for part in parts]),
        base=leaf(flow.base_dist, "base_dist", bases.OF_TORCH, None),
        dim=int(shape[0]) if len(shape) == 1 else None,
        given=Given(),
        forward=lambda x, c: _call(whole.inv, x),
        inverse=lambda z, c: whole(z),
        log_prob=lambda x, c: flow.log_prob(x),
    )


def _built(transform: Foreign, context: Tensor | None) -> Foreign:
    """Return the transform, built if it is lazy."""
    return transform(context) if _is_lazy(transform) else transform


def _of_lazy(transform: Foreign, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return the parts of a transform; one that is built gets no other context, so none of them may take one."""
    return parts if _is_lazy(transform) else contexts.needed(parts)


def _is_lazy(transform: Foreign) -> bool:
    return not {"zuko.LazyTransform", "zuko.Unconditional"}.isdisjoint(names(transform))


def _call(transform: Foreign, x: Tensor) -> tuple[Tensor, Tensor]:
    z = transform(x)
    log_det = transform.log_abs_det_jacobian(x, z)
    return z, log_det if log_det.ndim == 1 else log_det.expand(x.shape).sum(-1)


def _walk(transform: Foreign, path: str, context: Tensor | None) -> tuple[Part, ...]:
    """Follow composed transforms inwards; a lazy one that is not composed is built, and the result is read."""
    kind, dot = first_known(transform, _INSIDE), f"{path}." if path else ""
    if kind is None and _is_lazy(transform):
        return _lazy(transform, path, context)
    if kind is None:
        return (leaf(transform, path, _LAYERS, None),)
    name = _INSIDE[kind]
    if name in ("transforms", "parts"):
        inside = [_walk(inner, f"{dot}{name}.{i}", context) for i, inner in enumerate(getattr(transform, name))]
        return tuple(part for parts in inside for part in parts)
    parts = _walk(getattr(transform, name), f"{dot}{name}", context)
    return inverted_parts(parts) if kind in ("zuko.LazyInverse", "torch._InverseTransform") else parts


def _lazy(transform: Foreign, path: str, context: Tensor | None) -> tuple[Part, ...]:
    where, kind = path or "the transform itself", type(transform).__name__
    if first_known(transform, _LAZY_KINDS) is None:
        return (leaf(transform, path, {}, None),)
    if context is None and first_known(transform, _OF_CONTEXT) and hasattr(transform, "hyper"):
        return (leaf(transform, path, _OF_CONTEXT, None),)
    try:
        built = transform(context)
    except _UNBUILT as error:
        return (Part(where, kind, refusal=_unbuilt(context, error)),)
    parts = _walk(built, path, context)
    if len(parts) > 1:
        return parts
    called = parts[0].kind if parts and parts[0].kind not in _OF_NETWORKS else None
    return tuple(Part(where, f"{kind} of {called}" if called else kind, p.layers, p.refusal) for p in parts)


def _base(lazy: Foreign, context: Tensor | None) -> Foreign:
    """Return the base that a lazy one builds, or why it does not."""
    try:
        return lazy(context)
    except _UNBUILT as error:
        return Part("base", type(lazy).__name__, refusal=_unbuilt(context, error))


_UNBUILT = (RuntimeError, AttributeError, AssertionError, TypeError, ValueError)


def _unbuilt(context: Tensor | None, error: Exception) -> str:
    said = (str(error).splitlines() or [type(error).__name__])[0][:100]
    if context is not None:
        return f"it cannot be built with this context: {said}"
    return f"it cannot be built without a context: {said}; give `context` to fix the flow to one"


def _lu(transform: Foreign, context: Tensor | None) -> Layers:
    """Read y = L (U x), where U has ones on its diagonal."""
    lower, upper = array(transform.L), array(transform.U)
    if lower.ndim != 2:
        raise Refused(f"its matrix has the shape {lower.shape}, not that of one matrix")
    return (LU(lower, upper, np.zeros(len(lower))),)


def _rotation(transform: Foreign, context: Tensor | None) -> Layers:
    matrix = array(transform.R)
    if matrix.ndim != 2:
        raise Refused(f"its matrix has the shape {matrix.shape}, not that of one matrix")
    return matrices.linear(matrix, np.zeros(len(matrix)))


def _permutation(transform: Foreign, context: Tensor | None) -> Layers:
    return (Permutation(transform.order.numpy().astype(np.int64)),)


def _monotonic_affine(transform: Foreign, context: Tensor | None) -> Layers:
    return (affine(transform.scale, transform.shift),)


def _additive(transform: Foreign, context: Tensor | None) -> Layers:
    return (affine(1.0, transform.shift),)


def _softclip(transform: Foreign, context: Tensor | None) -> Layers:
    return (Softclip(float(transform.bound)),)


def _autoregressive(transform: Foreign, context: Tensor | None) -> Layers:
    """Read what `MaskedAutoregressiveTransform` builds: a partial of its own method that holds the context."""
    owner, fixed = _owner(transform)
    network = networks.read(owner.hyper)
    columns = np.arange(networks.leaving(network) // owner.total)
    network = networks.fixed(network, fixed, len(columns))
    if spline := _spline_of(owner):
        return _splines(len(columns), columns, columns, network, spline)
    return (AffineAutoregressive(len(columns), columns, columns, *_ordered(network, owner)),)


def _coupling(transform: Foreign, context: Tensor | None) -> Layers:
    """Read what `GeneralCouplingTransform` builds."""
    owner, fixed = _owner(transform)
    inputs, changed = transform.idx_a.numpy(), transform.idx_b.numpy()
    network = networks.fixed(networks.read(owner.hyper), fixed, len(inputs))
    if spline := _spline_of(owner):
        return _splines(len(inputs) + len(changed), inputs, changed, network, spline)
    return coupling(inputs, changed, *_ordered(network, owner))


def _elementwise(owner: Foreign, context: Tensor | None) -> Layers:
    """Read an `ElementWiseTransform` whose numbers are those of a network of the context."""
    network = networks.read(owner.hyper)
    spline = _spline_of(owner)
    if spline is None:
        return (conditional(*_ordered(network, owner)),)
    count = networks.leaving(network)
    columns = np.arange(count // owner.total)
    behind = (Dense(np.zeros((count, 0)), np.zeros(count), network),)
    return _splines(len(columns), np.arange(0), columns, behind, spline)


def _splines(dim: int, inputs: Indices, changed: Indices, network: Network, spline: RationalQuadratic) -> Layers:
    """Return the layer whose network gives bins and inner slopes of a column; the end slopes are e^0."""
    theirs = 3 * spline.bins - 1
    sizes = splines.for_knots(np.eye(theirs)[: 2 * spline.bins], spline.bins)
    pad = np.concatenate([sizes, np.pad(np.eye(theirs)[2 * spline.bins :], ((1, 1), (0, 0)))])
    matrix = np.kron(np.eye(len(changed)), pad)
    if networks.leaving(network) != matrix.shape[1]:
        raise Refused(f"its network gives {networks.leaving(network)} numbers, not {matrix.shape[1]}")
    return (SplineAutoregressive(dim, inputs, changed, networks.after(network, matrix), spline),)


def _spline_of(owner: Foreign) -> RationalQuadratic | None:
    """Return the spline that the univariate transform makes of its numbers; None if it makes none.

    Raises:
        Refused: if it makes another spline of them.
    """
    shapes = [tuple(shape) for shape in owner.shapes]
    if [len(shape) for shape in shapes] != [1, 1, 1]:
        return None
    if not shapes[2][0]:
        raise Refused("its splines have a single bin")
    rng = np.random.default_rng(0)
    numbers = [3 * rng.standard_normal((2, *shape)) for shape in shapes]
    made = owner.univariate(*map(torch.from_numpy, numbers))
    inside = [made]
    if first_known(made, ("zuko.ComposedTransform",)) and len(made.transforms) == 2:
        inside = list(made.transforms)
    *shifts, inner = inside
    if first_known(inner, ("zuko.MonotonicRQSTransform",)) is None:
        return None
    bound = -float(inner.horizontal[0, 0])
    u, slope = numbers[2][0, 0], array(inner.derivatives)[0, 1]
    limit = _bound(owner, float(1 / abs(1 / np.log(slope) - 1 / u)))
    turn = bound if shifts and first_known(shifts[0], ("zuko.CircularShiftTransform",)) else 0.0
    bins, tails = shapes[0][0], "box" if turn else "identity"
    found = RationalQuadratic(bins, -bound, bound, tails, limit=limit, turn=turn)
    padded = [np.pad(part, ((0, 0), ends)) for part, ends in zip(numbers, _PADDED, strict=True)]
    ours = found.table(np.concatenate(padded, axis=1))
    theirs = np.stack([array(part)[:, :-1] for part in (inner.horizontal, inner.vertical, inner.derivatives)], axis=1)
    same_turn = not shifts or (turn and shifts[0].bound == bound)
    if not same_turn or not np.allclose(ours[:, 0, ::2], theirs, rtol=1e-10, atol=1e-10):
        raise Refused("its univariate transform is not the spline of these numbers that zuko's own class makes")
    return found


#: Where zeros are added to numbers of zuko's: behind widths and heights, and around the inner slopes.
_PADDED = ((0, 1), (0, 1), (1, 1))


def _knots(transform: Foreign, context: Tensor | None) -> Layers:
    """Read a spline that holds its knots."""
    knots = [np.atleast_2d(array(part)) for part in (transform.horizontal, transform.vertical, transform.derivatives)]
    spline, numbers = splines.from_knots(*knots)
    columns = np.arange(len(numbers))
    return (SplineAutoregressive(len(columns), np.arange(0), columns, splines.constant(numbers.ravel()), spline),)


def _owner(transform: Foreign) -> tuple[Foreign, Tensor | None]:
    """Return the module whose network gives the numbers of a coupling or autoregressive transform, and its context."""
    method = getattr(transform.meta, "func", None)
    owner = getattr(method, "__self__", None)
    known = ("zuko.MaskedAutoregressiveTransform", "zuko.GeneralCouplingTransform")
    if owner is None or first_known(owner, known) is None:
        raise Refused("its function is not that of a layer of zuko")
    return owner, transform.meta.args[0]


def _ordered(network: Network, owner: Foreign) -> tuple[Network, ScaleMap]:
    """Return the network with all shifts first, and the scale that the univariate transform makes of the rest.

    Raises:
        Refused: if the univariate transform is not affine with these numbers.
    """
    if owner.total == 1:
        _univariate(owner, "zuko.AdditiveTransform", torch.zeros(1))
        return network, ScaleMap("none")
    probes = torch.tensor([-3.0, 1.0, 50.0], dtype=torch.float64)
    made = _univariate(owner, "zuko.MonotonicAffineTransform", probes, probes)
    bounds = 1 / (1 / made.log_scale - 1 / probes).abs()  # log s = u / (1 + |u| / bound)
    if not torch.allclose(bounds, bounds[:1], rtol=1e-12, atol=0.0) or not torch.equal(made.shift, probes):
        raise Refused("its univariate transform is not affine in the numbers of its network")
    return interleaved(network, shift=0), ScaleMap("soft-exp", _bound(owner, float(bounds[1])))


def _univariate(owner: Foreign, wanted: str, *numbers: Tensor) -> Foreign:
    scalars = tuple(map(tuple, owner.shapes)) == ((),) * len(numbers)
    made = owner.univariate(*(numbers if scalars else map(torch.ones, owner.shapes)))
    if scalars and first_known(made, (wanted,)):
        return made
    called = type(made).__name__
    raise Refused(f"its univariate transform is {called}; affine, additive and rational-quadratic ones are supported")


def _bound(owner: Foreign, probed: float) -> float:
    """Return -log of the smallest slope: zuko's own default to the last digit, others as they were observed."""
    usual = -float(np.log(1e-3))
    return usual if abs(probed - usual) < 1e-10 else probed


_LAZY_KINDS = (
    "zuko.Unconditional",
    "zuko.UnconditionalTransform",
    "zuko.ElementWiseTransform",
    "zuko.MaskedAutoregressiveTransform",
    "zuko.GeneralCouplingTransform",
)
#: Lazy transforms whose numbers depend on the context alone.
_OF_CONTEXT: Table = {"zuko.ElementWiseTransform": _elementwise}
_OF_NETWORKS = ("AutoregressiveTransform", "CouplingTransform")
#: Transforms that consist of others, and the attribute that holds those.
_INSIDE = {
    "zuko.LazyComposedTransform": "transforms",
    "zuko.LazyInverse": "transform",
    "zuko.ComposedTransform": "transforms",
    "zuko.DependentTransform": "base",
    "torch.ComposeTransform": "parts",
    "torch.IndependentTransform": "base_transform",
    "torch._InverseTransform": "_inv",
}
_LAYERS: Table = {
    **torch_transforms.LAYERS,
    "zuko.LULinearTransform": _lu,
    "zuko.RotationTransform": _rotation,
    "zuko.PermutationTransform": _permutation,
    "zuko.IdentityTransform": lambda transform, context: (),
    "zuko.SoftclipTransform": _softclip,
    "zuko.MonotonicRQSTransform": _knots,
    "zuko.CircularShiftTransform": lambda transform, context: splines.circular_shift(float(transform.bound)),
    "zuko.MonotonicAffineTransform": _monotonic_affine,
    "zuko.AdditiveTransform": _additive,
    "zuko.AutoregressiveTransform": _autoregressive,
    "zuko.CouplingTransform": _coupling,
}
