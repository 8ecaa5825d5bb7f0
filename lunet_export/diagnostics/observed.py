"""Rows compared with certified bounds: ratios |f(x) - f(y)| / |x - y| of pairs, log-determinants, and violations."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lunet_export.certificate import Bounds

Array = NDArray[np.float64]

_MOST_PAIRS = 100_000
_SLACK = 1e-9  # relative rounding of a bound and of what is compared with it


@dataclass(frozen=True)
class Seen:
    """These are rows before and after a map: `start` and `end` (N, D), and log_det (N,) of the map in nats.

    With contexts (N, C), only rows of one context are pairs: the map is another one for another context.

    lost is the rounding error of |end - end'| for each pair, and lost_log_det that of each log_det.
    """

    start: Array
    end: Array
    log_det: Array
    lost: float = 0.0
    lost_log_det: float = 0.0
    contexts: Array | None = None


@dataclass(frozen=True)
class Observed:
    """These are the extremes of |f(x) - f(y)| / |x - y| over unequal rows, and of log|det df/dx| [nats] over rows."""

    pairs: int
    least_ratio: float
    largest_ratio: float
    least_log_det: float
    largest_log_det: float
    violations: tuple[str, ...]


def observe(seen: Seen, bounds: Bounds | None, name: str) -> Observed:
    """Compare all pairs of rows (or, of many rows, 100,000 pairs) and all rows with the bounds.

    Args:
        seen: The rows.
        bounds: Certified bounds; None compares with nothing.
        name: Name of the map, for the sentences.
    """
    least, largest, pairs = np.inf, 0.0, 0
    too_far = too_near = 0
    for before, after in _distances(seen):
        ratio = after / before
        least, largest = min(least, float(ratio.min())), max(largest, float(ratio.max()))
        pairs += len(ratio)
        if bounds:
            too_far += int((after - seen.lost > bounds.lip_forward * before * (1 + _SLACK)).sum())
            too_near += int((after + seen.lost < before / bounds.lip_inverse * (1 - _SLACK)).sum())
    violations = []
    if bounds:
        if too_far:
            text = f"{too_far} of {pairs} pairs are stretched by more than {bounds.lip_forward:.6g}"
            violations.append(f"{name}: {text}, up to {largest:.6g} times")
        if too_near:
            text = f"{too_near} of {pairs} pairs are squeezed by more than {bounds.lip_inverse:.6g}"
            violations.append(f"{name}: {text}, up to {1 / max(least, 1e-300):.6g} times")
        slack = seen.lost_log_det + _SLACK * max(1.0, abs(bounds.log_det_min), abs(bounds.log_det_max))
        outside = (seen.log_det < bounds.log_det_min - slack) | (seen.log_det > bounds.log_det_max + slack)
        if outside.any():
            text = f"{int(outside.sum())} of {len(outside)} log-determinants lie outside"
            violations.append(f"{name}: {text} [{bounds.log_det_min:.6g}, {bounds.log_det_max:.6g}]")
    ends = (float(seen.log_det.min()), float(seen.log_det.max()))
    return Observed(pairs, least, largest, *ends, tuple(violations))


def _distances(seen: Seen) -> Iterator[tuple[Array, Array]]:
    """Yield |x - y| and |f(x) - f(y)| of rows i and i + k, k = 1, 2, ...; pairs of equal rows are left out."""
    n, done = len(seen.start), 0
    for shift in range(1, n):
        before, after = (np.linalg.norm(rows[shift:] - rows[:-shift], axis=1) for rows in (seen.start, seen.end))
        apart = before > 0
        if seen.contexts is not None:
            apart &= (seen.contexts[shift:] == seen.contexts[:-shift]).all(axis=1)
        if apart.any():
            yield before[apart], after[apart]
        done += n - shift
        if done >= _MOST_PAIRS:
            return
