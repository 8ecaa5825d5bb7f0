"""normflows (VincentStimper/normalizing-flows): its forward direction is latent to data, so it is read in reverse."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lunet_export.importers import bases, contexts, matrices, networks
from lunet_export.importers.autoregressive import conditional_base, coupling, interleaved
from lunet_export.importers.classes import first_known
from lunet_export.importers.contexts import repeated
from lunet_export.importers.nflows import fixed_splines, lu_linear, masked_splines, spline_coupling
from lunet_export.importers.parts import Foreign, Layers, Part, Reading, Refused, inverted_parts
from lunet_export.importers.twin import array, row
from lunet_export.importers.walk import Table, leaf
from lunet_export.layers import (
    LU,
    Affine,
    AffineAutoregressive,
    Inverse,
    Layer,
    Permutation,
    ScaleMap,
    Sigmoid,
    inverted,
)


def read(flow: Foreign, context: Tensor | None) -> Reading:
    """Read a `NormalizingFlow`, a `ConditionalNormalizingFlow`, or one of their layers, whose inverse starts at data.

    Args:
        flow: Twin of the object in float64.
        context: Context that the flow is fixed to, (1, C); None leaves it an input.
    """

    def given(rows: Tensor, of_rows: Tensor | None) -> dict[str, Tensor]:
        found = repeated(context if of_rows is None else of_rows, rows)
        return {} if found is None else {"context": found}

    kind = first_known(flow, _FLOWS)
    if kind is None:
        transform = inverted_parts(_walk(flow, "", context))
        return Reading(
            transform=transform,
            base=None,
            dim=None,
            given=contexts.given(transform),
            forward=lambda x, c: _sums(flow.inverse(x.clone(), **given(x, c)), x),
            inverse=lambda z, c: flow.forward(z.clone(), **given(z, c))[0],
            log_prob=None,
        )
    _settle(flow.q0)
    inside = [_walk(layer, f"flows.{i}", context) for i, layer in enumerate(flow.flows)]
    parts = [*inverted_parts([part for parts in inside for part in parts]), leaf(flow.q0, "q0", _BASES, context)]
    if kind == "normflows.NormalizingFlow":  # it has no context for its layers
        parts = [*contexts.needed(parts)]
    return Reading(
        transform=tuple(parts[:-1]),
        base=parts[-1],
        dim=_dim(flow.q0),
        given=contexts.given(parts),
        forward=lambda x, c: flow.inverse_and_log_det(x.clone(), **given(x, c)),
        inverse=lambda z, c: flow.forward(z.clone(), **given(z, c)),
        log_prob=lambda x, c: flow.log_prob(x.clone(), **given(x, c)),
    )


def _settle(base: Foreign) -> None:
    """Compute a logarithm again in float64: normflows stores it in the dtype in which the object was built."""
    if first_known(base, ("normflows.Uniform",)):
        base.log_prob_val = -float(base.d) * torch.log(base.high - base.low)


def _sums(answer: tuple[Tensor, Foreign], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return z and one log-determinant per row; some layers give one for all rows."""
    z, log_det = answer
    return z, torch.as_tensor(log_det).expand(len(x))


def _dim(base: Foreign) -> int | None:
    shape = getattr(base, "shape", ())
    return int(shape[0]) if isinstance(shape, tuple) and len(shape) == 1 else None


def _walk(module: Foreign, path: str, context: Tensor | None) -> tuple[Part, ...]:
    """Return the layers of a flow from latent to data."""
    dot, kind = f"{path}." if path else "", first_known(module, ("normflows.Composite", "normflows.Reverse"))
    if kind == "normflows.Composite":
        inside = [_walk(layer, f"{dot}_flows.{i}", context) for i, layer in enumerate(module._flows)]
        return tuple(part for parts in inside for part in parts)
    if kind == "normflows.Reverse":
        return inverted_parts(_walk(module.flow, f"{dot}flow", context))
    return (leaf(module, path, _LAYERS, context),)


def _lu_permute(module: Foreign, context: Tensor | None) -> Layers:
    """Read a layer that is, starting at data, a permutation and then y = L (U x) + b."""
    order = Permutation(module.permutation._permutation.numpy().astype(np.int64))
    return inverted((order, *lu_linear(module.linear)))


def _permute(module: Foreign, context: Tensor | None) -> Layers:
    if module.mode == "shuffle":
        return (Permutation(module.perm.numpy().astype(np.int64)),)
    if module.mode == "swap":
        return (Permutation(np.roll(np.arange(module.num_channels), -(module.num_channels // 2))),)
    raise Refused(f"its mode is {module.mode}")


def _invertible_affine(module: Foreign, context: Tensor | None) -> Layers:
    """Read x W of data rows, with W = P L U: U^T (L^T (P^T x)) of columns, whose factors are taken as they are."""
    if not module.use_lu:
        matrix = array(module.W).T
        return inverted(matrices.linear(matrix, np.zeros(len(matrix))))
    places = array(module.P)
    diagonal = array(module.sign_S * torch.exp(module.log_S))
    lower = np.tril(array(module.L), -1) + np.eye(len(diagonal))
    upper = np.triu(array(module.U), 1) + np.diag(diagonal)
    order = Permutation(places.argmax(axis=0).astype(np.int64))
    block = LU(np.ascontiguousarray(upper.T), np.ascontiguousarray(lower.T), np.zeros(len(diagonal)))
    return inverted((order, block))


def _affine_const(module: Foreign, context: Tensor | None) -> Layers:
    if module.s.ndim != 2:
        raise Refused(f"its numbers have the shape {tuple(module.s.shape[1:])}, not a row's")
    return (Affine(row(torch.exp(module.s)), row(module.t)),)


def _act_norm(module: Foreign, context: Tensor | None) -> Layers:
    if not float(module.data_dep_init_done) > 0:
        raise Refused("it was never initialised: its numbers would come from the first rows that it sees")
    return _affine_const(module, context)


def _masked_autoregressive(module: Foreign, context: Tensor | None) -> Layers:
    network = interleaved(networks.read(module.autoregressive_net, context), shift=1)
    columns = np.arange(module.features)
    return (AffineAutoregressive(len(columns), columns, columns, network, ScaleMap("sigmoid", 2.0, 1e-3)),)


def _masked_affine(module: Foreign, context: Tensor | None) -> Layers:
    """Read x e^s + t: two networks of the same columns, and so two layers, one after the other."""
    mask = row(module.b)
    if module.b.ndim != 2 or not np.isin(mask, (0.0, 1.0)).all():
        raise Refused("its mask is not a row of zeros and ones")
    inputs, changed = np.flatnonzero(mask == 1), np.flatnonzero(mask == 0)
    select = np.eye(len(mask))
    into, out = select[:, inputs], select[changed]
    found: list[Layer] = []
    for name, scale in (("s", ScaleMap("exp")), ("t", ScaleMap("none"))):
        module_or_zeros = getattr(module, name)
        if module_or_zeros is torch.zeros_like:
            continue
        network = networks.before(networks.read(module_or_zeros), into, np.zeros(len(mask)))
        rows = np.vstack([np.zeros_like(out), out]) if name == "s" else out
        found += coupling(inputs, changed, networks.after(network, rows), scale)
    return tuple(found)


def _coupling_block(module: Foreign, context: Tensor | None) -> Layers:
    split, inner, _ = module.flows
    network = networks.read(inner.param_map)
    count = networks.leaving(network) // (2 if inner.scale else 1)
    inputs, changed = _halves(split.mode, networks.entering(network), count)
    if not inner.scale:
        return coupling(inputs, changed, network, ScaleMap("none"))
    if inner.scale_map not in _SCALES:
        raise Refused(f"its scale map is {inner.scale_map}")
    return coupling(inputs, changed, interleaved(network, shift=0), _SCALES[inner.scale_map])


_SCALES = {
    "exp": ScaleMap("exp"),
    "sigmoid": ScaleMap("reciprocal-sigmoid", 2.0),
    "sigmoid_inv": ScaleMap("sigmoid", 2.0),
}


def _halves(mode: str, kept: int, changed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    columns = np.arange(kept + changed)
    if mode == "channel":
        return columns[:kept], columns[kept:]
    if mode == "channel_inv":
        return columns[changed:], columns[:changed]
    if mode == "checkerboard":
        return columns[1::2], columns[::2]
    if mode == "checkerboard_inv":
        return columns[::2], columns[1::2]
    raise Refused(f"its split mode is {mode}")


def _coupled_splines(module: Foreign, context: Tensor | None) -> Layers:
    """Read a wrapper whose inner layer goes from data to latent."""
    return inverted(spline_coupling(module.prqct, context))


def _masked_splines(module: Foreign, context: Tensor | None) -> Layers:
    return inverted(masked_splines(module.mprqat, context))


def _logit(module: Foreign, context: Tensor | None) -> Layers:
    """Read a layer that is, starting at data, logit(alpha + (1 - 2 alpha) x)."""
    alpha = float(module.alpha)
    return (Sigmoid(), Inverse(Affine(np.array([1 - 2 * alpha]), np.array([alpha]))))


def _shift(module: Foreign, context: Tensor | None) -> Layers:
    return (Inverse(Affine(np.ones(1), row(module.shift))),)


def _diagonal(base: Foreign, context: Tensor | None) -> Layers:
    if len(base.shape) != 1:
        raise Refused(f"its shape is {tuple(base.shape)}, not a row's")
    loc, log_scale = row(base.loc), row(base.log_scale)
    if base.temperature is not None:
        log_scale = log_scale + np.log(base.temperature)
    if not loc.any() and not log_scale.any():
        return ()
    return (Affine(np.exp(-log_scale), -loc * np.exp(-log_scale)),)


def _uniform(base: Foreign, context: Tensor | None) -> Layers:
    if len(base.shape) != 1:
        raise Refused(f"its shape is {tuple(base.shape)}, not a row's")
    return bases.uniform(row(base.low), row(base.high))


def _uniform_and_normal(base: Foreign, context: Tensor | None) -> Layers:
    """Read columns that are uniform on (-scale / 2, scale / 2), and others that are normal."""
    scale, columns = row(base.scale), np.zeros(base.ndim, np.bool_)
    columns[base.ind.numpy()] = True
    if not columns.any():
        return bases.diagonal(np.zeros_like(scale), scale)
    low = np.where(columns, -0.5 * scale, 0.0)
    return bases.uniform(low, low + scale, columns)


def _mixture(base: Foreign, context: Tensor | None) -> Layers:
    raise Refused("it is a mixture of normal distributions, which no layer makes one normal distribution")


def _conditional_diagonal(base: Foreign, context: Tensor | None) -> Layers:
    if len(base.shape) != 1:
        raise Refused(f"its shape is {tuple(base.shape)}, not a row's")
    if context is None:
        return conditional_base(base.context_encoder)
    loc, log_scale = np.split(row(base.context_encoder(context)), 2)
    return (Affine(np.exp(-log_scale), -loc * np.exp(-log_scale)),)


_FLOWS = ("normflows.ConditionalNormalizingFlow", "normflows.NormalizingFlow")
_LAYERS: Table = {
    "normflows.LULinearPermute": _lu_permute,
    "normflows.Permute": _permute,
    "normflows.InvertibleAffine": _invertible_affine,
    "normflows.AffineConstFlow": _affine_const,
    "normflows.ActNorm": _act_norm,
    "normflows.MaskedAffineAutoregressive": _masked_autoregressive,
    "normflows.MaskedAffineFlow": _masked_affine,
    "normflows.AffineCouplingBlock": _coupling_block,
    "normflows.PiecewiseRationalQuadraticCoupling": spline_coupling,
    "normflows.MaskedPiecewiseRationalQuadraticAutoregressive": masked_splines,
    "normflows.PiecewiseRationalQuadraticCDF": fixed_splines,
    "normflows.CoupledRationalQuadraticSpline": _coupled_splines,
    "normflows.CircularCoupledRationalQuadraticSpline": _coupled_splines,
    "normflows.AutoregressiveRationalQuadraticSpline": _masked_splines,
    "normflows.CircularAutoregressiveRationalQuadraticSpline": _masked_splines,
    "normflows.Logit": _logit,
    "normflows.Shift": _shift,
}
_BASES: Table = {
    "normflows.DiagGaussian": _diagonal,
    "normflows.ConditionalDiagGaussian": _conditional_diagonal,
    "normflows.Uniform": _uniform,
    "normflows.UniformGaussian": _uniform_and_normal,
    "normflows.GaussianMixture": _mixture,
}
