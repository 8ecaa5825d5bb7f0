"""RealNVP's architecture, the settings that suit it, and its run."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, Self

import torch
from torch import Tensor

from lunet_export.data import Dataset
from lunet_export.errors import BadInputError
from lunet_export.graphs.sizes import validate_size
from lunet_export.layers import Chain, ConvolutionalCoupling, Coupling
from lunet_export.preprocessing import Logit
from lunet_export.torch_layers import Flow
from lunet_export.torch_layers.coupling import AffineCoupling
from lunet_export.training.architecture import (
    Architecture,
    Array,
    OnGrowth,
    validate_choices,
    validate_defaults,
    validate_no_contexts,
)
from lunet_export.training.choice import Comparison
from lunet_export.training.fit import Trainer
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.realnvp import networks
from lunet_export.training.realnvp.conditional import seeing, shifted
from lunet_export.training.realnvp.linear import triangular_map
from lunet_export.training.settings import FitSettings

_PLANES = 64  # as in the paper
_PENALTY = 5e-5  # weight of the squared scale factors in a batch
_UNITS = 64  # hidden units of the context of an LU-Net
_LUNETS = ("init", "signs", "regulariser", "bound")  # settings that only LU-Net has


class RealNVPTrainer(Trainer):
    """This run trains a RealNVP by exact maximum likelihood, with a norm behind every coupling."""

    @classmethod
    def trainable(cls, weights: Chain, settings: FitSettings, dtype: torch.dtype) -> Flow:
        del settings
        return networks.normed(_only_realnvp(weights)).to(dtype)

    def penalty(self) -> Tensor:
        """Return 5e-5 |scale factors|^2 over the batch size, as in the released code."""
        terms = [
            (coupling.scale_factor * ~coupling.mask).square().sum() for coupling in self.flow.modules_of(AffineCoupling)
        ]
        return _PENALTY / self.settings.batch_size * torch.stack(terms).sum()


@dataclass(frozen=True)
class RealNVPArchitecture(Architecture):
    """This architecture is couplings whose networks are convolutions for images, and dense for vectors."""

    family = "realnvp"

    dim: int
    image_shape: tuple[int, ...] | None  # shape for convolutions; None: dense
    width: int  # number of planes, or width of a hidden layer

    @classmethod
    def choose(cls, dim: int, image_shape: tuple[int, ...] | None, given: Mapping[str, Any], contexts: int = 0) -> Self:
        """Return convolutions with the paper's 64 planes for images; else dense networks as large as LU-Net."""
        if "blocks" in given or "alpha" in given:
            raise BadInputError(
                "Expected neither `blocks` nor `alpha` for a RealNVP, whose size is `width`. Leave them out."
            )
        validate_choices(given, ("width",), "a RealNVP")
        usual = _PLANES if image_shape else width_like_lunet(dim, contexts=contexts)
        found = cls(dim, image_shape, given.get("width") or usual)
        with torch.device("meta"):  # only shapes: no memory is taken
            shapes = found._flow(None).parameters()  # raises if the image does not fit
        numbers = sum(parameter.numel() for parameter in shapes)
        validate_size(numbers, "float16", "Take a smaller `width`.", "a network whose graphs are")
        return found

    @classmethod
    def of(cls, weights: Chain) -> Self:
        network = _only_realnvp(weights)
        first = network.of(Coupling)[0]
        image = first.shape[1:] if network.of(ConvolutionalCoupling) else None
        return cls(network.dim, image, len(first.network_arrays()[0][0]))

    @classmethod
    def usual(cls, rows: int, dim: int, given: Mapping[str, Any], contexts: int = 0) -> dict[str, Any]:
        """Return about 9000 steps of Adam at a rate of 1e-3 that falls, in 40 to 200 epochs, as for LU-Net."""
        del dim, contexts
        batch_size = given.get("batch_size") or (128 if rows >= 5000 else 64)
        epochs = min(max(round(9000 / max(1, rows // batch_size)), 40), 200)
        usual = {"epochs": epochs, "batch_size": batch_size, "learning_rate": 1e-3}
        return {**usual, "schedule": "linear", "whitened": False}

    @classmethod
    def validate(cls, settings: FitSettings) -> None:
        """Raise for settings of LU-Net alone, for L-BFGS, and for averages that would mix moments of several norms."""
        validate_defaults(settings, _LUNETS, "a RealNVP")
        if settings.optimizer != "adam" or settings.schedule == "schedule-free" or settings.average:
            raise BadInputError(
                "Expected adam with a schedule of linear, one-cycle or constant and no average for a RealNVP, whose "
                "norms keep the moments of the last steps. Leave the choice out."
            )

    def validate_contexts(self, data: Dataset) -> None:
        if self.image_shape:
            validate_no_contexts(data, "a realnvp of convolutions", "flow='realnvp-dense'")

    def record(self) -> dict[str, Any]:
        return {"networks": "convolutional" if self.image_shape else "dense", "width": self.width}

    def first(
        self,
        gaussian: Gaussian,
        settings: FitSettings,
        rows: Array,
        comparison: Comparison,
        on_growth: OnGrowth,
        contexts: Array | None = None,
    ) -> Chain:
        """Return the identity behind the pre-processing; the networks begin as PyTorch makes them.

        With contexts it is that of rows whose mean given them is taken off.
        """
        del rows, comparison, on_growth, contexts
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            layers = self._flow(gaussian.preprocessing).to_chain().layers
        return shifted(seeing(layers, gaussian, settings.seed), gaussian)

    def gaussian(self, gaussian: Gaussian) -> Chain:
        """Return the Gaussian as couplings whose networks are matrices; with contexts, behind a shift by them."""
        return shifted(triangular_map(gaussian.mean, gaussian.whiten), gaussian)

    def trainer(self, first: Chain, data: Dataset, settings: FitSettings, device: torch.device) -> RealNVPTrainer:
        return RealNVPTrainer(first, data, settings, device=device)

    def _flow(self, preprocessing: Logit | None) -> Flow:
        if self.image_shape:
            return networks.convolutional(self.image_shape, planes=self.width, preprocessing=preprocessing)
        return networks.dense(self.dim, hidden=self.width, preprocessing=preprocessing)


def width_like_lunet(dim: int, *, blocks: int | None = None, contexts: int = 0) -> int:
    """Return the hidden width with which the dense network stores about as much as LU-Net's sampling graph.

    That graph is `unrolled` over two tiles: D^2 + D ceil(D / 2) + D numbers per block. The graphs of a dense network of
    hidden width H store, for a coupling of D / 2 columns by D / 2 others, D/2 H + H^2 + D H + 2 H + D and three times
    D. Contexts of C columns add U (C + 1) with U hidden units, and D (C + U + 1) per block and once more for the first
    and the last, to LU-Net, and C H to a coupling.
    """
    blocks = blocks or (13 if dim <= 4 else 4)
    of_context = _UNITS * (contexts + 1) + (blocks + 2) * dim * (contexts + _UNITS + 1) if contexts else 0
    wanted = (blocks * (dim**2 + dim * -(-dim // 2) + dim) + of_context) / networks.COUPLINGS
    linear, constant = 1.5 * dim + contexts + 2, 4 * dim - wanted
    return max(1, round((-linear + sqrt(max(0.0, linear**2 - 4 * constant))) / 2))


def _only_realnvp(weights: Chain) -> Chain:
    if not weights.of(Coupling):
        raise BadInputError(f"Expected a RealNVP to start from; got a {weights.kind.name} model. Give its `flow`.")
    return weights
