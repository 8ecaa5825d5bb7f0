"""LU-Net (arXiv 2302.10524): LU layers with an activation between them, after an optional logit.

A conditional LU-Net has an affine map of the context behind every LU layer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context as DecimalContext
from decimal import Decimal
from itertools import zip_longest
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import BadInputError, CheckpointError
from lunet_export.layers import ACTIVATIONS, LU, Activation, Affine, Chain, ConditionalAffine, Context, Kind, Layer
from lunet_export.layers.lu import unit_lower
from lunet_export.preprocessing import Logit

Array = NDArray[np.float64]

PAPERS = next(iter(ACTIVATIONS))
PAPERS_ALPHA = 0.1
_DIGITS = DecimalContext(prec=40, traps=[])  # more than twice float64's digits; what overflows is infinite


def lunet(
    blocks: Sequence[LU],
    alpha: float | Sequence[float | Array],
    preprocessing: Logit | None = None,
    activation: str = PAPERS,
    *,
    conditional: Sequence[ConditionalAffine] = (),
    context: Context | None = None,
) -> Chain:
    """Return the LU-Net of these blocks, with the activation of that name between them.

    Args:
        blocks: M LU layers.
        alpha: Smallest slope of all activations; or a list of M - 1, one per activation, each one number or, for
            activations that take it, one number per unit, (D,).
        preprocessing: Logit before the first block, for images.
        activation: Name of the activation.
        conditional: Affine maps of the context, one behind each block; empty if the LU-Net is not conditional. With M -
            1 of them the last block stands behind the last map, without an activation, and there are M - 2 alphas.
        context: Context of a conditional LU-Net.

    Raises:
        CheckpointError: if a shape does not fit, a number is not finite, L or U is not triangular, a diagonal entry of
            U is 0, L has another diagonal than ones, an alpha is outside (0, 1), or the activation is unknown.
    """
    if not blocks:
        raise CheckpointError("Expected at least one LU block; got none. The file holds no network.")
    between = len(blocks) - 1 - (len(conditional) == len(blocks) - 1 > 0)
    if isinstance(alpha, Sequence):
        alphas, kind = list(alpha), LUNet(None if alpha else PAPERS_ALPHA, activation)
    else:
        alphas, kind = [float(alpha)] * between, LUNet(float(alpha), activation)
    if len(alphas) != between:
        raise CheckpointError(f"Expected {between} alphas, one between each two blocks; got {len(alphas)}.")
    if conditional and len(conditional) not in (len(blocks), len(blocks) - 1):
        raise CheckpointError(
            f"Expected {len(blocks)} maps of the context, one per block, or one fewer; got {len(conditional)}."
        )
    activations = [activation_of(activation, slope) for slope in alphas]
    parts = zip_longest(blocks, conditional, activations)
    layers = tuple(layer for block in parts for layer in block if layer is not None)
    return Chain(int(blocks[0].bias.size), layers, preprocessing, kind, context)


@dataclass(frozen=True)
class LUNet(Kind):
    """This kind is an LU-Net. A network of one block has an activation too, though no layer holds it."""

    name: ClassVar[str] = "lunet"
    title: ClassVar[str] = "an LU-Net"
    folds: ClassVar[bool] = True
    names_solver: ClassVar[bool] = True

    alpha: float | None  # smallest slope of all activations, the largest is 1; None if each activation has its own
    activation: str = PAPERS

    def __post_init__(self) -> None:
        if self.alpha is not None and not 0.0 < self.alpha < 1.0:
            raise CheckpointError(f"Expected alpha in (0, 1); got {self.alpha}. The paper uses 0.1.")
        if self.activation not in ACTIVATIONS:
            raise CheckpointError(
                f"Expected an activation of {', '.join(ACTIVATIONS)}; got {self.activation!r}. "
                "The paper uses the first."
            )

    def extends(self, chain: Chain) -> bool:
        return isinstance(chain.layers[-1], ConditionalAffine)

    def label(self, chain: Chain, number: int) -> str:
        part, block = _part(chain, number)
        return f"{part}{block}"

    def place(self, chain: Chain, number: int) -> str:
        part, block = _part(chain, number)
        of = f" of {_part(chain, len(chain.layers) - 1)[1]}" if part == "block" else ""
        return f"{part} {block}{of}"

    def validate(self, chain: Chain) -> None:
        one = self.alpha is not None and repr(activation_of(self.activation, self.alpha))
        for number, layer in enumerate(chain.layers):
            where, (part, _) = self.place(chain, number), _part(chain, number)
            if part == "block":
                self._validate_block(layer, chain.dim, where)
            elif part == "context":
                if not isinstance(layer, ConditionalAffine):
                    raise CheckpointError(f"Expected an affine map of the context as {where}; got {layer.label}.")
            elif type(layer) is not ACTIVATIONS[self.activation]:
                raise CheckpointError(f"Expected {self.activation} as {where}; got {layer.label}.")
            elif np.max(layer.alpha) >= 1:
                raise CheckpointError(f"Expected alpha in (0, 1) as {where}; got {layer}.")
            elif one and repr(layer) != one:
                raise CheckpointError(f"Expected {one} as {where}; got {layer}. Every activation is the same.")
        if chain.context is None and len(chain.layers) % 2 == 0:
            raise CheckpointError("Expected an LU layer at the end of an LU-Net; got an activation. Leave it out.")
        if chain.context is not None and not (len(chain.layers) % 3 == 2 or _ends_behind_its_maps(chain)):
            raise CheckpointError(
                "Expected an affine map of the context at the end of a conditional LU-Net; got "
                f"{chain.layers[-1].label}. Give every block one."
            )

    def _validate_block(self, block: Layer, dim: int, where: str) -> None:
        if not isinstance(block, LU):
            raise CheckpointError(f"Expected an LU layer as {where}; got {block.label}. Take `layered` for others.")
        block.validate(dim, where)
        if (np.diag(block.lower) != 1.0).any():
            raise CheckpointError(
                f"Expected a unit diagonal in L of {where}; got other values. Divide L by its diagonal."
            )

    def facts(self, chain: Chain) -> dict[str, Any]:
        return {"blocks": len(chain.of(LU)), "alpha": self._alpha(chain), "activation": self.activation}

    def _alpha(self, chain: Chain) -> float | dict[str, Any]:
        """Return the alpha of all activations; if each has its own, their number per layer or unit and their ends."""
        if self.alpha is not None:
            return self.alpha
        alphas = [activation.alpha for activation in chain.of(Activation)]
        ends = {name: float(end(list(map(end, alphas)))) for name, end in (("least", np.min), ("most", np.max))}
        return {"per": "unit" if any(isinstance(alpha, np.ndarray) for alpha in alphas) else "layer", **ends}

    def identity(self, chain: Chain) -> Iterator[str | NDArray[Any]]:
        settings = f"lunet alpha={self.alpha!r} preprocessing={chain.preprocessing!r} dim={chain.dim}"
        if self.activation != PAPERS:  # or manifests of the paper's activation would name another model
            settings += f" activation={self.activation}"
        yield settings
        for block in chain.of(LU):
            yield from block.arrays()
        for moved in chain.of(ConditionalAffine):
            yield f"conditional {moved.settings()!r}"
            yield from moved.arrays()
        if self.alpha is None:
            for activation in chain.of(Activation):
                yield np.asarray(activation.alpha)

    def entry(self, chain: Chain) -> dict[str, Any]:
        named = {} if self.activation == PAPERS else {"activation": self.activation}
        return {"blocks": len(chain.of(LU)), "alpha": self._alpha(chain), **named}

    @classmethod
    def validate_entry(cls, model: Mapping[str, Any], sampling: Mapping[str, Any]) -> None:
        if type(model["blocks"]) is not int or model["blocks"] < 1:
            raise ValueError("model.blocks")
        if model.get("activation", PAPERS) not in ACTIVATIONS:
            raise ValueError("model.activation")
        solver = sampling["solver"]
        tile = solver.get("tile", "none") if isinstance(solver, dict) else "none"
        if not (isinstance(tile, int | None) and isinstance(solver.get("name"), str)):
            raise ValueError("graphs.sampling.solver")

    @classmethod
    def repeated(cls, model: Mapping[str, Any]) -> dict[str, str]:
        named = {"lunet.activation": model["activation"]} if "activation" in model else {}
        return {"lunet.blocks": str(model["blocks"]), **named}

    def metadata(self, chain: Chain) -> dict[str, str]:
        blocks, *named = self.repeated(self.entry(chain)).items()
        alpha = self._alpha(chain)
        told = repr(alpha) if isinstance(alpha, float) else f"one per {alpha['per']}"
        return dict([blocks, ("lunet.alpha", told), *named])

    def pack(self, chain: Chain) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return settings, and packed (M, D, D) with log|diag U| on the diagonal, sign (M, D), bias (M, D).

        If each activation has its own alpha, alpha is None in the settings, and `alphas` is (M - 1,) or (M - 1, D).
        A conditional LU-Net has `context`, and `conditional`: for each block {"kind": name} and the fields of its
        affine map by name. If the last block has none, it stands behind the last map, and there is one alpha fewer.
        """
        blocks = chain.of(LU)
        settings: dict[str, Any] = {"blocks": len(blocks), "alpha": self.alpha}
        if self.activation != PAPERS:
            settings["activation"] = self.activation
        packed = [
            np.tril(block.lower, -1) + np.triu(block.upper, 1) + np.diag(_logarithms(np.diag(block.upper)))
            for block in blocks
        ]
        alphas = [np.asarray(activation.alpha) for activation in chain.of(Activation)]
        conditional: dict[str, Any] = {}
        if chain.context is not None:
            moved = [layer.to_dict() for layer in chain.of(ConditionalAffine)]
            conditional = {"conditional": moved, "context": chain.context.to_dict()}
        return settings, {
            **({"alphas": np.stack(alphas)} if self.alpha is None else {}),
            "packed": np.stack(packed),
            "sign": np.stack([np.sign(np.diag(block.upper)) for block in blocks]),
            "bias": np.stack([block.bias for block in blocks]),
            **conditional,
        }

    @classmethod
    def unpack(cls, content: Mapping[str, Any], preprocessing: Logit | None) -> Chain:
        packed, sign, bias = content["packed"], content["sign"], content["bias"]
        dim, blocks, alpha = (content["settings"][key] for key in ("dim", "blocks", "alpha"))
        activation = content["settings"].get("activation", PAPERS)
        if activation not in ACTIVATIONS:
            raise CheckpointError(
                f"Expected an activation of {', '.join(ACTIVATIONS)}; got {activation!r}. "
                "Install the lunet-export that wrote it."
            )
        for name, array in (("packed", packed), ("sign", sign), ("bias", bias)):
            if array.dtype != np.float64:
                raise CheckpointError(f"Expected {name} tensors of floats; got {array.dtype}. Train it again.")
        shapes, expected = (packed.shape, sign.shape, bias.shape), ((blocks, dim, dim), (blocks, dim), (blocks, dim))
        if shapes != expected or not isinstance(alpha, float | None):
            raise CheckpointError(f"Expected tensors of shapes {expected}; got {shapes}. Train it again.")
        layers = [_block(*parts) for parts in zip(packed, sign, bias, strict=True)]
        given: dict[str, Any] = {}
        if "context" in content:
            moved = [ConditionalAffine.from_dict(entry) for entry in content["conditional"]]
            given = {"conditional": moved, "context": Context.from_dict(content["context"])}
        if alpha is not None:
            return lunet(layers, alpha, preprocessing, activation, **given)
        alphas = content["alphas"]
        count = blocks - 1 - ("context" in content and len(content["conditional"]) < blocks)
        if alphas.dtype != np.float64 or alphas.shape not in ((count,), (count, dim)):
            raise CheckpointError(
                f"Expected one alpha, or {dim}, per activation; got a tensor of shape {alphas.shape}. Train it again."
            )
        own = list(alphas) if alphas.ndim > 1 else alphas.tolist()
        return lunet(layers, own, preprocessing, activation, **given)


def _part(chain: Chain, number: int) -> tuple[str, int]:
    """Return what layer `number`, from 0, is in its block, and the number of the block, from 1."""
    parts = ("block", "activation") if chain.context is None else ("block", "context", "activation")
    if number == len(chain.layers) - 1 and _ends_behind_its_maps(chain):
        return "block", number // 3 + 2
    block, part = divmod(number, len(parts))
    return parts[part], block + 1


def _ends_behind_its_maps(chain: Chain) -> bool:
    """Return whether a conditional LU-Net ends with an LU layer behind its last map, which took latent statistics."""
    return chain.context is not None and len(chain.layers) % 3 == 0 and isinstance(chain.layers[-1], LU)


def activation_of(name: str, alpha: float | Array) -> Activation:
    """Return the activation of that name, one of ACTIVATIONS, with one alpha or one per unit."""
    return ACTIVATIONS[name](alpha)  # type: ignore[call-arg]


def lunet_of(chain: Chain, what: str) -> Chain:
    """Return the chain as an LU-Net: itself, or a row of LU layers with one and the same activation between each two.

    Scales and shifts next to an LU layer are multiplied into it.

    Args:
        chain: Model to convert.
        what: Purpose, for the sentence of the error.

    Raises:
        BadInputError: if the chain is neither.
    """
    if isinstance(chain.kind, LUNet):
        return chain
    layers = _merged(chain.layers)
    blocks, activations = layers[::2], layers[1::2]
    linear = [block for block in blocks if isinstance(block, LU)]
    known = [activation for activation in activations if isinstance(activation, Activation)]
    if (
        len(linear) < len(blocks)
        or len(known) < len(activations)
        or len(blocks) == len(activations)
        or len({*map(type, known)}) > 1
    ):
        raise BadInputError(
            f"Expected an LU-Net, or LU layers with one activation between each two, for {what}; got "
            f"{chain.kind.title} with other layers. Give an LU-Net."
        )
    first = known[0] if known else activation_of(PAPERS, PAPERS_ALPHA)
    alphas = [activation.alpha for activation in known]
    if not all(np.max(alpha) < 1 for alpha in alphas):
        raise BadInputError(f"Expected activations with alpha in (0, 1) for {what}; got {first}. Give an LU-Net.")
    one = not alphas or (isinstance(first.alpha, float) and all(repr(alpha) == repr(first.alpha) for alpha in alphas))
    own = float(first.alpha) if one else alphas
    return lunet([unit_lower(block) for block in linear], own, chain.preprocessing, first.option)


def _merged(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers with every scale and shift beside an LU layer multiplied into it."""
    merged: list[Layer] = []
    for layer in layers:
        here = layer
        while isinstance(here, LU) and merged and isinstance(last := merged[-1], Affine):
            here = here.rescaled(1 / last.scale, -last.shift / last.scale, np.zeros(here.width))
            merged.pop()
        if isinstance(here, Affine) and merged and isinstance(last := merged[-1], LU):
            here = last.scaled(here.scale, here.shift)
            merged.pop()
        merged.append(here)
    return merged


def exactly_rounded_exp(values: Array) -> Array:
    """Return e^values, (D,), rounded to the nearest float64.

    NumPy's own is off in the last bit now and then, in other places on other processors. A model file holds logarithms,
    and the weights that are read from it are known by their digest, which must be the same on every machine.
    """
    return np.array([float(_DIGITS.exp(Decimal(value))) for value in values.tolist()])


def _block(packed: Array, sign: Array, bias: Array) -> LU:
    lower = np.tril(packed, -1) + np.eye(len(packed))
    upper = np.triu(packed, 1) + np.diag(sign * exactly_rounded_exp(np.diag(packed)))
    return LU(lower, upper, bias)


def _logarithms(diagonal: Array) -> Array:
    """Return log|diagonal|, or a neighbour whose exponential is the entry itself, where there is one."""
    size = np.abs(diagonal)
    with np.errstate(over="ignore"):
        logs = np.log(size)
    found = logs.copy()
    for toward in (-np.inf, np.inf):
        wrong = exactly_rounded_exp(found) != size
        near = np.nextafter(logs, toward)
        found = np.where(wrong & (exactly_rounded_exp(near) == size), near, found)
    return found
