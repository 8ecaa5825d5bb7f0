"""Learning rates over a run, as shares of the peak."""

from collections.abc import Callable
from math import cos, pi
from typing import Literal, get_args

Falling = Literal["linear", "one-cycle", "constant"]
Schedule = Literal["schedule-free", "linear", "one-cycle", "constant"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)

_WARM_UP = {"one-cycle": 0.3}  # share of the steps; 0.01 for the others, for Adam's second moments


def peak(schedule: Schedule) -> float:
    """Return the share of the run after which the rate only falls; schedule-free rates never fall."""
    return 0.0 if schedule == "schedule-free" else _WARM_UP.get(schedule, 0.01)


def rate(schedule: Falling, total: int) -> Callable[[int], float]:
    """Return the share of the peak rate at a step of `total`: a cosine up to the peak, then the named fall to 0.

    one-cycle: a fall by a cosine, as in Smith 2018 (arXiv 1803.09820). linear: a straight fall. constant: no fall.
    """
    warm = peak(schedule)

    def share(step: int) -> float:
        done = min(step / total, 1.0)
        if done < warm:
            return 0.04 + 0.96 * (0.5 - 0.5 * cos(pi * done / warm))
        left = (1 - done) / (1 - warm)
        return {"linear": left, "constant": 1.0, "one-cycle": 0.5 - 0.5 * cos(pi * left)}[schedule]

    return share
