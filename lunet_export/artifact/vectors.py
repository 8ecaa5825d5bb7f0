"""Test vectors as `vectors.json` holds them: inputs, the float64 reference's outputs, and how far a runtime may be off.

Any language can replay them: feed `density.x` and `sampling.z`, compare with the other arrays row by row. Where the
matrix products are float32, a GPU may be told to run them in TF32; that has tolerances of its own.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import ArtifactError, brief

Array = NDArray[np.float64]

#: What values of a parsed file raise that are no arrays.
_MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
_TYPES: dict[str, type] = {"clamped": np.bool_, "label": np.int64}  # of arrays that are not float64


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
class MixtureDensityVectors:
    """x (N, D), rows of every class and between them -> class_log_prob (N, C), log_prob (N,) in nats, posterior (N, C).

    `label` (N,) is the class that a row is of, -1 on the border of two. `tolerance` holds allowed absolute
    differences: class_log_prob (N, C), log_prob (N,), posterior (N,); `tf32_tolerance` those for products that run in
    TF32.
    """

    x: Array
    label: NDArray[np.int64]
    class_log_prob: Array
    log_prob: Array
    posterior: Array
    tolerance: dict[str, Array]
    tf32_tolerance: dict[str, Array] | None = None


@dataclass(frozen=True)
class Sampled:
    """The vectors of one sampling graph, and how checks speak of it."""

    vectors: SamplingVectors
    prefix: str = ""  # of the names of its checks
    label: tuple[int, ...] = ()  # what `decode` of a runner takes beside z


@dataclass(frozen=True)
class Vectors:
    """What `vectors.json` holds of a flow."""

    density: DensityVectors
    sampling: SamplingVectors

    @property
    def own_rows(self) -> list[Array]:
        """The density's rows x of each flow, (N, D) each: those of the only one."""
        return [self.density.x]

    @property
    def sampled(self) -> list[Sampled]:
        """The vectors of each sampling graph."""
        return [Sampled(self.sampling)]

    def to_json(self) -> dict[str, Any]:
        """Lists of numbers; Python's float notation gives every float64 back exactly."""
        return _lists(asdict(self))

    def under_tf32(self, products: str) -> Self:
        """The same vectors with the tolerances of TF32, which the CUDA provider takes on request.

        Args:
            products: The dtype of the export's matrix products. TF32 touches those of float32 alone.

        Raises:
            ArtifactError: The products are float32, and the folder has no such tolerances.
        """
        if products != "float32":
            return self
        return replace(self, density=_in_tf32(self.density), sampling=_in_tf32(self.sampling))

    @classmethod
    def from_json(cls, document: Any, dim: int) -> Self:  # noqa: ANN401
        """The vectors of a parsed file.

        Raises:
            ArtifactError: A key is missing or an array has the wrong shape.
        """
        try:
            density = DensityVectors(**_arrays(document["density"]))
            sampling = SamplingVectors(**_arrays(document["sampling"]))
        except _MALFORMED as error:
            raise _malformed(error) from None
        for part in (density, sampling):
            _refuse_other_shapes(part, dim)
        return cls(density, sampling)


@dataclass(frozen=True)
class MixtureVectors:
    """What `vectors.json` holds of a mixture; the names of its classes are in the manifest."""

    density: MixtureDensityVectors
    sampling: tuple[SamplingVectors, ...]  # of each class
    names: tuple[str, ...]

    @property
    def own_rows(self) -> list[Array]:
        """The density's rows x of each class, (N, D) each."""
        return [self.density.x[self.density.label == number] for number in range(len(self.names))]

    @property
    def sampled(self) -> list[Sampled]:
        """The vectors of each class's sampling graph."""
        named = enumerate(zip(self.names, self.sampling, strict=True))
        return [Sampled(part, f"class {name}, ", (number,)) for number, (name, part) in named]

    def to_json(self) -> dict[str, Any]:
        """Lists of numbers; Python's float notation gives every float64 back exactly."""
        return {
            "density": _lists(asdict(self.density)),
            "sampling": [_lists(asdict(part)) for part in self.sampling],
        }

    def under_tf32(self, products: str) -> Self:
        """The same vectors with the tolerances of TF32; arguments and errors are those of `Vectors.under_tf32`."""
        if products != "float32":
            return self
        return replace(self, density=_in_tf32(self.density), sampling=tuple(map(_in_tf32, self.sampling)))

    @classmethod
    def from_json(cls, document: Any, dim: int, names: tuple[str, ...]) -> Self:  # noqa: ANN401
        """The vectors of a parsed file, for classes of these names.

        Raises:
            ArtifactError: A key is missing or an array has the wrong shape.
        """
        try:
            density = MixtureDensityVectors(**_arrays(document["density"]))
            sampling = tuple(SamplingVectors(**_arrays(part)) for part in document["sampling"])
        except _MALFORMED as error:
            raise _malformed(error) from None
        n, classes = density.x.shape[0] if density.x.ndim else -1, len(names)
        shapes = {
            "x": (n, dim),
            "label": (n,),
            "class_log_prob": (n, classes),
            "log_prob": (n,),
            "posterior": (n, classes),
        }
        fits = all(getattr(density, name).shape == shape for name, shape in shapes.items())
        fits = fits and set(density.label.tolist()) <= set(range(-1, classes)) and len(sampling) == classes
        allowed = {"class_log_prob": (n, classes), "log_prob": (n,), "posterior": (n,)}
        if not fits or not _have_tolerances(density, allowed):
            raise ArtifactError(
                f"Expected {dim} numbers and {classes} classes a row in vectors.json; the shapes differ. Export again."
            )
        for part in sampling:
            _refuse_other_shapes(part, dim)
        return cls(density, sampling, names)


class _Toleranced(Protocol):
    """Vectors that may have tolerances of their own for TF32."""

    @property
    def tolerance(self) -> dict[str, Array]: ...
    @property
    def tf32_tolerance(self) -> dict[str, Array] | None: ...


T = TypeVar("T", bound=_Toleranced)


def _in_tf32(vectors: T) -> T:
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


def _malformed(error: Exception) -> ArtifactError:
    return ArtifactError(f"Expected test vectors in vectors.json; got {brief(repr(error))}. Export again.")


def _refuse_other_shapes(part: DensityVectors | SamplingVectors, dim: int) -> None:
    """Raise unless the arrays are of rows of `dim` numbers, with a tolerance a row.

    Raises:
        ArtifactError: They are not.
    """
    n = part.x.shape[0] if part.x.ndim else -1
    fits = part.x.shape == part.z.shape == (n, dim) and part.log_prob.shape == (n,)
    if not fits or not _have_tolerances(part, dict.fromkeys(("x", "z", "log_prob"), (n,))):
        raise ArtifactError(f"Expected rows of {dim} numbers in vectors.json; the shapes differ. Export again.")


def _have_tolerances(part: _Toleranced, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether all tolerances are there, of these shapes, finite and not negative."""

    def right(value: Any) -> bool:  # noqa: ANN401
        if not isinstance(value, dict) or value.keys() != shapes.keys():
            return False
        return all(t.shape == shapes[name] and (t >= 0).all() and np.isfinite(t).all() for name, t in value.items())

    return right(part.tolerance) and (part.tf32_tolerance is None or right(part.tf32_tolerance))


def _lists(value: Any) -> Any:  # noqa: ANN401
    """A tree of arrays as lists, absent entries left out."""
    if isinstance(value, dict):
        return {key: _lists(entry) for key, entry in value.items() if entry is not None}
    return value.tolist()


def _arrays(value: dict[str, Any]) -> dict[str, Any]:
    """What `_lists` made lists of, as arrays again.

    Raises:
        LookupError, TypeError, ValueError, AttributeError, ArithmeticError: A value is no list of finite numbers, or of
            truth values where these are wanted.
    """
    found: dict[str, Any] = {}
    for key, entry in value.items():
        if key.endswith("tolerance"):
            found[key] = _arrays(entry) if isinstance(entry, dict) else entry
            continue
        plain = np.array(entry)
        wanted = _TYPES.get(key, np.float64)
        if plain.dtype.kind not in {np.bool_: "b", np.int64: "i"}.get(wanted, "iuf"):
            raise ValueError(f"{key} of {plain.dtype}")
        found[key] = plain.astype(wanted)
        if not np.isfinite(found[key]).all():
            raise ValueError(f"{key} that is not finite")
    return found
