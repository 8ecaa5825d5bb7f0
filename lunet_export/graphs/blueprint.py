"""What export asks of a family: a blueprint of a model's graphs, its choices made, from which each is built."""

from typing import Any, Protocol, Self

import numpy as np
import onnx
from numpy.typing import NDArray

from lunet_export.certificate import Certificate
from lunet_export.family import family_of
from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.graphs.elementwise import Preprocessed
from lunet_export.graphs.settings import ExportSettings
from lunet_export.weights import Weights

Array = NDArray[np.float64]


class Blueprint(Protocol):
    """The class `Blueprint` of a family's part `graphs`."""

    @classmethod
    def choose(cls, weights: Any, settings: ExportSettings, *, compare: bool = False) -> Self:  # noqa: ANN401
        """What the settings ask for.

        Args:
            weights: The model.
            settings: What can be chosen.
            compare: Also look at what other choices would cost and lose, for `remark`.

        Raises:
            BadInputError: A setting does not fit the model, or a graph would pass 2 GB.
        """

    @property
    def weights(self) -> Weights:
        """The model."""

    @property
    def settings(self) -> ExportSettings:
        """As given."""

    def without_preprocessing(self) -> Self:
        """The same choices for the network on its own input."""

    def build(self, name: str, metadata: dict[str, str]) -> onnx.ModelProto:
        """The graph of that name, one of `settings.graphs`."""

    def log_prob_nodes(self, g: GraphBuilder, rows: Preprocessed) -> Value:
        """log p(x) [batch, 1] in nats, data space, of rows under construction: what a mixture's density is made of."""

    def metadata(self) -> dict[str, str]:
        """What each graph says of the model and the choices, beside what all graphs say."""

    def model(self) -> dict[str, Any]:
        """What the manifest says of the model, beside what all manifests say."""

    def graph(self, name: str) -> dict[str, Any]:
        """What the manifest says of a graph, beside what it says of every graph."""

    def certificate(self, x: Array) -> Certificate | None:
        """Certified bounds with the local figures of rows x (N, D); None of a family that has none."""

    def round_trip(self, x: Array) -> Array | None:
        """Predicted |f^-1(f(x)) - x| of rows x (N, D), the norm of a row; None of a family without a certificate."""

    def alternatives(self) -> list[dict[str, Any]]:
        """What was found out about other choices, for machines."""

    def remark(self) -> str:
        """One line about the choice, for a user."""


def blueprint_of(weights: Weights, settings: ExportSettings, *, compare: bool = False) -> Blueprint:
    """The blueprint of weights of any family; arguments and errors as in `Blueprint.choose`."""
    chosen: Blueprint = family_of(weights).part("graphs").Blueprint.choose(weights, settings, compare=compare)
    return chosen
