"""`lunet-export bench`."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from typer import BadParameter, Option

from lunet_cli import output
from lunet_cli.models import read_model, where
from lunet_cli.option_groups import option
from lunet_cli.options import SOLVER_WORDS, AuthorsOptions, Folder, Json, RunOptions
from lunet_cli.pipes import is_piped
from lunet_export import files
from lunet_export.api import progress
from lunet_export.api.models import Model, another_model, eager_of, files_of
from lunet_export.errors import BadInputError, MissingPackageError
from lunet_export.runtime import environment

if TYPE_CHECKING:
    from lunet_export.bench import Row
    from lunet_export.layers import Chain
    from lunet_export.parity import Runner
    from lunet_export.runtime import ExportedFlow

_PICTURES = (".png", ".svg", ".pdf")


@dataclass(frozen=True, kw_only=True)
class TimingOptions:
    """Options of what is timed, and for how long."""

    batch: str = option("1,8,64,256", "Rows per call, separated by commas.")
    seconds: float = option(1.0, "Seconds of timing per runner, graph and batch.", least=0.05)
    warmup: int = option(5, "Number of calls per runner, graph and batch that are not counted.", least=0)
    solver: str = option(
        "", "Solvers whose sampling graphs are timed too, separated by commas.", shown=False, words=SOLVER_WORDS
    )
    compiled: bool = option(
        True, "Also time torch.compile, which compiles for about a minute.", "--compile/--no-compile"
    )

    @property
    def solvers(self) -> list[str]:
        """Return the names of the solvers."""
        return [name.strip() for name in self.solver.split(",") if name.strip()]


@dataclass(frozen=True, kw_only=True)
class PrintOptions:
    """Options of what is printed and written."""

    csv: Path | None = option(None, "Also write the table as CSV; - prints CSV in place of the table.")
    plot: Path | None = option(None, "Also draw latency against batch, as .png, .svg or .pdf.")
    markdown: bool = option(False, "Print the table as GitHub Markdown.")
    as_json: Json = False

    def validate(self) -> None:
        """Raise before minutes of timing, and not after them, if results cannot be printed or written."""
        if self.markdown and self.as_json:
            raise BadParameter("Expected one of --markdown and --json; got both.")
        if self.plot is not None:
            if self.plot.suffix.lower() not in _PICTURES:
                raise BadParameter(f"Expected --plot of {', '.join(_PICTURES)}; got {self.plot}.")
            import matplotlib  # noqa: F401
        if is_piped(self.csv) and (self.as_json or self.markdown):
            raise BadInputError("Expected one document on stdout; got --csv - and another. Leave one out.")
        if not is_piped(self.csv):
            output.validate_writable("--csv", self.csv)
        output.validate_writable("--plot", self.plot)


def bench(
    folder: Folder,
    *,
    model: Annotated[
        Path | None, Option(help="Model file that the folder was exported from; adds eager PyTorch and torch.compile.")
    ] = None,
    timing: TimingOptions,
    run: RunOptions,
    authors: AuthorsOptions,
    printing: PrintOptions,
) -> None:
    """Time both graphs, after checking their answers.

    The table has percentiles and rows per second, beside PyTorch and the bare matrix products.

    Example: lunet-export bench runs/digits --model digits.pt
    """
    batches = parse_batches(timing.batch)
    if timing.solvers and model is None:
        raise BadParameter("Expected --model beside --solver: other graphs are built from the checkpoint.")
    printing.validate()

    from lunet_export.bench import open_timed
    from lunet_export.bench.memory import peak_memory

    flow, opening = open_timed(folder, **run.settings)
    weights = None if model is None else _weights(folder, flow, model, authors)
    on_host = flow.provider == "cpu"  # memory on a GPU is not memory of the process
    memory = peak_memory(folder, batch=max(batches), threads=run.threads) if on_host else None
    rows, others = _timed(flow, weights, timing, batches, run.threads)
    facts = {
        "folder": str(folder),
        **where(flow),
        **_facts(flow, others, run.threads),
        "opening": asdict(opening),
        "peak_memory": memory and {**asdict(memory), "ratio": memory.ratio},
        "compile_seconds": _compile_seconds(others),
    }
    title = f"{flow.manifest.name}, {facts['processor']}, {facts['threads']} threads"
    _write(rows, printing, title=title)
    _print(rows, facts, printing)


def _timed(
    flow: "ExportedFlow", weights: "Chain | None", timing: TimingOptions, batches: list[int], threads: int | None
) -> "tuple[Sequence[Row], dict[str, Runner]]":
    """Return the rows of the table, and the runners that were made of the model."""
    from lunet_export.bench import latency

    conditional = flow.context is not None
    compiled = timing.compiled and not conditional
    if conditional and timing.compiled and weights is not None:
        output.complain("torch.compile is not timed: it cannot compile a flow that is given its contexts in each call.")
    rivals = conditional + (0 if weights is None else 1 + 2 * compiled)
    with _progress(1 + 2 * len(batches) + 2 * len(timing.solvers) + rivals) as stage:
        samplers, others = {}, {}
        if weights is not None:
            samplers = _samplers(flow, weights, timing.solvers, max(batches), threads, stage)
            others = _torch_runners(flow, weights, threads, stage, compiled=compiled)
        rows = latency(
            flow,
            others,
            batches=batches,
            seconds=timing.seconds,
            warmup=timing.warmup,
            solvers=samplers,
            floor=_floor(flow),
            threads=threads,
            on_stage=stage,
            warn=output.complain,
        )
    return rows, others


def parse_batches(text: str) -> list[int]:
    """Return numbers of rows per call, each once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise BadParameter(f"Expected --batch of positive numbers such as 1,64; got {text}.")
    return list(dict.fromkeys(int(part) for part in parts))


@contextmanager
def _progress(steps: int) -> Iterator[Callable[[str], None]]:
    """Show a bar on stderr that names the current stage."""
    done = count()
    with progress.bar(steps, "opening") as bar:
        yield lambda stage: bar.update(bar.task_ids[0], completed=next(done), description=stage)


def _weights(folder: Path, flow: "ExportedFlow", model: Path, authors: AuthorsOptions) -> "Chain":
    from lunet_export.export import rebuilt
    from lunet_export.graphs.mixture import flows_of

    read = read_model(model, authors)
    blueprint = rebuilt(read.weights, flow.manifest)
    if blueprint is None:
        raise another_model(flow.manifest, Model(read, files_of(model, authors.latent_stats)), ("bench", str(folder)))
    return flows_of(blueprint)[0].weights


def _torch_runners(
    flow: "ExportedFlow", weights: "Chain", threads: int | None, stage: Callable[[str], None], *, compiled: bool
) -> "dict[str, Runner]":
    """Return eager PyTorch and, if it runs here, `torch.compile`, both on the CPU."""
    import torch

    from lunet_export.torch_layers.compiled import CompiledFlow

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
            output.complain(f"torch.compile is not timed. {error}")
    return runners


def _samplers(
    flow: "ExportedFlow",
    weights: "Chain",
    solvers: Sequence[str],
    batch: int,
    threads: int | None,
    stage: Callable[[str], None],
) -> "dict[str, Runner]":
    """Return sampling graphs of the same model with other solvers, on the provider of the export."""
    from lunet_export.export import ExportSettings, Load, Provenance, build_artifact
    from lunet_export.runtime import ExportedFlow

    dtype = flow.manifest.document.get("products", flow.manifest.dtype)
    artifacts, load = {}, Load(flow.provider, batch)
    for name in solvers:  # all graphs are built before the first is timed
        stage(f"building {name}")
        artifacts[name] = build_artifact(weights, Provenance(name), ExportSettings(name, dtype=dtype, load=load))
    return {
        f"solver {name}": ExportedFlow(artifact, provider=flow.provider, threads=threads, cuda=flow.cuda)
        for name, artifact in artifacts.items()
    }


def _floor(flow: "ExportedFlow") -> bytes | None:
    """Return a graph of LU-Net's matrix products alone; None for other flows, and if onnx is not installed."""
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


def _facts(flow: "ExportedFlow", others: "Mapping[str, Runner]", threads: int | None) -> dict[str, Any]:
    """Return what was timed, and on which machine."""
    import onnxruntime

    from lunet_export.bench import report

    facts = {
        "tf32": flow.effective_tf32,
        "graphs": report.graph_facts(flow),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads or environment.processors().usable,
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
    }
    if others:
        import torch

        facts |= {"torch": torch.__version__, "torch_threads": torch.get_num_threads()}
    return facts


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _write(rows: "Sequence[Row]", printing: PrintOptions, *, title: str) -> None:
    from lunet_export.bench import report

    if is_piped(printing.csv):
        output.say_lines(report.csv_text(rows))
    elif printing.csv is not None:
        with files.whole_file(printing.csv) as path:
            path.write_text(report.csv_text(rows), encoding="utf-8")
    if printing.plot is not None:
        from lunet_cli import latency_plot

        with files.whole_file(printing.plot) as path:
            latency_plot.draw(rows, path, title=title)


def _print(rows: "Sequence[Row]", facts: Mapping[str, Any], printing: PrintOptions) -> None:
    from lunet_export.bench import report

    if printing.as_json:
        output.dump({**facts, "rows": [row.as_json() for row in rows]})
        return
    if is_piped(printing.csv):
        return
    below = [*report.notes(facts), "answers were checked first; drawing the noise is not included"]
    if printing.markdown:
        output.say_lines(report.markdown(rows, below))
        return
    output.table(report.COLUMNS, [report.cells(row) for row in rows])
    for note in below:
        output.say(note)
