"""`lunet-export export`, also `lunet-export MODEL.pt`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, BadParameter, Option

from lunet_cli import hints, output
from lunet_cli.arguments import in_options
from lunet_cli.check_table import print_checks, print_seams, told_where_failed
from lunet_cli.models import read_model
from lunet_cli.option_groups import changed, option
from lunet_cli.options import DEFAULT_PARENT, SOLVER_WORDS, AuthorsOptions, Dtype, Force, Json, LoadOptions
from lunet_cli.pipes import validate_not_stdout
from lunet_cli.verifier import VerifierOptions, export_for_verifier, validate_no_graph_options
from lunet_export.pictures import samples as pictures

if TYPE_CHECKING:
    from lunet_export.export import ExportSettings


@dataclass(frozen=True, kw_only=True)
class GraphOptions:
    """Options of the graphs."""

    solver: str | None = option(
        None,
        "Solver of the LU layers of an LU-Net. Default: unrolled; auto takes the fastest.",
        words=(*SOLVER_WORDS, "auto"),
    )
    tile: str = option(
        "auto", "Number of rows of the solver's tile; auto takes the solver's default.", words=("N", "auto")
    )
    dtype: Dtype = "float32"
    with_log_prob: bool = option(False, "Also write a graph z -> x, log_prob.")
    rng: bool = option(False, "Also write a graph that draws z itself; its warnings are in the manifest.")
    steps: int | None = option(None, "For JKO-iFlow: Runge-Kutta steps per block. Default: as trained.", least=1)
    hutchinson: bool = option(False, "For JKO-iFlow: also write a graph that estimates log_prob along probes.")

    def settings(self, made_for: LoadOptions) -> "ExportSettings":
        """Return the same as settings of an export."""
        from lunet_export.export import ExportSettings

        return ExportSettings(
            self.solver,
            parse_tile(self.tile),
            self.dtype,
            self.with_log_prob,
            self.rng,
            made_for.load,
            steps=self.steps,
            hutchinson=self.hutchinson,
        )


def export(
    model: Annotated[Path, Argument(help="A model file of `train` or `import`, or the authors' best.pth.")],
    *,
    folder: Annotated[Path | None, Option("--output", "-o", help="Folder to write. Default: runs/NAME.")] = None,
    graphs: GraphOptions,
    for_verifier: Annotated[
        bool, Option(help="For models with leaky ReLU: write a generator and latent boxes for verifiers instead.")
    ] = False,
    wanted: VerifierOptions,
    made_for: LoadOptions,
    authors: AuthorsOptions,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write density.onnx and sampling.onnx, checked.

    Both are compared with the float64 reference before the folder appears.

    A model with one network per class gives density.onnx of the mixture, and sampling_0.onnx, sampling_1.onnx, ...

    With --for-verifier: generator.onnx made of Gemm and LeakyRelu alone, boxes of exact model mass, queries in VNN-LIB.

    Example: lunet-export model.pt -o runs/mine
    """
    validate_not_stdout("-o", folder)
    if for_verifier:
        validate_no_graph_options(changed(graphs) + changed(made_for))
        export_for_verifier(model, folder, wanted, authors, force=force, as_json=as_json)
        return
    wanted.validate_given()
    from lunet_export.api import exporting
    from lunet_export.api.models import Model, files_of

    checkpoint = read_model(model, authors)
    destination = folder or DEFAULT_PARENT / model.stem
    settings, source = graphs.settings(made_for), Model(checkpoint, files_of(model, authors.latent_stats))
    with told_where_failed(graphs.dtype, as_json=as_json), output.stages() as stage:
        exported = exporting.write(source, destination, settings, force=force, compare=True, on_stage=stage)
        found, remark = exported.blueprint.alternatives(), exported.blueprint.remark()
    if as_json:
        document = exported.manifest.document
        parts = {"graphs": document["graphs"], "checks": document["checks"], "alternatives": found}
        if exported.seams is not None:
            parts["seams"] = exported.seams.counts()
        output.dump({"folder": str(destination), "passed": True, **parts})
        return
    print_checks(exported.checks, exported.manifest.products)
    print_seams(exported.seams)
    for direction, graph in exported.manifest.document["graphs"].items():
        output.say(f"{destination / graph['file']}: {direction}, {graph['nodes']} nodes, {graph['bytes'] / 1e6:.2f} MB")
    output.say(in_options(remark))
    showable = pictures.showable(checkpoint.image_shape, exported.manifest.dim)
    table = "samples.csv" if checkpoint.image_shape is None else "samples.npy"
    samples = hints.unused(Path("grid.png" if showable else table))
    context = exported.manifest.context
    given = []
    if context is not None and context.classes is None:
        given = [f"--context={','.join(f'{number:.4g}' for number in context.middle)}"]
    hints.say("sample", str(destination), *given, "-n", "64", "-o", str(samples))


def parse_tile(text: str) -> int | None:
    """Return the number of rows of a tile; None for auto."""
    if text == "auto":
        return None
    if not (text.isdecimal() and len(text) < 10):
        raise BadParameter(f"Expected --tile N or auto; got {text}.")
    return int(text)
