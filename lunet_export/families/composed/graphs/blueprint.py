"""The choices of composed flows: the solver of their LU layers."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray

from lunet_export.errors import BadInputError
from lunet_export.families.composed.graphs import build
from lunet_export.families.composed.layers import AffineAutoregressive
from lunet_export.families.composed.weights import ComposedWeights, plain
from lunet_export.graphs import solvers
from lunet_export.graphs.settings import ExportSettings
from lunet_export.graphs.sizes import refuse_large
from lunet_export.graphs.solvers import Solver
from lunet_export.lu import LUBlock

Array = NDArray[np.float64]

_USUAL = "unrolled"
_MOST_LEVELS = 20_000  # of all autoregressive layers together; each is a dozen nodes


@dataclass(frozen=True)
class Blueprint:
    """As `lunet_export.graphs.blueprint.Blueprint`."""

    weights: ComposedWeights
    settings: ExportSettings
    solver: Solver

    @classmethod
    def choose(cls, weights: ComposedWeights, settings: ExportSettings, *, compare: bool = False) -> Self:
        """As `lunet_export.graphs.blueprint.Blueprint.choose`; there is nothing to compare."""
        del compare
        settings.refuse_integration(weights.family)
        if settings.solver == "auto":
            raise BadInputError(
                f"Expected a --solver of {', '.join(solvers.SOLVERS)} for a composed model; got auto, which compares "
                "LU-Net's. Leave it out for unrolled, or take fused: one product a layer."
            )
        solver = solvers.choose(settings.solver or _USUAL, settings.tile, weights.dim)
        linear = sum(isinstance(plain(layer), LUBlock) for layer in weights.layers)
        # The weights hold L and U of each LU layer, the larger graph what the solver takes.
        numbers = weights.stored + linear * (solvers.stored(solver, weights.dim) - 2 * weights.dim**2)
        dtype = settings.products or settings.tensors
        cures = ["--dtype float32"] * (dtype == "float64") + ["--solver fused"] * (
            linear > 0 and solver.name != "fused"
        )
        refuse_large(numbers, dtype, f"Use {' or '.join([*cures, 'fewer layers'])}.")
        levels = sum(
            len(inner.levels) for inner in map(plain, weights.layers) if isinstance(inner, AffineAutoregressive)
        )
        if levels > _MOST_LEVELS:
            raise BadInputError(
                f"Expected autoregressive layers of at most {_MOST_LEVELS} levels in all; got {levels}: each is a pass "
                "of the network in the graph. Take couplings."
            )
        return cls(weights, settings, solver)

    def without_preprocessing(self) -> Self:
        """As `lunet_export.graphs.blueprint.Blueprint.without_preprocessing`."""
        return replace(self, weights=self.weights.without_preprocessing())

    def build(self, name: str, metadata: dict[str, str]) -> onnx.ModelProto:
        """As `lunet_export.graphs.blueprint.Blueprint.build`."""
        dtype, products = self.settings.tensors, self.settings.products
        if name == "density":
            return build.density(self.weights, solver=self.solver, dtype=dtype, products=products, metadata=metadata)
        return build.sampling(
            self.weights,
            solver=self.solver,
            dtype=dtype,
            products=products,
            with_log_prob=name == "sampling_with_log_prob",
            draws_noise=name == "random_sampling",
            metadata=metadata,
        )

    def metadata(self) -> dict[str, str]:
        """As `lunet_export.graphs.blueprint.Blueprint.metadata`."""
        return {"lunet.layers": str(len(self.weights.layers)), "lunet.solver": str(self.solver)}

    def model(self) -> dict[str, Any]:
        """As `lunet_export.graphs.blueprint.Blueprint.model`."""
        domain = self.weights.domain
        borders = {} if domain is None else {"domain": domain.to_json()}
        return {"layers": len(self.weights.layers), "kinds": self.weights.kinds, **borders}

    def graph(self, name: str) -> dict[str, Any]:
        """As `lunet_export.graphs.blueprint.Blueprint.graph`."""
        return {} if name == "density" else {"solver": asdict(self.solver)}

    def certificate(self, x: Array) -> None:
        """As `lunet_export.graphs.blueprint.Blueprint.certificate`: none, its bounds are LU-Net's."""
        del x

    def round_trip(self, x: Array) -> None:
        """As `lunet_export.graphs.blueprint.Blueprint.round_trip`: none."""
        del x

    def alternatives(self) -> list[dict[str, Any]]:
        """As `lunet_export.graphs.blueprint.Blueprint.alternatives`: none."""
        return []

    def remark(self) -> str:
        """As `lunet_export.graphs.blueprint.Blueprint.remark`."""
        kinds = ", ".join(f"{count} {name}" for name, count in self.weights.kinds.items())
        solved = any(isinstance(plain(layer), LUBlock) for layer in self.weights.layers)
        how = f"; LU layers are solved by {self.solver}" if solved else ""
        return f"{len(self.weights.layers)} layers: {kinds}{how}"
