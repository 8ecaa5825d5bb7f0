"""What `--against` found, as a line of `diagnose` and `classify`."""

from lunet_export.diagnostics import Detection


def line(found: Detection) -> tuple[str, str]:
    """Name and figures."""
    return (
        f"log p against {found.against}",
        f"AUROC {found.auroc:.4f}, by distance from the mean {found.typicality:.4f}; "
        f"mean log p {found.nats:.1f} nats, of the other {found.nats_against:.1f}",
    )
