"""A blueprint of a model's graphs: the choices from which each graph is built."""

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.certificate import (
    Bounds,
    Certificate,
    Linearization,
    chain_bounds,
    data_bounds,
    outwards,
    predicted_round_trip,
)
from lunet_export.errors import BadInputError
from lunet_export.flows.jko import with_steps
from lunet_export.graphs import sizes, solvers
from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.graphs.elementwise import Preprocessed
from lunet_export.graphs.estimate import Estimate, estimates, fastest
from lunet_export.graphs.frame import Frame
from lunet_export.graphs.settings import ExportSettings
from lunet_export.graphs.solvers import Solver
from lunet_export.layers import Chain, Velocity
from lunet_export.layers.velocity import MOST_STEPS

Array = NDArray[np.float64]

_USUAL = "unrolled"
_COMPARED = 1024  # most dimensions; inverses grow with the cube
_MOST_LEVELS = 20_000  # most levels of all autoregressive layers together; each is a dozen nodes
_ROWS, _SEED = 64, 5  # samples whose round trip is measured


@dataclass(frozen=True)
class Blueprint:
    """A blueprint builds the graphs of a chain and says what the manifest holds of them.

    Attributes:
        weights: Model, with what was chosen for it, such as the steps of an integration.
        settings: Settings as given.
        solver: Solver of triangular systems; None where there are none.
        estimates: Estimates of every solver that can be built, where they were compared.
        compared: Other numbers of steps to report on.
    """

    weights: Chain
    settings: ExportSettings
    solver: Solver | None = None
    estimates: tuple[Estimate, ...] = ()
    compared: tuple[int, ...] = ()

    @classmethod
    def choose(cls, weights: Chain, settings: ExportSettings, *, compare: bool = False) -> Self:
        """Return the blueprint that the settings ask for.

        Args:
            weights: Model to export.
            settings: Settings of the graphs.
            compare: Whether to examine what other choices would cost and lose, for `remark`.

        Raises:
            BadInputError: if a setting does not fit the model, or a graph would exceed 2 GB.
        """
        _validate_dtype(weights, settings)
        weights = _integrated(weights, settings)
        if (levels := sum(layer.levels_back for layer in weights.layers)) > _MOST_LEVELS:
            raise BadInputError(
                f"Expected autoregressive layers of at most {_MOST_LEVELS} levels in all; got {levels}: each is a pass "
                "of the network in the graph. Take couplings."
            )
        compared = tuple({2 * layer.steps for layer in weights.of(Velocity)}) if compare else ()
        if not weights.solves and not weights.kind.names_solver:
            if settings.solver is not None or settings.tile is not None:
                raise BadInputError(
                    f"Expected neither `solver` nor `tile` for {weights.kind.title}, which solves nothing. "
                    "Leave them out."
                )
            _validate_size(weights, None, settings)
            return cls(weights, settings, None, compared=compared)
        solver, found = _solver(weights, settings, compare=compare)
        return cls(weights, settings, solver, tuple(found), compared)

    @property
    def estimate(self) -> Estimate | None:
        """Return the estimate of the solver that was taken; None where they were not compared."""
        return next((estimate for estimate in self.estimates if estimate.solver == self.solver), None)

    def without_preprocessing(self) -> Self:
        """Return the same choices for the network on its own input."""
        return replace(self, weights=self.weights.without_preprocessing(), estimates=())

    @property
    def frame(self) -> Frame:
        """Return the frame by which the graphs are written."""
        return Frame(self.weights, self.solver, self.settings.tensors, self.settings.products)

    def build(self, name: str, metadata: dict[str, str]) -> onnx.ModelProto:
        """Return the graph of that name, one of `settings.graphs`."""
        if name.startswith("density"):
            return self.frame.density(metadata, with_probe=name == "density_estimate")
        with_log_prob, draws_noise = name == "sampling_with_log_prob", name == "random_sampling"
        return self.frame.sampling(metadata, with_log_prob=with_log_prob, draws_noise=draws_noise)

    def log_prob_nodes(self, g: GraphBuilder, rows: Preprocessed) -> Value:
        """Write log p [batch, 1] of rows behind the logit into a graph of several flows."""
        return self.frame.encoded(g, rows, keep=True)[1]

    def metadata(self) -> dict[str, str]:
        """Return what each graph says of the model and the choices; bounds hold in data space."""
        bounds = None if self._bounds is None else data_bounds(self.weights, self._bounds)
        certified = {} if bounds is None else _certified(bounds)
        solver = {} if self.solver is None else {"lunet.solver": str(self.solver)}
        context = {} if self.weights.context is None else {"lunet.context": self.weights.context.text}
        return {**self.weights.kind.metadata(self.weights), **context, **solver, **certified}

    def model(self) -> dict[str, Any]:
        """Return what the manifest says of the model, beside what all manifests say."""
        measured = {} if self.round_trip_error is None else {"round_trip": self.round_trip_error}
        context = {} if self.weights.context is None else {"context": self.weights.context.to_json()}
        return {**self.weights.kind.entry(self.weights), **context, **measured}

    def graph(self, name: str) -> dict[str, Any]:
        """Return what the manifest says of a graph, beside what it says of every graph."""
        return {} if name == "density" or self.solver is None else {"solver": asdict(self.solver)}

    def certificate(self, x: Array) -> Certificate | None:
        """Return certified bounds with the local figures of rows x (N, D); None where a layer of the chain has none."""
        if self._bounds is None:
            return None
        s = self.settings
        return Certificate.of(self.weights, self._bounds, x, dtype=s.tensors, products=s.products)

    def round_trip(self, x: Array) -> Array | None:
        """Return predicted |f^-1(f(x)) - x| for rows x (N, D), the norm of a row; None without a certificate."""
        if self._bounds is None:
            return None
        s = self.settings
        return predicted_round_trip(Linearization(self.weights), x, dtype=s.tensors, products=s.products)

    def alternatives(self) -> list[dict[str, Any]]:
        """Return what was found out about other choices, for machines."""
        steps = (self._steps, *self.compared) if self.compared else ()
        return [
            *(estimate.as_json() for estimate in self.estimates),
            *({"steps": n, "round_trip": round_trip_error(with_steps(self.weights, n))} for n in steps),
        ]

    def remark(self) -> str:
        """Return one line about the choice, for a user."""
        if self.round_trip_error is not None:
            return self._remark_on_steps(self.round_trip_error)
        facts = {name.replace("_", " "): value for name, value in self.weights.facts().items() if name != "kinds"}
        told = ", ".join(f"{value} {name}" for name, value in facts.items())
        if self.solver is None or not self.weights.solves:
            return f"{self.weights.kind.title}: {told}; `solver` changes nothing here"
        if self.estimate is None:
            return f"hint: above {_COMPARED} dimensions only `lunet-export inspect --solvers` compares the solvers"
        chosen, best, load = self.estimate, fastest(self.estimates), self.settings.load
        where = f"predicted for {load.provider}, batch {load.batch}"
        gain = _percent(best, chosen)
        if best.solver == chosen.solver or gain <= 0:
            return f"`solver='{chosen.solver.name}'`: no other solver that is accurate enough is faster ({where})"
        return f"hint: `solver='{best.solver.name}'` is about {gain} % faster and {_accuracy(best, chosen)} ({where})"

    def _remark_on_steps(self, error: float) -> str:
        said = (
            f"{len(self.weights.of(Velocity))} blocks of {self._steps} steps: x -> z -> x is off by up to {error:.1e}"
        )
        others = [
            f"{round_trip_error(with_steps(self.weights, steps)):.1e} with `steps={steps}`" for steps in self.compared
        ]
        return ", ".join([said, *others]) + f", on {_ROWS} samples"

    @property
    def _steps(self) -> int:
        return self.weights.of(Velocity)[0].steps

    @cached_property
    def round_trip_error(self) -> float | None:
        """Return `round_trip_error` of a chain that is integrated; None for others, whose inverse is exact."""
        return round_trip_error(self.weights) if self.weights.of(Velocity) else None

    @cached_property
    def _bounds(self) -> Bounds | None:
        return chain_bounds(self.weights)


def round_trip_error(chain: Chain) -> float:
    """Return the largest |x - decode(encode(x))| of the reference over samples of the model, behind its logit."""
    context = None if chain.context is None else chain.context.drawn(_SEED, range(_ROWS))
    h = chain.decode(noise.normal(_SEED, range(_ROWS), chain.dim), context=context)
    return float(np.abs(chain.decode(chain.encode(h, context=context).rows, context=context) - h).max())


def _percent(best: Estimate, chosen: Estimate) -> int:
    """Return how much less time the one takes than the other, in percent, rounded as a prediction should be."""
    return 5 * round(20 * (1 - best.milliseconds / chosen.milliseconds))


def _accuracy(best: Estimate, chosen: Estimate) -> str:
    """Return in words how the errors of two solvers compare; a few rows determine them to about a half."""
    if best.share < chosen.share / 1.5:
        return "more accurate"
    return "as accurate" if best.share <= 1.5 * chosen.share else "less accurate, within the tolerance"


def _certified(bounds: Bounds) -> dict[str, str]:
    return {
        "lunet.lip_forward": repr(outwards(bounds.lip_forward, upper=True)),
        "lunet.lip_inverse": repr(outwards(bounds.lip_inverse, upper=True)),
        "lunet.log_det_min": repr(outwards(bounds.log_det_min, upper=False)),
        "lunet.log_det_max": repr(outwards(bounds.log_det_max, upper=True)),
    }


def _validate_dtype(chain: Chain, settings: ExportSettings) -> None:
    if any(settings.dtype not in layer.dtypes for layer in chain.layers):
        facts = chain.facts()
        raise BadInputError(
            f"Expected float32 for a {facts.get('networks', 'convolutional')} {chain.kind.title.split()[-1]}; got "
            f"{settings.dtype}, in which ONNX Runtime's CPU provider convolves nothing. Leave `dtype` out."
        )


def _integrated(chain: Chain, settings: ExportSettings) -> Chain:
    """Return the chain with the steps that the settings ask for."""
    if not chain.of(Velocity):
        if settings.steps is not None or settings.hutchinson:
            raise BadInputError(
                f"Expected neither `steps` nor `hutchinson` for a {chain.kind.name} model, which integrates nothing. "
                "Leave them out."
            )
        return chain
    if settings.steps is None:
        return chain
    if not 1 <= settings.steps <= MOST_STEPS:
        raise BadInputError(f"Expected 1 to {MOST_STEPS} steps per block; got {settings.steps}.")
    return with_steps(chain, settings.steps)


def _solver(chain: Chain, settings: ExportSettings, *, compare: bool) -> tuple[Solver, list[Estimate]]:
    """Return the solver that the settings ask for, and the estimates of all where they were compared."""
    automatic = settings.solver == "auto"
    if automatic and settings.tile is not None:
        raise BadInputError("Expected no `tile` with `solver='auto'`, which chooses it. Leave it out.")
    if automatic and not chain.solves:
        raise BadInputError(
            f"Expected LU layers for `solver='auto'`; this {chain.kind.name} model has none. Leave it out."
        )
    smallest = Solver("fused", None)  # the smallest that `auto` may choose
    asked = smallest if automatic else solvers.choose(settings.solver or _USUAL, settings.tile, chain.dim)
    _validate_size(chain, asked, settings)
    found: list[Estimate] = []
    if chain.solves and (automatic or (compare and chain.dim <= _COMPARED)):
        others = solvers.available(chain.dim)
        among = [*others, *([] if automatic or asked in others else [asked])]
        found = estimates(chain, dtype=settings.tensors, products=settings.products, load=settings.load, among=among)
    solver = fastest(found).solver if automatic else asked
    _validate_size(chain, solver, settings)
    return solver, found


def _validate_size(chain: Chain, solver: Solver | None, settings: ExportSettings) -> None:
    """Raise where a graph would be larger than one file may be.

    Raises:
        BadInputError: if a graph would be larger.
    """
    linear = sum(layer.solves for layer in chain.layers)
    numbers = sum(layer.stored for layer in chain.layers if not layer.solves)
    if solver is not None:
        numbers += linear * solvers.stored(solver, chain.dim)  # numbers of the larger of the two graphs
    for layer in chain.of(Velocity):  # there is one bias per time, and a graph may hold both directions
        numbers += layer.stored + 6 * layer.steps * layer.field.hidden[0]
    dtype = settings.products or settings.tensors
    cures = ["`dtype='float32'`"] * (dtype == "float64") + ["`solver='fused'`"] * (
        linear > 0 and solver is not None and solver.name != "fused"
    )
    smaller = {"lunet": "fewer blocks", "composed": "fewer layers"}.get(chain.kind.name)
    cure = f"Use {' or '.join([*cures, smaller])}." if smaller else "Train a smaller network."
    sizes.validate_size(numbers, dtype, cure)
