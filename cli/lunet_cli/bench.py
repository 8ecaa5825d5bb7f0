"""`lunet-export bench`."""

import os
import platform
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from lunet_cli import output
from lunet_cli.models import eager_of, read_model
from lunet_cli.options import (
    Folder,
    Json,
    LatentStats,
    Preprocess,
    PreprocessName,
    Provider,
    ProviderName,
    Threads,
)


def bench(
    folder: Folder,
    model: Annotated[
        Path | None, typer.Option(help="The source checkpoint: times eager PyTorch beside it.", show_default=False)
    ] = None,
    batch: Annotated[str, typer.Option(help="Rows a call, comma-separated.")] = "1,8,64,256",
    seconds: Annotated[float, typer.Option(min=0.05, help="For each runner, graph and batch.")] = 1.0,
    provider: Provider = ProviderName.AUTO,
    threads: Threads = None,
    latent_stats: LatentStats = None,
    preprocess: Preprocess = PreprocessName.NONE,
    as_json: Json = False,
) -> None:
    """Time both graphs, answers checked first: p50, p95, p99, beside eager PyTorch.

    Example: lunet-export bench exported/digits --model digits.pt
    """
    import onnxruntime

    from lunet_export.bench import latency
    from lunet_export.runtime import ExportedFlow

    if not all(part.strip().isdigit() and int(part) > 0 for part in batch.split(",")):
        raise typer.BadParameter(f"Expected --batch of positive numbers such as 1,64; got {batch}.")
    batches = [int(part) for part in batch.split(",")]
    begin = time.perf_counter()
    flow = ExportedFlow(folder, provider=provider.value, threads=threads)
    opened = time.perf_counter() - begin
    machine: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads or os.cpu_count(),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "open_seconds": opened,
    }
    others = {}
    if model is not None:
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        weights = read_model(model, latent_stats, preprocess).weights
        others["eager PyTorch"] = eager_of(flow.manifest.dtype)(weights)
        machine |= {"torch": torch.__version__, "torch_threads": torch.get_num_threads()}
    rows = latency(flow, others, batches=batches, seconds=seconds)
    if as_json:
        output.dump({"folder": str(folder), "provider": flow.provider, **machine, "rows": [r.as_json() for r in rows]})
        return
    lines = [
        (
            f"{row.direction}, batch {row.batch}, {row.runner}",
            f"{row.time.p50:.3f}",
            f"{row.time.p95:.3f}",
            f"{row.time.p99:.3f}",
            f"{row.rows_per_second:,.0f}",
            f"{row.faster:.1f} x" if row.faster else "",
            "wide spread" if row.time.noisy else "",
        )
        for row in rows
    ]
    columns = ["milliseconds a call", "p50", "p95", "p99", "rows/s", "export is faster", ""]
    output.table(columns, lines)
    versions = ", ".join(f"{key} {value}" for key, value in machine.items() if key != "open_seconds")
    output.say(f"opened in {opened:.2f} s; {versions}; answers checked first, noise not included")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
