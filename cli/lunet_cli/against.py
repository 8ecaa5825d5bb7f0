"""The option `--against` of `diagnose` and `classify`: other data, and whether log p tells it apart."""

from typing import TYPE_CHECKING, Annotated

from typer import Option

from lunet_cli import output

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunet_export.data import Dataset
    from lunet_export.diagnostics import Detection, Source
    from lunet_export.diagnostics.classify import ClassSource
    from lunet_export.layers import Context

Against = Annotated[
    str | None, Option(help="Other data of the same kind, to print the AUROC with which log p tells it apart.")
]


def other_rows(
    name: str | None,
    opened: "Source | ClassSource",
    load: "Callable[[str], Dataset]",
    context: "Context | None" = None,
) -> "Dataset | None":
    """Return the other data, as they are loaded by name; warn if the model was not made for these rows or contexts."""
    if name is None:
        return None
    from lunet_export import diagnostics

    rows = load(name)
    of_rows = diagnostics.misfit_of(rows, opened.preprocessing, opened.dim, context)
    for found in (of_rows, diagnostics.contexts_beyond(rows, context)):
        if found is not None:
            output.warn(found.sentence)
    return rows


def line(found: "Detection") -> tuple[str, str]:
    """Return the name and the figures of the detection."""
    return (
        f"log p against {found.against}",
        f"AUROC {found.auroc:.4f}, by distance from the mean {found.typicality:.4f}; "
        f"mean log p {found.nats:.1f} nats, of the other data {found.nats_against:.1f}",
    )
