"""JKO-iFlow's architecture, the settings that suit it, and its run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch

from lunet_export.data import Dataset
from lunet_export.errors import BadInputError
from lunet_export.flows import JKO, jko
from lunet_export.graphs.sizes import validate_size
from lunet_export.layers import Chain, VelocityField
from lunet_export.layers.velocity import MOST_STEPS
from lunet_export.torch_layers.velocity import Velocity
from lunet_export.training.architecture import (
    Architecture,
    Array,
    OnGrowth,
    validate_choices,
    validate_defaults,
    validate_no_contexts,
)
from lunet_export.training.choice import Comparison
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.jko.blocks import BlockTrainer
from lunet_export.training.jko.growth import Growth
from lunet_export.training.settings import FitSettings

_BETA = 5.0  # the released code has 20, whose curvature costs the integrator accuracy and gains nothing
_LUNETS = ("signs", "regulariser", "bound")  # settings that only LU-Net has
_INITS = ("whiten", "identity")
_STEPS_PER_BLOCK = 1000
_WIDTH = 64
_FEW = 4  # most dimensions that count as few
_GROWTH = {  # choices of the user, and their names in `Growth`
    "blocks": "most_blocks",
    "step_size": "first_size",
    "step_growth": "factor",
    "largest_step": "largest_size",
    "stop": "stop",
    "rounds": "rounds",
    "refine": "refine",
}
_CHOICES = ("width", "hidden_layers", "steps", *_GROWTH)


@dataclass(frozen=True)
class JKOArchitecture(Architecture):
    """This architecture is velocity fields, with rules for adding blocks and training them again.

    Raises:
        BadInputError: if a number is out of its range.
    """

    family = "jko"

    hidden: tuple[int, ...]  # widths of the hidden layers
    steps: int  # steps of the Runge-Kutta method per block
    growth: Growth

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise BadInputError(f"Expected hidden layers of at least one number; got {self.hidden}.")
        if not 1 <= self.steps <= MOST_STEPS:
            raise BadInputError(f"Expected 1 to {MOST_STEPS} steps per block; got {self.steps}.")

    @classmethod
    def choose(cls, dim: int, image_shape: tuple[int, ...] | None, given: Mapping[str, Any], contexts: int = 0) -> Self:
        """Return fields with two hidden layers, whose divergence is exact at the cost of one product."""
        del image_shape, contexts
        if "alpha" in given:
            raise BadInputError("Expected no `alpha` for a JKO-iFlow; only LU-Net has it. Leave it out.")
        validate_choices(given, _CHOICES, "a JKO-iFlow")
        usual = {} if dim <= _FEW else {"first_size": 0.1}
        growth = Growth(**usual | {field: given[name] for name, field in _GROWTH.items() if name in given})
        width, numbers = given.get("width", _WIDTH), dim**2
        numbers += 2 * width * dim + (given.get("hidden_layers", 2) - 1) * width**2  # numbers in one block
        validate_size(2 * numbers, "float32", "Take a smaller `width`.", "a network whose graphs are")
        return cls((width,) * given.get("hidden_layers", 2), given.get("steps", 3), growth)

    @classmethod
    def of(cls, weights: Chain) -> Self:
        """Raise BadInputError always: a JKO-iFlow is trained from its first block."""
        raise BadInputError(
            f"Expected no `begin` for a JKO-iFlow, which begins with its first block; got a {weights.kind.name} model. "
            "Continue an interrupted run with `resume=True`."
        )

    @classmethod
    def usual(cls, rows: int, dim: int, given: Mapping[str, Any], contexts: int = 0) -> dict[str, Any]:
        """Return about 1000 steps of Adam per block at a falling rate; beyond 4-D, where rows are few, weight decay."""
        del contexts
        batch_size = given.get("batch_size") or (500 if rows >= 5000 else 250)
        return {
            "epochs": max(1, round(_STEPS_PER_BLOCK / max(1, rows // batch_size))),
            "batch_size": batch_size,
            "learning_rate": 5e-3 if dim <= _FEW else 1e-3,
            "weight_decay": 0.0 if dim <= _FEW else 1.0,
            "schedule": "linear",
            "init": "whiten",
            "whitened": False,
        }

    @classmethod
    def validate(cls, settings: FitSettings) -> None:
        """Raise for settings of LU-Net alone, for L-BFGS, and for a patience, since a block takes all of its epochs."""
        validate_defaults(settings, _LUNETS, "a JKO-iFlow")
        if settings.init not in _INITS:
            raise BadInputError(f"Expected an init of {', '.join(_INITS)} for a JKO-iFlow; got {settings.init}.")
        if settings.optimizer != "adam":
            raise BadInputError(f"Expected adam for a JKO-iFlow; got {settings.optimizer}. Leave `optimizer` out.")
        if settings.patience != FitSettings.patience:
            raise BadInputError("Expected no patience for a JKO-iFlow, each of whose blocks takes all of its epochs.")

    def validate_contexts(self, data: Dataset) -> None:
        validate_no_contexts(data, self.family, "flow='lunet'")

    def record(self) -> dict[str, Any]:
        return {"hidden": list(self.hidden), "steps": self.steps, **asdict(self.growth)}

    def first(
        self,
        gaussian: Gaussian,
        settings: FitSettings,
        rows: Array,
        comparison: Comparison,
        on_growth: OnGrowth,
        contexts: Array | None = None,
    ) -> Chain:
        """Return the whitening of the data's Gaussian, or the identity, and a first block that does not move."""
        del rows, comparison, on_growth, contexts
        dim = len(gaussian.mean)
        centre, root = (gaussian.mean, gaussian.whiten) if settings.init == "whiten" else (np.zeros(dim), np.eye(dim))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            field = Velocity(dim, self.hidden, beta=_BETA).arrays()
        return jko(centre, root, (field,), self.steps, _BETA, gaussian.preprocessing)

    def gaussian(self, gaussian: Gaussian) -> Chain:
        """Return the Gaussian as the affine map in front, with a field of zeros."""
        dim = len(gaussian.mean)
        still = VelocityField(((np.zeros((1, dim)), np.zeros(1)), (np.zeros((dim, 1)), np.zeros(dim))), np.zeros(1))
        return jko(gaussian.mean, gaussian.whiten, (still,), 1, _BETA, gaussian.preprocessing)

    def trainer(self, first: Chain, data: Dataset, settings: FitSettings, device: torch.device) -> BlockTrainer:
        if not isinstance(first.kind, JKO):
            raise BadInputError(f"Expected a JKO-iFlow to train; got a {first.kind.name} model. Give its `flow`.")
        return BlockTrainer(first, data, settings, growth=self.growth, device=device)
