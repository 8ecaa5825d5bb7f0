"""How LU-Net is trained: where it starts, in which coordinates it descends, what may be added to its likelihood."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lunet_export.errors import BadInputError
from lunet_export.families.lunet.flow import LUNet
from lunet_export.families.lunet.reference import Activation
from lunet_export.families.lunet.training import regularisers
from lunet_export.families.lunet.training.coordinates import whiten
from lunet_export.families.lunet.training.greedy import PAIR, grow, whitening
from lunet_export.families.lunet.training.initial import INITS, SIGNS, start
from lunet_export.families.lunet.weights import ACTIVATIONS, LUNetWeights, only_lunet
from lunet_export.graphs.sizes import refuse_large
from lunet_export.training.fit import Trainer
from lunet_export.training.structure import refuse_others
from lunet_export.weights import Weights

if TYPE_CHECKING:
    from lunet_export.data import Dataset
    from lunet_export.training.choice import Judge
    from lunet_export.training.fit import FitSettings
    from lunet_export.training.gaussian import Gaussian

__all__ = ["Structure", "penalty", "refuse", "trainable", "trainer", "usual", "whiten"]

_FEW = 4  # dimensions in which networks are grown and take L-BFGS steps on many rows at once
_MANY_ROWS = 50_000
_ADAMS = ("learning_rate", "schedule", "average", "weight_decay")  # settings that L-BFGS has not
_PAPERS_ALPHA = 0.1


@dataclass(frozen=True)
class Structure:
    """As `lunet_export.training.structure.Structure`."""

    blocks: int
    alpha: float = _PAPERS_ALPHA
    activation: str = ACTIVATIONS[0]

    @classmethod
    def choose(cls, dim: int, image_shape: tuple[int, ...] | None, given: Mapping[str, Any]) -> Self:
        """The paper's depths unless given: 3 + 1 blocks for images, 12 + 1 in up to four dimensions; its activation."""
        del image_shape
        if "width" in given:
            raise BadInputError("Expected no --width for lunet, whose blocks are as wide as the data. Leave it out.")
        refuse_others(given, ("blocks", "alpha", "activation"), "lunet")
        blocks = given.get("blocks", 13 if dim <= _FEW else 4)
        refuse_large(blocks * dim**2, "float16", "Take fewer --blocks.", "a network whose graphs are")
        return cls(
            blocks,
            given.get("alpha", _PAPERS_ALPHA),
            given.get("activation", ACTIVATIONS[0]),
        )

    @classmethod
    def of(cls, weights: Weights) -> Self:
        """As `lunet_export.training.structure.Structure.of`."""
        network = only_lunet(weights, "training as lunet")
        return cls(len(network.blocks), network.alpha, network.activation)

    def record(self) -> dict[str, Any]:
        """As `lunet_export.training.structure.Structure.record`."""
        return asdict(self)

    def first(
        self,
        gaussian: "Gaussian",
        settings: "FitSettings",
        rows: NDArray[np.float64],
        judge: "Judge",
        on_growth: Callable[[int, int], None],
    ) -> LUNetWeights:
        """As `lunet_export.training.structure.Structure.first`."""
        if settings.init == "greedy":
            return grow(
                rows,
                judge,
                blocks=min(self.blocks, 1 + PAIR * settings.epochs),
                f=self._f,
                preprocessing=gaussian.preprocessing,
                seed=settings.seed,
                on_growth=on_growth,
            )
        return start(
            gaussian,
            init=settings.init,  # type: ignore[arg-type]  # `refuse` has seen it
            signs=settings.signs,  # type: ignore[arg-type]
            blocks=self.blocks,
            f=self._f,
            seed=settings.seed,
        )

    def gaussian(self, gaussian: "Gaussian") -> LUNetWeights:
        """As `lunet_export.training.structure.Structure.gaussian`: one LU layer."""
        return LUNetWeights((whitening(gaussian),), self.alpha, gaussian.preprocessing, self.activation)

    @property
    def _f(self) -> Activation:
        return Activation(self.activation, self.alpha)


def usual(rows: int, dim: int, given: dict[str, Any]) -> dict[str, Any]:
    """What suits so many rows of so many dimensions, beside what is given.

    Up to 4-D: a greedy start and 40 epochs of L-BFGS on all rows at once, unless what only Adam has is given, as a
    schedule. Beyond: about 9000 steps of Adam in 40 to 200 epochs, at a rate that falls with sqrt(D).
    """
    few: dict[str, Any] = {"init": "greedy"} if dim <= _FEW else {}
    if dim <= _FEW and not any(given.get(name) for name in _ADAMS):
        few |= {"optimizer": "l-bfgs"}
    if (few | given).get("optimizer") == "l-bfgs":
        few |= {"epochs": 40, "batch_size": min(rows, _MANY_ROWS)}
    batch_size = given.get("batch_size") or (256 if rows >= 5000 else 64)
    return {
        "epochs": min(max(round(9000 / max(1, rows // batch_size)), 40), 200),
        "batch_size": batch_size,
        "learning_rate": min(1e-2, 0.11 / sqrt(dim)),
        **few,
    }


def refuse(settings: "FitSettings") -> None:
    """As `lunet_export.training.structure.refuse`.

    Raises:
        BadInputError: A name is unknown, or a regulariser stands without its weight.
    """
    for name, known in (("init", INITS), ("signs", SIGNS), ("regulariser", (None, *regularisers.NAMES))):
        if getattr(settings, name) not in known:
            names = ", ".join(str(entry) for entry in known if entry)
            raise BadInputError(
                f"Expected {'an' if name == 'init' else 'a'} {name} of {names}; got {getattr(settings, name)}."
            )
    if (settings.regulariser is None) != (settings.regulariser_weight == 0):
        raise BadInputError("Expected a regulariser and its weight together; got one without the other.")


def trainer(
    first: LUNetWeights, data: "Dataset", settings: "FitSettings", structure: Structure, device: torch.device
) -> Trainer:
    """As `lunet_export.training.structure.TrainingPart.trainer`."""
    del structure
    return Trainer(first, data, settings, device=device)


def trainable(weights: LUNetWeights, settings: "FitSettings", dtype: torch.dtype) -> LUNet:
    """The flow that descends, in the coordinates that the settings ask for."""
    return LUNet.from_weights(weights, dtype=dtype, whitened=settings.whitened, bound=settings.bound)


def penalty(flow: LUNet, settings: "FitSettings") -> Tensor | None:
    """What is added to the mean of -log p(x), in nats; None where there is nothing."""
    if settings.regulariser is None:
        return None
    return settings.regulariser_weight * regularisers.REGULARISERS[settings.regulariser](flow)  # type: ignore[index]
