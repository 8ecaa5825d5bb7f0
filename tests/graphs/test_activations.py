"""The nodes of the other activations over all exponents of float32, and the number of Newton's steps."""

import numpy as np
import onnxruntime
import pytest
from lunet_export.families.lunet.graphs import activation, tanh_steps

from lunet_export.checks.rounding import of_elementwise, unit_roundoff
from lunet_export.errors import BadInputError
from lunet_export.graphs.builder import GraphBuilder, serialize

CASES = [(name, alpha) for name in ("leaky-relu", "leaky-tanh") for alpha in (0.001, 0.1, 0.5, 0.9999)]
every_case = pytest.mark.parametrize(("name", "alpha"), CASES)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def run(build, rows: np.ndarray) -> list[np.ndarray]:
    """The outputs of a graph of one column, in float64; `build(g, input)` gives them by name."""
    g = GraphBuilder("part", dim=1, dtype=rows.dtype.name)
    for name, value in build(g, g.input("rows")).items():
        g.output(name, value)
    session = onnxruntime.InferenceSession(serialize(g.finish({})), providers=["CPUExecutionProvider"])
    return [found.astype(np.float64)[:, 0] for found in session.run(None, {"rows": rows[:, None]})]


def everywhere(dtype: str) -> np.ndarray:
    """Dense where f bends; both signs of numbers from 1e-30 to 1e30 and 0."""
    wide = np.geomspace(1e-30, 1e30, 601)
    return np.concatenate([np.linspace(-30, 30, 6001), wide, -wide, [0.0]]).astype(dtype)


@every_case
@every_dtype
def test_values_and_slopes_are_the_references(name, alpha, dtype):
    f, a = Activation(name, alpha), everywhere(dtype)
    value, slope = run(lambda g, rows: dict(zip("vs", activation.scaled_value(g, rows, f), strict=True)), a)
    exact, unit = a.astype(np.float64), unit_roundoff(dtype)
    gap = np.abs(activation.scale_of(f) * value - f(exact))
    assert (gap <= 2 * unit * of_elementwise(f(exact))).all()  # in float64 the reference errs as much
    np.testing.assert_allclose(slope, f.slope(exact), rtol=16 * unit)


@every_case
@every_dtype
def test_roots_are_the_references(name, alpha, dtype):
    """Within the reference's own units: of x, and of y over the slope."""
    f = Activation(name, alpha)
    inverse, target = activation.inverse_of(f, dtype), everywhere(dtype)

    def build(g, rows):
        x = inverse.root(g, rows)
        return {"x": x, "slope": inverse.slope(g, x)}

    x, slope = run(build, target)
    y = inverse.scale * target.astype(np.float64) + inverse.shift
    exact = f.inverse(y)
    allowed = of_elementwise(exact) + 4 * np.abs(y) / f.slope(exact)
    assert (np.abs(x + inverse.shift - exact) <= unit_roundoff(dtype) * allowed).all()
    np.testing.assert_allclose(slope, f.slope(x + inverse.shift), rtol=16 * unit_roundoff(dtype))


def test_the_papers_alpha_takes_four_steps_and_five():
    assert [tanh_steps.fit(0.1, dtype) for dtype in ("float32", "float64")] == [4, 5]


@pytest.mark.parametrize("alpha", [0.001, 0.03, 0.1, 0.7])
@pytest.mark.parametrize(("dtype", "allowed"), [("float32", 2.0**-24), ("float64", 2.0**-50)])
def test_steps_are_enough_off_the_grid_and_one_less_is_not(alpha, dtype, allowed):
    f, steps = Activation("leaky-tanh", alpha), tanh_steps.fit(alpha, dtype)
    y = f(np.random.default_rng(0).uniform(-20, 20, 20_000))
    exact = f.inverse(y)
    size = np.maximum(np.maximum(1, np.abs(exact)), np.abs(y) / f.slope(exact))
    error, fewer = ((np.abs(tanh_steps.after(y, alpha, n) - exact) / size).max() for n in (steps, steps - 1))
    assert error <= 1.1 * allowed
    assert fewer > allowed


def test_hopeless_alphas_are_refused():
    with pytest.raises(BadInputError, match=r"Expected an alpha of at least 0\.001 to export a leaky tanh"):
        activation.inverse_of(Activation("leaky-tanh", 1e-5), "float64")
    with pytest.raises(BadInputError, match=r"Expected an alpha of at least 1e-06 to export a leaky ReLU"):
        activation.inverse_of(Activation("leaky-relu", 1e-9), "float32")
