"""RealNVP's choices: none but the dtype."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray

from lunet_export.errors import BadInputError
from lunet_export.families.realnvp.graphs import build
from lunet_export.families.realnvp.weights import RealNVPWeights
from lunet_export.graphs.settings import ExportSettings
from lunet_export.graphs.sizes import refuse_large

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Blueprint:
    """As `lunet_export.graphs.blueprint.Blueprint`."""

    weights: RealNVPWeights
    settings: ExportSettings

    @classmethod
    def choose(cls, weights: RealNVPWeights, settings: ExportSettings, *, compare: bool = False) -> Self:
        """As `lunet_export.graphs.blueprint.Blueprint.choose`; there is nothing to compare."""
        del compare
        settings.refuse_integration(weights.family)
        if settings.solver is not None or settings.tile is not None:
            raise BadInputError(
                "Expected neither --solver nor --tile for a RealNVP, which solves nothing. Leave them out."
            )
        if weights.convolutional and settings.dtype != "float32":
            raise BadInputError(
                f"Expected float32 for a convolutional RealNVP; got {settings.dtype}, in which ONNX Runtime's CPU "
                "provider convolves nothing. Leave --dtype out."
            )
        refuse_large(weights.stored, settings.products or settings.tensors, "Train a smaller network.")
        return cls(weights, settings)

    def without_preprocessing(self) -> Self:
        """As `lunet_export.graphs.blueprint.Blueprint.without_preprocessing`."""
        return replace(self, weights=self.weights.without_preprocessing())

    def build(self, name: str, metadata: dict[str, str]) -> onnx.ModelProto:
        """As `lunet_export.graphs.blueprint.Blueprint.build`."""
        dtype, products = self.settings.tensors, self.settings.products
        if name == "density":
            return build.density(self.weights, dtype=dtype, products=products, metadata=metadata)
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
        return {"lunet.couplings": str(len(self.weights.couplings)), "lunet.networks": self._networks}

    def model(self) -> dict[str, Any]:
        """As `lunet_export.graphs.blueprint.Blueprint.model`."""
        return {"couplings": len(self.weights.couplings), "networks": self._networks}

    def graph(self, name: str) -> dict[str, Any]:
        """As `lunet_export.graphs.blueprint.Blueprint.graph`: nothing."""
        del name
        return {}

    def certificate(self, x: Array) -> None:
        """As `lunet_export.graphs.blueprint.Blueprint.certificate`: none, exponentials are not bounded in advance."""
        del x

    def round_trip(self, x: Array) -> None:
        """As `lunet_export.graphs.blueprint.Blueprint.round_trip`: none."""
        del x

    def alternatives(self) -> list[dict[str, Any]]:
        """As `lunet_export.graphs.blueprint.Blueprint.alternatives`: none."""
        return []

    def remark(self) -> str:
        """As `lunet_export.graphs.blueprint.Blueprint.remark`."""
        return f"{len(self.weights.couplings)} couplings with {self._networks} networks; LU-Net alone has a certificate"

    @property
    def _networks(self) -> str:
        return "convolutional" if self.weights.convolutional else "dense"
