"""`lunet-export export --for-verifier`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lunet_cli import output
from lunet_cli.check_table import print_checks, told_where_failed
from lunet_cli.models import read_model, rows_for, source_of
from lunet_cli.option_groups import option
from lunet_cli.options import DEFAULT_PARENT, AuthorsOptions, DataDir, RowsOptions
from lunet_export import installation, verification
from lunet_export.api.models import files_of, provenance_of
from lunet_export.errors import BadInputError
from lunet_export.verification.folder import WITH_LOG_PROB

if TYPE_CHECKING:
    from lunet_export.checkpoint import Checkpoint
    from lunet_export.export import HeldOut
    from lunet_export.verification import LatentBox

USUAL_MASS = 0.9
#: Dtype of a generator, and what to do if it leaves no digit: there is no other dtype.
_NUMBERS = ("float32", "train the network again, with --bound or --reg")


@dataclass(frozen=True, kw_only=True)
class VerifierOptions:
    """Options of `export` that need --for-verifier."""

    PANEL: ClassVar[str] = "With --for-verifier"

    mass: list[float] | None = option(None, "Probability mass of a box; repeat it for more boxes. Default: 0.9.")
    classifier: Path | None = option(None, "ONNX file of a classifier to append to the generator.")
    claim: str | None = option(None, 'Claim to verify: "class 3", or "Y_0 <= 3.5 and Y_1 >= Y_0".')
    data: str | None = option(None, "Data set whose share of test rows in each box is measured.")
    data_dir: DataDir = Path("data")

    def validate_given(self) -> None:
        """Raise BadInputError if one is given without --for-verifier."""
        given = {"--mass": self.mass, "--classifier": self.classifier, "--claim": self.claim, "--data": self.data}
        alone = next((name for name, value in given.items() if value), None)
        if alone:
            raise BadInputError(f"Expected --for-verifier with {alone}; it is not given. Add it, or leave {alone} out.")


def validate_no_graph_options(given: Sequence[str]) -> None:
    """Raise BadInputError if options of the other graphs are given with --for-verifier."""
    if given:
        raise BadInputError(f"Expected no {given[0]} with --for-verifier, whose graph has no options. Leave it out.")


def export_for_verifier(
    model: Path, folder: Path | None, wanted: VerifierOptions, authors: AuthorsOptions, *, force: bool, as_json: bool
) -> None:
    """Write the folder and print what is in it."""
    from lunet_export.export import Question, export_for_verifier
    from lunet_export.flows.lunet import lunet_of
    from lunet_export.graphs.merge import read_classifier

    read = read_model(model, authors)
    weights = lunet_of(read.weights, "a verifier")
    destination = folder or DEFAULT_PARENT / f"{model.stem}-verifier"
    classifier = read_classifier(wanted.classifier) if wanted.classifier else None
    question = Question(tuple(wanted.mass or ()) or (USUAL_MASS,), classifier, wanted.claim)
    provenance = provenance_of(read, destination, files_of(model, authors.latent_stats, wanted.classifier))
    with told_where_failed(*_NUMBERS, as_json=as_json), output.stages() as stage:
        written = export_for_verifier(
            weights,
            destination,
            provenance,
            question,
            held_out=_held_out(read, wanted) if wanted.data else None,
            force=force,
            on_stage=stage,
        )
    if as_json:
        output.dump({"folder": str(destination), "passed": True, **written.document})
        return
    print_checks(written.checks, *_NUMBERS)
    _say(destination, written.document)
    witness = installation.command("replay", str(destination), "WITNESS")
    output.note(f"replay what a verifier finds: {witness}")


def _held_out(read: "Checkpoint", wanted: VerifierOptions) -> "Callable[[Sequence[LatentBox]], HeldOut]":
    """Read the data now, so that its errors come before anything is built."""
    from lunet_export.export import HeldOut

    rows = rows_for(source_of(read), wanted.data or "", RowsOptions(data_dir=wanted.data_dir))
    return lambda boxes: HeldOut(rows.name, tuple(verification.coverage(read.weights, boxes, rows, seed=0)))


def _say(folder: Path, document: Mapping[str, Any]) -> None:
    for graph in document["graphs"].values():
        beside = ", log_prob" if graph["file"] == WITH_LOG_PROB else ""
        operators = ", ".join(f"{count} {name}" for name, count in graph["operators"].items())
        output.say(f"{folder / graph['file']}: z -> {graph['output']}{beside}, opset {graph['opset']}, {operators}")
    for entry in document["boxes"]:
        held = entry.get("held_out")
        beside = f"; {_share(held)} of {held['rows']} held-out rows of {held['data']}" if held else ""
        drawn = entry["monte_carlo"]
        output.say(
            f"{folder / entry['file']}: |z_i| <= {entry['bound']}, mass {entry['mass']}, {_share(drawn)} of "
            f"{drawn['rows']} draws{beside}"
        )
    whole = [entry for entry in document["queries"] if entry["case"] is None]
    for entry in whole:
        cases = sum(other["mass"] == entry["mass"] for other in document["queries"]) - 1
        one_by_one = f"; its {cases} cases one by one beside it" if cases else ""
        output.say(f"{folder / entry['file']}: sat where {document['claim']} is violated{one_by_one}")
    if document["model"]["output"] != "x":
        output.say(f"the generator's output is {document['model']['output']}")
    output.say(document["words"])


def _share(found: Mapping[str, Any]) -> str:
    return f"{found['share']:.4f} (standard error {found['standard_error']:.4f})"
