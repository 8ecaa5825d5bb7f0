"""Test vectors as `vectors.json` holds them: inputs, the float64 reference's outputs, and how far a runtime may be off.

Any language can replay them: feed `density.x` and `sampling.z`, compare with the other arrays row by row. Where the
matrix products are float32, a GPU may be told to run them in TF32; that has tolerances of its own.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import ArtifactError, brief

Array = NDArray[np.float64]

#: Errors that values of a parsed file raise if they are no arrays.
_MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
#: Dtypes of arrays that are not float64.
_TYPES: dict[str, type] = {"label": np.int64, **dict.fromkeys(("clamped", "at_seams", "by_rounding"), np.bool_)}


@dataclass(frozen=True)
class DensityVectors:
    """These vectors are x (N, D) as data gives it -> z (N, D), log_prob (N,) in nats.

    `tolerance` holds (N,) allowed absolute differences for z, log_prob, and for x after x -> z -> x;
    `tf32_tolerance` those for float32 products that run in TF32. `context` (N, C) is that of each row of a conditional
    flow, None for others.
    """

    x: Array
    z: Array
    log_prob: Array
    tolerance: dict[str, Array]
    tf32_tolerance: dict[str, Array] | None = None
    context: Array | None = None


@dataclass(frozen=True)
class SamplingVectors:
    """These vectors are z (N, D), normal numbers and far tails -> x (N, D), and log_prob (N,) of that x in nats.

    `clamped` marks rows of which a number was clamped into the domain: their z cannot be recovered.
    `tolerance` holds (N,) allowed absolute differences for x, log_prob, and for z after z -> x -> z;
    `tf32_tolerance` those for float32 products that run in TF32. `context` is as in `DensityVectors`.
    """

    z: Array
    x: Array
    log_prob: Array
    clamped: NDArray[np.bool_]
    tolerance: dict[str, Array]
    tf32_tolerance: dict[str, Array] | None = None
    context: Array | None = None


@dataclass(frozen=True)
class MixtureDensityVectors:
    """These vectors are x (N, D) -> class_log_prob (N, C), log_prob (N,) in nats, posterior (N, C).

    x has rows of every class and between them. `label` (N,) is the class that a row belongs to, -1 on the border of
    two. `tolerance` holds allowed absolute differences: class_log_prob (N, C), log_prob (N,), posterior (N,);
    `tf32_tolerance` those for products that run in TF32.
    """

    x: Array
    label: NDArray[np.int64]
    class_log_prob: Array
    log_prob: Array
    posterior: Array
    tolerance: dict[str, Array]
    tf32_tolerance: dict[str, Array] | None = None


def given(vectors: "DensityVectors | SamplingVectors", rows: Any = slice(None)) -> dict[str, Array]:  # noqa: ANN401
    """Return the keyword arguments with which a runner is called for some rows of these vectors: their contexts."""
    return {} if vectors.context is None else {"context": vectors.context[rows]}


@dataclass(frozen=True)
class Sampled:
    """These are the vectors of one sampling graph, and how checks refer to it."""

    vectors: SamplingVectors
    prefix: str = ""  # prefix of the names of its checks
    label: tuple[int, ...] = ()  # argument of a runner's `decode` beside z


@dataclass(frozen=True)
class SeamRows:
    """These mark rows of the vectors of one graph, (N,) each.

    `at_seams` are rows that were put where a spline changes its form: on a knot, an end of its box, or just beside
    one. `by_rounding` are rows that lie so near such a place that rounding decides the side; their tolerances span
    both.
    """

    at_seams: NDArray[np.bool_]
    by_rounding: NDArray[np.bool_]


@dataclass(frozen=True)
class Seams:
    """These say which rows rounding decides: how many of `drawn` rows of the model, and which of the vectors.

    In the file they stand beside the vectors: readers of vectors do not look there.
    """

    drawn: int
    drawn_by_rounding: int
    density: SeamRows
    sampling: SeamRows

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        drawn = {"rows": self.drawn, "by_rounding": self.drawn_by_rounding}
        return {"drawn": drawn, "density": _lists(asdict(self.density)), "sampling": _lists(asdict(self.sampling))}

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many rows of each part there are, were put at seams, and are decided by rounding."""
        found = {"drawn": {"rows": self.drawn, "at_seams": 0, "by_rounding": self.drawn_by_rounding}}
        for name, part in (("density", self.density), ("sampling", self.sampling)):
            found[name] = {
                "rows": len(part.at_seams),
                "at_seams": int(part.at_seams.sum()),
                "by_rounding": int(part.by_rounding.sum()),
            }
        return found

    @classmethod
    def from_json(cls, document: Mapping[str, Any], density: int, sampling: int) -> Self:
        """Return what `to_json` made, for so many rows of the vectors.

        Raises:
            _OtherShapesError: if the arrays have other shapes.
            LookupError, TypeError, ValueError, AttributeError, ArithmeticError: if they are no arrays, or no counts.
        """
        parts = []
        for name, rows in (("density", density), ("sampling", sampling)):
            part = SeamRows(**_arrays(document[name]))
            if part.at_seams.shape != (rows,) or part.by_rounding.shape != (rows,):
                raise _OtherShapesError
            parts.append(part)
        drawn, decided = document["drawn"]["rows"], document["drawn"]["by_rounding"]
        if not (type(drawn) is type(decided) is int and 0 <= decided <= drawn):
            raise ValueError("seams.drawn")
        return cls(drawn, decided, *parts)


@dataclass(frozen=True)
class Vectors:
    """This is the content of `vectors.json` for a flow; `seams` is None where its layers have none."""

    density: DensityVectors
    sampling: SamplingVectors
    seams: Seams | None = None

    @property
    def own_rows(self) -> list[Array]:
        """Return the density's rows x of each flow, (N, D) each: those of the only one."""
        return [self.density.x]

    @property
    def sampled(self) -> list[Sampled]:
        """Return the vectors of each sampling graph."""
        return [Sampled(self.sampling)]

    def to_json(self) -> dict[str, Any]:
        """Return lists of numbers; Python's float notation gives every float64 back exactly."""
        found = {"density": _lists(asdict(self.density)), "sampling": _lists(asdict(self.sampling))}
        return found if self.seams is None else {**found, "seams": self.seams.to_json()}

    def under_tf32(self, products: str) -> Self:
        """Return the same vectors with the tolerances of TF32, which the CUDA provider takes on request.

        Args:
            products: Dtype of the export's matrix products. TF32 touches those of float32 alone.

        Raises:
            ArtifactError: if the products are float32 and the folder has no such tolerances.
        """
        if products != "float32":
            return self
        return replace(self, density=_in_tf32(self.density), sampling=_in_tf32(self.sampling))

    @classmethod
    def from_json(cls, document: Mapping[str, Any], dim: int, *, context: int = 0) -> Self:
        """Return the vectors of a parsed file, with contexts of so many numbers, 0 for none.

        Raises:
            ArtifactError: if a key is missing or an array has the wrong shape.
        """
        with _refused(f"rows of {dim} numbers{f' and contexts of {context}' if context else ''}"):
            density = _read(DensityVectors, document["density"], dim, context=context)
            sampling = _read(SamplingVectors, document["sampling"], dim, context=context)
            if any((part.context is None) != (context == 0) for part in (density, sampling)):
                raise _OtherShapesError
            told = document.get("seams")
            seams = None if told is None else Seams.from_json(told, len(density.x), len(sampling.z))
            return cls(density, sampling, seams)


@dataclass(frozen=True)
class MixtureVectors:
    """This is the content of `vectors.json` for a mixture; the names of its classes are in the manifest."""

    density: MixtureDensityVectors
    sampling: tuple[SamplingVectors, ...]  # one per class
    names: tuple[str, ...]
    seams: None = None  # not looked for

    @property
    def own_rows(self) -> list[Array]:
        """Return the density's rows x of each class, (N, D) each."""
        return [self.density.x[self.density.label == number] for number in range(len(self.names))]

    @property
    def sampled(self) -> list[Sampled]:
        """Return the vectors of each class's sampling graph."""
        named = enumerate(zip(self.names, self.sampling, strict=True))
        return [Sampled(part, f"class {name}, ", (number,)) for number, (name, part) in named]

    def to_json(self) -> dict[str, Any]:
        """Return lists of numbers; Python's float notation gives every float64 back exactly."""
        return {
            "density": _lists(asdict(self.density)),
            "sampling": [_lists(asdict(part)) for part in self.sampling],
        }

    def under_tf32(self, products: str) -> Self:
        """Return the same vectors with the tolerances of TF32; errors are those of `Vectors.under_tf32`."""
        if products != "float32":
            return self
        return replace(self, density=_in_tf32(self.density), sampling=tuple(map(_in_tf32, self.sampling)))

    @classmethod
    def from_json(cls, document: Mapping[str, Any], dim: int, names: tuple[str, ...]) -> Self:
        """Return the vectors of a parsed file, for classes of these names.

        Raises:
            ArtifactError: if a key is missing or an array has the wrong shape.
        """
        classes = len(names)
        with _refused(f"{dim} numbers and {classes} classes per row"):
            density = _read(MixtureDensityVectors, document["density"], dim, classes)
            sampling = tuple(_read(SamplingVectors, part, dim) for part in document["sampling"])
            if not set(density.label.tolist()) <= set(range(-1, classes)) or len(sampling) != classes:
                raise _OtherShapesError
            return cls(density, sampling, names)


class _Toleranced(Protocol):
    """These vectors may have tolerances of their own for TF32."""

    @property
    def tolerance(self) -> dict[str, Array]: ...
    @property
    def tf32_tolerance(self) -> dict[str, Array] | None: ...


T = TypeVar("T", bound=_Toleranced)


def _in_tf32(vectors: T) -> T:
    """Return the same vectors with their tolerances for TF32 in the place of the others.

    Raises:
        ArtifactError: if there are none.
    """
    if vectors.tf32_tolerance is None:
        raise ArtifactError(
            "Expected tolerances for TF32 in vectors.json; there are none: the folder is older than these, or TF32 "
            "would overflow. Export again, or run without TF32."
        )
    return replace(vectors, tolerance=vectors.tf32_tolerance)  # type: ignore[type-var]


class _OtherShapesError(Exception):
    """The arrays are not of the shapes that they should be."""


@contextmanager
def _refused(wanted: str) -> Iterator[None]:
    """Say in one sentence what is wrong with vectors that are read in this block.

    Raises:
        ArtifactError: if they are no vectors, or not of `wanted` shapes.
    """
    try:
        yield
    except _OtherShapesError:
        raise ArtifactError(f"Expected {wanted} in vectors.json; the shapes differ. Export again.") from None
    except _MALFORMED as error:
        raise ArtifactError(f"Expected test vectors in vectors.json; got {brief(repr(error))}. Export again.") from None


def _read(kind: type[T], document: dict[str, Any], dim: int, classes: int = 0, context: int = 0) -> T:
    """Return the vectors of one graph, with `dim` numbers, `classes` or `context` per row and tolerances per row.

    Raises:
        _OtherShapesError: if the arrays have other shapes.
        LookupError, TypeError, ValueError, AttributeError, ArithmeticError: if they are no arrays.
    """
    part = kind(**_arrays(document))
    arrays = {name: value for name, value in vars(part).items() if isinstance(value, np.ndarray)}
    n = len(arrays["x"]) if arrays["x"].ndim else -1
    of_flow = ("x", "z", "log_prob")
    allowed: dict[str, tuple[int, ...]] = dict.fromkeys(of_flow, (n,))
    if classes:
        allowed = {"class_log_prob": (n, classes), "log_prob": (n,), "posterior": (n,)}
    widths = {"x": dim, "z": dim, "class_log_prob": classes, "posterior": classes, "context": context}
    shapes = {name: (n, widths[name]) if name in widths else (n,) for name in arrays}
    given = [part.tolerance, *([] if part.tf32_tolerance is None else [part.tf32_tolerance])]
    if any(value.shape != shapes[name] for name, value in arrays.items()) or not all(_allow(t, allowed) for t in given):
        raise _OtherShapesError
    return part


def _allow(tolerance: object, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Return whether all tolerances are there, of these shapes, finite and not negative."""
    if not isinstance(tolerance, dict) or tolerance.keys() != shapes.keys():
        return False
    return all(t.shape == shapes[name] and (t >= 0).all() and np.isfinite(t).all() for name, t in tolerance.items())


def _lists(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree of arrays as lists, absent entries left out."""
    given = {key: entry for key, entry in tree.items() if entry is not None}
    return {key: _lists(entry) if isinstance(entry, dict) else entry.tolist() for key, entry in given.items()}


def _arrays(value: dict[str, Any]) -> dict[str, Any]:
    """Return the lists that `_lists` made as arrays again.

    Raises:
        LookupError, TypeError, ValueError, AttributeError, ArithmeticError: if a value is no list of finite numbers, or
            of truth values where these are wanted.
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
