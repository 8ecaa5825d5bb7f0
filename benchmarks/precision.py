"""What do TF32 and float16 cost in nats and grey levels, beside float32, and what may they cost?

The same graphs run with four kinds of matrix products, and are compared with the float64 reference on rows of the model
and on N(0, I):
    float32            ONNX Runtime's CPU provider
    TF32 nearest       both operands rounded to 10 bits of mantissa, products summed in float32: emulated
    TF32 truncated     the same, cut instead of rounded: emulated
    float16            the graph of `--dtype float16` as a GPU runs it: emulated
ONNX Runtime's CPU provider runs the graph of `--dtype float16` too, but keeps its products in float32: a fifth row.
`python -m benchmarks.precision` writes results/precision.json and results/precision.png.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks import networks, report
from lunet_export import checkpoint, noise
from lunet_export.checks import reference
from lunet_export.checks.rounding import TF32, RoundingModel
from lunet_export.graphs import builder, emulation, solvers
from lunet_export.graphs.frame import Frame
from lunet_export.layers import LU, Chain
from lunet_export.parity import compare
from lunet_export.runtime.providers import open_sessions

Floats = NDArray[np.floating]
Run = Callable[[list[str], dict[str, Floats]], Sequence[Floats]]  # names of outputs, inputs -> outputs

SOLVERS = ("unrolled", "fused")
COMMITTED = Path(__file__).parent.parent / "exported"
_SEED = 11


@dataclass(frozen=True)
class Precision:
    """How matrix products are computed, and by what."""

    name: str
    products: str  # dtype of the budget
    graph: str | None  # dtype of the products in the graph, where it is a shorter one
    mode: str | None  # of the emulation; None is ONNX Runtime

    def run(self, model: onnx.ModelProto, threads: int) -> Run:
        """Return the graph, ready to run."""
        if self.mode:
            return emulation.evaluator(model, self.mode).run
        (session,), _ = open_sessions([builder.serialize(model)], "cpu", threads=threads)
        return session.run


PRECISIONS = (
    Precision("float32", "float32", None, None),
    Precision("TF32 nearest", TF32, None, "TF32 nearest"),
    Precision("TF32 truncated", TF32, None, "TF32 truncated"),
    Precision("float16", "float16", "float16", "float32"),
    Precision("float16 on the CPU", "float16", "float16", None),
)
_WORDS = {
    "float32": "float32, ONNX Runtime on the CPU",
    "TF32 nearest": "TF32, rounded",
    "TF32 truncated": "TF32, truncated",
    "float16": "float16",
}


def main() -> None:
    """Measure, write, draw, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=0.0)
    parser.add_argument("--rows", type=int, default=128, help="of each direction (default 128)")
    parser.add_argument("--model", type=Path, help="a trained model more")
    options = parser.parse_args()
    models = {name: checkpoint.read(COMMITTED / f"{name}.pt").weights for name in ("toy2d", "digits")}
    models["784 wide, seeded"] = networks.standard()
    if options.model:
        weights, name = networks.load(options.model)
        models[name] = weights
    document = {
        "command": "python -m benchmarks.precision" + (f" --model {options.model.name}" if options.model else ""),
        "machine": report.machine(options.threads),
        "rows": options.rows,
        "budget": "tolerance of the row with the largest error; share: the largest error of a row over its tolerance",
    }
    document["networks"] = [measure(name, weights, options.rows, options.threads) for name, weights in models.items()]
    report.write(options.output / "precision.json", document)
    draw(document, options.output / "precision.png")
    show(document)


def measure(name: str, weights: Chain, rows: int, threads: int) -> dict[str, Any]:
    """Return errors and budgets of one network: log_prob and z of the density, x of each solver's sampling."""
    report.progress(f"{name} ...")
    logit, model = weights.preprocessing, RoundingModel(weights, "float32")
    z = _float32(noise.normal(_SEED, range(rows), weights.dim))
    drawn = reference.decode(weights, noise.normal(_SEED + 1, range(rows), weights.dim))
    x = _float32(np.clip(drawn, 0.5, logit.levels - 0.5) if logit else drawn)
    exact = {
        "z": reference.encode(weights, x)[0],
        "log_prob": reference.log_prob(weights, x),
        "x": model.clamp(reference.decode(weights, z)),
    }
    unit = "grey levels" if logit else "standard deviations"
    scales = {"z": 1.0, "log_prob": 1.0, "x": 1.0 if logit else float(exact["x"].std(axis=0).min())}
    budgets = {}
    for products in dict.fromkeys(precision.products for precision in PRECISIONS):
        reference_model = model.with_products(products)
        budgets[products] = reference_model.density(x) | {"x": reference_model.sampling(z)["x"]}

    built = {products: _graphs(weights, products) for products in {precision.graph for precision in PRECISIONS}}
    found: dict[str, Any] = {part: {} for part in ("density", *SOLVERS)}
    for precision in PRECISIONS:
        allowed = budgets[precision.products]
        for part, errors in found.items():
            fed, outputs = ({"x": x}, ["z", "log_prob"]) if part == "density" else ({"z": z}, ["x"])
            run = precision.run(built[precision.graph][part], threads)
            with np.errstate(all="ignore"):
                got = run(outputs, {key: array.astype(np.float32) for key, array in fed.items()})
            errors[precision.name] = {
                output: error(output, exact[output], rows, allowed[output], scales[output])
                for output, rows in zip(outputs, got, strict=True)
            }
    return {"name": name, "dim": weights.dim, "blocks": len(weights.of(LU)), "unit_of_x": unit, **found}


def _graphs(weights: Chain, products: str | None) -> dict[str, onnx.ModelProto]:
    """Return the density graph, and the sampling graph of every solver."""
    models = {"density": Frame(weights, None, "float32", products).density({})}
    for name in SOLVERS:
        solver = solvers.choose(name, None, weights.dim)
        models[name] = Frame(weights, solver, "float32", products).sampling({})
    return models


def _float32(array: Floats) -> Floats:
    """Round to float32, and return it in float64."""
    return array.astype(np.float32).astype(np.float64)


def error(output: str, exact: Floats, got: Floats, allowed: Floats, scale: float) -> dict[str, Any]:
    """Return the largest and median error of a row, the budget in that row, the largest share, and rows that overflow.

    Args:
        output: Name of the output.
        exact: Answers of the reference, (N, D) or (N,).
        got: Answers of the graph.
        allowed: Tolerance of each row, (N,).
        scale: Size of one unit of the figures.
    """
    flat = got.reshape(len(got), -1)
    whole = np.isfinite(flat).all(axis=1)
    gap = np.abs(flat[whole] - exact.reshape(flat.shape)[whole]).max(axis=1)
    judged = compare(output, expected=exact[whole], got=got[whole], tolerance=allowed[whole])
    return {
        "largest": float(gap.max()) / scale,
        "median": float(np.median(gap)) / scale,
        "budget": float(allowed[whole][gap.argmax()]) / scale,
        "share": judged.ratio,
        "rows_that_overflow": int((~whole).sum()),
    }


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Draw the largest errors by network, one panel per output, one mark per precision; the budgets as bars."""
    panels = {"log_prob": "log_prob, nats/dim", "z": "z", "x": "x of `fused`, grey levels or standard deviations"}
    with report.picture(path, rows=1, columns=3, size=(14.0, 4.5)) as (figure, axes):
        for axis, (output, label) in zip(axes[0], panels.items(), strict=True):
            for number, precision in enumerate(PRECISIONS[:4]):
                found = [_found(entry, precision.name, output) for entry in document["networks"]]
                places = np.arange(len(found)) + 0.15 * (number - 1.5)
                axis.plot(places, [e["largest"] for e in found], "o", color=f"C{number}", label=precision.name)
                axis.plot(places, [e["budget"] for e in found], "_", ms=12, color=f"C{number}")
            axis.set_yscale("log")
            axis.set_xticks(range(len(found)), [entry["name"] for entry in document["networks"]], fontsize=8)
            axis.set_title(label, fontsize=10)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0, 0].legend(fontsize=8)
        figure.suptitle(
            f"largest error of {document['rows']} rows against float64 (dots) and the budget of that row (bars)"
        )


def _found(entry: Mapping[str, Any], precision: str, output: str, solver: str = "fused") -> dict[str, float]:
    """Return the errors of one output; those of log_prob per dimension."""
    found = entry[solver if output == "x" else "density"][precision][output]
    size = entry["dim"] if output == "log_prob" else 1
    return {"largest": found["largest"] / size, "budget": found["budget"] / size, "share": found["share"]}


def rows(document: Mapping[str, Any], network: str = "mnist") -> report.Rows:
    """Return the largest error of a row of one network, with its budget in brackets: a row per kind of products."""
    (entry,) = (entry for entry in document["networks"] if entry["name"] == network)
    found = [("products", "log_prob, nats", "log_prob, nats/dim", "z")]
    found[0] += tuple(f"x of `{solver}`, {entry['unit_of_x']}" for solver in SOLVERS)
    for name, words in _WORDS.items():
        errors = entry["density"][name]["log_prob"], entry["density"][name]["z"]
        cells = [_allowed(errors[0]), _allowed(errors[0], entry["dim"]), _allowed(errors[1])]
        found.append((words, *cells, *(_allowed(entry[solver][name]["x"]) for solver in SOLVERS)))
    return found


def share_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return the largest error of any output over its budget: a row per network, a cell per kind of products."""
    found = [("network", *_WORDS.values())]
    for entry in document["networks"]:
        parts = [entry[part] for part in ("density", *SOLVERS)]
        shares = (max(error["share"] for part in parts for error in part[name].values()) for name in _WORDS)
        found.append((entry["name"], *(f"{share:.2f}" for share in shares)))
    return found


def _allowed(error: Mapping[str, float], over: int = 1) -> str:
    return f"{error['largest'] / over:.2g} ({error['budget'] / over:.2g})"


def show(document: Mapping[str, Any]) -> None:
    """Print the largest errors and their share of the budget."""
    for entry in document["networks"]:
        unit = entry["unit_of_x"]
        lines = [(entry["name"], "nats", "nats/dim", "share", "z", "share")]
        lines[0] += tuple(text for solver in SOLVERS for text in (f"x {solver}, {unit}", "share"))
        for precision in (precision.name for precision in PRECISIONS):
            log_prob, z = (_found(entry, precision, output) for output in ("log_prob", "z"))
            cells = [
                log_prob["largest"] * entry["dim"],
                log_prob["largest"],
                log_prob["share"],
                z["largest"],
                z["share"],
            ]
            for solver in SOLVERS:
                x = _found(entry, precision, "x", solver)
                cells += [x["largest"], x["share"]]
            lines.append((precision, *(f"{value:.2g}" for value in cells)))
        report.table(lines)


if __name__ == "__main__":
    report.run(main)
