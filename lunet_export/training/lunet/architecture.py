"""LU-Net's architecture, the settings that suit it, and its run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from lunet_export.data import Dataset
from lunet_export.errors import BadInputError
from lunet_export.flows import LUNet, lunet
from lunet_export.flows.lunet import PAPERS, PAPERS_ALPHA, activation_of, lunet_of
from lunet_export.graphs.sizes import validate_size
from lunet_export.layers import ACTIVATIONS, LU, Activation, Chain, ConditionalAffine
from lunet_export.torch_layers import Flow
from lunet_export.training.architecture import Architecture, Array, OnGrowth, validate_choices
from lunet_export.training.choice import Comparison
from lunet_export.training.fit import Batch, Trainer
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.lunet import coordinates, regularisers
from lunet_export.training.lunet.conditional import conditional, shifted
from lunet_export.training.lunet.greedy import PAIR, grow, whitening
from lunet_export.training.lunet.initial import INITS, SIGNS, start
from lunet_export.training.settings import FitSettings

_FEW = 4  # most dimensions for growing networks and for L-BFGS on many rows at once
_MANY_ROWS = 50_000
_ADAMS = ("learning_rate", "schedule", "average", "weight_decay")  # settings that L-BFGS does not have
#: What --alpha may be beside a number: learned per unit, or per activation.
LEARNED = ("learned", "layer")
_WHAT = "training as lunet"
#: Pace of alphas learned per unit under Adam, whose steps are as long as its rate whatever is learned: the rate that
#: suits a matrix moves its few alphas too slowly.
_PACE = 30.0


class LUNetTrainer(Trainer):
    """This run trains an LU-Net by exact maximum likelihood, if asked in whitened coordinates or regularised."""

    @classmethod
    def trainable(cls, weights: Chain, settings: FitSettings, dtype: torch.dtype) -> Flow:
        chain = lunet_of(weights, _WHAT)
        pace = _PACE if settings.optimizer == "adam" else 1.0
        return coordinates.flow_of(chain, dtype=dtype, whitened=settings.whitened, bound=settings.bound, pace=pace)

    def whiten(self, flows: Sequence[Flow], batches: Iterable[Batch]) -> None:
        coordinates.whiten(flows, batches)

    def _plain(self, weights: Chain) -> Flow:
        """Return what is kept of an epoch. Learned alphas stay parameters, so that the state of the run holds them."""
        if isinstance(weights.kind, LUNet) and weights.kind.alpha is None:
            return coordinates.flow_of(weights, dtype=self.dtype, whitened=False)
        return super()._plain(weights)

    def penalty(self) -> Tensor | None:
        if self.settings.regulariser is None:
            return None
        return self.settings.regulariser_weight * regularisers.REGULARISERS[self.settings.regulariser](self.flow)


@dataclass(frozen=True)
class LUNetArchitecture(Architecture):
    """This architecture is LU layers with an activation between them."""

    family = "lunet"

    blocks: int
    alpha: float | str = PAPERS_ALPHA  # a number, or one of LEARNED
    activation: str = PAPERS

    @classmethod
    def choose(cls, dim: int, image_shape: tuple[int, ...] | None, given: Mapping[str, Any], contexts: int = 0) -> Self:
        """Return the paper's depth and activation unless given: 3 + 1 blocks for images, 12 + 1 in up to 4-D."""
        del image_shape, contexts
        if "width" in given:
            raise BadInputError("Expected no `width` for lunet, whose blocks are as wide as the data. Leave it out.")
        validate_choices(given, ("blocks", "alpha", "activation"), "lunet")
        blocks = given.get("blocks", 13 if dim <= _FEW else 4)
        validate_size(blocks * dim**2, "float16", "Take fewer `blocks`.", "a network whose graphs are")
        alpha, activation = given.get("alpha", PAPERS_ALPHA), given.get("activation", PAPERS)
        _validate_alpha(alpha, activation)
        return cls(blocks, alpha, activation)

    @classmethod
    def of(cls, weights: Chain) -> Self:
        network = lunet_of(weights, _WHAT)
        assert isinstance(network.kind, LUNet)
        alpha: float | str | None = network.kind.alpha
        if alpha is None:
            alpha = "learned" if any(isinstance(each.alpha, np.ndarray) for each in network.of(Activation)) else "layer"
        return cls(len(network.of(LU)), alpha, network.kind.activation)

    @classmethod
    def usual(cls, rows: int, dim: int, given: Mapping[str, Any], contexts: int = 0) -> dict[str, Any]:
        """Return settings, which differ between few dimensions without contexts, and all others.

        Up to 4-D: a greedy start and 40 epochs of L-BFGS on all rows at once, unless something is given that only Adam
        has, such as a schedule. Beyond: about 9000 steps of Adam in 40 to 200 epochs, at a rate that falls with
        sqrt(D). Contexts too are learnt by Adam: L-BFGS fits their hidden units to single rows.
        """
        alone = dim <= _FEW and not contexts
        few: dict[str, Any] = {"init": "greedy"} if alone else {}
        if alone and not any(given.get(name) for name in _ADAMS):
            few |= {"optimizer": "l-bfgs"}
        if {**few, **given}.get("optimizer") == "l-bfgs":
            few |= {"epochs": 40, "batch_size": min(rows, _MANY_ROWS)}
        return {**adams(rows, dim, given), **few}

    @classmethod
    def validate(cls, settings: FitSettings) -> None:
        for name, known in (("init", INITS), ("signs", SIGNS), ("regulariser", (None, *regularisers.REGULARISERS))):
            if getattr(settings, name) not in known:
                names = ", ".join(str(entry) for entry in known if entry)
                raise BadInputError(
                    f"Expected {'an' if name == 'init' else 'a'} {name} of {names}; got {getattr(settings, name)}."
                )
        if (settings.regulariser is None) != (settings.regulariser_weight == 0):
            raise BadInputError("Expected a regulariser and its weight together; got one without the other.")

    def validate_contexts(self, data: Dataset) -> None:
        """Take them always: every block has an affine map of the context."""

    def record(self) -> dict[str, Any]:
        return asdict(self)

    def first(
        self,
        gaussian: Gaussian,
        settings: FitSettings,
        rows: Array,
        comparison: Comparison,
        on_growth: OnGrowth,
        contexts: Array | None = None,
    ) -> Chain:
        """Return the start in closed form or grown; with contexts, that of rows whose mean given them is taken off."""

        def complete(network: Chain) -> Chain:
            return conditional(replace(network, preprocessing=gaussian.preprocessing), gaussian, settings.seed)

        if settings.init == "greedy":
            of_context = gaussian.context is not None
            grown = grow(
                gaussian.without_context(rows, contexts) if of_context else rows,
                comparison,
                blocks=min(self.blocks, 1 + PAIR * settings.epochs),
                f=self.f,
                preprocessing=None if of_context else gaussian.preprocessing,
                seed=settings.seed,
                on_growth=on_growth,
                complete=complete,
            )
            return self.with_alphas(grown)
        init, signs, seed = settings.init, settings.signs, settings.seed
        found = start(gaussian, init=init, signs=signs, blocks=self.blocks, f=self.f, seed=seed)
        return self.with_alphas(complete(found))

    def gaussian(self, gaussian: Gaussian) -> Chain:
        """Return the Gaussian as one LU layer, which the context moves if there is one."""
        network = lunet((whitening(gaussian),), self._first_alpha, gaussian.preprocessing, self.activation)
        return shifted(network, gaussian)

    def trainer(self, first: Chain, data: Dataset, settings: FitSettings, device: torch.device) -> LUNetTrainer:
        return LUNetTrainer(first, data, settings, device=device)

    @property
    def f(self) -> Activation:
        """Return the activation at the start, with one alpha."""
        return activation_of(self.activation, self._first_alpha)

    @property
    def _first_alpha(self) -> float:
        """Return the alpha of all activations at the start."""
        return PAPERS_ALPHA if isinstance(self.alpha, str) else self.alpha

    def with_alphas(self, network: Chain) -> Chain:
        """Return the network with alphas of its own for every activation, if they are learned."""
        if not isinstance(self.alpha, str):
            return network
        alpha = self._first_alpha
        own: list[float | Array] = [
            np.full(network.dim, alpha) if self.alpha == "learned" else alpha for _ in network.of(Activation)
        ]
        return lunet(
            network.of(LU),
            own,
            network.preprocessing,
            self.activation,
            conditional=network.of(ConditionalAffine),
            context=network.context,
        )


def adams(rows: int, dim: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return how Adam trains LU layers on `rows` rows of `dim` dimensions; arguments are those of `usual`."""
    batch_size = given.get("batch_size") or (256 if rows >= 5000 else 64)
    return {
        "epochs": min(max(round(9000 / max(1, rows // batch_size)), 40), 200),
        "batch_size": batch_size,
        "learning_rate": min(1e-2, 0.11 / sqrt(dim)),
    }


def _validate_alpha(alpha: float | str, activation: str) -> None:
    """Raise unless the activation takes this alpha.

    Raises:
        BadInputError: if a text is none of LEARNED, or the inverse of the activation takes one alpha for all units.
    """
    if isinstance(alpha, str) and alpha not in LEARNED:
        raise BadInputError(f"Expected an alpha in (0, 1), 'learned' or 'layer'; got {alpha}. The paper uses 0.1.")
    if alpha == "learned" and not ACTIVATIONS[activation].per_unit:
        able = " or ".join(f"`activation={name!r}`" for name, each in ACTIVATIONS.items() if each.per_unit)
        raise BadInputError(
            f"Expected an activation whose inverse takes an alpha per unit for `alpha='learned'`; got {activation}. "
            f"Take {able}, or `alpha='layer'`."
        )
