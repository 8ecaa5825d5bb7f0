"""What is looked at: weights under the reference, or the density graph of an exported folder."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks import reference
from lunet_export.families.lunet import reference as lunet
from lunet_export.families.lunet.weights import LUNetWeights
from lunet_export.preprocessing import Logit, largest_below
from lunet_export.runtime import ExportedFlow
from lunet_export.weights import Weights

Array = NDArray[np.float64]
OnActivation = Callable[[int, Array], None]


def unseen(number: int, a: Array) -> None:
    """The callback of those who do not look at the activations."""
    del number, a


_ONLY_LUNET = "only an LU-Net has activations between its layers"


class Source(Protocol):
    """A density with its latents and its inverse. `activation` is None where the activations cannot be seen."""

    @property
    def name(self) -> str:
        """Of the file or folder."""

    @property
    def dim(self) -> int:
        """Number of dimensions D."""

    @property
    def preprocessing(self) -> Logit | None:
        """Of the model."""

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """(height, width) or (height, width, channels); None for vectors."""

    @property
    def activation(self) -> lunet.Activation | None:
        """f between the layers."""

    @property
    def hidden(self) -> str:
        """Why the activations cannot be seen; empty where they can."""

    def density(self, x: Array, on_activation: OnActivation = unseen) -> tuple[Array, Array, Array]:
        """x (N, D) -> z (N, D), log_det (N,), log p(x) (N,), all float64; nats, data space."""

    def decode(self, z: Array) -> Array:
        """z (N, D) -> x (N, D), float64; images are clamped to [0, largest float below levels]."""


class WeightsSource:
    """A model file, under the float64 reference."""

    def __init__(self, weights: Weights, *, name: str = "model", image_shape: tuple[int, ...] | None = None) -> None:
        self._weights = weights
        self.name, self.image_shape = name, image_shape
        self.dim, self.preprocessing = weights.dim, weights.preprocessing
        self.activation = lunet.Activation.of(weights) if isinstance(weights, LUNetWeights) else None
        self.hidden = "" if isinstance(weights, LUNetWeights) else _ONLY_LUNET

    def density(self, x: Array, on_activation: OnActivation = unseen) -> tuple[Array, Array, Array]:
        """As `Source.density`."""
        if isinstance(self._weights, LUNetWeights):
            z, log_det = lunet.encode(self._weights, x, on_activation)
        else:
            z, log_det = reference.encode(self._weights, x)
        return z, log_det, reference.standard_normal_log_prob(z) + log_det

    def decode(self, z: Array) -> Array:
        """As `Source.decode`."""
        x, p = reference.decode(self._weights, z), self.preprocessing
        return np.clip(x, 0, largest_below(p.levels, x.dtype)) if p else x


class FolderSource:
    """An exported folder: the graph gives z and log_prob, and log_det is their difference from a standard normal."""

    def __init__(self, flow: ExportedFlow) -> None:
        self._flow = flow
        self.name, self.image_shape = flow.manifest.name, flow.manifest.image_shape
        self.dim, self.preprocessing = flow.dim, flow.manifest.preprocessing
        self.activation: lunet.Activation | None = None
        of_folder = "the density graph returns z and log_prob only; give the model file"
        self.hidden = of_folder if flow.manifest.family.name == LUNetWeights.family else _ONLY_LUNET

    def density(self, x: Array, on_activation: OnActivation = unseen) -> tuple[Array, Array, Array]:
        """As `Source.density`; no activation is seen."""
        del on_activation
        z, log_prob = (values.astype(np.float64) for values in self._flow.density(x))
        return z, log_prob - reference.standard_normal_log_prob(z), log_prob

    def decode(self, z: Array) -> Array:
        """As `Source.decode`."""
        return self._flow.decode(z).astype(np.float64)
