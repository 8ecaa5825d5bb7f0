"""How much does each solver lose on ill-conditioned matrices, and does `auto` stay within the tolerance?

Every solver's float32 sampling graph runs in ONNX Runtime and is compared with the float64 reference, for networks
whose blocks have condition numbers from 1e1 to 1e8. The inverse activation is compared alone, over all float32
exponents. `python -m benchmarks.accuracy` writes results/accuracy.json and results/accuracy.png.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import activation, report
from lunet_export import noise
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.errors import CheckFailedError
from lunet_export.export import Load
from lunet_export.flows import lunet
from lunet_export.graphs import builder, solvers
from lunet_export.graphs.estimate import estimates, fastest
from lunet_export.graphs.frame import Frame
from lunet_export.layers import LU, Chain
from lunet_export.runtime.providers import open_sessions

Array = NDArray[np.float64]

DIM, BLOCKS, ALPHA = 32, 3, 0.1
CONDITIONS = tuple(10.0**power for power in range(1, 9))
KINDS = {
    "graded": "rows of U fall from 1 to 1 / condition",
    "steep": "one entry of U's diagonal is 1 / condition",
    "spread": "singular values fall so, LU without pivoting",
}
_ROWS = 64


def main() -> None:
    """Measure, write, print."""
    options = report.options(__doc__.splitlines()[0], seconds=0.0).parse_args()
    document = {
        "dim": DIM,
        "blocks": BLOCKS,
        "alpha": ALPHA,
        "kinds": KINDS,
        "machine": report.machine(options.threads),
    }
    document["rows"] = [measure(kind, condition) for kind in KINDS for condition in CONDITIONS]
    document["activation"] = [_activation(alpha) for alpha in activation.ALPHAS]
    report.write(options.output / "accuracy.json", document)
    draw(document, options.output / "accuracy.png")
    show(document)
    beyond = [row for row in document["rows"] if row["solvers"][row["auto"]]["share"] > 1]
    if beyond:
        raise CheckFailedError(
            f"Expected auto within the tolerance everywhere; it is not at {beyond[0]['condition']:g}."
        )


def _activation(alpha: float) -> dict[str, float]:
    """Return the largest float32 errors of the inverse activation, in units of roundoff times max(1, |x|)."""
    ours, eager = activation.errors(alpha, "float32")
    return {"alpha": alpha, "ours": float(ours.max()), "eager": float(eager.max())}


def network(kind: str, condition: float) -> Chain:
    """Return three blocks of about that condition number; the triangular factors add a little."""
    rng = np.random.default_rng(0)
    return lunet(tuple(_block(kind, condition, rng) for _ in range(BLOCKS)), ALPHA)


def _block(kind: str, condition: float, rng: np.random.Generator) -> LU:
    values, bias = np.geomspace(1.0, 1.0 / condition, DIM), rng.standard_normal(DIM)
    others = 0.3 * rng.standard_normal((2, DIM, DIM)) / np.sqrt(DIM)
    if kind == "graded":
        return LU(np.tril(others[0], -1) + np.eye(DIM), (np.triu(others[1], 1) + np.eye(DIM)) * values[:, None], bias)
    if kind == "steep":
        diagonal = np.where(np.arange(DIM) == DIM // 2, 1.0 / condition, 1.0)
        return LU(np.tril(others[0], -1) + np.eye(DIM), np.triu(others[1], 1) + np.diag(diagonal), bias)
    left, right = (np.linalg.qr(rng.standard_normal((DIM, DIM)))[0] for _ in range(2))
    lower, upper = np.eye(DIM), left @ np.diag(values) @ right
    for k in range(DIM):
        lower[k + 1 :, k] = upper[k + 1 :, k] / upper[k, k]
        upper[k + 1 :] -= lower[k + 1 :, k, None] * upper[k]
    return LU(lower, np.triu(upper), bias)


def measure(kind: str, condition: float) -> dict[str, Any]:
    """Return each solver's error on one network, over the scale of x and as a share of the worst row's tolerance."""
    weights = network(kind, condition)
    z = noise.normal(7, range(_ROWS), DIM).astype(np.float32)
    exact = reference.decode(weights, z.astype(np.float64))
    allowed = RoundingModel(weights, "float32").sampling(z.astype(np.float64))
    scale = np.abs(exact).max(axis=1)
    found = {}
    for solver in solvers.available(DIM):
        model = Frame(weights, solver, "float32").sampling({})
        (session,), _ = open_sessions([builder.serialize(model)], "cpu", threads=1)
        x = session.run(None, {"z": z})[0].astype(np.float64)
        gap, back = np.abs(x - exact).max(axis=1), np.abs(reference.encode(weights, x)[0] - z).max(axis=1)
        shares = {"share_x": float((gap / allowed["x"]).max()), "share_z": float((back / allowed["z"]).max())}
        found[solver.name] = {
            "error_x": float(np.median(gap / scale)),
            "error_z": float(np.median(back)),
            **shares,
            "share": max(shares.values()),
        }
    chosen = fastest(estimates(weights, dtype="float32", load=Load()))
    return {
        "kind": kind,
        "condition": condition,
        "measured_condition": float(np.linalg.cond(weights.of(LU)[0].lower @ weights.of(LU)[0].upper)),
        "tolerance_x": float(np.median(allowed["x"] / scale)),
        "tolerance_z": float(np.median(allowed["z"])),
        "auto": chosen.solver.name,
        "solvers": found,
    }


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Draw errors over the condition number, one line per solver: x above, z -> x -> z below, one column per kind."""
    with report.picture(path, rows=2, columns=len(KINDS), size=(14.0, 7.5)) as (figure, axes):
        for column, (kind, meaning) in enumerate(KINDS.items()):
            rows = [row for row in document["rows"] if row["kind"] == kind]
            for axis, what in zip(axes[:, column], ("x", "z"), strict=True):
                _panel(axis, rows, what)
            axes[0, column].set_title(f"{kind}: {meaning}", fontsize=9)
            axes[1, column].set_xlabel("condition number of a block")
        axes[0, 0].set_ylabel("error of x over the largest |x|")
        axes[1, 0].set_ylabel("error of z after z -> x -> z")
        axes[0, 0].legend(fontsize=8)
        figure.suptitle(f"float32 sampling, D = {DIM}, {BLOCKS} blocks, against float64; median of {_ROWS} rows")


def _panel(axis: Any, rows: list[dict[str, Any]], what: str) -> None:  # noqa: ANN401
    conditions = [row["condition"] for row in rows]
    for name in solvers.SOLVERS:
        axis.plot(conditions, [row["solvers"][name][f"error_{what}"] for row in rows], marker="o", ms=3, label=name)
    axis.plot(conditions, [row[f"tolerance_{what}"] for row in rows], "k--", lw=1, label="tolerance")
    taken = [row["solvers"][row["auto"]][f"error_{what}"] for row in rows]
    axis.plot(conditions, taken, "k", marker="o", ms=9, mfc="none", lw=0, label="auto takes")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.spines[["top", "right"]].set_visible(False)


def rows(document: Mapping[str, Any]) -> report.Rows:
    """Return each solver's largest errors of x and of z → x → z over their tolerances: a row per kind and condition."""
    found = [("blocks", "condition", *(f"`{name}`" for name in solvers.SOLVERS), "`auto` takes")]
    for row in document["rows"]:
        pairs = ((row["solvers"][name]["share_x"], row["solvers"][name]["share_z"]) for name in solvers.SOLVERS)
        cells = (", ".join(f"{share:.2g}" if share <= 1 else f"**{share:.2g}**" for share in pair) for pair in pairs)
        found.append((row["kind"], f"{row['condition']:.0e}", *cells, f"`{row['auto']}`"))
    return found


def activation_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return the largest error of the inverse activation over all float32 exponents: a row per α."""
    found = [("alpha", "the graph, units of roundoff", "PyTorch's converged Newton")]
    entries = document["activation"]
    found += [(f"{entry['alpha']:g}", f"{entry['ours']:.2f}", f"{entry['eager']:.2f}") for entry in entries]
    worst = (max(entry[key] for entry in entries) for key in ("ours", "eager"))
    return [*found, ("largest", *(f"{value:.2f}" for value in worst))]


def show(document: Mapping[str, Any]) -> None:
    """Print shares of the tolerance."""
    lines = [("blocks", "condition", *solvers.SOLVERS, "auto")]
    for row in document["rows"]:
        found = (row["solvers"][name] for name in solvers.SOLVERS)
        shares = (f"{entry['share_x']:.2g} {entry['share_z']:.2g}" for entry in found)
        lines.append((row["kind"], f"{row['condition']:.0e}", *shares, row["auto"]))
    report.table(lines)
    print("each solver: largest error of x, and of z -> x -> z, as a share of its row's tolerance; 1 is the limit")
    lines = [("inverse activation, alpha", "units of roundoff", "eager PyTorch")]
    lines += [(f"{e['alpha']:g}", f"{e['ours']:.2f}", f"{e['eager']:.2f}") for e in document["activation"]]
    report.table(lines)


if __name__ == "__main__":
    report.run(main)
