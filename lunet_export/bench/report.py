"""The rows of a benchmark as text cells, CSV and GitHub markdown, and the facts printed with them."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from lunet_export.bench.latency import Row
from lunet_export.runtime import ExportedFlow

COLUMNS = ("milliseconds per call", "p50", "p90", "p95", "p99", "rows/s", "export is faster", "over the floor", "")
_CSV = (
    "direction batch runner p50_ms p90_ms p95_ms p99_ms calls rows_per_second export_faster times_floor wide_spread "
    "host_ms device_ms"
)
_MACHINE = ("processor", "cores", "threads", "python", "onnxruntime", "torch", "torch_threads")

_BAR = r"\|"  # inside a cell


def cells(row: Row) -> tuple[str, ...]:
    """Return a row as the table prints it, under `COLUMNS`."""
    time = row.time
    return (
        f"{row.direction}, batch {row.batch}, {row.runner}",
        *(f"{value:.3f}" for value in (time.p50, time.p90, time.p95, time.p99)),
        f"{row.rows_per_second:,.0f}",
        *("" if ratio is None else f"{ratio:.1f} x" for ratio in (row.faster, row.times_floor)),
        "; ".join([*_apart(row), *(["wide spread"] if time.noisy else [])]),
    )


def _apart(row: Row) -> list[str]:
    if row.apart is None:
        return []
    device = "" if row.apart.device is None else f", device {row.apart.device:.3f}"
    return [f"host {row.apart.host:.3f}{device}"]


def markdown(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """Return the table in GitHub's markdown, numbers right-aligned, with one line of notes below."""
    head = [f"| {' | '.join(COLUMNS)} |", f"|---|{'---:|' * (len(COLUMNS) - 2)}---|"]
    body = [f"| {' | '.join(cell.replace('|', _BAR) for cell in cells(row))} |" for row in rows]
    return "\n".join([*head, *body, "", "; ".join(notes)])


def csv_text(rows: Sequence[Row]) -> str:
    """Return one line per runner, direction and batch; times in milliseconds, missing ratios empty."""
    file = StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_CSV.split())
    for row in rows:
        time = row.time
        percentiles = (time.p50, time.p90, time.p95, time.p99)
        ratios = (row.rows_per_second, row.faster, row.times_floor)
        apart = (None, None) if row.apart is None else (row.apart.host, row.apart.device)
        figures = (*percentiles, time.calls, *ratios, time.noisy, *apart)
        writer.writerow([row.direction, row.batch, row.runner, *figures])
    return file.getvalue()


def graph_facts(flow: ExportedFlow) -> dict[str, dict[str, Any]]:
    """Return bytes, nodes and, if the manifest counts them, GPU work items of each graph."""
    facts = {}
    for direction, data in flow.artifact.graphs.items():
        recorded = flow.manifest.document["graphs"].get(direction, {})
        kept = {key: recorded[key] for key in ("nodes", "work_items") if key in recorded}
        facts[direction] = {"bytes": len(data), **kept}
    return facts


def notes(facts: Mapping[str, Any]) -> list[str]:
    """Return the notes below the table: opening, memory, graphs, compilation, TF32. `facts` is what `--json` prints."""
    opening, memory = facts["opening"], facts["peak_memory"]
    found = [
        f"read and verified in {opening['read']:.3f} s, sessions opened in {opening['sessions']:.3f} s, "
        f"first row sampled in {opening['first_run'] * 1e3:.2f} ms"
    ]
    for direction, graph in facts["graphs"].items():
        items = f", {graph['work_items']} GPU work items" if "work_items" in graph else ""
        found.append(f"{direction}: {graph['bytes'] / 1e6:.2f} MB, {graph.get('nodes', 'unknown')} nodes{items}")
    if memory:
        found.append(
            f"peak memory of a fresh process grew by {memory['growth_bytes'] / 1e6:.0f} MB when it sampled "
            f"{memory['batch']} rows, {memory['ratio']:.1f} x (graph + in + out)"
        )
    if facts["compile_seconds"]:
        seconds = facts["compile_seconds"].values()
        found.append(f"torch.compile took {sum(seconds):.0f} s for {len(seconds)} shapes, not counted")
    machine = [f"{key} {facts[key]}" for key in _MACHINE if key in facts]
    provider = f"provider {facts['provider']} ({facts['provider_reason']})"
    return [*found, ", ".join([*machine, provider, f"TF32 {facts['tf32']}"])]
