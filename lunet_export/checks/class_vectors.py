"""Test vectors of one network a class: the float64 reference's answers, and how far a runtime may be from them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.checks import reference, vectors
from lunet_export.checks.rounding import TF32, RoundingModel, of_mixture
from lunet_export.checks.vectors import SamplingVectors
from lunet_export.errors import ArtifactError, brief
from lunet_export.layers import Chain
from lunet_export.preprocessing import largest_below
from lunet_export.weights import Mixture

Array = NDArray[np.float64]

_LEAST_ROWS = 8  # of the density, all classes together
_LEAST_A_CLASS = 2
_PLAIN_ROWS = 4
_BISECTIONS = 30  # as near to a border as float32 can be
_TAIL_SCALES = (3.0, 10.0)  # standard deviations of the tail rows of z


@dataclass(frozen=True)
class ClassDensityVectors:
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
class ClassVectors:
    """What `vectors.json` holds of one network a class."""

    density: ClassDensityVectors
    sampling: tuple[SamplingVectors, ...]  # of each class

    def to_json(self) -> dict[str, Any]:
        """Lists of numbers; Python's float notation gives every float64 back exactly."""
        return {
            "density": vectors.lists(asdict(self.density)),
            "sampling": [vectors.lists(asdict(part)) for part in self.sampling],
        }

    def under_tf32(self) -> "ClassVectors":
        """The same vectors with the tolerances of TF32.

        Raises:
            ArtifactError: There are none.
        """
        return ClassVectors(vectors.in_tf32(self.density), tuple(map(vectors.in_tf32, self.sampling)))

    @classmethod
    def from_json(cls, document: Any, dim: int, classes: int) -> Self:  # noqa: ANN401
        """The vectors of a parsed file.

        Raises:
            ArtifactError: A key is missing or an array has the wrong shape.
        """
        try:
            density = ClassDensityVectors(**vectors.arrays(document["density"]))
            sampling = tuple(SamplingVectors(**vectors.arrays(part)) for part in document["sampling"])
        except vectors.MALFORMED as error:
            raise ArtifactError(
                f"Expected test vectors in vectors.json; got {brief(repr(error))}. Export again."
            ) from None
        n = density.x.shape[0] if density.x.ndim else -1
        shapes = {
            "x": (n, dim),
            "label": (n,),
            "class_log_prob": (n, classes),
            "log_prob": (n,),
            "posterior": (n, classes),
        }
        fits = all(getattr(density, name).shape == shape for name, shape in shapes.items())
        fits = fits and set(density.label.tolist()) <= set(range(-1, classes)) and len(sampling) == classes
        given = [density.tolerance, *([] if density.tf32_tolerance is None else [density.tf32_tolerance])]
        if not fits or not all(_are_tolerances(tolerance, n, classes) for tolerance in given):
            raise ArtifactError(
                f"Expected {dim} numbers and {classes} classes a row in vectors.json; the shapes differ. Export again."
            )
        for part in sampling:
            vectors.refuse_other_shapes(part, dim)
        return cls(density, sampling)


def build(
    mixture: Mixture[Chain], *, dtype: str, seed: int, examples: Sequence[Array | None] | None = None
) -> ClassVectors:
    """Vectors of the reference for a runtime of `dtype`.

    Args:
        mixture: The model.
        dtype: Inputs are rounded to it.
        seed: Of the normal numbers; every class gets the same ones.
        examples: Rows of data (N, D) of each class; rows of its network itself stand in where there are none.

    Raises:
        BadInputError: The outputs of a network overflow, or no digit of usual ones is left.
    """
    given = examples or [None] * len(mixture.networks)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused in one sentence
        return _build(mixture, dtype, seed, given)


def _build(mixture: Mixture[Chain], dtype: str, seed: int, examples: Sequence[Array | None]) -> ClassVectors:
    count, dim = len(mixture.networks), mixture.dim
    each = max(_LEAST_A_CLASS, -(-_LEAST_ROWS // count))
    plain = noise.normal(seed, range(_PLAIN_ROWS), dim)
    rows = range(_PLAIN_ROWS, _PLAIN_ROWS + len(_TAIL_SCALES))
    tails = np.array(_TAIL_SCALES)[:, None] * noise.normal(seed, rows, dim)
    own = [_rows(network, each, seed, known) for network, known in zip(mixture.networks, examples, strict=True)]
    data = [_clamped(network, part, dtype) for network, part in zip(mixture.networks, own, strict=True)]
    x = np.concatenate([*data, _borders(mixture, np.stack([part[0] for part in data]), dtype)])
    sampling, log_probs, tolerances, tf32_tolerances = [], [], [], []
    for network, rows_of_class in zip(mixture.networks, data, strict=True):
        model = RoundingModel(network, dtype)  # holds inverses, so one class at a time
        tf32 = model.with_products(TF32) if dtype == "float32" else None
        z = vectors.rounded(np.concatenate([plain, tails, reference.encode(network, rows_of_class)[0]]), dtype)
        sampling.append(vectors.sampled(network, z, model, tf32))
        log_probs.append(reference.log_prob(network, x))
        tolerances.append(model.density(x)["log_prob"])
        if tf32:
            tf32_tolerances.append(tf32.density(x)["log_prob"])
    class_log_prob = np.stack(log_probs, axis=1)
    density = ClassDensityVectors(
        x,
        np.repeat([*range(count), -1], [*(len(part) for part in data), count]),
        class_log_prob,
        reference.mixture_log_prob(class_log_prob, mixture.priors),
        reference.posterior(class_log_prob, mixture.priors),
        _tolerances(mixture, class_log_prob, np.stack(tolerances, axis=1), dtype),
    )
    vectors.refuse_infinite([x, class_log_prob, *density.tolerance.values()], dtype)
    for part in sampling:
        vectors.refuse_infinite([part.x, part.z, part.log_prob, *part.tolerance.values()], dtype)
        vectors.refuse_lost("x", part.x[:_PLAIN_ROWS], part.tolerance["x"][:_PLAIN_ROWS], dtype)
    for number in range(count):
        own_rows = density.label == number
        allowed = density.tolerance["class_log_prob"][own_rows, number]
        vectors.refuse_lost("log_prob", class_log_prob[own_rows, number], allowed, dtype)
    if tf32_tolerances:
        found = vectors.finite(_tolerances(mixture, class_log_prob, np.stack(tf32_tolerances, axis=1), dtype))
        density = replace(density, tf32_tolerance=found)
    return ClassVectors(density, tuple(sampling))


def _rows(network: Chain, n: int, seed: int, known: Array | None) -> Array:
    if known is not None and len(known):
        return known[:n].astype(np.float64)
    return vectors.interior(network, reference.decode(network, noise.normal(seed, range(n), network.dim)))


def _borders(mixture: Mixture[Chain], rows: Array, dtype: str) -> Array:
    """A row between each class's row (C, D) and the next one's, where the class ceases to be the most probable.

    Elsewhere posteriors are 0 or 1 to the last digit, and would look right with any priors.
    """
    ends = np.roll(rows, -1, axis=0)
    low, high = np.zeros((len(rows), 1)), np.ones((len(rows), 1))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        found = reference.class_log_prob(mixture, rows + middle * (ends - rows))
        still = reference.posterior(found, mixture.priors).argmax(axis=1) == np.arange(len(rows))
        low, high = np.where(still[:, None], middle, low), np.where(still[:, None], high, middle)
    return _clamped(mixture.networks[0], rows + low * (ends - rows), dtype)


def _clamped(network: Chain, rows: Array, dtype: str) -> Array:
    """Rows as a graph of that dtype takes them: rounded, images inside [0, largest number below levels]."""
    p, exact = network.preprocessing, vectors.rounded(rows, dtype)
    return np.clip(exact, 0.0, float(largest_below(p.levels, np.dtype(dtype)))) if p else exact


def _tolerances(mixture: Mixture[Chain], class_log_prob: Array, tolerance: Array, dtype: str) -> dict[str, Array]:
    return {"class_log_prob": tolerance, **of_mixture(class_log_prob, tolerance, mixture.priors, dtype)}


def _are_tolerances(value: Any, n: int, classes: int) -> bool:  # noqa: ANN401
    shapes = {"class_log_prob": (n, classes), "log_prob": (n,), "posterior": (n,)}
    if not isinstance(value, dict) or value.keys() != shapes.keys():
        return False
    return all(t.shape == shapes[name] and (t >= 0).all() and np.isfinite(t).all() for name, t in value.items())
