"""The table of checks, for `export` and `check`."""

from collections.abc import Sequence

from lunet_cli import output
from lunet_export.parity import Check


def print_checks(checks: Sequence[Check]) -> None:
    """One line a check: largest difference, worst place and what was allowed there, eager PyTorch's own difference."""
    rows = []
    for check in checks:
        gap = check.difference
        place = f"[{gap.row}, {gap.column}]" if gap.row >= 0 and gap.ratio > 0 else "-"
        rows.append(
            (
                check.name + (f" ({check.note})" if check.note else ""),
                "ok" if check.passed else "FAILED",
                f"{gap.absolute:.1e}",
                "-" if gap.relative is None else f"{gap.relative:.1e}",
                place,
                f"{gap.worst:.1e}",
                f"{gap.tolerance:.1e}",
                "-" if check.eager is None else f"{check.eager:.1e}",
            )
        )
    columns = ["check", "", "largest", "relative", "worst place", "there", "allowed there", "eager PyTorch"]
    output.table(columns, rows)
