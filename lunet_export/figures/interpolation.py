"""Paths between images through the latent space."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lunet_export.data import Dataset
from lunet_export.diagnostics.rows import TEST, over_batches, validate_rows
from lunet_export.diagnostics.source import Source
from lunet_export.errors import BadInputError
from lunet_export.pictures.samples import showable

Array = NDArray[np.float64]
#: Name of a path.
PathName = Literal["spherical", "linear"]

_PARALLEL = 1e-6  # sine of an angle below which the arc is its chord


def linear(start: Array, end: Array, t: Array) -> Array:
    """Return (1 - t) start + t end: (P, D), (P, D), (S,) -> (P, S, D).

    Two independent standard normals of many dimensions are nearly orthogonal, so the norm of their midpoint is
    sqrt(1/2) of theirs: inside the shell where latents lie, and the image there is paler than at the ends.
    """
    weight = t[None, :, None]
    return (1 - weight) * start[:, None] + weight * end[:, None]


def spherical(start: Array, end: Array, t: Array) -> Array:
    """Return the arc between the directions, with the norm changing linearly: (P, D), (P, D), (S,) -> (P, S, D).

    Equal norms are kept all the way (Shoemake, SIGGRAPH 1985). If there is no unique arc, between parallel or opposite
    directions or from zero, the chord is taken.
    """
    norms = [np.linalg.norm(z, axis=1, keepdims=True) for z in (start, end)]
    u, v = (z / np.where(norm > 0, norm, 1.0) for z, norm in zip((start, end), norms, strict=True))
    angle = np.arccos(np.clip((u * v).sum(axis=1), -1, 1))[:, None]  # (P, 1)
    straight = (np.sin(angle) < _PARALLEL) | (norms[0] == 0) | (norms[1] == 0)
    sine = np.where(straight, 1.0, np.sin(angle))
    first, second = np.sin((1 - t) * angle) / sine, np.sin(t * angle) / sine  # (P, S)
    radius = (1 - t) * norms[0] + t * norms[1]
    arc = radius[..., None] * (first[..., None] * u[:, None] + second[..., None] * v[:, None])
    return np.where(straight[..., None], linear(start, end, t), arc)


#: The paths between two latents, by name.
PATHS: dict[PathName, Callable[[Array, Array, Array], Array]] = {"spherical": spherical, "linear": linear}


def validate_images(source: Source) -> None:
    """Raise unless the model's rows are images.

    Raises:
        BadInputError: if they are not.
    """
    if source.image_shape is None or not showable(source.image_shape, source.dim):
        raise BadInputError(
            f"Expected a model of images to interpolate; {source.name} has rows of {source.dim} numbers without an "
            "image shape. Plot its latents instead."
        )


def interpolate(source: Source, dataset: Dataset, *, pairs: int, steps: int, seed: int, path: PathName) -> Array:
    """Return x (pairs, steps, D): each row leads from one test image to another through the latent space.

    The first and last of each row are the images themselves, with their dequantization noise; between them are the
    points of the path at t = 1 / (steps - 1), 2 / (steps - 1), ..., mapped to images. A conditional model maps them
    given (1 - t) c + t c' for the contexts c and c' of both images.

    Args:
        source: A model of images.
        dataset: Its data; the images are drawn from the test rows without replacement.
        pairs: Rows of the picture.
        steps: Columns of the picture, at least 2.
        seed: Random seed of the choice of images and of the noise.
        path: Name of the path, of PATHS.

    Raises:
        BadInputError: if the model has no images, or there are too few test rows.
        DataError: if the rows are of another kind than the model's.
    """
    validate_images(source)
    validate_rows(dataset, source.preprocessing, source.dim, source.context)
    if 2 * pairs > len(dataset.test):
        raise BadInputError(
            f"Expected {2 * pairs} test images for {pairs} pairs; {dataset.name} has {len(dataset.test)}. "
            "Give a smaller `n`."
        )
    chosen = np.random.default_rng(seed).choice(len(dataset.test), 2 * pairs, replace=False)
    part = dataset.part("test")[chosen]
    both = over_batches(
        lambda x, c: (x, source.density(x, context=c)[0]), dataset, part, seed=seed, draw=TEST, on_rows=lambda n: None
    )
    x, z = (np.concatenate(part) for part in zip(*both, strict=True))
    t = np.linspace(0, 1, steps)[1:-1]
    between = PATHS[path](z[:pairs], z[pairs:], t).reshape(-1, source.dim)
    given = None
    if part.contexts is not None:
        given = linear(part.contexts[:pairs], part.contexts[pairs:], t).reshape(-1, part.contexts.shape[1])
    decoded = source.decode(between, context=given).reshape(pairs, len(t), source.dim)
    return np.concatenate([x[:pairs, None], decoded, x[pairs:, None]], axis=1)
