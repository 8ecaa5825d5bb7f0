"""Timing that can be trusted: interleaved rounds, percentiles, and a warning when the spread is wide."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WIDE = 0.25  # interquartile range over median


@dataclass(frozen=True)
class Measurement:
    """Times of one call in milliseconds, over `calls` calls."""

    p50: float
    p95: float
    p99: float
    quartiles: tuple[float, float]
    calls: int

    @property
    def noisy(self) -> bool:
        """The middle half of the times spans more than a quarter of the median."""
        return self.quartiles[1] - self.quartiles[0] > _WIDE * self.p50


def interleaved(
    cases: Mapping[str, Callable[[], object]], *, seconds: float, warmup: int = 5, calls_a_turn: int = 20
) -> dict[str, Measurement]:
    """Time each case in turns of consecutive calls, A B A B ..., so that a drift of the machine meets all alike.

    Args:
        cases: What to call, by name.
        seconds: For each case, about.
        warmup: Calls of each case that do not count.
        calls_a_turn: Consecutive calls before the next case has its turn.
    """
    for call in cases.values():
        for _ in range(warmup):
            call()
    times: dict[str, list[float]] = {name: [] for name in cases}
    deadline = time.perf_counter() + seconds * len(cases)
    while time.perf_counter() < deadline or min(map(len, times.values())) < calls_a_turn:
        for name, call in cases.items():
            turn_ends = time.perf_counter() + seconds / 4
            for _ in range(calls_a_turn):
                begin = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - begin)
                if times[name][-1] + begin > turn_ends:
                    break
    return {name: _summarise(np.array(values) * 1e3) for name, values in times.items()}


def _summarise(milliseconds: NDArray[np.float64]) -> Measurement:
    p25, p50, p75, p95, p99 = (float(value) for value in np.percentile(milliseconds, [25, 50, 75, 95, 99]))
    return Measurement(p50, p95, p99, (p25, p75), len(milliseconds))
