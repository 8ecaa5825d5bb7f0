"""The table of checks that `export` and `check` print."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil

from lunet_cli import output
from lunet_cli.arguments import in_options
from lunet_export import parity
from lunet_export.checks.vector_file import Seams
from lunet_export.errors import CheckFailedError
from lunet_export.parity import Check

_LEGEND = "Each line is the row nearest to failing: its error, what is allowed there, and the share of that."
_LISTED = 8  # most rows that a sentence lists
_CURES = {
    "tf32": "run it without --tf32",
    "float16": "export with --dtype float32",
    "float32": "export with --dtype float64",
}
_NO_CURE = "the network is too ill-conditioned"


def print_checks(checks: Sequence[Check], dtype: str, cure: str | None = None) -> None:
    """Print one line per check under the name of its group: the row nearest to its tolerance, and its share of that.

    A row whose tolerance is larger than its own numbers would pass with any numbers: a sentence says so.

    Args:
        checks: Checks in the order in which they are printed.
        dtype: Dtype of the graphs' matrix products.
        cure: What to do about rows without digits; None advises another dtype, if there is one.
    """
    knows_eager = any(check.eager_ratio is not None for check in checks)
    notes = list(dict.fromkeys(check.note for check in checks if check.note))
    rows: list[tuple[str, ...]] = []
    above = ""
    for check in checks:
        group, name = _group_and_name(check)
        if group != above:
            rows.append((group,))
        above = group
        mark = f"[{notes.index(check.note) + 1}]" if check.note else ""
        behind = [*([_eager(check)] if knows_eager else []), *([mark] if notes else [])]
        rows.append((f"  {name}" if group else name, *_cells(check), *behind))
    columns = ["check", "", "row", "error", "allowed", "share"]
    output.table([*columns, *(["PyTorch"] if knows_eager else []), *([""] if notes else [])], rows)
    output.say(_LEGEND)
    if knows_eager:
        output.say("PyTorch: the largest share of its own tolerances that eager PyTorch takes, for comparison only.")
    for number, note in enumerate(notes, 1):
        output.say(f"[{number}] {note}")
    for sentence in _without_digits(checks, f"{dtype} keeps no digit", cure or _CURES.get(dtype, _NO_CURE)):
        output.say(sentence)


def print_seams(seams: Seams | None) -> None:
    """Print how many rows lie so near a knot of a spline that rounding decides their bin; nothing without splines."""
    if seams is None:
        return
    drawn, *tested = seams.counts().values()
    rows, put, decided = (sum(part[name] for part in tested) for name in ("rows", "at_seams", "by_rounding"))
    output.say(
        f"{drawn['by_rounding']} of {drawn['rows']} rows drawn from the model lie so near a knot of a spline that "
        f"rounding decides their bin, and so do {decided} of the {rows} test rows, {put} of which were put at knots; "
        "their tolerances span both bins."
    )


def _group_and_name(check: Check) -> tuple[str, str]:
    group, colon, name = check.name.partition(": ")
    return (group, name) if colon else ("", group)


def _cells(check: Check) -> tuple[str, ...]:
    """Return whether a check passed, and its worst row; no row if all are equal or none could be compared."""
    gap = check.difference
    row = str(gap.row) if gap.row >= 0 and gap.ratio > 0 else "-"
    return "ok" if check.passed else "FAILED", row, f"{gap.worst:.1e}", f"{gap.tolerance:.1e}", _share(gap.ratio)


def _eager(check: Check) -> str:
    return "-" if check.eager_ratio is None else _share(check.eager_ratio)


def _share(ratio: float) -> str:
    """Return a share of a tolerance as text; one that fails is never rounded down to 1."""
    if ratio == 0:
        return "0"
    if ratio < 0.005:
        return "<0.01"
    if ratio <= 1:
        return f"{ratio:.2f}"
    return f"{ceil(100 * ratio) / 100:.2f}" if ratio < 100 else f"{ratio:.1e}"


def _without_digits(checks: Sequence[Check], said: str, cure: str) -> Iterator[str]:
    """Yield sentences about rows whose tolerance is larger than their numbers, one for the same rows in many checks."""
    told: set[tuple[str, str, tuple[int, ...]]] = set()
    for check in checks:
        gap = check.difference
        about = (_group_and_name(check)[0], gap.output, gap.no_digits)
        if gap.no_digits and about not in told:
            told.add(about)
            listed = ", ".join(map(str, gap.no_digits[:_LISTED]))
            more = f" and {len(gap.no_digits) - _LISTED} more" if len(gap.no_digits) > _LISTED else ""
            rows = f"row {listed}" if len(gap.no_digits) == 1 else f"rows {listed}{more}"
            yield f"{check.name}, {rows}: {said} of {gap.output} there; {cure}"


@contextmanager
def told_where_failed(dtype: str, cure: str | None = None, *, as_json: bool) -> Iterator[None]:
    """While an export is written, print the checks that it failed before its error is raised again."""
    from lunet_export.export import ExportCheckError

    try:
        yield
    except CheckFailedError as error:
        checks = error.checks if isinstance(error, ExportCheckError) else []
        if as_json:
            output.dump(
                {
                    "passed": False,
                    "error": in_options(str(error)),
                    "checks": [parity.as_json(check) for check in checks],
                }
            )
        elif checks:
            print_checks(checks, dtype, cure)
        raise
