"""What manifest.json holds of LU-Net alone: the number of blocks, and the solver of the sampling graph."""

from typing import Any


def refuse(model: Any, graphs: Any) -> None:  # noqa: ANN401
    """As `lunet_export.family.Manifest.refuse`."""
    if type(model["blocks"]) is not int or model["blocks"] < 1:
        raise ValueError("model.blocks")
    solver = graphs["sampling"]["solver"]
    tile = solver.get("tile", "none") if isinstance(solver, dict) else "none"
    if not (isinstance(tile, int | None) and isinstance(solver.get("name"), str)):
        raise ValueError("graphs.sampling.solver")


def repeated(model: Any) -> dict[str, str]:  # noqa: ANN401
    """As `lunet_export.family.Manifest.repeated`."""
    return {"lunet.blocks": str(model["blocks"])}
