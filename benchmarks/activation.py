"""How far are the inverse activation's nodes, and PyTorch's converged Newton, from the float64 reference?"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from lunet_export.graphs.builder import GraphBuilder, serialize
from lunet_export.layers import LeakySoftplus, halley_start, leaky_softplus
from lunet_export.runtime.providers import open_sessions
from lunet_export.torch_layers.leaky_softplus import LeakySoftplusBijection

Array = NDArray[np.float64]

ALPHAS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.5, 0.9, 0.99, 0.999)


def errors(alpha: float, dtype: str, *, fault: bool = False) -> tuple[Array, Array]:
    """Return errors of the graph's nodes and of eager PyTorch, in units of roundoff times max(1, |x|).

    The inputs cover every float32 exponent up to 1e30, with both signs, and lie densely where f is curved. `fault`
    plants one: the rounding of 1 + e^x is compensated where it should not be, and not where it should.
    """
    f, start = LeakySoftplus(alpha), halley_start.fit(alpha, dtype)
    g = GraphBuilder("inverse", dim=1, dtype=dtype)
    planted = replace(start, compensated=not start.compensated) if fault else start
    g.output("x", leaky_softplus.inverse_nodes(g, g.input("target"), planted))
    (session,), _ = open_sessions([serialize(g.finish({}))], "cpu", threads=1)
    target = ((_images(alpha) - start.shift) / (1 - alpha)).astype(dtype)[:, None]
    x = session.run(None, {"target": target})[0].astype(np.float64) + start.shift
    y = (1 - alpha) * target.astype(np.float64) + start.shift
    exact = f.root(y)
    rounded = y.astype(dtype)
    eager = LeakySoftplusBijection(alpha).inverse(torch.from_numpy(rounded))[0].numpy().astype(np.float64)
    unit = np.finfo(dtype).eps / 2 * np.maximum(1.0, np.abs(exact))
    eagers_exact = f.root(rounded.astype(np.float64))
    return np.abs(x - exact) / unit, np.abs(eager - eagers_exact) / unit


def _images(alpha: float) -> Array:
    rng, exponents = np.random.default_rng(0), np.arange(-149, 100)
    far = np.ldexp(rng.uniform(1, 2, (20, len(exponents))), exponents).ravel()
    y = np.concatenate([far, -far, rng.uniform(-8, 8, 50_000), rng.uniform(-20 * alpha, 0, 50_000), [0.0]])
    return y[np.abs(y) <= 1e30].astype(np.float32).astype(np.float64)
