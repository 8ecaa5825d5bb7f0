"""`lunet-export bench`."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from lunet_cli import output
from lunet_cli.models import eager_of, read_model
from lunet_cli.options import (
    Arena,
    ArenaName,
    DeviceId,
    Folder,
    Json,
    LatentStats,
    MemoryLimit,
    Preprocess,
    PreprocessName,
    Provider,
    ProviderName,
    Tf32,
    Threads,
    cuda_options,
)
from lunet_export import files
from lunet_export.errors import BadInputError, MissingPackageError
from lunet_export.runtime import environment

if TYPE_CHECKING:
    from lunet_export.bench import Row
    from lunet_export.parity import Runner
    from lunet_export.runtime import ExportedFlow
    from lunet_export.weights import Weights

_PICTURES = (".png", ".svg", ".pdf")


def bench(
    folder: Folder,
    model: Annotated[
        Path | None,
        typer.Option(help="The source checkpoint: adds eager PyTorch and torch.compile.", show_default=False),
    ] = None,
    batch: Annotated[str, typer.Option(help="Rows a call, comma-separated.")] = "1,8,64,256",
    seconds: Annotated[float, typer.Option(min=0.05, help="For each runner, graph and batch.")] = 1.0,
    warmup: Annotated[int, typer.Option(min=0, help="Calls of each that do not count.")] = 5,
    solver: Annotated[
        str, typer.Option(help="Times other solvers' sampling graphs too, comma-separated.", show_default=False)
    ] = "",
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="torch.compile, which compiles for about a minute.")
    ] = True,
    provider: Provider = ProviderName.AUTO,
    threads: Threads = None,
    device_id: DeviceId = 0,
    memory_limit: MemoryLimit = None,
    arena: Arena = ArenaName.NEXT_POWER_OF_TWO,
    tf32: Tf32 = False,
    latent_stats: LatentStats = None,
    preprocess: Preprocess = PreprocessName.NONE,
    csv: Annotated[Path | None, typer.Option(help="Also write the rows as CSV.", show_default=False)] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw latency against batch: .png, .svg or .pdf.", show_default=False)
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as GitHub markdown.")] = False,
    as_json: Json = False,
) -> None:
    """Time both graphs, answers checked first.

    Percentiles and rows a second, beside PyTorch and the bare matrix products.

    Example: lunet-export bench exported/digits --model digits.pt
    """
    batches, solvers = parse_batches(batch), [name.strip() for name in solver.split(",") if name.strip()]
    if solvers and model is None:
        raise typer.BadParameter("Expected --model beside --solver: other graphs are built from the checkpoint.")
    if markdown and as_json:
        raise typer.BadParameter("Expected one of --markdown and --json; got both.")
    _refuse_unwritable(csv, plot)

    from lunet_export.bench import latency, open_timed, report
    from lunet_export.bench.memory import peak_memory

    cuda = cuda_options(device_id, memory_limit, arena, tf32=tf32)
    flow, opening = open_timed(folder, provider=provider.value, threads=threads, cuda=cuda)
    weights = None if model is None else _weights(flow, model, latent_stats, preprocess)
    on_host = flow.provider == "cpu"  # what a GPU holds does not show in the memory of the process
    memory = peak_memory(folder, batch=max(batches), threads=threads) if on_host else None
    rivals = 0 if weights is None else 1 + 2 * compiled
    steps = 1 + 2 * len(batches) + 2 * len(solvers) + rivals
    with _progress(steps) as stage:
        samplers = {} if weights is None else _samplers(flow, weights, solvers, max(batches), threads, stage)
        others = {} if weights is None else _torch_runners(flow, weights, threads, stage, compiled=compiled)
        rows = latency(
            flow,
            others,
            batches=batches,
            seconds=seconds,
            warmup=warmup,
            solvers=samplers,
            floor=_floor(flow),
            threads=threads,
            on_stage=stage,
            warn=output.complain,
        )
    facts = {
        "folder": str(folder),
        "provider": flow.provider,
        "provider_reason": flow.provider_reason,
        "tf32": flow.effective_tf32,
        "graphs": report.graph_facts(flow),
        **_machine(threads, others),
        "opening": asdict(opening),
        "peak_memory": memory and {**asdict(memory), "ratio": memory.ratio},
        "compile_seconds": _compile_seconds(others),
    }
    _write(rows, csv, plot, title=f"{flow.manifest.name}, {facts['processor']}, {facts['threads']} threads")
    _print(rows, facts, markdown=markdown, as_json=as_json)


def parse_batches(text: str) -> list[int]:
    """Numbers of rows a call, each once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"Expected --batch of positive numbers such as 1,64; got {text}.")
    return list(dict.fromkeys(int(part) for part in parts))


def _refuse_unwritable(csv: Path | None, plot: Path | None) -> None:
    """Find out before minutes of timing, not after."""
    if plot is not None and plot.suffix.lower() not in _PICTURES:
        raise typer.BadParameter(f"Expected --plot of {', '.join(_PICTURES)}; got {plot}.")
    if plot is not None:
        import matplotlib  # noqa: F401
    for option, path in (("--csv", csv), ("--plot", plot)):
        output.refuse_unwritable(option, path)


@contextmanager
def _progress(steps: int) -> Iterator[Callable[[str], None]]:
    """A bar on stderr that names the stage which begins."""
    done = count()
    with output.progress(steps, "opening") as bar:
        yield lambda stage: bar.update(bar.task_ids[0], completed=next(done), description=stage)


def _weights(flow: "ExportedFlow", model: Path, latent_stats: Path | None, preprocess: PreprocessName) -> "Weights":
    from lunet_export.export import rebuilt
    from lunet_export.graphs.mixture import flows_of

    blueprint = rebuilt(read_model(model, latent_stats, preprocess).weights, flow.manifest)
    if blueprint is None:
        raise BadInputError(f"Expected the model that {flow.manifest.name} was exported from; {model} is another one.")
    return flows_of(blueprint)[0].weights


def _torch_runners(
    flow: "ExportedFlow",
    weights: "Weights",
    threads: int | None,
    stage: Callable[[str], None],
    *,
    compiled: bool,
) -> "dict[str, Runner]":
    """Eager PyTorch and `torch.compile`, the second only where it runs. Both on the CPU."""
    import torch

    from lunet_export.flows.compiled import CompiledFlow

    if threads is not None:
        torch.set_num_threads(threads)
    where = "" if flow.provider == "cpu" else ", cpu"
    runners: dict[str, Runner] = {f"eager PyTorch{where}": eager_of(str(flow.dtype))(weights)}
    if compiled:
        stage("torch.compile")
        runner = CompiledFlow(weights, str(flow.dtype))
        try:
            runner.decode(np.zeros((1, flow.dim)))
            runners[f"torch.compile{where}"] = runner
        except MissingPackageError as error:
            output.complain(f"Without torch.compile. {error}")
    return runners


def _samplers(
    flow: "ExportedFlow",
    weights: "Weights",
    solvers: Sequence[str],
    batch: int,
    threads: int | None,
    stage: Callable[[str], None],
) -> "dict[str, Runner]":
    """Other sampling graphs of the same model, on the provider of the export."""
    from lunet_export.export import ExportSettings, Load, Provenance, build_artifact
    from lunet_export.runtime import ExportedFlow

    dtype = flow.manifest.document.get("products", flow.manifest.dtype)
    artifacts, load = {}, Load(flow.provider, batch)
    for name in solvers:  # all names are tried before the first is timed
        stage(f"building {name}")
        artifacts[name] = build_artifact(weights, Provenance(name), ExportSettings(name, dtype=dtype, load=load))
    return {
        f"solver {name}": ExportedFlow(artifact, provider=flow.provider, threads=threads, cuda=flow.cuda)
        for name, artifact in artifacts.items()
    }


def _floor(flow: "ExportedFlow") -> bytes | None:
    """LU-Net's matrix products alone as a graph; None of another family, and where ONNX is not installed."""
    try:
        from lunet_export.graphs import builder, floor
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        return None
    blocks = flow.manifest.document["model"].get("blocks")
    if blocks is None:
        return None
    model = floor.build(flow.dim, blocks, str(flow.dtype))
    return builder.serialize(model)


def _compile_seconds(runners: "Mapping[str, Runner]") -> dict[str, float]:
    found = {}
    for runner in runners.values():
        for (direction, batch), seconds in getattr(runner, "compile_seconds", {}).items():
            found[f"{direction}, batch {batch}"] = seconds
    return found


def _machine(threads: int | None, others: "Mapping[str, Runner]") -> dict[str, Any]:
    import onnxruntime

    machine = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads or environment.processors().usable,
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
    }
    if others:
        import torch

        machine |= {"torch": torch.__version__, "torch_threads": torch.get_num_threads()}
    return machine


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _write(rows: "Sequence[Row]", csv: Path | None, plot: Path | None, *, title: str) -> None:
    from lunet_export.bench import report

    if csv is not None:
        with files.whole_file(csv) as path:
            report.write_csv(rows, path)
    if plot is not None:
        from lunet_cli import latency_plot

        with files.whole_file(plot) as path:
            latency_plot.draw(rows, path, title=title)


def _print(rows: "Sequence[Row]", facts: Mapping[str, Any], *, markdown: bool, as_json: bool) -> None:
    from lunet_export.bench import report

    if as_json:
        output.dump({**facts, "rows": [row.as_json() for row in rows]})
        return
    below = [*report.notes(facts), "answers checked first, noise not included"]
    if markdown:
        output.say_lines(report.markdown(rows, below))
        return
    output.table(report.COLUMNS, [report.cells(row) for row in rows])
    for note in below:
        output.say(note)
