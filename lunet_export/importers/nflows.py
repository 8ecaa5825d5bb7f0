"""nflows (bayesiains/nflows): data to latent is its forward direction."""

import math
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lunet_export.errors import BadInputError
from lunet_export.importers import bases, contexts, matrices, networks, splines
from lunet_export.importers.autoregressive import conditional_base, coupling, interleaved
from lunet_export.importers.classes import first_known
from lunet_export.importers.contexts import repeated
from lunet_export.importers.parts import Foreign, Layers, Part, Reading, Refused, inverted_parts
from lunet_export.importers.twin import array, row
from lunet_export.importers.walk import Reader, Table, leaf
from lunet_export.layers import (
    LU,
    Affine,
    AffineAutoregressive,
    LeakyReLU,
    LogTanh,
    Permutation,
    ScaleMap,
    Sigmoid,
    Tanh,
)
from lunet_export.layers.networks import Network


def read(flow: Foreign, context: Tensor | None, *, width: int | None = None) -> Reading:
    """Read a `Flow` or a `Transform`.

    Args:
        flow: Twin of the object in float64.
        context: Context that the flow is fixed to, (1, ...), before any embedding; None leaves it an input.
        width: Number of dimensions of a context, if something besides the flow tells it.
    """
    _settle(flow)
    kind = first_known(flow, ("nflows.Flow", "glasflow.Flow"))
    if kind is None:
        transform = _walk(flow, "", context)
        return Reading(
            transform=transform,
            base=None,
            dim=None,
            given=contexts.given(transform, None, width),
            forward=lambda x, c: flow.forward(x, repeated(context if c is None else c, x)),
            inverse=lambda z, c: flow.inverse(z, repeated(context if c is None else c, z))[0],
            log_prob=None,
        )
    inner, base = flow._transform, flow._distribution
    if kind == "glasflow.Flow":  # it has no embedding, and another name for a context
        flow = _as_of_nflows(flow)
    embedded = None if context is None else embedding(flow._embedding_net, context)
    shape = tuple(getattr(base, "_shape", ()))
    transform = _walk(inner, "_transform", embedded)
    as_part = leaf(base, "_distribution", _BASES, embedded)

    def seen(rows: Tensor, given: Tensor | None) -> Tensor | None:
        return repeated(embedded if given is None else flow._embedding_net(given), rows)

    return Reading(
        transform=transform,
        base=as_part,
        dim=shape[0] if len(shape) == 1 else None,
        given=contexts.given([*transform, as_part], ("_embedding_net", flow._embedding_net), width),
        forward=lambda x, c: inner.forward(x, seen(x, c)),
        inverse=lambda z, c: inner.inverse(z, seen(z, c))[0],
        log_prob=lambda x, c: flow.log_prob(x, repeated(context if c is None else c, x)),
    )


def _as_of_nflows(flow: Foreign) -> Foreign:
    """Return a flow of glasflow with the names of nflows'."""
    return SimpleNamespace(
        _transform=flow._transform,
        _distribution=flow._distribution,
        _embedding_net=nn.Identity(),
        log_prob=lambda x, context: flow.log_prob(x, conditional=context),
    )


def embedding(network: Foreign, context: Tensor) -> Tensor:
    """Return what a network makes of a context.

    Raises:
        BadInputError: if the network does not take it.
    """
    try:
        return network(context)
    except (RuntimeError, ValueError, IndexError) as error:
        said = str(error).splitlines()[0][:100]
        raise BadInputError(
            f"Expected a context that the flow's embedding takes; got one of shape {tuple(context.shape)}: {said}."
        ) from None


def _settle(flow: Foreign) -> None:
    """Compute two logarithms again in float64: nflows stores them in the dtype in which the object was built."""
    for module in flow.modules():
        if hasattr(module, "_log_z"):
            module._log_z = torch.tensor(0.5 * math.prod(module._shape) * math.log(2 * math.pi), dtype=torch.float64)
        if first_known(module, ("nflows.LeakyReLU",)):
            module.log_negative_slope = torch.tensor(math.log(module.negative_slope), dtype=torch.float64)


def _walk(module: Foreign, path: str, context: Tensor | None) -> tuple[Part, ...]:
    kind = first_known(module, ("nflows.CompositeTransform", "nflows.InverseTransform"))
    dot = f"{path}." if path else ""
    if kind == "nflows.CompositeTransform":
        inside = [_walk(layer, f"{dot}_transforms.{i}", context) for i, layer in enumerate(module._transforms)]
        return tuple(part for parts in inside for part in parts)
    if kind == "nflows.InverseTransform":
        return inverted_parts(_walk(module._transform, f"{dot}_transform", context))
    return (leaf(module, path, _LAYERS, context),)


def lu_linear(module: Foreign, context: Tensor | None = None) -> Layers:
    """Read y = L (U x) + b; L has ones, U softplus(.) + eps on its diagonal. normflows' `_LULinear` is the same."""
    lower, upper = np.eye(module.features), np.zeros((module.features, module.features))
    lower[np.tril_indices(module.features, -1)] = array(module.lower_entries)
    upper[np.triu_indices(module.features, 1)] = array(module.upper_entries)
    np.fill_diagonal(upper, array(functional.softplus(module.unconstrained_upper_diag) + module.eps))
    return (LU(lower, upper, array(module.bias)),)


def _matrix(module: Foreign, context: Tensor | None) -> Layers:
    """Read y = W x + b of `NaiveLinear`, `QRLinear` and `SVDLinear` from what the layer does to the unit vectors."""
    bias = array(module.bias)
    columns, _ = module.forward_no_cache(torch.eye(len(bias), dtype=torch.float64))
    return matrices.linear((array(columns) - bias).T, bias)


def _householder(module: Foreign, context: Tensor | None) -> Layers:
    columns, _ = module(torch.eye(module.features, dtype=torch.float64))
    return matrices.linear(array(columns).T, np.zeros(module.features))


def _permutation(module: Foreign, context: Tensor | None) -> Layers:
    if module._dim != 1:
        raise Refused(f"it permutes dimension {module._dim} of tensors, not the columns of rows")
    return (Permutation(module._permutation.numpy().astype(np.int64)),)


def _act_norm(module: Foreign, context: Tensor | None) -> Layers:
    return (Affine(row(module.log_scale.exp()), row(module.shift)),)


def _batch_norm(module: Foreign, context: Tensor | None) -> Layers:
    scale = row(module.weight / torch.sqrt(module.running_var + module.eps))
    return (Affine(scale, row(module.bias) - row(module.running_mean) * scale),)


def _pointwise(module: Foreign, context: Tensor | None) -> Layers:
    return (Affine(row(module._scale), row(module._shift)),)


def _sigmoid(module: Foreign, context: Tensor | None) -> Layers:
    return (Affine(row(module.temperature), np.zeros(1)), Sigmoid(float(module.eps)))


def _leaky_relu(module: Foreign, context: Tensor | None) -> Layers:
    return (LeakyReLU(float(module.negative_slope)),)


def _log_tanh(module: Foreign, context: Tensor | None) -> Layers:
    return (LogTanh(float(module.cut_point), float(module.alpha)),)


def _masked_affine(module: Foreign, context: Tensor | None) -> Layers:
    """Read MAF's layer (arXiv 1705.07057), whose network gives u and t of a column side by side."""
    network = interleaved(networks.read(module.autoregressive_net, context), shift=1)
    columns = np.arange(module.features)
    network, scale = _scaled(module, network, ScaleMap("softplus", 0.0, module._epsilon))
    return (AffineAutoregressive(len(columns), columns, columns, network, scale),)


def _coupling(scale: ScaleMap) -> Reader:
    def layers(module: Foreign, context: Tensor | None) -> Layers:
        if module.unconditional_transform is not None:
            raise Refused("it changes the columns that the others depend on too")
        inputs, changed = (ids.numpy() for ids in (module.identity_features, module.transform_features))
        return coupling(inputs, changed, *_scaled(module, networks.read(module.transform_net, context), scale))

    return layers


def _scaled(module: Foreign, network: Network, usual: ScaleMap) -> tuple[Network, ScaleMap]:
    """Return the network and the scale that a module makes of its numbers u; nflows' own scale is the usual one.

    glasflow's copy of nflows takes any function for it, and has names for some. One of them is of u / 2.

    Raises:
        Refused: if it is none of these.
    """
    if usual.kind == "none" or not hasattr(module, "scale_activation"):
        return network, usual
    probes = torch.linspace(-6.0, 6.0, 25, dtype=torch.float64)
    most = float(module.scale_activation(torch.tensor(100.0, dtype=torch.float64)).log())
    known = {usual: 1.0, ScaleMap("clipped-softplus", 3.0, 1e-3): 1.0, ScaleMap("tanh", most): 0.5}
    theirs = row(module.scale_activation(probes).log())
    for scale, part in known.items():
        if np.allclose(scale.log(part * row(probes)), theirs, rtol=1e-12, atol=1e-12):
            halves = np.repeat([1.0, part], networks.leaving(network) // 2)
            return network if part == 1 else networks.after(network, np.diag(halves)), scale
    raise Refused("its scale activation is none of nflows' and glasflow's own")


def spline_coupling(module: Foreign, context: Tensor | None) -> Layers:
    """Read a rational-quadratic coupling, and the splines of its other columns if it has any, which come behind it.

    normflows' coupling is the same, with tails and bounds per column.
    """
    inputs, changed = (ids.numpy() for ids in (module.identity_features, module.transform_features))
    if not len(changed):
        raise Refused("it changes no column")
    dim, known = len(inputs) + len(changed), splines.described(module, module.tails, module.tail_bound, len(changed))
    network = networks.read(module.transform_net, context)
    found = known.layers(dim, inputs, changed, network, splines.divisor_of(module.transform_net))
    other = module.unconditional_transform
    if other is None:
        return found
    behind = splines.described(other, other.tails, other.tail_bound, len(inputs))
    return (*found, *behind.fixed(dim, inputs, splines.numbers_of(other)))


def masked_splines(module: Foreign, context: Tensor | None) -> Layers:
    """Read a rational-quadratic masked autoregressive layer, of nflows or normflows."""
    network = networks.read(module.autoregressive_net, context)
    per_column = module._output_dim_multiplier()
    columns = np.arange(networks.leaving(network) // per_column)
    known = splines.described(module, module.tails, module.tail_bound, len(columns))
    return known.layers(len(columns), columns, columns, network, splines.divisor_of(module.autoregressive_net))


def fixed_splines(module: Foreign, context: Tensor | None) -> Layers:
    numbers = splines.numbers_of(module)
    if numbers.ndim != 2:
        raise Refused(f"its numbers have the shape {numbers.shape}, not a row's")
    known = splines.described(module, module.tails, module.tail_bound, len(numbers))
    return known.fixed(len(numbers), np.arange(len(numbers)), numbers)


def _standard(base: Foreign, context: Tensor | None) -> Layers:
    if len(base._shape) != 1:
        raise Refused(f"its shape is {tuple(base._shape)}, not a row's")
    return ()


def _diagonal(base: Foreign, context: Tensor | None) -> Layers:
    return _standard(base, context) + _standardised(base.mean_, base.log_std_)


def _conditional(base: Foreign, context: Tensor | None) -> Layers:
    if context is None:
        return _standard(base, context) + conditional_base(base._context_encoder)
    return _standard(base, context) + _standardised(*base._compute_params(context))


def _standardised(mean: Tensor, log_std: Tensor) -> Layers:
    scale = row(torch.exp(-log_std))
    return (Affine(scale, -row(mean) * scale),)


def _refused(why: str) -> Reader:
    def layers(base: Foreign, context: Tensor | None) -> Layers:
        raise Refused(why)

    return layers


_LAYERS: Table = {
    "nflows.LULinear": lu_linear,
    "nflows.NaiveLinear": _matrix,
    "nflows.QRLinear": _matrix,
    "nflows.SVDLinear": _matrix,
    "nflows.HouseholderSequence": _householder,
    "nflows.Permutation": _permutation,
    "nflows.ActNorm": _act_norm,
    "nflows.BatchNorm": _batch_norm,
    "nflows.PointwiseAffineTransform": _pointwise,
    "nflows.IdentityTransform": lambda module, context: (),
    "nflows.LeakyReLU": _leaky_relu,
    "nflows.Sigmoid": _sigmoid,
    "nflows.Tanh": lambda module, context: (Tanh(),),
    "nflows.LogTanh": _log_tanh,
    "nflows.MaskedAffineAutoregressiveTransform": _masked_affine,
    "nflows.AffineCouplingTransform": _coupling(ScaleMap("sigmoid", 2.0, 1e-3)),
    "nflows.AdditiveCouplingTransform": _coupling(ScaleMap("none")),
    "nflows.PiecewiseRationalQuadraticCouplingTransform": spline_coupling,
    "nflows.MaskedPiecewiseRationalQuadraticAutoregressiveTransform": masked_splines,
    "nflows.PiecewiseRationalQuadraticCDF": fixed_splines,
}
_BASES: Table = {
    "nflows.StandardNormal": _standard,
    "nflows.DiagonalNormal": _diagonal,
    "nflows.ConditionalDiagonalNormal": _conditional,
    "glasflow.MultivariateUniform": lambda base, context: bases.uniform(row(base.low), row(base.high)),
    "nflows.BoxUniform": bases.OF_TORCH["nflows.BoxUniform"],
    "nflows.MG1Uniform": _refused("it is uniform on a skewed box, not on one along the columns"),
    "nflows.LotkaVolterraOscillating": _refused("it is a normal distribution that is cut off at the sides of a box"),
}
