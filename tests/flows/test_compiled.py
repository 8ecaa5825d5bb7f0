"""`torch.compile` of a flow: the arithmetic of its fixed loop, unbroken graphs, and one that is truly compiled."""

import shutil

import numpy as np
import pytest
import torch

from lunet_export import parity
from lunet_export.checks import vectors
from lunet_export.errors import MissingPackageError
from lunet_export.layers import ACTIVATIONS
from lunet_export.preprocessing import NAMED
from lunet_export.torch_layers import EagerFlow
from lunet_export.torch_layers.compiled import CompiledFlow
from lunet_export.torch_layers.leaky_softplus import LeakySoftplusBijection
from lunet_export.torch_layers.leaky_tanh import LeakyTanhBijection
from lunet_export.torch_layers.newton import newton, newton_steps
from tests.networks import network

SMALL = network(6, 3, preprocessing=NAMED["digits"])


@pytest.fixture
def traced(monkeypatch):
    """The compiler's front end alone: it refuses what would break the graph, and needs no C++."""
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **settings: real(f, backend="eager", **settings))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("alpha", [0.001, 0.1, 0.5, 0.95, 0.9999])
@pytest.mark.parametrize("kind", [LeakySoftplusBijection, LeakyTanhBijection])
def test_fixed_steps_end_where_eager_newton_does(kind, alpha, dtype):
    torch_dtype = getattr(torch, dtype)
    activation = kind(alpha)
    y = torch.cat([torch.linspace(-3, 3, 1001), torch.linspace(-1700, 1700, 1001)]).to(torch_dtype)[:, None]
    steps = newton_steps(activation, torch_dtype)
    x = newton(activation, y, steps)
    expected, log_stretch = activation.inverse(y)
    moved = y.abs() * log_stretch.exp()[:, None]  # what rounding of y makes of x, in units
    allowed = 16 * torch.finfo(torch_dtype).eps * torch.maximum(expected.abs(), moved).clamp(min=1)
    assert ((x - expected).abs() <= allowed).all()
    assert 1 <= steps <= 16


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_unbroken_graphs_pass_every_check(traced, activation):
    weights = network(6, 3, activation=activation, preprocessing=NAMED["digits"])
    runner = CompiledFlow(weights, "float32")
    assert parity.all_passed(parity.run(runner, vectors.build(weights, dtype="float32", seed=0)))


def test_every_batch_is_compiled_once_and_there_may_be_many(traced):
    weights = network(6, 1)
    runner, eager = CompiledFlow(weights, "float64"), EagerFlow(weights, "float64")
    rng = np.random.default_rng(0)
    for _ in range(2):
        for batch in range(1, 10):  # the compiler's own limit is eight
            z = rng.standard_normal((batch, 6))
            np.testing.assert_allclose(runner.decode(z), eager.decode(z), rtol=1e-9)
    assert list(runner.compile_seconds) == [("sampling", batch) for batch in range(1, 10)]
    assert min(runner.compile_seconds.values()) > 0


def test_a_compiler_that_is_missing_is_one_sentence(monkeypatch):
    def no_compiler(function, **_):
        def call(rows):
            raise RuntimeError(
                "InvalidCxxCompiler: No working C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1 for more"
            )

        return call

    monkeypatch.setattr(torch, "compile", no_compiler)
    runner = CompiledFlow(SMALL, "float32")
    with pytest.raises(MissingPackageError, match=r"it says: InvalidCxxCompiler: .* found\. It needs a C\+\+ compiler"):
        runner.decode(np.zeros((1, 6)))
    assert runner.compile_seconds == {}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++")
def test_a_compiled_flow_gives_eager_answers():
    weights = network(2, 2)
    z = np.random.default_rng(0).standard_normal((3, 2))
    np.testing.assert_allclose(
        CompiledFlow(weights, "float64").decode(z), EagerFlow(weights, "float64").decode(z), rtol=1e-9, atol=1e-12
    )
