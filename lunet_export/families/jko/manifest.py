"""What manifest.json holds of JKO-iFlow alone: the number of blocks, and the steps that each takes."""

from typing import Any


def refuse(model: Any, graphs: Any) -> None:  # noqa: ANN401
    """As `lunet_export.family.Manifest.refuse`."""
    del graphs
    for name in ("blocks", "steps"):
        if type(model[name]) is not int or model[name] < 1:
            raise ValueError(f"model.{name}")


def repeated(model: Any) -> dict[str, str]:  # noqa: ANN401
    """As `lunet_export.family.Manifest.repeated`."""
    return {"lunet.blocks": str(model["blocks"]), "lunet.steps": str(model["steps"])}
