"""`lunet-export export`, also `lunet-export MODEL.pt`."""

from pathlib import Path
from typing import Annotated

import typer

from lunet_cli import output
from lunet_cli.check_table import print_checks
from lunet_cli.models import eager_of, read_model
from lunet_cli.options import Force, Json, LatentStats, Preprocess, PreprocessName
from lunet_export import parity, pictures


def export(
    model: Annotated[Path, typer.Argument(help="model.pt of `train`, or the authors' best.pth.", show_default=False)],
    folder: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: exported/NAME.", show_default=False)
    ] = None,
    solver: Annotated[str, typer.Option(help="unrolled, or fused for comparison.")] = "unrolled",
    tile: Annotated[str, typer.Option(help="Rows of an unrolled solve's tile, or auto: two tiles a factor.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    latent_stats: LatentStats = None,
    preprocess: Preprocess = PreprocessName.NONE,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write density.onnx and sampling.onnx, checked against the float64 reference.

    Example: lunet-export model.pt -o exported/mine
    """
    from lunet_export.export import ExportCheckError, ExportSettings, Provenance
    from lunet_export.export import export as write

    checkpoint = read_model(model, latent_stats, preprocess)
    target = folder or Path("exported") / model.stem
    settings = ExportSettings(solver, parse_tile(tile), dtype)
    name = target.resolve().name
    provenance = Provenance(name, checkpoint.kind, checkpoint.image_shape, checkpoint.training or {})
    try:
        with output.stages() as stage:
            exported = write(
                checkpoint.weights,
                target,
                provenance,
                settings,
                examples=checkpoint.examples,
                eager=eager_of(dtype),
                force=force,
                on_stage=stage,
            )
    except ExportCheckError as error:
        if as_json:
            output.dump({"passed": False, "checks": [parity.as_json(check) for check in error.checks]})
        else:
            print_checks(error.checks)
        raise
    if as_json:
        document = exported.manifest.document
        output.dump({"folder": str(target), "passed": True, "graphs": document["graphs"], "checks": document["checks"]})
        return
    print_checks(exported.checks)
    for direction, graph in exported.manifest.document["graphs"].items():
        output.say(f"{target / graph['file']}: {direction}, {graph['nodes']} nodes, {graph['bytes'] / 1e6:.2f} MB")
    showable = pictures.showable(checkpoint.image_shape, checkpoint.weights.dim)
    output.hint("lunet-export", "sample", str(target), "-n", "64", "-o", "grid.png" if showable else "samples.npy")


def parse_tile(text: str) -> int | None:
    """Rows of a tile, None for auto."""
    if text == "auto":
        return None
    if not text.isdigit():
        raise typer.BadParameter(f"Expected --tile N or auto; got {text}.")
    return int(text)
