"""Construction of test vectors: the float64 reference's answers for a flow or a mixture, and the allowed differences.

What they hold and how they are read is `lunet_export.checks.vector_file`.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.checks import reference
from lunet_export.checks.rounding import TF32, RoundingModel, of_mixture, sizes
from lunet_export.checks.vector_file import (
    DensityVectors,
    MixtureDensityVectors,
    MixtureVectors,
    SamplingVectors,
    SeamRows,
    Seams,
    Vectors,
)
from lunet_export.distribution import Distribution, Mixture
from lunet_export.errors import NarrowDtypeError
from lunet_export.layers import Chain
from lunet_export.preprocessing import largest_below

Array = NDArray[np.float64]

_PLAIN_ROWS = 8
_FEW_ROWS = 2  # number of rows if a row's tolerances take seconds
#: Rows on seams, or just beside them, and rows of the model of which the share near seams is told; fewer where a row
#: takes so many products that these would take many seconds.
_SEAMS, _DRAWN, _FEW_SEAMS, _FEW_DRAWN = 16, 256, 4, 32
_COSTLY = 1e6
_AT_ONCE = 32
#: Standard deviations of the tail rows of z. A row that leaves the dtype there is left out: the inverse of a masked
#: autoregressive flow, for example, multiplies column by column.
_TAIL_SCALES = (3.0, 3.0, 10.0, 10.0)
#: For a mixture: least rows of the density of all classes, and of one; plain rows of z per class.
_LEAST_ROWS, _LEAST_A_CLASS, _PLAIN_ROWS_PER_CLASS = 8, 2, 4
_NEAR_THE_END = 0.9
_BISECTIONS = 30  # as near to a border as float32 can be


#: Rows of data for the density, (N, D); for a mixture, those of each class, None where there are none.
Examples = Array | Sequence[Array | None]


def build(
    model: Distribution, *, dtype: str, seed: int, products: str | None = None, examples: Examples | None = None
) -> Vectors | MixtureVectors:
    """Return vectors of the reference for a runtime of `dtype`.

    Args:
        model: Flow or mixture.
        dtype: Dtype that inputs are rounded to, so that every runtime can be fed exactly these numbers.
        seed: Random seed of the normal numbers; every class of a mixture gets the same ones.
        products: Shorter dtype of the runtime's matrix products, if it has one.
        examples: Rows of data for the density; rows of the model itself are used when there are none, and for a
            conditional flow, whose contexts are drawn.

    Raises:
        BadInputError: if the outputs of a network overflow, or usual ones have no correct digit left.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is reported in one sentence
        if isinstance(model, Mixture):
            given = [None] * len(model.components) if examples is None else list(examples)
            return _build_mixture(model, dtype, products or dtype, seed, given)
        rows = None if examples is None else np.asarray(examples)
        return _build(model, dtype, products or dtype, seed, rows)


def _build(weights: Chain, dtype: str, products: str, seed: int, examples: Array | None) -> Vectors:
    model = RoundingModel(weights, dtype, products)
    count, scales = (_FEW_ROWS, _TAIL_SCALES[::2]) if model.expensive else (_PLAIN_ROWS, _TAIL_SCALES)
    plain = with_a_row(weights, noise.normal(seed, range(count), weights.dim))
    tails = np.array(scales)[:, None] * noise.normal(seed, range(count, count + len(scales)), weights.dim)
    tails = with_a_row(weights, tails)
    context = _contexts(weights, dtype, seed, range(count))
    if examples is None or context is not None:
        examples = interior(weights, reference.decode(weights, plain, context))
    data = model.clamp(rounded(examples[:count], dtype))
    usual = len(data)
    # TF32 changes float32 products only, so no other export has tolerances for it.
    tf32 = model.with_products(TF32) if products == "float32" else None
    if weights.has_seams:
        data, context = _with_seams(weights, model, data, context, dtype)
    density, by_rounding = _dense(data, model, tf32, context)

    # The latents of data are the rows that no clamp touches: images drawn from N(0, I) nearly always touch it.
    tails = rounded(tails, dtype)
    # Contexts other than those of the density, so that its rows do not simply come back.
    others = _contexts(weights, dtype, seed, range(count, 2 * count + len(scales)))
    latents, at_seams = rounded(density.z[: min(usual, count // 2)], dtype), rounded(density.z[usual:], dtype)
    far = np.concatenate([tails, at_seams])
    of_far = None if context is None or others is None else np.concatenate([others[count:], context[usual:]])
    fitting = _fitting(sampled(weights, far, model, None, of_far)[0], dtype)
    in_tails, on_seams = fitting[: len(tails)], fitting[len(tails) :]
    z = np.concatenate([rounded(plain, dtype), tails[in_tails], latents, at_seams[on_seams]])
    if context is not None and others is not None:
        parts = others[:count], others[count:][in_tails], context[: len(latents)], context[usual:][on_seams]
        others = np.concatenate(parts)
    sampling, sampled_by_rounding = sampled(weights, z, model, tf32, others)
    validate_finite([density.x, density.z, density.log_prob, *density.tolerance.values()], dtype)
    validate_finite([sampling.x, sampling.z, sampling.log_prob, *sampling.tolerance.values()], dtype)
    if products == dtype:  # shorter ones are measured
        validate_digits("z", density.z[:usual], density.tolerance["z"][:usual], dtype)
        validate_digits("log_prob", density.log_prob[:usual], density.tolerance["log_prob"][:usual], dtype)
        validate_digits("x", sampling.x[:count], sampling.tolerance["x"][:count], dtype)
    if not weights.has_seams:
        return Vectors(density, sampling)
    first = 2 * count + len(scales)
    many = count if model.expensive else _DRAWN if weights.work < _COSTLY else _FEW_DRAWN
    drawn = _decided(weights, model, dtype, seed, range(first, first + many))
    of_density = SeamRows(np.arange(len(data)) >= usual, by_rounding)
    of_sampling = SeamRows(np.arange(len(z)) >= len(z) - int(on_seams.sum()), sampled_by_rounding)
    return Vectors(density, sampling, Seams(len(drawn), int(drawn.sum()), of_density, of_sampling))


def _with_seams(
    weights: Chain, model: RoundingModel, data: Array, context: Array | None, dtype: str
) -> tuple[Array, Array | None]:
    """Return the rows and their contexts with more behind them, of which a number lies on a seam or just beside it.

    Rows that leave the dtype or the domain are left out, and those that rounding may put onto an end that a layer does
    not take: behind the end of a box may stand a logit.
    """
    start = np.arange(_SEAMS if weights.work < _COSTLY else _FEW_SEAMS) % len(data)
    given = None if context is None else context[start]
    h = weights.at_seams(reference.behind_logit(weights, data[start])[0], context=given)
    x = rounded(reference.before_logit(weights, h), dtype)
    inside = (x == model.clamp(x)).all(axis=1)  # NaN is not
    x, given = x[inside], None if given is None else given[inside]
    fits = model.stays_inside(x, given) & _fitting(_dense(x, model, None, given)[0], dtype)
    found = None if context is None or given is None else np.concatenate([context, given[fits]])
    return np.concatenate([data, x[fits]]), found


def _decided(weights: Chain, model: RoundingModel, dtype: str, seed: int, rows: range) -> NDArray[np.bool_]:
    """Return for which of so many rows of the model rounding decides a side of a seam, (N,)."""
    found = []
    for first in range(rows.start, rows.stop, _AT_ONCE):
        some = range(first, min(first + _AT_ONCE, rows.stop))
        context = _contexts(weights, dtype, seed, some)
        x = reference.decode(weights, with_a_row(weights, noise.normal(seed, some, weights.dim)), context)
        found.append(model.by_rounding(model.clamp(rounded(interior(weights, x), dtype)), context))
    return np.concatenate(found)


def _dense(
    x: Array, model: RoundingModel, tf32: RoundingModel | None, context: Array | None
) -> tuple[DensityVectors, NDArray[np.bool_]]:
    """Return vectors of a density graph for rows x (N, D), and which of them rounding decides; as `sampled` does."""
    z, log_prob = model.encode(x, context)
    allowed = model.of_density(x, z, log_prob, context)
    in_tf32 = finite(tf32.of_density(x, z, log_prob, context).tolerance) if tf32 else None
    return DensityVectors(x, z, log_prob, allowed.tolerance, in_tf32, context), allowed.by_rounding


def _contexts(weights: Chain, dtype: str, seed: int, rows: range) -> Array | None:
    """Return contexts as a runtime of that dtype can be fed them, (N, C); None where the flow takes none."""
    return None if weights.context is None else rounded(weights.context.drawn(seed, rows), dtype)


def sampled(
    weights: Chain, z: Array, model: RoundingModel, tf32: RoundingModel | None, context: Array | None = None
) -> tuple[SamplingVectors, NDArray[np.bool_]]:
    """Return vectors of a sampling graph for z (N, D) and contexts (N, C), and which rows rounding decides, (N,).

    `model` gives the tolerances, `tf32` those of TF32.
    """
    decoded = reference.decode(weights, z, context)
    x = model.clamp(decoded)
    clamped, (_, log_prob) = (decoded != x).any(axis=1), model.encode(x, context)
    if weights.has_seams and weights.domain is not None:  # a tail may be rounded onto the end of a box
        clamped |= ~model.stays_inside(x, context)
    allowed = model.of_sampling(z, x, log_prob, context)
    in_tf32 = finite(tf32.of_sampling(z, x, log_prob, context).tolerance) if tf32 else None
    return SamplingVectors(z, x, log_prob, clamped, allowed.tolerance, in_tf32, context), allowed.by_rounding


def _fitting(vectors: DensityVectors | SamplingVectors, dtype: str) -> NDArray[np.bool_]:
    """Return which rows have only numbers that fit into the dtype, (N,)."""
    most = np.finfo(dtype).max
    numbers = [*(np.abs(rows).max(axis=1) for rows in (vectors.x, vectors.z)), np.abs(vectors.log_prob)]
    numbers += vectors.tolerance.values()
    return np.logical_and.reduce([number <= most for number in numbers])  # NaN is not


def validate_finite(arrays: Sequence[Array], dtype: str) -> None:
    """Raise unless all numbers fit into the dtype.

    Raises:
        NarrowDtypeError: if one does not fit, or is no number.
    """
    if not all(np.abs(array).max() <= np.finfo(dtype).max for array in arrays):  # NaN is not
        raise NarrowDtypeError.of(
            f"Expected a network whose test rows stay within the range of {dtype}; they overflow. Most likely it is "
            "hardly trained, or a diagonal entry of U is tiny.",
            "Export with `dtype='float64'`." if dtype == "float32" else "Use another checkpoint.",
        )


def validate_digits(name: str, values: Array, tolerance: Array, dtype: str) -> None:
    """Raise where usual rows have no correct digit left: every second row may be off by its whole size.

    Args:
        name: Name of the values.
        values: Values of usual rows, (N, D) or (N,); log_prob counts as at least one nat.
        tolerance: Tolerance of each row, (N,).
        dtype: Dtype of the runtime.

    Raises:
        NarrowDtypeError: if half of the rows may be off by their size.
    """
    size = sizes(values)
    row = int(np.argsort(tolerance / size)[len(size) // 2])
    if tolerance[row] > size[row]:
        cure = (
            "Export with `dtype='float64'`." if dtype == "float32" else "Train it again, with `bound` or `regulariser`."
        )
        raise NarrowDtypeError.of(
            f"Expected a network that leaves {dtype} a digit of {name}; rounding may move a usual row's by "
            f"{tolerance[row]:.1e}, and it is {size[row]:.1e}: the network is too ill-conditioned.",
            cure,
        )


def with_a_row(weights: Chain, z: Array) -> Array:
    """Return latent rows moved to where every number has a row, away from the ends: those may be at infinity."""
    low, high = weights.latents
    return np.clip(z, _NEAR_THE_END * low, _NEAR_THE_END * high)


def interior(weights: Chain, x: Array) -> Array:
    """Return rows of the model half a grey level or more inside the domain; vectors are unchanged."""
    p = weights.preprocessing
    return np.clip(x, 0.5, p.levels - 0.5) if p else x


def finite(tolerances: dict[str, Array]) -> dict[str, Array] | None:
    """Return the tolerances of TF32; None where TF32 would overflow, which is no reason to refuse float32."""
    return tolerances if all(np.isfinite(array).all() for array in tolerances.values()) else None


def rounded(array: Array, dtype: str) -> Array:
    """Return the numbers as the dtype holds them, in float64."""
    return array.astype(dtype).astype(np.float64)


def _build_mixture(
    mixture: Mixture[Chain], dtype: str, products: str, seed: int, examples: Sequence[Array | None]
) -> MixtureVectors:
    count, dim, scales = len(mixture.components), mixture.dim, _TAIL_SCALES[::2]
    each = max(_LEAST_A_CLASS, -(-_LEAST_ROWS // count))
    plain = noise.normal(seed, range(_PLAIN_ROWS_PER_CLASS), dim)
    rows = range(_PLAIN_ROWS_PER_CLASS, _PLAIN_ROWS_PER_CLASS + len(scales))
    tails = np.array(scales)[:, None] * noise.normal(seed, rows, dim)
    own = [_rows(flow, each, seed, known) for flow, known in zip(mixture.components, examples, strict=True)]
    data = [_clamped(mixture, part, dtype) for part in own]
    x = np.concatenate([*data, _between(mixture, np.stack([part[0] for part in data]), dtype)])
    sampling, log_probs, tolerances, tf32_tolerances = [], [], [], []
    for flow, rows_of_class in zip(mixture.components, data, strict=True):
        model = RoundingModel(flow, dtype, products)  # holds inverses, so one class at a time
        tf32 = model.with_products(TF32) if products == "float32" else None
        far = rounded(with_a_row(flow, tails), dtype)
        fitting = far[_fitting(sampled(flow, far, model, None)[0], dtype)]
        latents = reference.encode(flow, rows_of_class)[0]
        z = np.concatenate([rounded(with_a_row(flow, plain), dtype), fitting, rounded(latents, dtype)])
        sampling.append(sampled(flow, z, model, tf32)[0])
        log_probs.append(reference.log_prob(flow, x))
        tolerances.append(model.density(x)["log_prob"])
        if tf32:
            tf32_tolerances.append(tf32.density(x)["log_prob"])
    class_log_prob = np.stack(log_probs, axis=1)
    density = MixtureDensityVectors(
        x,
        np.repeat([*range(count), -1], [*(len(part) for part in data), count]),
        class_log_prob,
        reference.mixture_log_prob(class_log_prob, mixture.priors),
        reference.posterior(class_log_prob, mixture.priors),
        _tolerances(mixture, class_log_prob, np.stack(tolerances, axis=1), dtype),
    )
    if tf32_tolerances:
        found = finite(_tolerances(mixture, class_log_prob, np.stack(tf32_tolerances, axis=1), dtype))
        density = replace(density, tf32_tolerance=found)
    vectors = MixtureVectors(density, tuple(sampling), mixture.names)
    _validate_vectors(vectors, dtype, shorter=products != dtype)
    return vectors


def _validate_vectors(vectors: MixtureVectors, dtype: str, *, shorter: bool) -> None:
    """Raise as `validate_finite` and, where the products have no `shorter` dtype, `validate_digits` do."""
    density = vectors.density
    validate_finite([density.x, density.class_log_prob, *density.tolerance.values()], dtype)
    for number, part in enumerate(vectors.sampling):
        validate_finite([part.x, part.z, part.log_prob, *part.tolerance.values()], dtype)
        if not shorter:  # those are measured
            plain, own = slice(_PLAIN_ROWS_PER_CLASS), density.label == number
            validate_digits("x", part.x[plain], part.tolerance["x"][plain], dtype)
            allowed = density.tolerance["class_log_prob"][own, number]
            validate_digits("log_prob", density.class_log_prob[own, number], allowed, dtype)


def _rows(flow: Chain, n: int, seed: int, known: Array | None) -> Array:
    if known is not None and len(known):
        return known[:n].astype(np.float64)
    return interior(flow, reference.decode(flow, with_a_row(flow, noise.normal(seed, range(n), flow.dim))))


def _between(mixture: Mixture[Chain], rows: Array, dtype: str) -> Array:
    """Return a row between each class's row (C, D) and the next one's, where the class ceases to be the most probable.

    Elsewhere posteriors are 0 or 1 to the last digit, and would look right with any priors.
    """
    ends = np.roll(rows, -1, axis=0)
    low, high = np.zeros((len(rows), 1)), np.ones((len(rows), 1))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        found = reference.class_log_prob(mixture, rows + middle * (ends - rows))
        still = reference.posterior(found, mixture.priors).argmax(axis=1) == np.arange(len(rows))
        low, high = np.where(still[:, None], middle, low), np.where(still[:, None], high, middle)
    return _clamped(mixture, rows + low * (ends - rows), dtype)


def _clamped(mixture: Mixture[Chain], rows: Array, dtype: str) -> Array:
    """Return rows as a graph of that dtype takes them: rounded, and inside the domain that all classes share."""
    p, domain, exact = mixture.preprocessing, mixture.domain, rounded(rows, dtype)
    if domain:
        return np.clip(exact, *(end.astype(np.float64) for end in domain.ends(np.dtype(dtype))))
    return np.clip(exact, 0.0, float(largest_below(p.levels, np.dtype(dtype)))) if p else exact


def _tolerances(mixture: Mixture[Chain], class_log_prob: Array, tolerance: Array, dtype: str) -> dict[str, Array]:
    return {"class_log_prob": tolerance, **of_mixture(class_log_prob, tolerance, mixture.priors, dtype)}
