"""Any layers in a row: the kind that flows of other libraries become. Files and manifests call it `composed`."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from lunet_export.errors import CheckpointError, brief
from lunet_export.layers import LAYERS, Chain, Context, Inverse, Kind, Layer, Permutation
from lunet_export.preprocessing import Logit


def layered(
    dim: int, layers: Sequence[Layer], preprocessing: Logit | None = None, context: Context | None = None
) -> Chain:
    """Return the chain of these layers, from data to latent; errors are those of `Chain`."""
    return Chain(dim, tuple(layers), preprocessing, Layered(), context)


@dataclass(frozen=True)
class Layered(Kind):
    """This kind is a row of any layers, each with its own entry."""

    name: ClassVar[str] = "composed"
    title: ClassVar[str] = "a composed model"
    names_solver: ClassVar[bool] = True
    folds: ClassVar[bool] = True

    def extends(self, chain: Chain) -> bool:
        return True

    def label(self, chain: Chain, number: int) -> str:
        return f"layer{number + 1}"

    def validate(self, chain: Chain) -> None:
        if all(isinstance(layer, Permutation) for layer in _plain(chain)):
            raise CheckpointError("Expected a layer that changes numbers; got none. The flow is its base.")
        for layer in _plain(chain):
            if LAYERS.get(layer.name) is not type(layer) and not isinstance(layer, Inverse):
                raise CheckpointError(f"Expected layers of {', '.join(LAYERS)}; got {layer.name}.")

    def facts(self, chain: Chain) -> dict[str, Any]:
        return {"layers": len(chain.layers), "kinds": dict(Counter(layer.label for layer in chain.layers))}

    def identity(self, chain: Chain) -> Iterator[str | NDArray[Any]]:
        yield f"composed preprocessing={chain.preprocessing!r} dim={chain.dim}"
        for layer in chain.layers:
            yield f"{layer.label} {layer.settings()!r}"
            yield from layer.arrays()

    def entry(self, chain: Chain) -> dict[str, Any]:
        borders = {} if chain.domain is None else {"domain": chain.domain.to_json()}
        return {**self.facts(chain), **borders}

    @classmethod
    def validate_entry(cls, model: Mapping[str, Any], sampling: Mapping[str, Any]) -> None:
        del sampling
        counts = model["kinds"].values()
        if type(model["layers"]) is not int or model["layers"] < 1:
            raise ValueError("model.layers")
        if not all(type(count) is int for count in counts) or sum(counts) != model["layers"]:
            raise ValueError("model.kinds")

    @classmethod
    def repeated(cls, model: Mapping[str, Any]) -> dict[str, str]:
        return {"lunet.layers": str(model["layers"])}

    def pack(self, chain: Chain) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return settings, and `layers`: for each {"kind": name, "inverse": true or false} and its fields by name.

        A conditional chain has `context` too.
        """
        packed = [{"inverse": False, **layer.to_dict()} for layer in chain.layers]
        of_context = {} if chain.context is None else {"context": chain.context.to_dict()}
        return {"layers": len(packed)}, {"layers": packed, **of_context}

    @classmethod
    def unpack(cls, content: Mapping[str, Any], preprocessing: Logit | None) -> Chain:
        layers = [_layer(entry) for entry in content["layers"]]
        context = Context.from_dict(content["context"]) if "context" in content else None
        return layered(content["settings"]["dim"], layers, preprocessing, context)


def _plain(chain: Chain) -> Iterator[Layer]:
    return (layer.layer if isinstance(layer, Inverse) else layer for layer in chain.layers)


def _layer(entry: Mapping[str, Any]) -> Layer:
    name = entry["kind"]
    if name not in LAYERS:
        raise CheckpointError(
            f"Expected layers of {', '.join(LAYERS)}; got {brief(repr(name))}. Install the lunet-export that wrote it."
        )
    found = LAYERS[name].from_dict(entry)
    return Inverse(found) if entry["inverse"] else found
