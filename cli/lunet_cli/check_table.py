"""The table of checks, for `export` and `check`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lunet_cli import output
from lunet_export import parity
from lunet_export.errors import CheckFailedError
from lunet_export.parity import Check


def print_checks(checks: Sequence[Check]) -> None:
    """One line per check: largest difference, worst place what was allowed there, eager PyTorch's own difference."""
    rows = []
    for check in checks:
        gap = check.difference
        place = f"row {gap.row}, column {gap.column + 1}" if gap.row >= 0 and gap.ratio > 0 else "-"
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


@contextmanager
def told_where_failed(*, as_json: bool) -> Iterator[None]:
    """While an export is written: the checks that it failed are told before its error goes on."""
    from lunet_export.export import ExportCheckError

    try:
        yield
    except CheckFailedError as error:
        checks = error.checks if isinstance(error, ExportCheckError) else []
        if as_json:
            output.dump({"passed": False, "error": str(error), "checks": [parity.as_json(check) for check in checks]})
        elif checks:
            print_checks(checks)
        raise
