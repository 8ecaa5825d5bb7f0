"""A start for the inverse of leaky softplus from which one of Halley's steps reaches float32, fitted at export.

With u = rho (y - s) the start is a hyperbola, and a sigmoid where that is not enough,
    x0(y) = s + A u - sqrt(u^2 + tau^2) - sigmoid(-k u),
curved as the inverse is. Far out its slopes are wrong and need not be right: u is clipped there, f is a straight line,
and one step from any point of that line ends at the root. Halley's step turns an error e into about C e^3,
    C = b^2 - f''' / (6 f'),    b = f'' / (2 f'),
so the error after the step is smallest in the minimax sense when the largest |C|^(1/3) |x0(f(x)) - x| is: a Chebyshev
problem in the start's parameters, solved by linearisation and linear programs.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import BadInputError, CheckFailedError
from lunet_export.layers.softplus import leaky_softplus, leaky_softplus_slope, softplus

Array = NDArray[np.float64]

_ALPHAS = (0.001, 0.9999)
_MOST_STEPS = 6
_DIGITS = 4  # significant; coarser than what rounding of exp and log does to the fit, so that machines agree on it
#: Error allowed after the steps, over max(1, |x|), in float64: one unit roundoff (float32); its own noise (float64).
_ALLOWED = {"float32": 2.0**-24, "float64": 2.0**-50}
#: Outside these x, f is a straight line to the last digit. To the left e^x is exactly 0, not a slow denormal number; to
#: the right e^-x is so small that the curvature times a target of 1e30 is nothing.
_STRAIGHT = {"float32": (-110.0, 85.0), "float64": (-760.0, 700.0)}
#: For smaller alphas the left branch is so flat that the rounding of 1 + e^x would be seen a hundredfold in x.
_COMPENSATED_BELOW = 0.08
#: Fits at the paper's alpha of 0.1, in units of y: s, tau / rho, rho, rho (A - 1), and rho k with the sigmoid.
_AT_A_TENTH = {False: (-0.192, 0.4737, 5.128, 1.048), True: (-0.2168, 0.4085, 4.985, 1.026, 1.863)}


@dataclass(frozen=True)
class HalleyStart:
    """A start holds its parameters, the u between which it is used, and how many steps follow."""

    alpha: float
    s: float
    tau: float
    rho: float
    A: float
    k: float | None  # None: no sigmoid
    clip: tuple[float, float]  # limits of u
    straight: tuple[float, float]  # later steps clip x to these
    shift: float  # b: the graph works with x - b and y - b; s where that saves two nodes
    compensated: bool  # what rounding takes from 1 + e^x is given back to its logarithm
    steps: int
    error: float  # largest error over max(1, |x|) after the steps, in float64

    def __call__(self, y: Array | np.float64) -> Array:
        """Return x0(y) in float64."""
        u = np.clip(self.rho * (y - self.s), *self.clip)
        x = self.s + self.A * u - np.sqrt(u * u + self.tau**2)
        return x if self.k is None else x - np.exp(-softplus(self.k * u))

    def invert(self, y: Array) -> Array:
        """Return the x with f(x) = y after all steps, in float64: what the graph computes."""
        x = self(y)
        for step in range(self.steps):
            x = np.clip(x, *self.straight) if step else x
            slope = leaky_softplus_slope(x, self.alpha)
            newton = (y - leaky_softplus(x, self.alpha)) / slope
            curvature = (1 - self.alpha) * np.exp(-softplus(x) - softplus(-x)) / (2 * slope)
            x = x + newton / (1 + curvature * newton)
        return x


@lru_cache
def fit(alpha: float, dtype: str) -> HalleyStart:
    """Return the start for this alpha with the fewest steps that reach `dtype`, float32 or float64, on a grid.

    Raises:
        BadInputError: if alpha is too close to 0 or 1.
        CheckFailedError: if no fit reaches the dtype within six steps.
    """
    if not _ALPHAS[0] <= alpha <= _ALPHAS[1]:
        raise BadInputError(f"Expected an alpha from {_ALPHAS[0]} to {_ALPHAS[1]} to export; got {alpha}.")
    for steps in range(1, _MOST_STEPS + 1):
        for sigmoid in (False, True):  # fitted on demand, and once for both dtypes
            tried = replace(_start(alpha, dtype, sigmoid=sigmoid), steps=steps)
            error = _error(tried)
            if error <= _ALLOWED[dtype]:
                return replace(tried, error=error)
    raise CheckFailedError(
        f"Expected Halley's iteration to reach {dtype} within {_MOST_STEPS} steps for alpha = {alpha}; the error is "
        f"still {error:.1e}. Use an alpha near the paper's 0.1."
    )


def _error(start: HalleyStart) -> float:
    x = _roots(start.alpha, 6001, far=1e6)
    gap = np.abs(start.invert(leaky_softplus(x, start.alpha)) - x)
    return float((gap / np.maximum(1.0, np.abs(x))).max())


@lru_cache
def _start(alpha: float, dtype: str, *, sigmoid: bool) -> HalleyStart:
    s, t, rho, right, *k = (float(f"{value:.{_DIGITS}g}") for value in _parameters(alpha, sigmoid=sigmoid))
    s = -log(np.dtype(dtype).type(exp(-s)))  # so that e^-s, which the graph adds, is a number of its dtype
    tau, ratio, bump = rho * t, 1 + right / rho, k[0] / rho if k else None
    free = HalleyStart(
        alpha=alpha,
        s=s,
        tau=tau,
        rho=rho,
        A=ratio,
        k=bump,
        clip=(-np.inf, np.inf),
        straight=_STRAIGHT[dtype],
        shift=0.0 if alpha < _COMPENSATED_BELOW else s,
        compensated=alpha < _COMPENSATED_BELOW,
        steps=0,
        error=np.inf,
    )
    from scipy.optimize import brentq  # only here, since running an export needs no scipy

    clip = [rho * (brentq(lambda y, x=x: float(free(np.float64(y))) - x, -1e6, 1e6) - s) for x in _STRAIGHT[dtype]]
    low, high = (float(f"{u:.3g}") for u in clip)
    return replace(free, clip=(low, high))


def _roots(alpha: float, count: int, *, far: float) -> Array:
    """Return the roots x at which a fit is evaluated: dense where f is curved (from log alpha to 0), sparse far out."""
    tails = np.geomspace(60.0, far, 60)
    return np.concatenate([-tails[::-1], np.linspace(log(alpha) - 40.0, 60.0, count), tails])


@lru_cache
def _parameters(alpha: float, *, sigmoid: bool) -> tuple[float, ...]:
    """Return the minimax parameters, by continuation from alpha = 0.1 in steps of a factor e in alpha / (1 - alpha)."""
    begin, end = log(0.1 / 0.9), log(alpha / (1 - alpha))
    parameters, last = np.array(_AT_A_TENTH[sigmoid]), 0.1
    for odds in np.linspace(begin, end, 2 + int(abs(end - begin)))[1:]:
        here = float(1 / (1 + np.exp(-odds)))
        scale = np.array([1.0, 1.0, (1 / here - 1) / (1 / last - 1), 1.0, 1.0])[: len(parameters)]
        parameters, last = _chebyshev(here, parameters * scale), here
    return tuple(parameters.tolist())


def _chebyshev(alpha: float, parameters: Array) -> Array:
    from scipy.optimize import linprog

    x = _roots(alpha, 601, far=200.0)
    y, slope = leaky_softplus(x, alpha), leaky_softplus_slope(x, alpha)
    curvature = (1 - slope) * (slope - alpha) / ((1 - alpha) * 2 * slope)
    third = curvature * (1 - 2 * (slope - alpha) / (1 - alpha)) / 3
    weight = np.cbrt(np.abs(curvature**2 - third)) / np.cbrt(np.maximum(1.0, np.abs(x)))

    def gap(trial: Array) -> Array:
        s, t, rho, right, *k = trial
        start = s + (rho + right) * (y - s) - rho * np.hypot(y - s, t)
        return weight * (start - x - (np.exp(-softplus(k[0] * (y - s))) if k else 0.0))

    radius, now = 0.2, float(np.abs(gap(parameters)).max())
    for _ in range(60):
        residual = gap(parameters)
        moves = np.diag(1e-6 * np.abs(parameters))
        jacobian = np.stack([(gap(parameters + move) - residual) / move.sum() for move in moves], axis=1)
        slack = -np.ones((len(y), 1))
        upper = np.block([[jacobian, slack], [-jacobian, slack]])
        bounds = [*((-reach, reach) for reach in radius * np.abs(parameters)), (0, None)]
        solved = linprog([0.0] * len(parameters) + [1.0], upper, np.concatenate([-residual, residual]), bounds=bounds)
        trial = parameters + (solved.x[:-1] if solved.x is not None else 0.0)
        reached = float(np.abs(gap(trial)).max())
        if reached < now:
            gain, parameters, now = now - reached, trial, reached
            radius = min(0.5, 2 * radius)
            if gain < 1e-7 * now:
                break
        else:
            radius /= 4
            if radius < 1e-8:
                break
    return parameters
