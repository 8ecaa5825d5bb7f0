"""What manifest.json holds of composed flows alone: the number of layers, how many of each kind, and the domain."""

from typing import Any


def refuse(model: Any, graphs: Any) -> None:  # noqa: ANN401
    """As `lunet_export.family.Manifest.refuse`."""
    del graphs
    counts = model["kinds"].values()
    if type(model["layers"]) is not int or model["layers"] < 1:
        raise ValueError("model.layers")
    if not all(type(count) is int for count in counts) or sum(counts) != model["layers"]:
        raise ValueError("model.kinds")


def repeated(model: Any) -> dict[str, str]:  # noqa: ANN401
    """As `lunet_export.family.Manifest.repeated`."""
    return {"lunet.layers": str(model["layers"])}
