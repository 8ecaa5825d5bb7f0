"""The model to diagnose: weights under the reference, or the density graph of an exported folder."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks import reference
from lunet_export.columns import Names
from lunet_export.flows import LUNet
from lunet_export.layers import Activation, Chain, Context
from lunet_export.preprocessing import Logit, largest_below
from lunet_export.runtime import ExportedFlow
from lunet_export.runtime.misfit import MadeFor

Array = NDArray[np.float64]
OnActivation = Callable[[int, Array], None]


def unseen(number: int, a: Array) -> None:
    """Ignore an activation: this is the callback of callers that do not look at activations."""
    del number, a


_NONE = "no layer of this model is an activation"


class Source(ABC):
    """A source is a density with its latents and its inverse; a conditional one takes a context, (N, C) or (C,), too.

    Attributes:
        name: Name of the file or folder.
        dim: Number of dimensions D.
        preprocessing: Pre-processing of the model.
        image_shape: (height, width) or (height, width, channels); None for vectors.
        columns: Names of the columns, if they have any.
        context: What a conditional model takes beside its rows; None for one that takes no context.
        activations: Activations among the layers, in order; None if they cannot be seen.
        hidden: Reason why they cannot be seen; empty if they can.
        folds: Whether `recalibrate` can fold latent statistics in.
    """

    name: str
    dim: int
    preprocessing: Logit | None
    image_shape: tuple[int, ...] | None
    columns: Names | None
    context: Context | None = None
    activations: tuple[Activation, ...] | None
    hidden: str
    folds: bool = False

    @cached_property
    def made_for(self) -> MadeFor:
        """What tells rows that the model was not made for."""
        return MadeFor(self.dim, self.preprocessing)

    @abstractmethod
    def density(
        self, x: Array, on_activation: OnActivation = unseen, *, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """Return z (N, D), log_det (N,) and log p(x) (N,), or log p(x | c), of x (N, D).

        All are float64, in nats and data space.
        """

    @abstractmethod
    def decode(self, z: Array, *, context: Array | None = None) -> Array:
        """Return x (N, D) of z (N, D), float64; images are clamped to [0, largest float below levels]."""


class WeightsSource(Source):
    """This source is a model file, under the float64 reference. `kind` and `assumed` are those of `MadeFor`."""

    def __init__(
        self,
        weights: Chain,
        *,
        name: str = "model",
        image_shape: tuple[int, ...] | None = None,
        columns: Names | None = None,
        kind: str = "",
        assumed: bool = False,
    ) -> None:
        self._weights, self.context = weights, weights.context
        self.made_for = MadeFor(weights.dim, weights.preprocessing, kind, assumed=assumed)
        self.name, self.image_shape, self.columns = name, image_shape, columns
        self.dim, self.preprocessing = weights.dim, weights.preprocessing
        self.folds = weights.kind.folds
        activations = weights.of(Activation)
        self.activations = activations if activations or isinstance(weights.kind, LUNet) else None
        self.hidden = _NONE if self.activations is None else ""

    def density(
        self, x: Array, on_activation: OnActivation = unseen, *, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        z, log_det = reference.behind_logit(self._weights, x)
        number = 0
        for layer, entering, found in self._weights.passages(z, context=context):
            if isinstance(layer, Activation):
                number += 1
                on_activation(number, entering)
            z, log_det = found.rows, log_det + found.log_det
        return z, log_det, reference.standard_normal_log_prob(z) + log_det

    def decode(self, z: Array, *, context: Array | None = None) -> Array:
        x, p = reference.decode(self._weights, z, context), self.preprocessing
        return np.clip(x, 0, largest_below(p.levels, x.dtype)) if p else x


class FolderSource(Source):
    """This source is an exported folder, whose graph gives z and log_prob; log_det follows from both."""

    def __init__(self, flow: ExportedFlow) -> None:
        self._flow, self.made_for, self.context = flow, flow._rows.made_for, flow.context
        self.name, self.image_shape, self.columns = flow.manifest.name, flow.manifest.image_shape, flow.columns
        self.dim, self.preprocessing = flow.dim, flow.manifest.preprocessing
        self.activations, self.folds = None, flow.manifest.kind.folds
        of_folder = "the density graph returns z and log_prob only; give the model file"
        self.hidden = of_folder if flow.manifest.kind.names_solver else _NONE

    def density(
        self, x: Array, on_activation: OnActivation = unseen, *, context: Array | None = None
    ) -> tuple[Array, Array, Array]:
        del on_activation
        z, log_prob = (values.astype(np.float64) for values in self._flow.density(x, context=context))
        return z, log_prob - reference.standard_normal_log_prob(z), log_prob

    def decode(self, z: Array, *, context: Array | None = None) -> Array:
        return self._flow.decode(z, context=context).astype(np.float64)
