"""LU-Net's choices: the solver of its triangular systems."""

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray

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
from lunet_export.families.lunet.graphs import density, sampling
from lunet_export.families.lunet.graphs.estimate import Estimate, estimates, fastest
from lunet_export.families.lunet.weights import ACTIVATIONS, LUNetWeights
from lunet_export.graphs import sizes, solvers
from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.graphs.elementwise import Preprocessed
from lunet_export.graphs.settings import ExportSettings
from lunet_export.graphs.solvers import Solver

Array = NDArray[np.float64]

_USUAL = "unrolled"
_COMPARED = 1024  # dimensions; inverses grow with the cube


@dataclass(frozen=True)
class Blueprint:
    """As `lunet_export.graphs.blueprint.Blueprint`."""

    weights: LUNetWeights
    settings: ExportSettings
    solver: Solver
    estimates: tuple[Estimate, ...] = ()  # of every solver that can be built, where they were compared

    @classmethod
    def choose(cls, weights: LUNetWeights, settings: ExportSettings, *, compare: bool = False) -> Self:
        """As `lunet_export.graphs.blueprint.Blueprint.choose`."""
        settings.refuse_integration(weights.family)
        automatic = settings.solver == "auto"
        smallest = Solver("fused", None)  # of what `auto` may choose
        asked = smallest if automatic else solvers.choose(settings.solver or _USUAL, settings.tile, weights.dim)
        refuse_large(weights, asked, settings)
        if automatic and settings.tile is not None:
            raise BadInputError("Expected no --tile with --solver auto, which chooses it. Leave it out.")
        found: list[Estimate] = []
        if automatic or (compare and weights.dim <= _COMPARED):
            others = solvers.available(weights.dim)
            among = [*others, *([] if automatic or asked in others else [asked])]
            found = estimates(
                weights, dtype=settings.tensors, products=settings.products, load=settings.load, among=among
            )
        solver = fastest(found).solver if automatic else asked
        refuse_large(weights, solver, settings)
        return cls(weights, settings, solver, tuple(found))

    @property
    def estimate(self) -> Estimate | None:
        """That of the solver that was taken; None where they were not compared."""
        return next((estimate for estimate in self.estimates if estimate.solver == self.solver), None)

    def without_preprocessing(self) -> Self:
        """As `lunet_export.graphs.blueprint.Blueprint.without_preprocessing`."""
        return replace(self, weights=self.weights.without_preprocessing(), estimates=())

    def build(self, name: str, metadata: dict[str, str]) -> onnx.ModelProto:
        """As `lunet_export.graphs.blueprint.Blueprint.build`."""
        dtype, products = self.settings.tensors, self.settings.products
        if name == "density":
            return density.build(self.weights, dtype=dtype, products=products, metadata=metadata)
        return sampling.build(
            self.weights,
            solver=self.solver,
            dtype=dtype,
            products=products,
            with_log_prob=name == "sampling_with_log_prob",
            draws_noise=name == "random_sampling",
            metadata=metadata,
        )

    def log_prob_nodes(self, g: GraphBuilder, rows: Preprocessed) -> Value:
        """As `lunet_export.graphs.blueprint.Blueprint.log_prob_nodes`."""
        return density.of_network(g, self.weights, rows, keep=True)[1]

    def metadata(self) -> dict[str, str]:
        """As `lunet_export.graphs.blueprint.Blueprint.metadata`; the bounds hold in data space."""
        bounds = data_bounds(self.weights, self._chain)
        return {
            "lunet.blocks": str(len(self.weights.blocks)),
            "lunet.alpha": repr(self.weights.alpha),
            **_named(self.weights, "lunet.activation"),
            "lunet.solver": str(self.solver),
            "lunet.lip_forward": repr(outwards(bounds.lip_forward, upper=True)),
            "lunet.lip_inverse": repr(outwards(bounds.lip_inverse, upper=True)),
            "lunet.log_det_min": repr(outwards(bounds.log_det_min, upper=False)),
            "lunet.log_det_max": repr(outwards(bounds.log_det_max, upper=True)),
        }

    def model(self) -> dict[str, Any]:
        """As `lunet_export.graphs.blueprint.Blueprint.model`."""
        return {
            "blocks": len(self.weights.blocks),
            "alpha": self.weights.alpha,
            **_named(self.weights, "activation"),
        }

    def graph(self, name: str) -> dict[str, Any]:
        """As `lunet_export.graphs.blueprint.Blueprint.graph`."""
        return {} if name == "density" else {"solver": asdict(self.solver)}

    def certificate(self, x: Array) -> Certificate:
        """As `lunet_export.graphs.blueprint.Blueprint.certificate`."""
        s = self.settings
        return Certificate.of(self.weights, self._chain, x, dtype=s.tensors, products=s.products)

    def round_trip(self, x: Array) -> Array:
        """As `lunet_export.graphs.blueprint.Blueprint.round_trip`."""
        s = self.settings
        return predicted_round_trip(Linearization(self.weights), x, dtype=s.tensors, products=s.products)

    def alternatives(self) -> list[dict[str, Any]]:
        """As `lunet_export.graphs.blueprint.Blueprint.alternatives`."""
        return [estimate.as_json() for estimate in self.estimates]

    def remark(self) -> str:
        """What another solver would gain."""
        if self.estimate is None:
            return f"{self.solver}: above {_COMPARED} dimensions other solvers are compared by inspect --solvers only"
        chosen, best, load = self.estimate, fastest(self.estimates), self.settings.load
        where = f"predicted for {load.provider}, batch {load.batch}"
        if best.solver == chosen.solver or best.milliseconds >= chosen.milliseconds:
            return f"{chosen.solver}: no other solver within 0.4 of the tolerance is faster ({where})"
        gain = f"{best.solver.name} would take {best.milliseconds / chosen.milliseconds:.2f} x the time"
        error = f"error {best.share:.2g} of the tolerance for {chosen.share:.2g}"
        return f"{chosen.solver}: {gain}, {best.nodes} nodes for {chosen.nodes}, {error} ({where})"

    @cached_property
    def _chain(self) -> Bounds:
        return chain_bounds(self.weights)


def _named(weights: LUNetWeights, key: str) -> dict[str, str]:
    """The activation under that key; nothing where it is the paper's, which readers take where none is named."""
    return {} if weights.activation == ACTIVATIONS[0] else {key: weights.activation}


def refuse_large(weights: LUNetWeights, solver: Solver, settings: ExportSettings) -> None:
    """Raise where a graph would be larger than one file may be.

    Raises:
        BadInputError: It would.
    """
    numbers = len(weights.blocks) * solvers.stored(solver, weights.dim)  # of the larger of the two graphs
    dtype = settings.products or settings.tensors
    cures = ["--dtype float32"] * (dtype == "float64") + ["--solver fused"] * (solver.name != "fused")
    sizes.refuse_large(numbers, dtype, f"Use {' or '.join([*cures, 'fewer blocks'])}.")
