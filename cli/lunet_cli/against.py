"""`--against` of `diagnose` and `classify`: other rows, and whether log p tells them apart."""

from typing import TYPE_CHECKING, Annotated

from typer import Option

from lunet_cli import output
from lunet_cli.models import load
from lunet_cli.options import DataOptions

if TYPE_CHECKING:
    from lunet_export.data import Dataset
    from lunet_export.diagnostics import Detection, Source
    from lunet_export.diagnostics.classify import ClassSource

Against = Annotated[str | None, Option(help="Other data of the same kind: can log p tell them apart? AUROC.")]


def other_rows(name: str | None, judged: "Source | ClassSource", options: DataOptions) -> "Dataset | None":
    """The data set of that name or file; a warning where its rows are not what the model was made for."""
    if name is None:
        return None
    from lunet_export import diagnostics

    rows = load(name, judged.preprocessing, options)
    if found := diagnostics.misfit_of(rows, judged.preprocessing, judged.dim):
        output.warn(found.sentence)
    return rows


def line(found: "Detection") -> tuple[str, str]:
    """Name and figures of what was found."""
    return (
        f"log p against {found.against}",
        f"AUROC {found.auroc:.4f}, by distance from the mean {found.typicality:.4f}; "
        f"mean log p {found.nats:.1f} nats, of the other {found.nats_against:.1f}",
    )
