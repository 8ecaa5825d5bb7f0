"""What manifest.json holds of LU-Net alone: blocks, activation, and the solver of the sampling graph."""

from typing import Any

from lunet_export.families.lunet.weights import ACTIVATIONS


def refuse(model: Any, graphs: Any) -> None:  # noqa: ANN401
    """As `lunet_export.family.Manifest.refuse`."""
    if type(model["blocks"]) is not int or model["blocks"] < 1:
        raise ValueError("model.blocks")
    if model.get("activation", ACTIVATIONS[0]) not in ACTIVATIONS:
        raise ValueError("model.activation")
    solver = graphs["sampling"]["solver"]
    tile = solver.get("tile", "none") if isinstance(solver, dict) else "none"
    if not (isinstance(tile, int | None) and isinstance(solver.get("name"), str)):
        raise ValueError("graphs.sampling.solver")


def repeated(model: Any) -> dict[str, str]:  # noqa: ANN401
    """As `lunet_export.family.Manifest.repeated`."""
    named = {"lunet.activation": model["activation"]} if "activation" in model else {}
    return {"lunet.blocks": str(model["blocks"]), **named}
