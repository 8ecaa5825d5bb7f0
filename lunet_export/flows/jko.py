"""JKO-iFlow (arXiv 2212.14424): the data's own whitening, then the flow of each velocity field over [0, 1]."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.layers import Chain, Kind, Velocity, VelocityField, Whitening
from lunet_export.layers.velocity import MOST_STEPS
from lunet_export.preprocessing import Logit

Array = NDArray[np.float64]


def jko(
    centre: Array,
    root: Array,
    fields: Sequence[VelocityField],
    steps: int,
    beta: float,
    preprocessing: Logit | None = None,
) -> Chain:
    """Return the chain of a JKO-iFlow: h_0 = R (x - m) behind an optional logit, then one block per field.

    Args:
        centre: Mean m (D,).
        root: Matrix R (D, D), upper triangular with a positive diagonal.
        fields: Velocity fields, at least one.
        steps: Steps of the Runge-Kutta rule per block.
        beta: Sharpness of the softplus.
        preprocessing: Logit in front; with None, x is the network's own input.

    Raises:
        CheckpointError: if a shape does not fit, a number is not finite, or R is not invertible.
    """
    blocks = tuple(Velocity(field, steps, float(beta)) for field in fields)
    return Chain(centre.size, (Whitening(centre, root), *blocks), preprocessing, JKO(steps, float(beta)))


def with_steps(chain: Chain, steps: int) -> Chain:
    """Return the same fields, integrated by another number of steps."""
    layers = tuple(layer.with_steps(steps) if isinstance(layer, Velocity) else layer for layer in chain.layers)
    kind = replace(chain.kind, steps=steps) if isinstance(chain.kind, JKO) else chain.kind
    return replace(chain, layers=layers, kind=kind)


@dataclass(frozen=True)
class JKO(Kind):
    """This kind is a JKO-iFlow: a whitening, then blocks that follow velocity fields."""

    name: ClassVar[str] = "jko"
    title: ClassVar[str] = "a JKO-iFlow"

    steps: int
    beta: float

    def label(self, chain: Chain, number: int) -> str:
        return f"block{number}" if number else "whitening"

    def place(self, chain: Chain, number: int) -> str:
        return f"block {number} of {len(chain.of(Velocity))}" if number else "the affine map in front"

    def validate(self, chain: Chain) -> None:
        if not chain.of(Velocity):
            raise CheckpointError("Expected at least one velocity field; got none. The file holds no network.")
        if type(self.steps) is not int or not 1 <= self.steps <= MOST_STEPS:
            raise CheckpointError(f"Expected 1 to {MOST_STEPS} steps per block; got {self.steps!r}. Train it again.")
        first, *blocks = chain.layers
        if not isinstance(first, Whitening) or len(blocks) != len(chain.of(Velocity)):
            raise CheckpointError("Expected a whitening and velocity fields behind it; got other layers.")
        if {(block.steps, block.beta) for block in chain.of(Velocity)} != {(self.steps, self.beta)}:
            raise CheckpointError(f"Expected fields of {self.steps} steps and a beta of {self.beta}; got others.")

    def facts(self, chain: Chain) -> dict[str, Any]:
        blocks = chain.of(Velocity)
        return {"blocks": len(blocks), "hidden": list(blocks[0].field.hidden), "steps": self.steps}

    def identity(self, chain: Chain) -> Iterator[str | NDArray[Any]]:
        yield f"jko preprocessing={chain.preprocessing!r} steps={self.steps} beta={self.beta!r}"
        for layer in chain.layers:
            for array in layer.arrays():
                yield f"{array.shape}"
                yield array

    def entry(self, chain: Chain) -> dict[str, Any]:
        return self.facts(chain)

    @classmethod
    def validate_entry(cls, model: Mapping[str, Any], sampling: Mapping[str, Any]) -> None:
        del sampling
        for name in ("blocks", "steps"):
            if type(model[name]) is not int or model[name] < 1:
                raise ValueError(f"model.{name}")

    @classmethod
    def repeated(cls, model: Mapping[str, Any]) -> dict[str, str]:
        return {"lunet.blocks": str(model["blocks"]), "lunet.steps": str(model["steps"])}

    def pack(self, chain: Chain) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return settings, and centre (D,), root (D, D) and `fields`.

        Each field is {"layers": matrices and biases, "time": (H_1,)}.
        """
        (whitening,) = chain.of(Whitening)
        fields = [
            {"layers": [array for layer in block.field.layers for array in layer], "time": block.field.time}
            for block in chain.of(Velocity)
        ]
        settings = {"steps": self.steps, "beta": self.beta}
        return settings, {"centre": whitening.centre, "root": whitening.root, "fields": fields}

    @classmethod
    def unpack(cls, content: Mapping[str, Any], preprocessing: Logit | None) -> Chain:
        settings = content["settings"]
        fields = [_field(entry) for entry in content["fields"]]
        return jko(
            _floats(content["centre"]),
            _floats(content["root"]),
            fields,
            settings["steps"],
            settings["beta"],
            preprocessing,
        )


def _field(entry: Mapping[str, Any]) -> VelocityField:
    arrays = [_floats(array) for array in entry["layers"]]
    return VelocityField(tuple(zip(arrays[::2], arrays[1::2], strict=True)), _floats(entry["time"]))


def _floats(array: NDArray[Any]) -> Array:
    if array.dtype != np.float64:
        raise CheckpointError(f"Expected tensors of floats; got {array.dtype}. Train it again.")
    return array
