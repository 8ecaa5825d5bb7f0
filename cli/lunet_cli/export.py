"""`lunet-export export`, also `lunet-export MODEL.pt`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli import output
from lunet_cli.check_table import print_checks
from lunet_cli.models import eager_of, files_of, read_model
from lunet_cli.options import (
    Batch,
    DataDir,
    Dtype,
    Force,
    Json,
    LatentStats,
    Preprocess,
    PreprocessName,
    Target,
    TargetName,
)
from lunet_cli.verifier import Wanted, export_for_verifier, refuse_others
from lunet_export import parity
from lunet_export.errors import CheckFailedError
from lunet_export.figures import pictures

if TYPE_CHECKING:
    from lunet_export.checkpoint import Checkpoint
    from lunet_export.export import Exported, ExportSettings, SourceFile


def export(
    model: Annotated[Path, typer.Argument(help="model.pt of `train`, or the authors' best.pth.", show_default=False)],
    folder: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: exported/NAME.", show_default=False)
    ] = None,
    solver: Annotated[
        str | None,
        typer.Option(
            help="Of LU-Net: unrolled, rows, meeting, inverse, fused, or auto. Default: unrolled.", show_default=False
        ),
    ] = None,
    tile: Annotated[str, typer.Option(help="Rows of the solver's tile, or auto: its default.")] = "auto",
    dtype: Dtype = "float32",
    with_log_prob: Annotated[bool, typer.Option("--with-log-prob", help="Also z -> x, log_prob.")] = False,
    rng: Annotated[bool, typer.Option("--rng", help="Also a graph that draws z itself; see its warnings.")] = False,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Of JKO-iFlow: steps a block. Default: as trained.", show_default=False),
    ] = None,
    hutchinson: Annotated[
        bool, typer.Option("--hutchinson", help="Of JKO-iFlow: also log_prob estimated along probes.")
    ] = False,
    for_verifier: Annotated[
        bool, typer.Option("--for-verifier", help="Of leaky ReLU: a generator and latent boxes for verifiers instead.")
    ] = False,
    mass: Annotated[
        list[float] | None, typer.Option(help="For a verifier: mass of a box; repeat for more. Default: 0.9.")
    ] = None,
    classifier: Annotated[
        Path | None, typer.Option(help="For a verifier: an ONNX file to put behind.", show_default=False)
    ] = None,
    claim: Annotated[
        str | None,
        typer.Option(help='For a verifier: "class 3", or "Y_0 <= 3.5 and Y_1 >= Y_0".', show_default=False),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="For a verifier: what share of its test rows lies in the boxes?", show_default=False),
    ] = None,
    data_dir: DataDir = Path("data"),
    target: Target = TargetName.CPU,
    batch: Batch = 1,
    latent_stats: LatentStats = None,
    preprocess: Preprocess = PreprocessName.NONE,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write density.onnx and sampling.onnx, checked.

    Both are held against the float64 reference before the folder appears.

    Of a model with a network a class: density.onnx of the mixture, and sampling_0.onnx, sampling_1.onnx, ...

    With --for-verifier: generator.onnx in Gemm and LeakyRelu alone, boxes of exact model mass, queries in VNN-LIB.

    Example: lunet-export model.pt -o runs/mine
    """
    from lunet_export.export import ExportCheckError, ExportSettings, Load

    wanted = Wanted(mass or [], classifier, claim, data, data_dir)
    if for_verifier:
        refuse_others(
            {
                "--solver": solver is not None,
                "--tile": tile != "auto",
                "--dtype": dtype != "float32",
                "--with-log-prob": with_log_prob,
                "--rng": rng,
                "--steps": steps is not None,
                "--hutchinson": hutchinson,
                "--target": target is not TargetName.CPU,
                "--batch": batch != 1,
            }
        )
        export_for_verifier(
            model, folder, wanted, latent_stats=latent_stats, preprocess=preprocess, force=force, as_json=as_json
        )
        return
    wanted.refuse_alone()
    checkpoint = read_model(model, latent_stats, preprocess)
    destination = folder or Path("exported") / model.stem
    settings = ExportSettings(
        solver,
        parse_tile(tile),
        dtype,
        with_log_prob,
        rng,
        Load(target.value, batch),
        steps=steps,
        hutchinson=hutchinson,
    )
    files = files_of(model, latent_stats)
    try:
        with output.stages() as stage:
            exported = _write(checkpoint, destination, settings, files, force=force, on_stage=stage)
    except CheckFailedError as error:
        checks = error.checks if isinstance(error, ExportCheckError) else []
        if as_json:
            reason = {"passed": False, "error": str(error)}
            output.dump({**reason, "checks": [parity.as_json(check) for check in checks]})
        elif checks:
            print_checks(checks)
        raise
    if as_json:
        document = exported.manifest.document
        parts = {"graphs": document["graphs"], "checks": document["checks"]}
        parts["alternatives"] = exported.blueprint.alternatives()
        output.dump({"folder": str(destination), "passed": True, **parts})
        return
    print_checks(exported.checks)
    for direction, graph in exported.manifest.document["graphs"].items():
        output.say(f"{destination / graph['file']}: {direction}, {graph['nodes']} nodes, {graph['bytes'] / 1e6:.2f} MB")
    output.say(exported.blueprint.remark())
    showable = pictures.showable(checkpoint.image_shape, exported.manifest.dim)
    output.hint("lunet-export", "sample", str(destination), "-n", "64", "-o", "grid.png" if showable else "samples.npy")


def _write(
    checkpoint: "Checkpoint",
    folder: Path,
    settings: "ExportSettings",
    files: "Mapping[str, SourceFile]",
    *,
    force: bool,
    on_stage: Callable[[str], None],
) -> "Exported":
    from lunet_export.export import Provenance, export

    return export(
        checkpoint.model,
        folder,
        Provenance(
            folder.resolve().name,
            checkpoint.kind,
            checkpoint.image_shape,
            checkpoint.training or {},
            files,
            checkpoint.assumed,
            tuple(member.training or {} for member in checkpoint.members),
        ),
        settings,
        examples=[member.examples for member in checkpoint.members] or checkpoint.examples,
        eager=eager_of(settings.tensors),
        force=force,
        compare=True,
        on_stage=on_stage,
    )


def parse_tile(text: str) -> int | None:
    """Rows of a tile, None for auto."""
    if text == "auto":
        return None
    if not (text.isdecimal() and len(text) < 10):
        raise typer.BadParameter(f"Expected --tile N or auto; got {text}.")
    return int(text)
