"""The counts of the recorded campaign, as the table of README.md, which `python -m benchmarks.pages` renews."""

from collections.abc import Mapping, Sequence
from typing import Any


def rows(record: Mapping[str, Any]) -> Sequence[Sequence[str]]:
    """A row per reader, then all of them."""
    entries = [*record["readers"].items(), ("all", {**record, "findings": [None] * record["findings"]})]
    counts = (
        (name, *(f"{entry[key]:,}" for key in ("inputs", "refused", "accepted")), str(len(entry["findings"])))
        for name, entry in entries
    )
    return [("reader", "inputs", "refused", "accepted", "findings"), *counts]
