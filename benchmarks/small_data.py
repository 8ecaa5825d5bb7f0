"""What does training with the defaults make of few rows, and is it ever worse than the full-covariance Gaussian?

The sets have 20 to 5,000 rows and 1 to 60 columns: normal, correlated, heavy-tailed (Student's t with 3 degrees of
freedom), skewed (gamma) and mixtures of three clouds; three draws each, split 80 / 10 / 10 as a file is. The kept model
and the Gaussian of the same training rows are evaluated on 10,000 fresh rows. The gap is their difference in bits/dim:
below 0 the network is better. `python -m benchmarks.small_data` writes results/small_data.json and .png;
`--before FILE` adds the results of the same script with an older version. What is in the results is not trained again.
"""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import report
from lunet_export import training
from lunet_export.data import Dataset
from lunet_export.data.dataset import split

_SETS: dict[str, tuple[tuple[int, int], ...]] = {
    "normal": ((20, 2), (60, 2), (1000, 2), (3000, 2), (1000, 3), (300, 8), (500, 30), (200, 60), (100, 1)),
    "correlated": ((20, 2), (60, 3), (300, 2), (400, 4), (200, 8), (500, 30), (2000, 60), (5000, 5)),
    "heavy-tailed": ((30, 1), (60, 2), (300, 1), (300, 2), (500, 3), (300, 8), (1000, 30), (5000, 8)),
    "skewed": ((40, 1), (100, 3), (300, 2), (500, 2), (200, 8), (1000, 16), (5000, 6)),
    "mixture": ((20, 2), (60, 2), (100, 2), (300, 3), (500, 2), (200, 8), (1000, 8), (500, 30), (2000, 60), (5000, 6)),
}
_DRAWS, _TEST = 3, 10_000
_LARGEST = 1e300  # JSON knows no infinity


def rows_of(kind: str, n: int, dim: int, seed: int) -> NDArray[np.float64]:
    """Return rows of a kind of distribution, which depends on the dimension and not on the seed."""
    rng, shape = np.random.default_rng([seed, n, dim]), np.random.default_rng(dim)
    if kind == "normal":
        return rng.standard_normal((n, dim))
    if kind == "correlated":
        return rng.standard_normal((n, dim)) @ shape.standard_normal((dim, dim)) + 3.0
    if kind == "heavy-tailed":
        return rng.standard_t(3, (n, dim))
    if kind == "skewed":
        return rng.gamma(2.0, size=(n, dim))
    centres = 2.5 * shape.standard_normal((3, dim))
    return centres[rng.integers(3, size=n)] + 0.5 * rng.standard_normal((n, dim))


def measured(kind: str, n: int, dim: int, seed: int) -> dict[str, Any]:
    """Train on one draw with the usual settings, and return the figures."""
    train, valid, _ = split(rows_of(kind, n, dim, seed), valid=max(1, n // 10), test=max(1, n // 10))
    data = Dataset(f"{kind} {n} x {dim}", train, valid, rows_of(kind, _TEST, dim, seed + 1000), public=False)
    silent: dict[str, Any] = dict.fromkeys(("on_start", "on_step", "on_epoch"), lambda *_: None)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = training.train(
            data,
            training.KINDS["lunet"].settings(len(train), dim),
            Path(folder) / "m.pt",
            architecture=training.KINDS["lunet"].choose(dim, None, {}),
            device=torch.device("cpu"),
            resume=False,
            **silent,
        )
    return {
        "kind": kind,
        "rows": n,
        "columns": dim,
        "draw": seed,
        "test": min(found.test, _LARGEST),
        "gaussian": found.gaussian_test,
        "kept": getattr(found, "kept", "epoch"),  # the only candidate of older versions
        "seconds": round(time.perf_counter() - began, 1),
    }


def gaps(runs: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Return test bits/dim above those of the Gaussian, for every run."""
    return np.array([run["test"] - run["gaussian"] for run in runs])


def rows(document: Mapping[str, Any]) -> report.Rows:
    """Return a row per kind: the worst and median gap before and now, and how often the Gaussian was kept."""
    found = [["bits/dim above the Gaussian", "1.0.0: runs", "worst", "median", "now: runs", "worst", "median"]]
    found[0].append("Gaussian kept")
    for kind in (*_SETS, "all"):
        cells = [kind]
        for name in ("before", "runs"):
            runs = [run for run in document[name] if kind in (run["kind"], "all")]
            worst, median = (_number(f(gaps(runs))) if runs else "-" for f in (np.max, np.median))
            cells += [str(len(runs)), worst, median]
        kept = sum(run["kept"] == "gaussian" for run in document["runs"] if kind in (run["kind"], "all"))
        found.append([*cells, str(kept)])
    return found


def _number(value: float) -> str:
    return f"{value:+.4f}" if abs(value) < 1000 else f"{value:+.2g}"


def draw(runs: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the gap over the number of rows, a panel for before and one for now, on one scale, linear near 0."""
    panels = [(title, found) for title, found in (("release 1.0.0", before), ("now", runs)) if found]
    highest = max(1.0, *(gaps(found).max() for _, found in panels))
    with report.picture(path, rows=1, columns=len(panels), size=(5.5 * len(panels), 4.2)) as (_, axes):
        for (title, found), axis in zip(panels, axes[0], strict=True):
            axis.set_xscale("log")
            axis.set_yscale("symlog", linthresh=0.1)
            for number, kind in enumerate(_SETS):
                some = [run for run in found if run["kind"] == kind]
                axis.plot([run["rows"] for run in some], gaps(some), "o", color=f"C{number}", alpha=0.7, label=kind)
            axis.axhline(0.0, color="0.4", linestyle="--", linewidth=1)
            axis.set(xlabel="rows", ylabel="test bits/dim above the Gaussian's", title=title)
            axis.set(xlim=(15, 7000), ylim=(-3, 30 * highest))
            axis.legend(frameon=False, loc="upper right")


def main() -> None:
    """Train what is missing, write, draw, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=0)
    parser.add_argument("--before", type=Path, help="what this script wrote with an older version")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = options.output / "small_data.json"
    document = {"command": "python -m benchmarks.small_data", "machine": report.machine(options.threads)}
    document |= {"runs": [], "before": []}
    if path.exists():
        document = json.loads(path.read_text(encoding="utf-8"))
    if options.before:
        document["before"] = json.loads(options.before.read_text(encoding="utf-8"))["runs"]
    runs: list[dict[str, Any]] = document["runs"]
    done = {(run["kind"], run["rows"], run["columns"], run["draw"]) for run in runs}
    for seed, (kind, sizes) in product(range(_DRAWS), _SETS.items()):
        for n, dim in sizes:
            if (kind, n, dim, seed) not in done:
                runs.append(measured(kind, n, dim, seed))
                report.progress(f"{kind} {n} x {dim}, draw {seed}: {gaps(runs[-1:])[0]:+.4f} bits/dim")
                report.write(path, document)
    report.write(path, document)
    draw(runs, document["before"], options.output / "small_data.png")
    print(report.markdown(rows(document)))


if __name__ == "__main__":
    report.run(main)
