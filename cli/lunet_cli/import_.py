"""`lunet-export import`."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from lunet_cli import hints, output
from lunet_cli.models import new_model
from lunet_cli.option_groups import option
from lunet_cli.options import Force, Json, column_list
from lunet_export import installation
from lunet_export.api.models import facts_of, imported, validate_model_path
from lunet_export.columns import given_names
from lunet_export.errors import BadInputError, UnsupportedLayersError

if TYPE_CHECKING:
    from torch import Tensor

    from lunet_export.importers import Imported, Part


class Library(StrEnum):
    """The libraries whose flows are read, by the names of their packages."""

    FREIA = "FrEIA"
    GLASFLOW = "glasflow"
    NFLOWS = "nflows"
    NORMFLOWS = "normflows"
    SBI = "sbi"
    ZUKO = "zuko"


@dataclass(frozen=True, kw_only=True)
class OriginOptions:
    """Options of the flow, besides its source."""

    state: Path | None = option(None, "File of a state_dict to load into the flow that the factory returns.")
    context: Path | None = option(
        None,
        "A .npy file of one row: the context to which a conditional flow is fixed. It stays an input otherwise.",
    )
    columns: str | None = option(None, "Names of the columns of the flow's rows, in their order: a,b,c.")


def import_(
    library: Annotated[Library, Argument(help="Library of the flow.", case_sensitive=False)],
    source: Annotated[
        str,
        Argument(
            help="module:factory, your own function that builds the flow; it is imported from the current folder and "
            "run. Or the file of a bare state_dict, if its keys alone determine the flow; no code in it is run."
        ),
    ],
    *,
    target: Annotated[Path, Option("--output", "-o", help="The model file to write.")] = Path("model.pt"),
    origin: OriginOptions,
    report: Annotated[bool, Option(help="List which layers can be converted and which cannot; write nothing.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Convert a flow of another library to a model file.

    Every layer is read, and the result is compared with the flow itself on 32 rows in float64 before anything is
    written; a conditional flow on 4 rows at each of 128 contexts. Layers that cannot be converted are listed one by
    one.

    Example: lunet-export import nflows flows:build --state weights.pt -o model.pt
    """
    from lunet_export import checkpoint, importers

    if not report:
        validate_model_path(target, force=force)
    flow = _flow(library, source, origin.state)
    context = None if origin.context is None else _context(origin.context)
    if report:
        _report(importers.survey(flow, context=context), as_json=as_json)
        return
    found = _read(flow, context, as_json=as_json)
    columns = given_names(column_list(origin.columns), found.weights.dim) if origin.columns else None
    facts = {
        **facts_of(found),
        "source": source,
        "state": None if origin.state is None else origin.state.name,
        "context": None if context is None else context.reshape(-1).tolist(),
    }
    with new_model(target, force=force):
        checkpoint.write_weights(
            target, found.weights, image_shape=None, training=facts, examples=None, columns=columns
        )
    if as_json:
        layers = [part.as_json() for part in found.parts]
        context_dim = None if found.weights.context is None else found.weights.context.dim
        dim = {"dim": found.weights.dim, "context_dim": context_dim}
        output.dump({"model": str(target), **dim, "layers": layers, **facts})
        return
    _tell(found, target)


def _read(flow: object, context: "Tensor | None", *, as_json: bool) -> "Imported":
    try:
        with output.stages() as stage:
            stage("reading the layers and comparing with the flow itself")
            return imported(flow, context)
    except UnsupportedLayersError as error:
        if as_json:
            keys = ("path", "class", "why_not")
            output.dump({"unsupported": [dict(zip(keys, layer, strict=True)) for layer in error.layers]})
        raise


def _flow(library: Library, source: str, state: Path | None) -> object:
    from lunet_export.importers import source as sources
    from lunet_export.importers.classes import library_of

    path = Path(source)
    if path.is_file() or path.suffix in (".pt", ".pth", ".ckpt", ".bin", ".safetensors"):
        if state is not None:
            raise BadInputError(f"Expected module:factory beside --state; got the file {source}. Give one of the two.")
        return sources.of_state(library.value, path, on_note=output.remark)
    flow = sources.made(source, Path.cwd())
    found = library_of(flow)
    if found not in (library.value, ""):
        raise BadInputError(
            f"Expected a flow of {library.value}; {source} gives a {type(flow).__name__} of {found}. "
            f"Run: {installation.command('import', found, source)}"
        )
    return flow if state is None else sources.filled(flow, state, on_note=output.remark)


def _context(path: Path) -> "Tensor":
    import numpy as np
    import torch

    from lunet_export.data import arrays

    if not path.is_file():
        raise BadInputError(f"Expected a .npy file for --context; {path} does not exist. Give another path.")
    if path.suffix != ".npy":
        raise BadInputError(f"Expected a .npy file for --context; got {path}. Save the row with numpy.save.")
    return torch.from_numpy(np.array(arrays.read(path), dtype=np.float64))


def _report(parts: "tuple[Part, ...]", *, as_json: bool) -> None:
    if as_json:
        output.dump({"layers": [part.as_json() for part in parts]})
        return
    output.pairs([("layer", "class", "converted")] + [(p.path, p.kind, p.refusal or "yes") for p in parts])


def _tell(found: "Imported", target: Path) -> None:
    proof = found.proof
    inverse = "its own inverse does not run here" if proof.inverse is None else f"z -> x {proof.inverse:.1e}"
    at = "" if proof.contexts is None else f" at {proof.contexts} contexts"
    if found.weights.context is not None:
        output.say(f"the flow takes a context of {found.weights.context.dim} numbers")
    output.say(
        f"largest relative differences from the flow of {found.library}, on {proof.rows} rows{at} in float64: "
        f"log p {proof.log_prob:.1e}, x -> z {proof.latent:.1e}, {inverse}; wrote {target}"
    )
    hints.say_to_export(target)
