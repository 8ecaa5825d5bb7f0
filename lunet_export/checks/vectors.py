"""Test vectors: inputs, the float64 reference's outputs, and how far a runtime may be from them.

Any language can replay them: feed `density.x` and `sampling.z`, compare with the other arrays row by row. Where the
matrix products are float32, a GPU may be told to run them in TF32; that has tolerances of its own.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.checks import reference
from lunet_export.checks.rounding import TF32, RoundingModel
from lunet_export.errors import ArtifactError, BadInputError, brief
from lunet_export.layers import Chain

Array = NDArray[np.float64]

_PLAIN_ROWS = 8
_FEW_ROWS = 2  # where a row of tolerances takes seconds
#: What values of a parsed file raise that are no arrays.
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
_TYPES: dict[str, type] = {"clamped": np.bool_, "label": np.int64}  # of arrays that are not float64
#: Standard deviations of the tail rows of z. A row that leaves the dtype there is left out: the inverse of a masked
#: autoregressive flow, say, multiplies column by column.
_TAIL_SCALES = (3.0, 3.0, 10.0, 10.0)


@dataclass(frozen=True)
class DensityVectors:
    """x (N, D) as data gives it -> z (N, D), log_prob (N,) in nats.

    `tolerance` holds (N,) allowed absolute differences for z, log_prob, and for x after x -> z -> x;
    `tf32_tolerance` those for float32 products that run in TF32.
    """

    x: Array
    z: Array
    log_prob: Array
    tolerance: dict[str, Array]
    tf32_tolerance: dict[str, Array] | None = None


@dataclass(frozen=True)
class SamplingVectors:
    """z (N, D), normal numbers and far tails -> x (N, D), and log_prob (N,) of that x in nats.

    `clamped` marks rows of which a number was clamped into the domain: their z cannot be recovered.
    `tolerance` holds (N,) allowed absolute differences for x, log_prob, and for z after z -> x -> z;
    `tf32_tolerance` those for float32 products that run in TF32.
    """

    z: Array
    x: Array
    log_prob: Array
    clamped: NDArray[np.bool_]
    tolerance: dict[str, Array]
    tf32_tolerance: dict[str, Array] | None = None


@dataclass(frozen=True)
class Vectors:
    """What `vectors.json` holds."""

    density: DensityVectors
    sampling: SamplingVectors

    def to_json(self) -> dict[str, Any]:
        """Lists of numbers; Python's float notation gives every float64 back exactly."""
        return lists(asdict(self))

    def under_tf32(self, products: str) -> "Vectors":
        """The same vectors with the tolerances of TF32, which the CUDA provider takes on request.

        Args:
            products: The dtype of the export's matrix products. TF32 touches those of float32 alone.

        Raises:
            ArtifactError: The products are float32, and the folder has no such tolerances.
        """
        if products != "float32":
            return self
        return Vectors(in_tf32(self.density), in_tf32(self.sampling))

    @classmethod
    def from_json(cls, document: Any, dim: int) -> Self:  # noqa: ANN401
        """The vectors of a parsed file.

        Raises:
            ArtifactError: A key is missing or an array has the wrong shape.
        """
        try:
            density = DensityVectors(**arrays(document["density"]))
            sampling = SamplingVectors(**arrays(document["sampling"]))
        except MALFORMED as error:
            raise ArtifactError(
                f"Expected test vectors in vectors.json; got {brief(repr(error))}. Export again."
            ) from None
        for part in (density, sampling):
            refuse_other_shapes(part, dim)
        return cls(density, sampling)


class _Toleranced(Protocol):
    """Vectors that may have tolerances of their own for TF32."""

    @property
    def tf32_tolerance(self) -> dict[str, Array] | None: ...


T = TypeVar("T", bound=_Toleranced)


def in_tf32(vectors: T) -> T:
    """The same vectors with their tolerances for TF32 in the place of the others.

    Raises:
        ArtifactError: There are none.
    """
    if vectors.tf32_tolerance is None:
        raise ArtifactError(
            "Expected tolerances for TF32 in vectors.json; there are none: the folder is older than these, or TF32 "
            "would overflow. Export again, or run without TF32."
        )
    return replace(vectors, tolerance=vectors.tf32_tolerance)  # type: ignore[type-var]


def build(
    weights: Chain, *, dtype: str, seed: int, products: str | None = None, examples: Array | None = None
) -> Vectors:
    """Vectors of the reference for a runtime of `dtype`.

    Raises:
        BadInputError: The network's outputs overflow, or no digit of usual ones is left.

    Args:
        weights: The model.
        dtype: Inputs are rounded to it, so that every runtime can be fed exactly these numbers.
        seed: Of the normal numbers.
        products: The shorter dtype of the runtime's matrix products, if it has one.
        examples: Rows of data (N, D) for the density; rows of the model itself stand in when there are none.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused in one sentence
        return _build(weights, dtype, products or dtype, seed, examples)


def _build(weights: Chain, dtype: str, products: str, seed: int, examples: Array | None) -> Vectors:
    model = RoundingModel(weights, dtype, products)
    count, scales = (_FEW_ROWS, _TAIL_SCALES[::2]) if model.dear else (_PLAIN_ROWS, _TAIL_SCALES)
    plain = noise.normal(seed, range(count), weights.dim)
    tails = np.array(scales)[:, None] * noise.normal(seed, range(count, count + len(scales)), weights.dim)
    if examples is None:
        examples = interior(weights, reference.decode(weights, plain))
    data = model.clamp(rounded(examples[:count], dtype))
    encoded, log_prob = model.encode(data)
    # TF32 changes float32 products only, so no other export has tolerances for it.
    tf32 = model.with_products(TF32) if products == "float32" else None
    density = DensityVectors(
        data,
        encoded,
        log_prob,
        model.of_density(data, encoded, log_prob),
        finite(tf32.of_density(data, encoded, log_prob)) if tf32 else None,
    )

    # The latents of data are the rows that no clamp touches: images drawn from N(0, I) nearly always touch it.
    tails = rounded(tails, dtype)
    tails = tails[_fitting(sampled(weights, tails, model, None), dtype)]
    z = np.concatenate([rounded(plain, dtype), tails, rounded(encoded[: count // 2], dtype)])
    sampling = sampled(weights, z, model, tf32)
    refuse_infinite([density.x, density.z, density.log_prob, *density.tolerance.values()], dtype)
    refuse_infinite([sampling.x, sampling.z, sampling.log_prob, *sampling.tolerance.values()], dtype)
    if products == dtype:  # shorter ones are measured
        refuse_lost("z", density.z, density.tolerance["z"], dtype)
        refuse_lost("log_prob", density.log_prob, density.tolerance["log_prob"], dtype)
        refuse_lost("x", sampling.x[:count], sampling.tolerance["x"][:count], dtype)
    return Vectors(density, sampling)


def sampled(weights: Chain, z: Array, model: RoundingModel, tf32: RoundingModel | None) -> SamplingVectors:
    """Vectors of a sampling graph for z (N, D); the models give the tolerances, `tf32` those of such products."""
    decoded = reference.decode(weights, z)
    x = model.clamp(decoded)
    clamped, (_, log_prob) = (decoded != x).any(axis=1), model.encode(x)
    allowed = model.of_sampling(z, x, log_prob)
    in_tf32 = finite(tf32.of_sampling(z, x, log_prob)) if tf32 else None
    return SamplingVectors(z, x, log_prob, clamped, allowed, in_tf32)


def _fitting(vectors: SamplingVectors, dtype: str) -> NDArray[np.bool_]:
    """The rows all of whose numbers fit into the dtype, (N,)."""
    most = np.finfo(dtype).max
    numbers = [np.abs(vectors.x).max(axis=1), np.abs(vectors.log_prob), *vectors.tolerance.values()]
    return np.logical_and.reduce([number <= most for number in numbers])  # NaN is not


def refuse_infinite(arrays: Sequence[Array], dtype: str) -> None:
    """Raise unless all numbers fit into the dtype.

    Raises:
        BadInputError: One does not, or is no number.
    """
    if not all(np.abs(array).max() <= np.finfo(dtype).max for array in arrays):  # NaN is not
        raise BadInputError(
            f"Expected a network whose test rows stay within the range of {dtype}; they overflow. "
            "Most likely it is hardly trained, or a diagonal entry of U is tiny"
            + ("; else export with --dtype float64." if dtype == "float32" else ".")
        )


def refuse_lost(name: str, values: Array, tolerance: Array, dtype: str) -> None:
    """Raise where not a digit of usual rows is left: every second row may be off by its whole size.

    Args:
        name: Of the values.
        values: Of usual rows, (N, D) or (N,); log_prob counts as a nat at least.
        tolerance: Of each row, (N,).
        dtype: Of the runtime.

    Raises:
        BadInputError: It is so.
    """
    size = np.abs(values.reshape(len(values), -1)).max(axis=1)
    size = np.maximum(size, 1.0) if values.ndim == 1 else size
    row = int(np.argsort(tolerance / size)[len(size) // 2])
    if tolerance[row] > size[row]:
        cure = "Export with --dtype float64." if dtype == "float32" else "Train it again, with --bound or --reg."
        raise BadInputError(
            f"Expected a network that leaves {dtype} a digit of {name}; rounding may move a usual row's by "
            f"{tolerance[row]:.1e}, and it is {size[row]:.1e}: the network is too ill-conditioned. {cure}"
        )


def refuse_other_shapes(part: DensityVectors | SamplingVectors, dim: int) -> None:
    """Raise unless the arrays are of rows of `dim` numbers, with a tolerance a row.

    Raises:
        ArtifactError: They are not.
    """
    n = part.x.shape[0] if part.x.ndim else -1
    fits = part.x.shape == part.z.shape == (n, dim) and part.log_prob.shape == (n,)
    fits = fits and _are_tolerances(part.tolerance, n)
    if not fits or not (part.tf32_tolerance is None or _are_tolerances(part.tf32_tolerance, n)):
        raise ArtifactError(f"Expected rows of {dim} numbers in vectors.json; the shapes differ. Export again.")


def interior(weights: Chain, x: Array) -> Array:
    """Rows of the model half a grey level or more inside the domain; vectors unchanged."""
    p = weights.preprocessing
    return np.clip(x, 0.5, p.levels - 0.5) if p else x


def finite(tolerances: dict[str, Array]) -> dict[str, Array] | None:
    """The tolerances of TF32; None where it would overflow, which is no reason to refuse float32."""
    return tolerances if all(np.isfinite(array).all() for array in tolerances.values()) else None


def rounded(array: Array, dtype: str) -> Array:
    """The numbers as the dtype holds them, in float64."""
    return array.astype(dtype).astype(np.float64)


def _are_tolerances(value: Any, n: int) -> bool:  # noqa: ANN401
    if not isinstance(value, dict) or value.keys() != {"x", "z", "log_prob"}:
        return False
    return all(t.shape == (n,) and (t >= 0).all() and np.isfinite(t).all() for t in value.values())


def lists(value: Any) -> Any:  # noqa: ANN401
    """A tree of arrays as lists, absent entries left out."""
    if isinstance(value, dict):
        return {key: lists(entry) for key, entry in value.items() if entry is not None}
    return value.tolist()


def arrays(value: dict[str, Any]) -> dict[str, Any]:
    """What `lists` made lists of, as arrays again.

    Raises:
        MALFORMED: A value is no list of finite numbers, or of truth values where these are wanted.
    """
    found: dict[str, Any] = {}
    for key, entry in value.items():
        if key.endswith("tolerance"):
            found[key] = arrays(entry) if isinstance(entry, dict) else entry
            continue
        plain = np.array(entry)
        wanted = _TYPES.get(key, np.float64)
        if plain.dtype.kind not in {np.bool_: "b", np.int64: "i"}.get(wanted, "iuf"):
            raise ValueError(f"{key} of {plain.dtype}")
        found[key] = plain.astype(wanted)
        if not np.isfinite(found[key]).all():
            raise ValueError(f"{key} that is not finite")
    return found
