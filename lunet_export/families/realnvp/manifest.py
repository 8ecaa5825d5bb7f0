"""What manifest.json holds of RealNVP alone: the number of couplings, and whether their networks are convolutions."""

from typing import Any


def refuse(model: Any, graphs: Any) -> None:  # noqa: ANN401
    """As `lunet_export.family.Manifest.refuse`."""
    del graphs
    if type(model["couplings"]) is not int or model["couplings"] < 1:
        raise ValueError("model.couplings")
    if model["networks"] not in ("convolutional", "dense"):
        raise ValueError("model.networks")


def repeated(model: Any) -> dict[str, str]:  # noqa: ANN401
    """As `lunet_export.family.Manifest.repeated`."""
    return {"lunet.couplings": str(model["couplings"]), "lunet.networks": model["networks"]}
