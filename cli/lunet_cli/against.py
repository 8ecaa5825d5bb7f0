"""The option `--against` of `diagnose` and `classify`: other data, and whether log p tells it apart."""

from typing import TYPE_CHECKING, Annotated

from typer import Option

from lunet_cli import output
from lunet_cli.models import load_rows
from lunet_cli.options import DataOptions

if TYPE_CHECKING:
    from lunet_export.data import Dataset
    from lunet_export.diagnostics import Detection, Source
    from lunet_export.diagnostics.classify import ClassSource

Against = Annotated[
    str | None, Option(help="Other data of the same kind, to print the AUROC with which log p tells it apart.")
]


def other_rows(name: str | None, opened: "Source | ClassSource", options: DataOptions) -> "Dataset | None":
    """Return the data set with this name or in this file; warn if the model was not made for its rows."""
    if name is None:
        return None
    from lunet_export import diagnostics

    rows = load_rows(opened, name, options)
    if found := diagnostics.misfit_of(rows, opened.preprocessing, opened.dim):
        output.warn(found.sentence)
    return rows


def line(found: "Detection") -> tuple[str, str]:
    """Return the name and the figures of the detection."""
    return (
        f"log p against {found.against}",
        f"AUROC {found.auroc:.4f}, by distance from the mean {found.typicality:.4f}; "
        f"mean log p {found.nats:.1f} nats, of the other data {found.nats_against:.1f}",
    )
