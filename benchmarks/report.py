"""Options and output that all benchmarks share: the machine, the results as JSON, tables and pictures."""

import argparse
import json
import os
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lunet_export.bench import Measurement
from lunet_export.errors import LunetExportError
from lunet_export.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("lunet-export", "torch", "onnx", "onnxruntime", "numpy", "scipy")
PACKAGES += ("nflows", "zuko", "normflows", "sbi", "FrEIA", "onnxscript", "ray", "pyarrow")

Rows = Sequence[Sequence[str]]


def options(question: str, *, seconds: float) -> argparse.ArgumentParser:
    """Add the options that all scripts share."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--seconds", type=float, default=seconds, help=f"for each figure, about (default {seconds})")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of every runner (default 2)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    return parser


def run(main: Callable[[], None]) -> None:
    """Run a script; our own errors become one sentence and an exit code."""
    try:
        main()
    except LunetExportError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


def progress(message: str) -> None:
    """Print a line on stderr."""
    print(message, file=sys.stderr, flush=True)


def machine(threads: int) -> dict[str, Any]:
    """Return the processor, its cores, the threads that were allowed, and the versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def times(measurement: Measurement) -> dict[str, Any]:
    """Return a measurement for the results, in milliseconds per call."""
    names = ("p50", "p90", "p95", "p99", "calls", "noisy")
    return {name: getattr(measurement, name) for name in names}


def write(path: Path, document: dict[str, Any]) -> None:
    """Write the results as JSON."""
    with whole_file(path) as file:
        file.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    progress(f"wrote {path}")


@contextmanager
def picture(path: Path, *, rows: int, columns: int, size: tuple[float, float]) -> Iterator[tuple["Figure", Any]]:
    """Yield a figure and its axes (rows, columns); save it as PNG at the end."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    yield figure, figure.subplots(rows, columns, squeeze=False)
    with whole_file(path) as file:
        # No version in the file: the same figures give the same bytes.
        figure.savefig(file, dpi=110, metadata={"Software": None})
    progress(f"wrote {path}")


def table(rows: Rows) -> None:
    """Print aligned columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]).rstrip())


def markdown(rows: Rows) -> str:
    """Return a Markdown table, without a newline at its end; the first row is its header."""
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body))


def described(document: Mapping[str, Any]) -> str:
    """Return the machine of a record for a table's caption: processor, cores, threads and the versions that matter."""
    facts = document.get("machine", document)  # `lunet-export bench --json` holds them beside its rows
    versions = facts.get("versions", facts)
    processor = re.sub(r"\(R\)| Processor", "", facts["processor"])
    torch, _, build = versions["torch"].partition("+")
    threads = "one thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
    return (
        f"{facts['cores']} cores of an {processor}, {threads}, Python {facts['python']}, "
        f"PyTorch {torch} ({build.upper()}), ONNX Runtime {versions['onnxruntime']}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _version(package: str) -> str | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return version(package)
        except PackageNotFoundError:
            return None
