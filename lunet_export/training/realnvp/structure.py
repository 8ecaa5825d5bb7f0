"""How RealNVP is trained: from the identity, by Adam, with the paper's penalty of the scales."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lunet_export.errors import BadInputError
from lunet_export.families.realnvp.flow import COUPLINGS, RealNVP
from lunet_export.families.realnvp.linear import triangular_map
from lunet_export.families.realnvp.weights import RealNVPWeights
from lunet_export.graphs.sizes import refuse_large
from lunet_export.preprocessing import Logit
from lunet_export.training.fit import Trainer
from lunet_export.training.structure import refuse_others
from lunet_export.weights import Weights

if TYPE_CHECKING:
    from lunet_export.data import Dataset
    from lunet_export.training.choice import Judge
    from lunet_export.training.fit import FitSettings
    from lunet_export.training.gaussian import Gaussian

_PLANES = 64  # the paper's
_PENALTY = 5e-5  # of the squared scale factors of a batch
_LUNETS = ("init", "signs", "regulariser", "bound")  # settings of LU-Net alone


@dataclass(frozen=True)
class Structure:
    """As `lunet_export.training.structure.Structure`: networks of convolutions on images, or dense."""

    dim: int
    image_shape: tuple[int, ...] | None  # of convolutions; None: dense
    width: int  # planes, or numbers of a hidden layer

    @classmethod
    def choose(cls, dim: int, image_shape: tuple[int, ...] | None, given: Mapping[str, Any]) -> Self:
        """Convolutions with the paper's 64 planes where there is an image shape; else dense, as large as LU-Net."""
        if "blocks" in given or "alpha" in given:
            raise BadInputError(
                "Expected neither --blocks nor --alpha for a RealNVP, whose size is --width. Leave them out."
            )
        refuse_others(given, ("width",), "a RealNVP")
        found = cls(dim, image_shape, given.get("width") or (_PLANES if image_shape else width_like_lunet(dim)))
        with torch.device("meta"):  # shapes alone: no memory is taken
            shapes = found._flow(None).parameters()  # refuses what does not fit
        numbers = sum(parameter.numel() for parameter in shapes)
        refuse_large(numbers, "float16", "Take a smaller --width.", "a network whose graphs are")
        return found

    @classmethod
    def of(cls, weights: Weights) -> Self:
        """As `lunet_export.training.structure.Structure.of`."""
        if not isinstance(weights, RealNVPWeights):
            raise BadInputError(f"Expected a RealNVP to start from; got a {weights.family} model. Name its --flow.")
        first = weights.couplings[0]
        image = first.shape[1:] if weights.convolutional else None
        return cls(weights.dim, image, len(first.nets[0].arrays()[0]))

    def record(self) -> dict[str, Any]:
        """As `lunet_export.training.structure.Structure.record`."""
        return {"networks": "convolutional" if self.image_shape else "dense", "width": self.width}

    def first(
        self,
        gaussian: "Gaussian",
        settings: "FitSettings",
        rows: NDArray[np.float64],
        judge: "Judge",
        on_growth: Callable[[int, int], None],
    ) -> RealNVPWeights:
        """The identity behind the pre-processing; the networks begin as PyTorch makes them."""
        del rows, judge, on_growth
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            return self._flow(gaussian.preprocessing).to_weights()

    def gaussian(self, gaussian: "Gaussian") -> RealNVPWeights:
        """As `lunet_export.training.structure.Structure.gaussian`: couplings whose networks are matrices."""
        layers = triangular_map(gaussian.mean, gaussian.whiten)
        return RealNVPWeights(len(gaussian.mean), layers, gaussian.preprocessing)

    def _flow(self, preprocessing: Logit | None) -> RealNVP:
        if self.image_shape:
            return RealNVP.convolutional(self.image_shape, planes=self.width, preprocessing=preprocessing)
        return RealNVP.dense(self.dim, hidden=self.width, preprocessing=preprocessing)


def width_like_lunet(dim: int, *, blocks: int | None = None) -> int:
    """Hidden numbers with which the dense network stores most nearly what LU-Net's sampling graph stores.

    That is `unrolled` over two tiles: D^2 + D ceil(D / 2) + D numbers a block. The graphs of a dense network of hidden
    width H store, a coupling of D / 2 columns by D / 2 others, D/2 H + H^2 + D H + 2 H + D and three times D.
    """
    blocks = blocks or (13 if dim <= 4 else 4)
    wanted = blocks * (dim**2 + dim * -(-dim // 2) + dim) / COUPLINGS
    linear, constant = 1.5 * dim + 2, 4 * dim - wanted
    return max(1, round((-linear + sqrt(max(0.0, linear**2 - 4 * constant))) / 2))


def usual(rows: int, dim: int, given: dict[str, Any]) -> dict[str, Any]:
    """About 9000 steps of Adam at a rate of 1e-3 that falls, in 40 to 200 epochs, as LU-Net has."""
    del dim
    batch_size = given.get("batch_size") or (128 if rows >= 5000 else 64)
    epochs = min(max(round(9000 / max(1, rows // batch_size)), 40), 200)
    return {"epochs": epochs, "batch_size": batch_size, "learning_rate": 1e-3, "schedule": "linear", "whitened": False}


def refuse(settings: "FitSettings") -> None:
    """As `lunet_export.training.structure.TrainingPart.refuse`.

    Raises:
        BadInputError: A setting of LU-Net alone, L-BFGS, or an average that would mix moments of several norms.
    """
    fields = type(settings).__dataclass_fields__
    others = [field for field in _LUNETS if getattr(settings, field) != fields[field].default]
    others += ["whitened coordinates"] if settings.whitened else []
    if others:
        raise BadInputError(f"Expected no {others[0]} for a RealNVP: that is LU-Net's. Leave it out.")
    if settings.optimizer != "adam" or settings.schedule == "schedule-free" or settings.average:
        raise BadInputError(
            "Expected adam with a schedule of linear, one-cycle or constant and no average for a RealNVP, whose norms "
            "keep the moments of the last steps. Leave the choice out."
        )


def trainer(
    first: RealNVPWeights, data: "Dataset", settings: "FitSettings", structure: Structure, device: torch.device
) -> Trainer:
    """As `lunet_export.training.structure.TrainingPart.trainer`."""
    del structure
    return Trainer(first, data, settings, device=device)


def trainable(weights: RealNVPWeights, settings: "FitSettings", dtype: torch.dtype) -> RealNVP:
    """The flow that descends, with a norm behind every coupling."""
    del settings
    return RealNVP.from_weights(weights, dtype=dtype, normed=True)


def whiten(flows: Sequence[RealNVP], batches: Iterable[Tensor]) -> None:
    """Nothing: there are no such coordinates, and `refuse` takes no settings that ask for them."""
    del flows, batches


def penalty(flow: RealNVP, settings: "FitSettings") -> Tensor:
    """5e-5 |scale factors|^2 over the batch size, as in the released code."""
    terms = [(coupling.scale_factor * ~coupling.mask).square().sum() for coupling in flow.couplings()]
    return _PENALTY / settings.batch_size * torch.stack(terms).sum()
