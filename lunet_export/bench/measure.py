"""Timing that can be trusted: interleaved turns, percentiles, and a warning when the spread is wide."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WIDE = 0.25  # interquartile range over median
_FEWEST_CALLS = 3  # fewest calls of a case, even if they are too long for a whole turn


@dataclass(frozen=True)
class Measurement:
    """These are times of one call in milliseconds, over `calls` calls."""

    p50: float
    p90: float
    p95: float
    p99: float
    quartiles: tuple[float, float]
    calls: int
    turns: tuple[float, ...] = ()  # the median of each turn

    @property
    def noisy(self) -> bool:
        """Return whether the middle half of the times spans more than a quarter of the median."""
        return self.quartiles[1] - self.quartiles[0] > _WIDE * self.p50

    def times(self, other: "Measurement") -> float:
        """Return how many times as long as `other` of the same run this takes: the median of the ratios of their turns.

        Another process that takes the processor for a second slows the turns of one round alike, so their ratio stays
        the same; the ratio of the overall medians would not.
        """
        if not self.turns or len(self.turns) != len(other.turns):
            return self.p50 / other.p50  # they are not of the same run
        return float(np.median(np.array(self.turns) / np.array(other.turns)))


def interleaved(
    cases: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    warmup: int = 5,
    calls_per_turn: int = 50,
    settle: float = 0.01,
) -> dict[str, Measurement]:
    """Time each case in turns of consecutive calls, A B A B ..., so that a drift of the machine affects all alike.

    Calls of one turn follow each other because cases that alternate one by one evict each other's weights from the
    cache, which no user of one model would see. A turn ends early after a quarter of `seconds`, but has at least one
    call; a case whose calls are as long as that is called at least 3 times.

    Args:
        cases: Functions to call, by name.
        seconds: Approximate seconds per case.
        warmup: Number of calls per case that do not count; they too end after a quarter of `seconds`.
        calls_per_turn: Number of consecutive calls before the next case has its turn.
        settle: Seconds of calls at the beginning of a turn that do not count, at most a fortieth of `seconds`: they
            bring the case's weights back into the cache, and outlast the threads that PyTorch leaves spinning.
    """
    for call in cases.values():
        _turn(call, warmup, seconds / 4)
    times: dict[str, list[float]] = {name: [] for name in cases}
    turns: dict[str, list[float]] = {name: [] for name in cases}
    deadline = time.perf_counter() + seconds * len(cases)
    while cases and (time.perf_counter() < deadline or min(map(len, times.values())) < _FEWEST_CALLS):
        for name, call in cases.items():
            _settle(call, min(settle, seconds / 40))
            turn = _turn(call, calls_per_turn, seconds / 4)
            times[name] += turn
            turns[name].append(float(np.median(turn)) * 1e3)
    return {name: summarise(np.array(values) * 1e3, turns[name]) for name, values in times.items()}


@dataclass(frozen=True)
class HostAndDevice:
    """These are the host's and the device's shares of a run on a device, in milliseconds."""

    host: float  # median time to hand over the launches to an idle device
    device: float | None  # time per run, many in sequence; None if the host would delay it


def host_and_device(launch: Callable[[], object], wait: Callable[[], object], *, seconds: float) -> HostAndDevice:
    """Measure host and device separately, by a call that does not wait.

    Args:
        launch: Function that hands a run over and returns.
        wait: Function that returns when the device has nothing left to do.
        seconds: Approximate seconds for both measurements together.
    """
    launch()
    wait()
    handed: list[float] = []
    ends = time.perf_counter() + seconds / 2
    while not handed or time.perf_counter() < ends:
        begin = time.perf_counter()
        launch()
        handed.append(time.perf_counter() - begin)
        wait()
    calls, begin = len(handed), time.perf_counter()
    for _ in range(calls):
        launch()
    wait()
    return HostAndDevice(float(np.median(handed)) * 1e3, (time.perf_counter() - begin) / calls * 1e3)


def summarise(milliseconds: NDArray[np.float64], turns: Sequence[float] = ()) -> Measurement:
    """Return percentiles of the times of single calls, and the medians of the turns."""
    p25, p50, p75, p90, p95, p99 = (float(value) for value in np.percentile(milliseconds, [25, 50, 75, 90, 95, 99]))
    return Measurement(p50, p90, p95, p99, (p25, p75), len(milliseconds), tuple(turns))


def _turn(call: Callable[[], object], calls: int, longest: float) -> list[float]:
    """Return the seconds of each of `calls` calls, or of fewer if they take longer than `longest` seconds together."""
    seconds: list[float] = []
    ends = time.perf_counter() + longest
    for _ in range(calls):
        begin = time.perf_counter()
        call()
        end = time.perf_counter()
        seconds.append(end - begin)
        if end > ends:
            break
    return seconds


def _settle(call: Callable[[], object], seconds: float) -> None:
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        call()
