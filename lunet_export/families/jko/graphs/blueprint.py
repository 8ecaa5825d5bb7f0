"""JKO-iFlow's choices: the steps a block, and the dtype."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.checks import reference
from lunet_export.errors import BadInputError
from lunet_export.families.jko.graphs import build
from lunet_export.families.jko.weights import MOST_STEPS, JKOWeights
from lunet_export.graphs.settings import ExportSettings
from lunet_export.graphs.sizes import refuse_large

Array = NDArray[np.float64]

_ROWS, _SEED = 64, 5  # of samples whose round trip is measured


@dataclass(frozen=True)
class Blueprint:
    """As `lunet_export.graphs.blueprint.Blueprint`."""

    weights: JKOWeights
    settings: ExportSettings
    compared: tuple[int, ...] = ()  # other numbers of steps to tell of

    @classmethod
    def choose(cls, weights: JKOWeights, settings: ExportSettings, *, compare: bool = False) -> Self:
        """As `lunet_export.graphs.blueprint.Blueprint.choose`."""
        if settings.solver is not None or settings.tile is not None:
            raise BadInputError(
                "Expected neither --solver nor --tile for a JKO-iFlow, which solves nothing. Leave them out."
            )
        steps = settings.steps or weights.steps
        if not 1 <= steps <= MOST_STEPS:
            raise BadInputError(f"Expected 1 to {MOST_STEPS} steps a block; got {steps}.")
        # A block's biases are there once for each of the times at which a step evaluates.
        numbers = weights.stored + weights.dim**2 + 3 * steps * sum(field.hidden[0] for field in weights.fields)
        # Twice: a graph may hold both directions.
        refuse_large(2 * numbers, settings.tensors, "Train a smaller network.")
        return cls(weights.with_steps(steps), settings, (2 * steps,) if compare else ())

    def without_preprocessing(self) -> Self:
        """As `lunet_export.graphs.blueprint.Blueprint.without_preprocessing`."""
        return replace(self, weights=self.weights.without_preprocessing())

    def build(self, name: str, metadata: dict[str, str]) -> onnx.ModelProto:
        """As `lunet_export.graphs.blueprint.Blueprint.build`."""
        dtype, products = self.settings.tensors, self.settings.products
        if name in ("density", "density_estimate"):
            probe = name == "density_estimate"
            return build.density(self.weights, dtype=dtype, products=products, with_probe=probe, metadata=metadata)
        return build.sampling(
            self.weights,
            dtype=dtype,
            products=products,
            with_log_prob=name == "sampling_with_log_prob",
            draws_noise=name == "random_sampling",
            metadata=metadata,
        )

    def metadata(self) -> dict[str, str]:
        """As `lunet_export.graphs.blueprint.Blueprint.metadata`."""
        return {"lunet.blocks": str(len(self.weights.fields)), "lunet.steps": str(self.weights.steps)}

    def model(self) -> dict[str, Any]:
        """As `lunet_export.graphs.blueprint.Blueprint.model`."""
        weights = self.weights
        return {
            "blocks": len(weights.fields),
            "steps": weights.steps,
            "hidden": list(weights.hidden),
            "round_trip": self.round_trip_error,
        }

    def graph(self, name: str) -> dict[str, Any]:
        """As `lunet_export.graphs.blueprint.Blueprint.graph`: nothing."""
        del name
        return {}

    def certificate(self, x: Array) -> None:
        """As `lunet_export.graphs.blueprint.Blueprint.certificate`: none, the steps are not bounded in advance."""
        del x

    def round_trip(self, x: Array) -> None:
        """As `lunet_export.graphs.blueprint.Blueprint.round_trip`: none, it is measured."""
        del x

    def alternatives(self) -> list[dict[str, Any]]:
        """As `lunet_export.graphs.blueprint.Blueprint.alternatives`: round trips of other numbers of steps."""
        return [
            {"steps": steps, "round_trip": round_trip_error(self.weights.with_steps(steps))}
            for steps in ((self.weights.steps, *self.compared) if self.compared else ())
        ]

    def remark(self) -> str:
        """What the steps cost in accuracy, and what more of them would."""
        w = self.weights
        said = f"{len(w.fields)} blocks of {w.steps} steps: x -> z -> x is off by up to {self.round_trip_error:.1e}"
        others = [f"{round_trip_error(w.with_steps(steps)):.1e} with --steps {steps}" for steps in self.compared]
        return ", ".join([said, *others]) + f", on {_ROWS} samples"

    @cached_property
    def round_trip_error(self) -> float:
        """Largest |x - decode(encode(x))| of the reference over samples, before the logit where there is one."""
        return round_trip_error(self.weights)


def round_trip_error(weights: JKOWeights) -> float:
    """Largest |x - decode(encode(x))| over samples of the model, behind its logit where it has one."""
    chain = weights.without_preprocessing()
    x = reference.decode(chain, noise.normal(_SEED, range(_ROWS), chain.dim))
    return float(np.abs(reference.decode(chain, reference.encode(chain, x)[0]) - x).max())
