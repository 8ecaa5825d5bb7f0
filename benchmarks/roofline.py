"""What limits a graph on named GPUs, and to what time: bytes, operations or launches?

This is arithmetic on paper, not measured. The real graphs are walked node by node, as ONNX Runtime's CUDA provider runs
them.
    an item            a kernel, cuBLAS call or copy; a Gemm with a third operand is two (its copy, then the product)
    seconds of a run   max(work, launches x seconds per launch)
Nothing is fused except what the graph fuses. There are two figures for the work, with the numbers of data sheets:
    through memory     sum over items of max(bytes read and written / bandwidth, operations / peak)
    at least           max(bytes of the graph's inputs and outputs / bandwidth, all operations / peak); caches hold what
                       passes between nodes, and the constants too, from the run before, if these fit in L2
No data sheet gives the speed of L2, so the time of a GPU lies between the two, or above both.
`python -m benchmarks.roofline` writes results/roofline.json and results/roofline.png.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isqrt, prod
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from benchmarks import graphs, networks, report
from lunet_export.errors import BadInputError

NOT_MEASURED = "arithmetic on paper from datasheets, not measured on any GPU"
BATCHES = (1, 256, 4096)
SOLVERS = ("unrolled", "meeting", "fused")
#: Seconds per launch, assumed; rounded from 80 small kernels in 260 us and 70 us: cuda.juliagpu.org/dev/usage/graphs.
#: ONNX Runtime alone spends 3 to 7 us per node on the host before the driver is asked.
LAUNCHES = {"stream": 4e-6, "CUDA graph": 1e-6}

_COPIES = ("Split", "Concat")
_ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Exp", "Log", "Sqrt", "Sigmoid", "Min", "Max", "Clip")


@dataclass(frozen=True)
class Gpu:
    """A data sheet: bytes per second, float32 operations per second without tensor cores, bytes of L2 cache."""

    name: str
    bandwidth: float
    operations: float
    l2: int
    source: str


_MIB = 2**20
GPUS = (
    Gpu("T4", 320e9, 8.1e12, 4 * _MIB, "NVIDIA T4 product brief; Turing architecture whitepaper (TU104)"),
    Gpu("L4", 300e9, 30.3e12, 48 * _MIB, "NVIDIA L4 datasheet; Ada architecture whitepaper 2.01 (AD104)"),
    Gpu("A10", 600e9, 31.2e12, 6 * _MIB, "NVIDIA A10 datasheet; Ampere GA102 architecture whitepaper"),
    Gpu("RTX 4090", 1008e9, 82.6e12, 72 * _MIB, "Ada architecture whitepaper 2.01"),
    Gpu("L40S", 864e9, 91.6e12, 96 * _MIB, "NVIDIA L40S datasheet; Ada architecture whitepaper 2.01 (AD102)"),
    Gpu("A100 80GB SXM", 2039e9, 19.5e12, 40 * _MIB, "NVIDIA A100 datasheet; A100 architecture whitepaper"),
    Gpu("H100 SXM", 3350e9, 67e12, 50 * _MIB, "NVIDIA H100 datasheet; H100 architecture whitepaper"),
    Gpu("H200", 4800e9, 67e12, 50 * _MIB, "NVIDIA H200 datasheet; its L2 taken to be the H100's"),
)


@dataclass(frozen=True)
class Item:
    """One launch: the bytes that it reads and writes, and its operations."""

    node: str
    bytes: int
    operations: int


@dataclass(frozen=True)
class Work:
    """A graph at a batch size."""

    items: tuple[Item, ...]
    ends: int  # bytes of its inputs and outputs
    stored: int  # bytes of its constants

    def facts(self) -> dict[str, int]:
        """Return facts for the results."""
        return {
            "launches": len(self.items),
            "stored_bytes": self.stored,
            "input_and_output_bytes": self.ends,
            "moved_bytes": sum(item.bytes for item in self.items),
            "operations": sum(item.operations for item in self.items),
        }


@dataclass(frozen=True)
class Bound:
    """Microseconds of a run and what limits them: bytes, operations or launches."""

    work: float
    work_limit: str  # bytes or operations
    totals: Mapping[str, float]  # by way of launching
    limits: Mapping[str, str]


def main() -> None:
    """Compute, write, print."""
    options = report.options(__doc__.splitlines()[0], seconds=0.0).parse_args()
    weights = networks.standard()
    models = {"density": graphs.density_graph(weights)}
    models |= {f"sampling, {name}": graphs.sampling_graph(weights, name) for name in SOLVERS}
    document = work_out(models) | {"network": f"{networks.BLOCKS - 1} + 1 blocks, D = {networks.DIM}, pre-processing"}
    report.write(options.output / "roofline.json", document)
    draw(document, options.output / "roofline.png")
    show(document)


def work_out(models: Mapping[str, onnx.ModelProto], batches: Sequence[int] = BATCHES) -> dict[str, Any]:
    """Compute the bounds of all graphs on all GPUs."""
    works = {(name, batch): work_of(model, batch) for name, model in models.items() for batch in batches}
    rows = []
    for (name, batch), work in works.items():
        for gpu in GPUS:
            row = {"graph": name, "batch": batch, "gpu": gpu.name, "constants_fit_l2": work.stored <= gpu.l2}
            rows.append(
                row | {"at_least": asdict(at_least(work, gpu)), "through_memory": asdict(through_memory(work, gpu))}
            )
    return {
        "note": NOT_MEASURED,
        "command": "python -m benchmarks.roofline",
        "unit": "microseconds per run",
        "dtype": "float32, TF32 off",
        "seconds_a_launch": LAUNCHES,
        "gpus": [asdict(gpu) for gpu in GPUS],
        "graphs": [{"graph": name, "batch": batch, **work.facts()} for (name, batch), work in works.items()],
        "bounds": rows,
    }


def work_of(model: onnx.ModelProto, batch: int) -> Work:
    """Return what the CUDA provider launches for `batch` rows.

    Raises:
        BadInputError: if the cost of an operator is not known here.
    """
    graph = model.graph
    sizes = {tensor.name: _Size(prod(tensor.dims), _itemsize(tensor.data_type)) for tensor in graph.initializer}
    stored = sum(size.bytes for size in sizes.values())
    for value in (*graph.input, *graph.output, *graph.value_info):
        tensor = value.type.tensor_type
        lengths = [dim.dim_value or batch for dim in tensor.shape.dim]
        sizes[value.name] = _Size(prod(lengths), _itemsize(tensor.elem_type))
    ends = sum(sizes[value.name].bytes for value in (*graph.input, *graph.output))
    return Work(tuple(item for node in graph.node for item in _items(node, sizes)), ends, stored)


@dataclass(frozen=True)
class _Size:
    numbers: int
    itemsize: int

    @property
    def bytes(self) -> int:
        return self.numbers * self.itemsize


def _itemsize(element: int) -> int:
    return helper.tensor_dtype_to_np_dtype(element).itemsize


def _items(node: onnx.NodeProto, sizes: Mapping[str, _Size]) -> list[Item]:
    def item(operands: Sequence[str], operations: int) -> Item:
        return Item(node.name, sum(sizes[name].bytes for name in (*operands, *node.output)), operations)

    written = sum(sizes[name].numbers for name in node.output)
    if node.op_type == "Gemm":
        rows, weight, *addend = node.input
        # (M, K) times (K, N): the numbers of its three matrices multiply to (M N K)^2.
        operations = 2 * isqrt(sizes[rows].numbers * sizes[weight].numbers * written)
        if not addend:
            return [item([rows, weight], operations)]
        # The addend is copied or broadcast into the output, which cuBLAS then reads and writes.
        return [item(addend, 0), item([rows, weight, *node.output], operations + written)]
    if node.op_type in _COPIES:
        return [item(node.input, 0)]
    if node.op_type == "ReduceSum":
        return [item(node.input, sizes[node.input[0]].numbers)]
    if node.op_type in _ELEMENTWISE:
        return [item(node.input, written)]
    raise BadInputError(f"Expected operators of our graphs; got {node.op_type}, whose cost is not known.")


def through_memory(work: Work, gpu: Gpu) -> Bound:
    """Return the bound if every byte that a node reads or writes goes through memory."""
    return _bound(work, [(item.bytes / gpu.bandwidth, item.operations / gpu.operations) for item in work.items])


def at_least(work: Work, gpu: Gpu) -> Bound:
    """Return the bound if only inputs and outputs go through memory, and all of it while the operations run."""
    crossing = work.ends + (0 if work.stored <= gpu.l2 else work.stored)
    return _bound(work, [(crossing / gpu.bandwidth, sum(item.operations for item in work.items) / gpu.operations)])


def _bound(work: Work, seconds: Sequence[tuple[float, float]]) -> Bound:
    """Return the bound of parts that run in turn, each for the longer of its seconds for bytes and operations."""
    total = sum(map(max, seconds))
    limited_by_bytes = sum(for_bytes for for_bytes, operations in seconds if for_bytes >= operations)
    limit = "bytes" if limited_by_bytes >= total / 2 else "operations"
    launched = {way: len(work.items) * each for way, each in LAUNCHES.items()}
    return Bound(
        work=1e6 * total,
        work_limit=limit,
        totals={way: 1e6 * max(total, cost) for way, cost in launched.items()},
        limits={way: "launches" if cost >= total else limit for way, cost in launched.items()},
    )


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Draw microseconds of the last graph by GPU, one panel per batch: both figures for the work, launches as lines."""
    name = document["bounds"][-1]["graph"]
    bounds = [row for row in document["bounds"] if row["graph"] == name]
    batches = sorted({row["batch"] for row in bounds})
    (launches,) = {entry["launches"] for entry in document["graphs"] if entry["graph"] == name}
    with report.picture(path, rows=1, columns=len(batches), size=(13.0, 4.5)) as (figure, axes):
        for axis, batch in zip(axes[0], batches, strict=True):
            rows = [row for row in bounds if row["batch"] == batch]
            places = range(len(rows))
            low, high = ([row[key]["work"] for row in rows] for key in ("at_least", "through_memory"))
            axis.vlines(places, low, high, color="C0", lw=6, alpha=0.4, label="work, from caches to memory")
            for (way, each), style in zip(document["seconds_a_launch"].items(), ("k--", "k:"), strict=True):
                axis.plot(places, [1e6 * launches * each] * len(rows), style, lw=1, label=f"{launches} launches, {way}")
            axis.set_yscale("log")
            axis.set_ylim(3e-2, 3e4)
            axis.set_xticks(places, [row["gpu"] for row in rows], rotation=60, fontsize=8)
            axis.set_title(f"batch {batch}")
            axis.spines[["top", "right"]].set_visible(False)
        axes[0, 0].set_ylabel("microseconds per run")
        axes[0, 0].legend(fontsize=7, loc="upper right")
        figure.suptitle(f"{name}, {document['dtype']}: {document['note']}")


def cell(row: Mapping[str, Any], way: str) -> str:
    """Format microseconds, from caches to memory where these differ, and the limit: b, o or l."""
    bounds = [row[key] for key in ("at_least", "through_memory")]
    first, last = (f"{bound['totals'][way]:,.0f} {bound['limits'][way][0]}" for bound in bounds)
    return first if first == last else f"{first} to {last}"


def rows(document: Mapping[str, Any], graph: str = "sampling, fused", way: str = "CUDA graph") -> report.Rows:
    """Return microseconds of a run and what limits them: a row per GPU, a cell per batch."""
    words = {"b": "bytes", "o": "operations", "l": "launches"}
    found = [("GPU, on paper", *(f"batch {batch}, µs" for batch in BATCHES))]
    for gpu in document["gpus"]:
        bounds = {(row["graph"], row["gpu"], row["batch"]): row for row in document["bounds"]}
        cells = (cell(bounds[graph, gpu["name"], batch], way) for batch in BATCHES)
        found.append((gpu["name"], *(re.sub(r"\b[bol]\b", lambda match: words[match[0]], text) for text in cells)))
    return found


def show(document: Mapping[str, Any]) -> None:
    """Print every bound."""
    for name in dict.fromkeys(row["graph"] for row in document["bounds"]):
        lines = [(name, *(f"batch {batch}, {way}" for batch in BATCHES for way in LAUNCHES))]
        for gpu in GPUS:
            found = {row["batch"]: row for row in document["bounds"] if (row["graph"], row["gpu"]) == (name, gpu.name)}
            lines.append((gpu.name, *(cell(found[batch], way) for batch in BATCHES for way in LAUNCHES)))
        report.table(lines)
    print("microseconds per run, from all in caches to all through memory; set by b bytes, o operations, l launches")
    print(NOT_MEASURED)


if __name__ == "__main__":
    report.run(main)
