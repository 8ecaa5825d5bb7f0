"""JKO-iFlow in plain float64 NumPy: what the files mean, and the judge of every other implementation.

    h_0 = R (logit(x) - m) or R (x - m),    h_k = x_k(1),    z = h_K                         (arXiv 2212.14424)
    dx_k/dt = v_k(x_k, t),  x_k(0) = h_{k-1},    d log|det|/dt = div v_k(x_k, t)
    log|det dz/dx| = sum_k int_0^1 div v_k dt + log det R + log|det dlogit/dx|   [nats]

Both integrals are taken together, by `steps` equal steps of Kutta's 3/8 rule (1901), of order 4. That is the density
of the continuous flow up to the rule's error; so is `decode`, the same rule with t from 1 to 0, the inverse up to it.

x (N, D) data, z (N, D) latent, log_det (N,) of the map from data to latent. Nothing here is fast.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks.reference import inverse_logit, logit, softplus, standard_normal_log_prob
from lunet_export.families.jko.weights import JKOWeights, VelocityField

Array = NDArray[np.float64]
Trace = Callable[[VelocityField, list[Array]], Array]  # the slopes of the hidden layers -> div v, (N,)
Evaluate = Callable[[Array, float], Any]  # x (N, D), t -> v (N, D), div v (N,)

#: Weights of the four evaluations of a step; they are made at t, t + h / 3, t + 2 h / 3 and t + h.
QUADRATURE = np.array([1.0, 3.0, 3.0, 1.0]) / 8


def velocity(field: VelocityField, beta: float, x: Array, t: float) -> tuple[Array, list[Array]]:
    """v(x, t), and the slopes s' of the hidden layers: (N, D) -> (N, D), (N, H_l) each."""
    *hidden, (last, bias) = field.layers
    a, start, slopes = x, t * field.time, []
    for matrix, shift in hidden:
        sharp = beta * (a @ matrix.T + shift + start)
        a, start = softplus(sharp) / beta, np.zeros(1)
        slopes.append(np.exp(-softplus(-sharp)))
    return a @ last.T + bias, slopes


def divergence(field: VelocityField, slopes: list[Array]) -> Array:
    """div v = trace of dv/dx, exact: closed forms for one and two hidden layers, a tangent a dimension for more."""
    if len(slopes) == 1:
        return slopes[0] @ field.product
    if len(slopes) == 2:
        return ((slopes[0] @ field.product) * slopes[1]).sum(axis=1)
    *hidden, (last, _) = field.layers
    tangents = np.eye(len(last))[None]
    for (matrix, _), slope in zip(hidden, slopes, strict=True):
        tangents = (tangents @ matrix.T) * slope[:, None]
    return (tangents * last).sum(axis=(1, 2))


def along(probe: Array) -> Trace:
    """Hutchinson's estimate e^T (dv/dx) e of the divergence (1990), unbiased where E[e e^T] = I: probe e (N, D)."""

    def trace(field: VelocityField, slopes: list[Array]) -> Array:
        *hidden, (last, _) = field.layers
        tangent = probe
        for (matrix, _), slope in zip(hidden, slopes, strict=True):
            tangent = (tangent @ matrix.T) * slope
        return ((tangent @ last.T) * probe).sum(axis=1)

    return trace


def step(evaluate: Evaluate, x: Array, t: float, h: float) -> tuple[Array, Array]:
    """One step of the 3/8 rule from t to t + h: x(t + h), and the integral of div v over the step."""
    k1, q1 = evaluate(x, t)
    k2, q2 = evaluate(x + h / 3 * k1, t + h / 3)
    k3, q3 = evaluate(x + h * (k2 - k1 / 3), t + 2 * h / 3)
    k4, q4 = evaluate(x + h * (k1 - k2 + k3), t + h)
    values, divergences = (
        h * sum(w * part for w, part in zip(QUADRATURE, parts, strict=True))
        for parts in ((k1, k2, k3, k4), (q1, q2, q3, q4))
    )
    return x + values, divergences


def integrate(evaluate: Evaluate, x: Array, steps: int, *, back: bool = False) -> tuple[Array, Array]:
    """x(1) from x(0), or x(0) from x(1) with `back`, and the integral of div v in that direction."""
    h = (-1.0 if back else 1.0) / steps
    total: Any = 0.0
    for number in range(steps):
        x, term = step(evaluate, x, (1.0 if back else 0.0) + number * h, h)
        total = total + term
    return x, total


def blocks(weights: JKOWeights, x: Array, trace: Trace = divergence) -> Iterator[tuple[Array, Array]]:
    """h_0, h_1, ..., h_K with log|det dh_k/dx|: (N, D), (N,) each."""
    h, log_det = logit(x, weights.preprocessing) if weights.preprocessing else (x, np.zeros(len(x)))
    h = (h - weights.centre) @ weights.root.T
    log_det = log_det + np.log(np.diag(weights.root)).sum()
    yield h, log_det
    for field in weights.fields:
        h, term = integrate(_evaluation(field, weights.beta, trace), h, weights.steps)
        log_det = log_det + term
        yield h, log_det


def encode(weights: JKOWeights, x: Array) -> tuple[Array, Array]:
    """x -> (z, log_det)."""
    *_, last = blocks(weights, x)
    return last


def log_prob_estimate(weights: JKOWeights, x: Array, probe: Array) -> Array:
    """log p(x) with every divergence estimated along the probes, x and probe (N, D) -> (N,) nats."""
    *_, (z, log_det) = blocks(weights, x, along(probe))
    return standard_normal_log_prob(z) + log_det


def back_blocks(weights: JKOWeights, z: Array) -> Iterator[Array]:
    """h_K, ..., h_1, h_0: (N, D) each."""
    h = z
    yield h
    for field in reversed(weights.fields):
        h, _ = integrate(_evaluation(field, weights.beta, _none), h, weights.steps, back=True)
        yield h


def data_of(weights: JKOWeights, h: Array) -> Array:
    """x from h_0, not clamped."""
    h = np.linalg.solve(weights.root, h.T).T + weights.centre
    return inverse_logit(h, weights.preprocessing) if weights.preprocessing else h


def decode(weights: JKOWeights, z: Array) -> Array:
    """z -> x, not clamped."""
    *_, h = back_blocks(weights, z)
    return data_of(weights, h)


def _evaluation(field: VelocityField, beta: float, trace: Trace) -> Evaluate:
    def evaluate(x: Array, t: float) -> tuple[Array, Array]:
        v, slopes = velocity(field, beta, x, t)
        return v, trace(field, slopes)

    return evaluate


def _none(field: VelocityField, slopes: list[Array]) -> Array:
    del field
    return np.zeros(len(slopes[0]))
