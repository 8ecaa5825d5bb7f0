"""LU-Net with a rational-quadratic spline per unit in place of the activation."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch

from lunet_export.data import Dataset
from lunet_export.errors import BadInputError
from lunet_export.flows import layered
from lunet_export.graphs.sizes import validate_size
from lunet_export.layers import LU, Chain, Layer, RationalQuadratic, SplineAutoregressive
from lunet_export.layers.networks import Dense
from lunet_export.torch_layers import Bijection, Flow
from lunet_export.torch_layers.lu_linear import LULinear
from lunet_export.torch_layers.spline_units import SplineUnits
from lunet_export.training.architecture import (
    Architecture,
    Array,
    OnGrowth,
    validate_choices,
    validate_no_contexts,
)
from lunet_export.training.choice import Comparison
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.lunet.architecture import LUNetArchitecture, LUNetTrainer, adams
from lunet_export.training.lunet.greedy import whitening
from lunet_export.training.lunet.initial import CLOSED, blocks_of
from lunet_export.training.settings import FitSettings

#: What `--activation` calls it.
SPLINE = "spline"
#: Splines of what is standard normal at the start.
_UNIT = RationalQuadratic(8, -3.0, 3.0, "identity", 1e-3, 1e-3, 1e-3)
_PACE = 4.0
_FEW, _FEWS, _USUAL = 4, 7, 4  # most dimensions that count as few; the blocks of few, and of others
_WHAT = "an LU-Net with splines"


class SplineTrainer(LUNetTrainer):
    """This run trains LU layers and the splines between them by exact maximum likelihood."""

    @classmethod
    def trainable(cls, weights: Chain, settings: FitSettings, dtype: torch.dtype) -> Flow:
        pace = _PACE if settings.optimizer == "adam" else 1.0

        def module(layer: Layer) -> Bijection:
            if isinstance(layer, SplineAutoregressive):
                return SplineUnits(layer, pace=pace)
            assert isinstance(layer, LU)
            return LULinear.of(layer, whitened=settings.whitened, bound=settings.bound)

        modules = map(module, weights.layers)
        flow = Flow(weights.dim, modules, weights.kind, preprocessing=weights.preprocessing, domain=weights.domain)
        return flow.to(dtype)


@dataclass(frozen=True)
class SplineArchitecture(Architecture):
    """This architecture is LU layers with splines between them, which begin as the identity."""

    family: ClassVar[str] = "lunet-spline"

    blocks: int

    @classmethod
    def choose(cls, dim: int, image_shape: tuple[int, ...] | None, given: Mapping[str, Any], contexts: int = 0) -> Self:
        """Return 3 + 1 blocks unless given; 6 + 1 in up to 4-D."""
        del image_shape, contexts
        validate_choices(given, ("blocks", "activation"), _WHAT)
        blocks = given.get("blocks", _FEWS if dim <= _FEW else _USUAL)
        numbers = dim**2 + dim * _UNIT.count
        validate_size(blocks * numbers, "float16", "Take fewer `blocks`.", "a network whose graphs are")
        return cls(blocks)

    @classmethod
    def of(cls, weights: Chain) -> Self:
        if not has_splines(weights):
            raise BadInputError(
                f"Expected LU layers with a spline per unit between each two, for training {_WHAT}; got "
                f"{weights.kind.title}. Start from such a model."
            )
        return cls(len(weights.of(LU)))

    @classmethod
    def usual(cls, rows: int, dim: int, given: Mapping[str, Any], contexts: int = 0) -> dict[str, Any]:
        """Return Adam's settings of LU-Net, in few dimensions too: a network with splines need not be grown."""
        del contexts
        return adams(rows, dim, given)

    @classmethod
    def validate(cls, settings: FitSettings) -> None:
        if settings.init not in CLOSED:
            raise BadInputError(f"Expected an init of {', '.join(CLOSED)} for {_WHAT}; got {settings.init}.")
        LUNetArchitecture.validate(settings)

    def validate_contexts(self, data: Dataset) -> None:
        validate_no_contexts(data, _WHAT, "activation='leaky-squareplus'")

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "activation": SPLINE}

    def first(
        self,
        gaussian: Gaussian,
        settings: FitSettings,
        rows: Array,
        comparison: Comparison,
        on_growth: OnGrowth,
        contexts: Array | None = None,
    ) -> Chain:
        """Return LU layers that whiten, with the identity between them; up to faint noise it is the Gaussian."""
        del rows, comparison, on_growth, contexts
        chosen: dict[str, Any] = {"init": settings.init, "signs": settings.signs, "seed": settings.seed}
        first, *others = blocks_of(gaussian, blocks=self.blocks, f=lambda x: x, shift=0.0, **chosen)
        layers: list[Layer] = [first]
        for block in others:
            layers += [identity(block.width), block]
        return layered(first.width, layers, gaussian.preprocessing)

    def gaussian(self, gaussian: Gaussian) -> Chain:
        """Return the Gaussian as one LU layer."""
        return layered(len(gaussian.mean), [whitening(gaussian)], gaussian.preprocessing)

    def trainer(self, first: Chain, data: Dataset, settings: FitSettings, device: torch.device) -> SplineTrainer:
        return SplineTrainer(first, data, settings, device=device)


def has_splines(chain: Chain) -> bool:
    """Return whether a chain is LU layers with a spline per unit between each two, of which there are some."""
    blocks, splines = chain.layers[::2], chain.layers[1::2]
    linear = all(isinstance(layer, LU) for layer in blocks) and len(blocks) == len(splines) + 1
    return linear and len(splines) > 0 and chain.context is None and all(map(_per_unit, splines))


def identity(dim: int, spline: RationalQuadratic = _UNIT) -> SplineAutoregressive:
    """Return a layer of splines that are the identity, with knots at even distances."""
    steep = np.log(np.expm1(1 - spline.least_slope))
    one = np.concatenate([np.zeros(2 * (spline.bins + 1)), np.full(spline.bins + 1, steep)])
    columns = np.arange(dim)
    return SplineAutoregressive(
        dim, columns[:0], columns, (Dense(np.zeros((dim * one.size, 0)), np.tile(one, dim)),), spline
    )


def _per_unit(layer: Layer) -> bool:
    """Return whether a layer is a spline per column, each in its place."""
    return (
        isinstance(layer, SplineAutoregressive)
        and not len(layer.inputs)
        and len(layer.network) == 1
        and np.array_equal(layer.changed, np.arange(layer.dim))
        and layer.only_inside is None
    )
