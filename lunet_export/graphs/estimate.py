"""What each solver would cost and lose, before anything is exported; `auto` chooses by it.

Milliseconds come from a model of three terms, with round constants of ordinary machines. It only ranks solvers;
`lunet-export bench` measures.
    launches x time per launch + elements of elementwise nodes / rate + max(bytes of weights / bandwidth, flops / speed)
The error is not a model: the solver's own products run in NumPy in the graph's dtype, on N(0, I) and its tails. x, and
z after z -> x -> z, are compared with the reference, as shares of the parity tolerance, so of the model's conditioning.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.errors import BadInputError
from lunet_export.graphs import sizes, solvers
from lunet_export.graphs.census import work_items
from lunet_export.graphs.frame import Frame
from lunet_export.graphs.settings import Load
from lunet_export.graphs.solvers import Solver
from lunet_export.layers import LU, Chain, Inverse, Layer

Array = NDArray[np.float64]

_ROWS = 8
_TAILS = (1.0,) * 6 + (3.0, 10.0)
#: `auto` takes a solver only below this share, since the worst row of many is two to three times the mean.
_ADMITTED = 0.4


@dataclass(frozen=True)
class _Machine:
    launch: float  # seconds
    elements: float  # per second, each read and written once
    bandwidth: float  # bytes per second
    speed: float  # floating-point operations per second


#: Two server cores, fitted to `benchmarks.activation_speed`; a data-centre GPU, one launch at a time.
_MACHINES = {"cpu": _Machine(0.7e-6, 5e9, 90e9, 190e9), "cuda": _Machine(3e-6, 2.5e11, 2e12, 4e13)}


@dataclass(frozen=True)
class Estimate:
    """An estimate describes one solver's graph: that of `solving_ways`, or both together where both solve."""

    solver: Solver
    nodes: int
    work_items: int  # kernels, cuBLAS calls and copies that the CUDA provider launches
    flops: int  # per row: two per multiply-add, one per number of an elementwise node
    bytes: int  # size of the file
    error: float  # largest |x - reference|, over the largest |x|
    share: float  # each row's largest error, of x or of z -> x -> z, over its parity tolerance; root mean square
    milliseconds: float  # per call, by the model

    def as_json(self) -> dict[str, Any]:
        """Return plain values for `--json` and the manifest."""
        return {**asdict(self), "solver": str(self.solver)}


def estimates(
    chain: Chain,
    *,
    dtype: str,
    products: str | None = None,
    load: Load | None = None,
    among: Sequence[Solver] | None = None,
) -> list[Estimate]:
    """Return an estimate for every solver that fits the model and one ONNX file, in the order of `SOLVERS`.

    Raises:
        BadInputError: if none can be built.
    """
    itemsize, blocks = np.dtype(products or dtype).itemsize, sum(layer.solves for layer in chain.layers)
    network = chain.without_preprocessing()
    fitting = [
        solver
        for solver in among or solvers.available(chain.dim)
        if blocks * solvers.stored(solver, chain.dim) * itemsize <= sizes.LARGEST_BYTES
    ]
    if not fitting:
        sizes.validate_size(blocks * chain.dim**2, products or dtype, "Use float32, or fewer blocks.")
    refusal = BadInputError("Expected a solver whose graphs fit into 2 GB, the limit of one ONNX file; none does.")
    z = (np.array(_TAILS)[:, None] * noise.normal(0, range(_ROWS), chain.dim)).astype(dtype).astype(np.float64)
    passes = [_Pass.of(network, z, dtype, products, forward=forward) for forward in solving_ways(chain)]
    found: list[Estimate] = []
    for solver in fitting:
        try:
            frame = Frame(chain, solver, dtype, products)
            models = [frame.density({}) if way.forward else frame.sampling({}) for way in passes]
        except BadInputError as error:  # its inverses leave the range of the dtype
            refusal = error
            continue
        with np.errstate(over="ignore", invalid="ignore"):  # a solver that overflows is simply not taken
            losses = [way.loss(network, solver, dtype, products) for way in passes]
        nodes = [node for model in models for node in model.graph.node]
        elementwise = sum(node.op_type not in ("Gemm", "Split", "Concat") for node in nodes)
        macs, size = sum(loss.macs for loss in losses), sum(model.ByteSize() for model in models)
        cost = _Cost(sum(map(work_items, models)), elementwise * chain.dim, macs, size)
        found.append(
            Estimate(
                solver=solver,
                nodes=len(nodes),
                work_items=cost.launches,
                flops=2 * macs + cost.elements,
                bytes=cost.bytes,
                error=max(loss.error for loss in losses),
                share=max(loss.share for loss in losses),
                milliseconds=1e3 * cost.seconds(load or Load()),
            )
        )
    if not found:
        raise refusal
    return found


def fastest(found: Sequence[Estimate]) -> Estimate:
    """Return the fastest estimate whose share is at most 0.4, or the most accurate where there is none."""
    admitted = [estimate for estimate in found if estimate.share <= _ADMITTED]
    if admitted:
        return min(admitted, key=lambda estimate: estimate.milliseconds)
    return min(found, key=lambda estimate: estimate.share)


@dataclass(frozen=True)
class _Cost:
    launches: int
    elements: int  # elements of elementwise nodes per row
    macs: int  # multiply-adds per row
    bytes: int

    def seconds(self, load: Load) -> float:
        machine = _MACHINES[load.provider]
        launched = self.launches * machine.launch
        elementwise = load.batch * self.elements / machine.elements
        return launched + elementwise + max(self.bytes / machine.bandwidth, 2 * load.batch * self.macs / machine.speed)


def solving_ways(chain: Chain) -> list[bool]:
    """Return the directions that solve: False from latent to data, True from data to latent, for inverted layers."""
    return [
        forward
        for forward in (False, True)
        if any(_system(layer, forward=forward) is not None for layer in chain.layers)
    ] or [False]


def _system(layer: Layer, *, forward: bool) -> LU | None:
    """Return the LU layer that this direction of the layer solves; None where it solves none."""
    is_inverse = isinstance(layer, Inverse)
    inner = layer.layer if isinstance(layer, Inverse) else layer
    return inner if isinstance(inner, LU) and is_inverse == forward else None


class _Loss(NamedTuple):
    """This is what a solver loses in one direction, and the multiply-adds per row of its products."""

    error: float
    share: float
    macs: int


@dataclass(frozen=True)
class _Pass:
    """This is one direction of a network on some rows: the reference's answers, and what rounding may do to them."""

    forward: bool
    rows: Array
    exact: Array
    allowed: Array
    allowed_back: Array
    context: Array | None  # of a conditional flow

    @classmethod
    def of(cls, network: Chain, z: Array, dtype: str, products: str | None, *, forward: bool) -> Self:
        context = None if network.context is None else network.context.drawn(0, range(len(z)))
        model, x = RoundingModel(network, dtype, products), reference.decode(network, z, context)
        if not forward:
            allowed = model.sampling(z, context)
            return cls(forward, z, x, allowed["x"], allowed["z"], context)
        x = x.astype(dtype).astype(np.float64)
        allowed = model.density(x, context)
        return cls(forward, x, reference.encode(network, x, context)[0], allowed["z"], allowed["x"], context)

    def loss(self, network: Chain, solver: Solver, dtype: str, products: str | None) -> _Loss:
        got, macs = self._solved(network, solver, dtype, products)
        context = self.context
        returned = (
            reference.decode(network, got, context) if self.forward else reference.encode(network, got, context)[0]
        )
        gap, back = np.abs(got - self.exact).max(axis=1), np.abs(returned - self.rows).max(axis=1)
        shares = np.nan_to_num(np.maximum(gap / self.allowed, back / self.allowed_back), nan=np.inf, posinf=np.inf)
        return _Loss(float(gap.max() / np.abs(self.exact).max()), float(np.sqrt(np.mean(shares**2))), macs)

    def _solved(self, chain: Chain, solver: Solver, dtype: str, products: str | None) -> tuple[Array, int]:
        """Return the rows by the solver's products in `dtype`, other layers being exact, and the multiply-adds."""
        arithmetic = solvers.Eager(dtype, products)
        h = self.rows.astype(dtype)
        layers = chain.given(self.context, len(h))
        for layer in layers if self.forward else reversed(layers):
            if (system := _system(layer, forward=self.forward)) is not None:
                h = solvers.solve(arithmetic, solver, h, system)
            else:
                exact = h.astype(np.float64)
                h = (layer.forward(exact).rows if self.forward else layer.inverse(exact)).astype(dtype)
        return h.astype(np.float64), arithmetic.macs
