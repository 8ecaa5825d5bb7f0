"""Rows that a model was not made for: the graph computes a correct number for them, but it means nothing.

What a model was made for is known without its data. Behind a pre-processing, x is a grey level plus noise in
[0, levels), so rows without noise and rows that were scaled to [0, 1] show by their numbers alone. The latents of any
model's own rows have a mean |z|^2 / D of 1 if the model was fitted by likelihood; by Markov's inequality more than half
of N rows can hardly exceed a few times as much, whatever their distribution is (`most_by_chance`). A few odd rows among
good ones do not change the median, so they are not reported.

Rows and latents are looked at by a sample of 4096 rows per call. For good rows that costs one row's maximum and one
scalar product. In Python a misfit is a `RowsWarning` at the caller's line; commands report it in their own way.
"""

import sys
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from math import floor, log, sqrt
from os import sep
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import RowsWarning
from lunet_export.preprocessing import Logit

Array = NDArray[np.float64]

#: The probability per call that rows of a model's own data are reported as a misfit.
BY_CHANCE = 1e-6
#: The largest mean |z|^2 / D of good rows that the model has not seen; rows that it was fitted to have 1.
_UNSEEN = 2.0
#: (1/4)^2: rows whose latents lie within a quarter of the scale are reported; samples at temperature 1/2 do not.
_NEAR = 1 / 16
#: Images that do not reach an eighth of the levels look like images of fewer levels; at most a quarter of the model's
#: own images are so dark.
_DARK, _MOST_DARK = 1 / 8, 1 / 4
_LOOKED_AT = 4096  # rows per call
_GREY = 255  # the largest of 8 bits

_RUNTIME, _PACKAGE = (f"{folder}{sep}" for folder in Path(__file__).parents[:2])


_ASSUMED = (
    "Or the latent statistics that were folded into the model belong to another network: leave "
    "`latent_stats` out, and fold in the latents of this one with lunet-export recalibrate."
)


@dataclass(frozen=True)
class Misfit:
    """Why rows are not those that a model was made for, in one sentence, and the kind of the misfit.

    noise: Grey levels without noise. scale: Images scaled to [0, 1]. levels: Images of fewer grey levels. grey: Grey
    levels for a model without pre-processing. far, near: Latents that are far too large or too small. context:
    Contexts beyond those of training.
    """

    kind: str
    sentence: str


class MadeFor:
    """What a model was made for, and the test whether rows are that.

    Args:
        dim: Number of dimensions D.
        preprocessing: Pre-processing of the model; None for vectors.
        source: Kind of the file that the model came from, by the manifest. A network of `authors` or `authors-realnvp`
            without pre-processing takes logits, and never whole numbers.
        assumed: Whether latent statistics were folded in without a file that shows that they belong to this network.
    """

    def __init__(self, dim: int, preprocessing: Logit | None, source: str = "", *, assumed: bool = False) -> None:
        self._dim, self._preprocessing, self._source, self._assumed = dim, preprocessing, source, assumed

    def of_rows(self, rows: NDArray[Any]) -> Misfit | None:
        """Return the misfit that the numbers of rows (N, D) in the domain show by themselves."""
        p = self._preprocessing
        if p is None or not len(rows):
            return None
        if rows.dtype.kind in "ui":
            return self._without_noise(p)
        top = float(rows[0].max())
        if top != floor(top) and top > max(1, _DARK * p.levels):
            return None
        seen = sample(rows)
        above = seen[seen > 0]  # clamped numbers are 0
        if p.levels > 2 and above.size and above.max() <= 1:
            return _scaled(p) if _is_no_noise(above, p) else None
        spacing = (
            float(np.finfo(above.dtype).eps) * p.levels
        )  # upper bound of the chance that a number with noise is whole
        if spacing < 1 and above.size * log(spacing) <= log(BY_CHANCE) and (above == np.floor(above)).all():
            return self._without_noise(p)
        dark = above.size and 1 < above.max() < _DARK * p.levels
        return _dark(above, p) if dark and len(seen) * log(_MOST_DARK) <= log(BY_CHANCE) else None

    def of_latents(self, rows: NDArray[Any], z: NDArray[np.floating]) -> Misfit | None:
        """Return the misfit that latents z (N, D) show for rows (N, D)."""
        if not len(z):
            return None
        mean = float(np.vdot(z, z)) / z.size
        if _NEAR <= mean <= _UNSEEN:  # neither the median nor the largest can be reported then
            return None
        return self.of_squares(sample(rows), squares(z))

    def of_squares(self, rows: NDArray[Any], found: Array, *, exact: bool = True) -> Misfit | None:
        """Return the misfit that |z|^2 / D, (N,), shows for rows (N, D); without `exact` it is a lower bound."""
        n = len(found)
        if not n:
            return None
        middle = float(np.partition(found, (n - 1) // 2)[(n - 1) // 2])
        if misfit := self._far(rows, middle, n):
            return misfit
        largest = float(found.max())
        # P(chi^2 of k degrees <= t k) <= (t exp(1 - t))^(k / 2) for t < 1 (Chernoff).
        if exact and 0 < largest < _NEAR and n * self._dim / 2 * (log(largest) + 1 - largest) <= log(BY_CHANCE):
            return self._explained(_nearer(largest))
        return None

    def _far(self, rows: NDArray[Any], middle: float, n: int) -> Misfit | None:
        images = self._preprocessing is not None
        grey = not images and _is_grey(rows)
        by_chance = most_by_chance(_LOOKED_AT if grey and self._source in _OF_LOGITS else n)
        if middle <= _UNSEEN * by_chance:
            return None
        return _grey(rows, middle, self._source) if grey else self._explained(_farther(middle, images=images))

    def _explained(self, misfit: Misfit) -> Misfit:
        """Return the misfit of latents with the other cause that it may have."""
        return replace(misfit, sentence=f"{misfit.sentence} {_ASSUMED}") if self._assumed else misfit

    @staticmethod
    def _without_noise(p: Logit) -> Misfit:
        return Misfit(
            "noise",
            f"Expected grey levels plus noise, in [0, {p.levels}), which the model was made for; got whole "
            "numbers, whose log p means something else. Give them as integers to score, which adds the noise: "
            "`lunet-export score` or lunet_export.runtime.scoring.score.",
        )


def squares(z: NDArray[np.floating]) -> Array:
    """Return |z|^2 / D of a sample of latents (N, D), in float64."""
    seen = sample(z).astype(np.float64)
    with np.errstate(over="ignore"):
        found: Array = np.einsum("nd,nd->n", seen, seen) / max(1, seen.shape[1])
    return found


@lru_cache(maxsize=512)
def most_by_chance(n: int) -> float:
    """Return what more than half of n independent numbers of mean 1 exceed with a probability of at most `BY_CHANCE`.

    By Markov a number exceeds t with probability p <= 1 / t. The probability that a share a > p of n numbers does is at
    most exp(-n KL(a || p)) (Chernoff); 1 / t is the p at which that is `BY_CHANCE`. For one number the result is
    1 / `BY_CHANCE`, for very many 2.
    """
    share = (n - (n - 1) // 2) / n

    def nats(p: float) -> float:
        rest = 0.0 if share == 1 else (1 - share) * log((1 - share) / (1 - p))
        return n * (share * log(share / p) + rest)

    low, high = 0.0, share
    for _ in range(100):
        p = (low + high) / 2
        low, high = (p, high) if nats(p) > -log(BY_CHANCE) else (low, p)
    return 1 / low


def warn(misfit: Misfit | None) -> None:
    """Warn the caller of the runtime of a misfit, but not the rest of this package, which looks at rows itself.

    By Python's usual filters that happens once per place and sentence.
    """
    if misfit is None:
        return
    frame: FrameType | None = sys._getframe()
    level = 0
    while frame is not None and frame.f_code.co_filename.startswith(_RUNTIME):
        frame, level = frame.f_back, level + 1
    if frame is None or not frame.f_code.co_filename.startswith(_PACKAGE):
        warnings.warn(misfit.sentence, RowsWarning, stacklevel=level + 1)


def sample(rows: NDArray[Any]) -> NDArray[Any]:
    """Return the rows of a call that are looked at: the same rows for the same N, spread without a period."""
    return rows[_chosen(len(rows))] if len(rows) > _LOOKED_AT else rows


@lru_cache(maxsize=8)
def _chosen(n: int) -> NDArray[np.int64]:
    """Return row numbers, ascending: multiples of the golden ratio modulo 1 spread more evenly than chance."""
    golden = (sqrt(5) - 1) / 2
    return np.unique((np.arange(_LOOKED_AT) * golden % 1 * n).astype(np.int64))


def _is_no_noise(above: NDArray[np.floating], p: Logit) -> bool:
    """Return whether numbers in (0, 1] cannot be the noise of black pixels, uniform in [0, 1), so are scaled images.

    Their mean is too far from 1/2 (Hoeffding), or all are multiples of 1 / (levels - 1).
    """
    n = above.size
    if abs(float(above.mean(dtype=np.float64)) - 0.5) > sqrt(log(2 / BY_CHANCE) / (2 * n)):
        return True
    slack = p.levels * float(np.finfo(above.dtype).eps)
    scaled = above.astype(np.float64) * (p.levels - 1)
    return bool((np.abs(scaled - np.rint(scaled)) <= slack).all()) and n * log(min(1.0, 2 * slack)) <= log(BY_CHANCE)


def _is_grey(rows: NDArray[Any]) -> bool:
    """Return whether rows are whole numbers of 8 bits, and not only 0 and 1."""
    return bool(rows.size and rows.min() >= 0 and 1 < rows.max() <= _GREY and (rows == np.floor(rows)).all())


def _scaled(p: Logit) -> Misfit:
    return Misfit(
        "scale",
        f"Expected grey levels plus noise, in [0, {p.levels}), which the model was made for; all of these rows lie in "
        f"[0, 1]: they look scaled. Multiply them by {p.levels - 1}, round them to integers, and give those to score, "
        "which adds the noise.",
    )


def _dark(above: NDArray[np.floating], p: Logit) -> Misfit:
    return Misfit(
        "levels",
        f"Expected images of {p.levels} grey levels, which the model was made for; none of these reaches "
        f"{floor(above.max()) + 1}: they look like images of fewer levels. Scale them to 0 .. {p.levels - 1}, or use "
        "a model that was made for them.",
    )


#: What to do with grey levels for a network of the released code, by what the manifest calls its file.
_OF_LOGITS = {
    "authors": "Export the authors' best.pth again with `preprocess='paper'`",
    "authors-realnvp": "Give x = logit(0.05 + 0.95 y / 256) of grey levels y with their noise",
}


def _grey(rows: NDArray[Any], middle: float, source: str) -> Misfit:
    cure = _OF_LOGITS.get(source)
    return Misfit(
        "grey",
        f"Expected the input of a network without pre-processing; got whole numbers up to {rows.max():g}, half of them "
        f"with |z|^2 / D above {middle:.1g} where 1 is usual: they look like grey levels. "
        f"{f'{cure}, or give' if cure else 'Give'} rows like those that the model was trained on.",
    )


def _farther(middle: float, *, images: bool) -> Misfit:
    why = (
        "scaled, inverted or cropped differently"
        if images
        else "in other units, standardised differently or out of order"
    )
    return Misfit(
        "far",
        "Expected rows like those that the model was trained on, whose latents have |z|^2 / D near 1; half of these "
        f"have more than {middle:.1g}: they are {why}, or other data. Give rows as they were given in training.",
    )


def _nearer(largest: float) -> Misfit:
    return Misfit(
        "near",
        "Expected rows like those that the model was trained on, whose latents have |z|^2 / D near 1; all of these "
        f"have less than {largest:.1g}: they are scaled down, or samples of a low temperature. Give rows as they were "
        "given in training.",
    )
