"""A start for the inverse of leaky softplus from which two Newton steps reach float32, fitted to alpha at export.

f(x) = alpha x + (1 - alpha) softplus(x) has the asymptotes x and alpha x, so its inverse hugs the hyperbola
    x0(y) = p y + q - r sqrt((y - s)^2 + t^2),    p = (1/alpha + 1) / 2,    r = (1/alpha - 1) / 2.
Newton's step turns an error e into about c e^2 with c = f'' / (2 f'). Hence the error after k steps is smallest in
the minimax sense when the largest c^(1 - 2^-k) |x0(f(x)) - x| is: a Chebyshev problem in (q, s, t), solved here by
linearisation and linear programs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from lunet_export import reference
from lunet_export.errors import CheckFailedError

Array = NDArray[np.float64]

_MOST_STEPS = 12
_DECIMALS = 6  # coarser than what rounding of exp and log does to the fit, so that machines agree on it
#: Error allowed after the steps, over max(1, |x|): half the unit roundoff (float32).
_ALLOWED = {"float32": 2.0**-25, "float64": 2.0**-51}


@dataclass(frozen=True)
class NewtonStart:
    """x0(y) = p y + q - r sqrt((y - s)^2 + t^2), then `steps` Newton steps."""

    p: float
    q: float
    r: float
    s: float
    t: float
    steps: int
    error: float  # largest error over max(1, |x|) after the steps, in float64

    def __call__(self, y: Array) -> Array:
        return self.p * y + self.q - self.r * np.sqrt((y - self.s) ** 2 + self.t**2)


def fit(alpha: float, dtype: str) -> NewtonStart:
    """The start for this alpha with the fewest steps that reach `dtype` (float32 or float64), verified on a grid.

    Raises:
        CheckFailedError: No fit within twelve steps; alpha is too close to 0.
    """
    x = _grid(alpha)
    q, s, t = _chebyshev(alpha, x)
    p, r = (1 / alpha + 1) / 2, (1 / alpha - 1) / 2
    for steps in range(2, _MOST_STEPS + 1):
        start = NewtonStart(p, q, r, s, t, steps, error=0.0)
        error = _error_after(start, alpha, x)
        if error <= _ALLOWED[dtype]:
            return NewtonStart(p, q, r, s, t, steps, error)
    raise CheckFailedError(
        f"Expected Newton's iteration to reach {dtype} within {_MOST_STEPS} steps for alpha = {alpha}; the error is "
        f"still {error:.1e}. Use a larger alpha, such as 0.001."
    )


def _grid(alpha: float) -> Array:
    """Roots x at which the fit is judged: dense where f bends (between log alpha and 0), sparse far out."""
    far = np.geomspace(60.0, 1e6, 60)
    return np.concatenate([-far[::-1], np.linspace(np.log(alpha) - 40.0, 60.0, 3001), far])


def _chebyshev(alpha: float, x: Array) -> tuple[float, float, float]:
    y, slope = reference.leaky_softplus(x, alpha), reference.slope(x, alpha)
    bend = (1 - slope) * (slope - alpha) / (1 - alpha) / (2 * slope)  # f'' / (2 f')
    weight = bend ** (1 - 0.25) / np.maximum(1.0, np.abs(x)) ** 0.25
    p, r = (1 / alpha + 1) / 2, (1 / alpha - 1) / 2
    q, s, t = 0.66, -0.14, 0.5
    radius = 0.3  # trust region of the linearisation
    for _ in range(60):
        root = np.sqrt((y - s) ** 2 + t**2)
        gap = weight * (p * y + q - r * root - x)
        now = float(np.abs(gap).max())
        jacobian = weight[:, None] * np.stack([np.ones_like(y), r * (y - s) / root, -r * t / root], axis=1)
        slack = -np.ones((len(y), 1))
        upper = np.block([[jacobian, slack], [-jacobian, slack]])
        bounds = [(-radius / alpha, radius / alpha), (-radius, radius), (-radius, radius), (0, None)]
        step = linprog([0, 0, 0, 1], A_ub=upper, b_ub=np.concatenate([-gap, gap]), bounds=bounds).x
        trial = (q + step[0], s + step[1], abs(t + step[2]))
        reached = float(np.abs(weight * (p * y + trial[0] - r * np.hypot(y - trial[1], trial[2]) - x)).max())
        if reached < now:
            q, s, t = trial
            if now - reached < 1e-12 * now:
                break
        else:
            radius /= 4
            if radius < 1e-9:
                break
    return round(q, _DECIMALS), round(s, _DECIMALS), round(t, _DECIMALS)


def _error_after(start: NewtonStart, alpha: float, x: Array) -> float:
    y = reference.leaky_softplus(x, alpha)
    guess = start(y)
    for _ in range(start.steps):
        guess = guess - (reference.leaky_softplus(guess, alpha) - y) / reference.slope(guess, alpha)
    return float((np.abs(guess - x) / np.maximum(1.0, np.abs(x))).max())
