"""Does a rational-quadratic spline per unit, in place of LU-Net's activation, buy likelihood?

An LU-Net is trained with each activation: the paper's, leaky squareplus with an alpha learned per unit, and splines
with identity tails whose knots and slopes are learned per unit, alone or in front of leaky squareplus. All have the
same blocks, LU layers at the start, optimizer and epochs. The best epoch on the validation rows is compared, over
three seeds. Graphs are timed in turns. `python -m benchmarks.spline_activation --threads 1` writes
results/spline_activation.json after every run and goes on where it stopped.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from statistics import mean, stdev
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import graphs, report, small_data
from lunet_export import data, noise
from lunet_export.bench import interleaved
from lunet_export.data import Dataset, toy
from lunet_export.flows import layered
from lunet_export.flows.lunet import PAPERS_ALPHA
from lunet_export.layers import (
    LU,
    Activation,
    Chain,
    Layer,
    LeakySoftplus,
    LeakySquareplus,
    RationalQuadratic,
    SplineAutoregressive,
)
from lunet_export.layers.networks import Dense
from lunet_export.torch_layers import Bijection, Flow, bijection_of
from lunet_export.torch_layers.activation import ActivationBijection
from lunet_export.torch_layers.lu_linear import LULinear
from lunet_export.torch_layers.spline_units import SplineUnits
from lunet_export.training.fit import log_probs
from lunet_export.training.lunet.architecture import LUNetArchitecture, LUNetTrainer
from lunet_export.training.lunet.initial import start
from lunet_export.training.rows import gaussian_of, rows_to_test, validation_rows
from lunet_export.training.settings import FitSettings

Array = NDArray[np.float64]

SEEDS = (0, 1, 2)
#: What enters an activation at the start is normal around 1: the box holds three deviations of it to either side. The
#: package has the same splines around 0.
SPLINE = RationalQuadratic(8, -2.0, 4.0, "identity", 1e-3, 1e-3, 1e-3)
_PACE = 30.0  # of alphas, as in the package
_BATCH, _CALLS = 256, 20  # of sampling: rows per call, and calls per turn


def spline_layer(given: Array, spline: RationalQuadratic = SPLINE) -> SplineAutoregressive:
    """Return the layer of splines of all units, given their numbers (D, P)."""
    dim, columns = len(given), np.arange(len(given))
    fixed = Dense(np.zeros((given.size, 0)), given.ravel())
    return SplineAutoregressive(dim, columns[:0], columns, (fixed,), spline)


@dataclass(frozen=True)
class Start:
    """This is a spline as one function of all units, with knots at even distances on the curve of an activation.

    The activation is scaled and moved so that it keeps both ends of the box. None: the identity.
    """

    shape: Activation | None
    least: float = PAPERS_ALPHA  # what `start` names its activations by
    option: str = LeakySoftplus.option

    @cached_property
    def numbers(self) -> Array:
        """Return the numbers of one unit, (P,)."""
        x = np.linspace(SPLINE.low, SPLINE.high, SPLINE.bins + 1)
        value, slope = x, np.ones_like(x)
        if self.shape:
            value, slope = self.shape.value(x), self.shape.slope(x)
            factor = SPLINE.span / (value[-1] - value[0])
            value, slope = SPLINE.low + factor * (value - value[0]), factor * slope
            slope[[0, -1]] = 1.0
        shares = (np.diff(value) / SPLINE.span - SPLINE.least_height) / (1 - SPLINE.bins * SPLINE.least_height)
        heights = np.append(np.log(shares), 0.0)
        return np.concatenate([np.zeros_like(x), heights, np.log(np.expm1(slope - SPLINE.least_slope))])

    def value(self, x: Array) -> Array:
        """Return the spline of every x (N,)."""
        return SPLINE.of(self.numbers[None]).forward(x[:, None])[0][:, 0]

    def layer(self, dim: int) -> SplineAutoregressive:
        """Return the layer in which all units begin so."""
        return spline_layer(np.tile(self.numbers, (dim, 1)))


@dataclass(frozen=True)
class Variant:
    """This is what stands between two LU layers: a spline, an activation, or the spline and then the activation."""

    name: str
    activation: Activation | None = None
    learned: bool = False  # an alpha per unit
    spline: Start | None = None
    pace: float = 4.0  # of the splines' numbers

    def between(self, dim: int) -> list[Layer]:
        """Return these layers for D units, before training."""
        layers: list[Layer] = [self.spline.layer(dim)] if self.spline else []
        if self.activation:
            learned = LeakySquareplus(np.full(dim, PAPERS_ALPHA))
            layers.append(learned if self.learned else self.activation)
        return layers

    def first(self, rows: Dataset, blocks: int, settings: FitSettings) -> Chain:
        """Return the network before its first step."""
        shape = self.activation or self.spline
        chosen: Any = {"init": "bend", "signs": settings.signs, "seed": settings.seed}
        begun = start(gaussian_of(rows), blocks=blocks, f=cast(Activation, shape), **chosen)
        first, *others = begun.of(LU)
        layers: list[Layer] = [first]
        for block in others:
            layers += [*self.between(rows.dim), block]
        return layered(rows.dim, layers, rows.preprocessing)


_PAPERS, _SQUAREPLUS = LeakySoftplus(PAPERS_ALPHA), LeakySquareplus(PAPERS_ALPHA)
VARIANTS = (
    Variant("leaky softplus", _PAPERS),
    Variant("leaky squareplus, alpha per unit", _SQUAREPLUS, learned=True),
    Variant("spline, from the identity", spline=Start(None)),
    Variant("spline, from leaky softplus", spline=Start(_PAPERS)),
    Variant("spline, then leaky squareplus, alpha per unit", _SQUAREPLUS, learned=True, spline=Start(None)),
)


class SplineTrainer(LUNetTrainer):
    """This run trains a row of LU layers, splines and activations with an alpha per unit."""

    pace = 1.0  # of the splines' numbers

    @classmethod
    def trainable(cls, weights: Chain, settings: FitSettings, dtype: torch.dtype) -> Flow:
        modules = map(partial(cls._module, settings), weights.layers)
        flow = Flow(weights.dim, modules, weights.kind, preprocessing=weights.preprocessing, domain=weights.domain)
        return flow.to(dtype)

    @classmethod
    def _module(cls, settings: FitSettings, layer: Layer) -> Bijection:
        if isinstance(layer, LU):
            return LULinear.of(layer, whitened=settings.whitened)
        if isinstance(layer, SplineAutoregressive):
            return SplineUnits(layer, pace=cls.pace)
        found = bijection_of(layer)
        learned = isinstance(found, ActivationBijection) and isinstance(found.alpha, Tensor)
        return found.learning(pace=_PACE) if learned else found


def paced(pace: float) -> type[SplineTrainer]:
    """Return the kind of run in which the numbers of splines have this pace."""
    return type("PacedTrainer", (SplineTrainer,), {"pace": pace})


_MIXTURE = "mixture, 5000 x 6"


@dataclass(frozen=True)
class Set:
    """This is a data set, and how long and deep its networks are."""

    name: str
    blocks: int
    epochs: int

    def load(self) -> Dataset:
        """Return the rows."""
        if self.name != _MIXTURE:
            return data.load(self.name)
        train, valid, test = (small_data.rows_of("mixture", n, 6, seed) for seed, n in enumerate((5000, 1000, 10000)))
        return Dataset(self.name, train, valid, test)


SETS = (Set("two-moons", 7, 40), Set(_MIXTURE, 4, 40), Set("digits", 4, 60))


def run(variant: Variant, chosen: Set, rows: Dataset, seed: int) -> dict[str, Any]:
    """Train once; return the nats per row of the best epoch, the number of parameters and the CPU seconds."""
    given: dict[str, Any] = {"epochs": chosen.epochs, "seed": seed, "init": "bend", "optimizer": "adam"}
    given |= {"batch_size": 256 if len(rows.train) >= 5000 else 64}
    settings = LUNetArchitecture.settings(len(rows.train), rows.dim, **given)
    trainer = paced(variant.pace)(
        variant.first(rows, chosen.blocks, settings), rows, settings, device=torch.device("cpu")
    )
    before = time.process_time()
    while not trainer.finished:
        trainer.run_epoch(lambda step, bits: None)
    seconds, best = time.process_time() - before, trainer.best_flow
    return {
        "set": chosen.name,
        "variant": variant.name,
        "seed": seed,
        "pace": variant.pace,
        "epochs": len(trainer.history),
        "best_epoch": trainer.best.epoch,
        "cpu_seconds": seconds,
        "parameters": sum(parameter.numel() for parameter in trainer.flow.parameters()),
        "valid_nats": -float(log_probs(best, validation_rows(rows)).mean()),
        "test_nats": -float(log_probs(best, rows_to_test(rows, 0)).mean()),
    }


def speeds(seconds: float, threads: int) -> list[dict[str, Any]]:
    """Return nodes of both graphs and milliseconds per call of every variant on the digits, timed in turns.

    Weights are those before training: graphs have no branches. The solver is one for all.
    """
    chosen = SETS[-1]
    rows = chosen.load()
    settings = LUNetArchitecture.settings(len(rows.train), rows.dim, seed=0)
    found = {variant.name: variant.first(rows, chosen.blocks, settings) for variant in VARIANTS}
    made = {"density": graphs.density_graph, "sampling": lambda weights: graphs.sampling_graph(weights, "fused")}
    given = {
        "density": validation_rows(rows).astype(np.float32),
        "sampling": noise.normal(0, range(_BATCH), rows.dim).astype(np.float32),
    }
    result = []
    for direction, make in made.items():
        opened = {name: graphs.opened(make(weights), threads) for name, weights in found.items()}
        cases = {name: partial(graph.run, given[direction]) for name, graph in opened.items()}
        times = interleaved(cases, seconds=seconds, calls_per_turn=_CALLS)
        for name, graph in opened.items():
            facts = {"variant": name, "direction": direction, "nodes": graph.nodes, "batch": len(given[direction])}
            result.append({**facts, **report.times(times[name])})
    return result


def main() -> None:
    """Run what is missing, write, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=2.0)
    parser.add_argument("--time", action="store_true", help="time the graphs again")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = options.output / "spline_activation.json"
    document: dict[str, Any] = {
        "command": "python -m benchmarks.spline_activation --threads 1",
        "machine": report.machine(options.threads),
        "sets": {},
        "runs": [],
    }
    if path.exists():
        document = json.loads(path.read_text(encoding="utf-8"))
    for seed, chosen, variant in missing(document["runs"]):
        rows = chosen.load()
        document["sets"][chosen.name] = facts(chosen, rows)
        report.progress(f"{variant.name} on {chosen.name}, seed {seed}")
        document["runs"].append(run(variant, chosen, rows, seed))
        report.write(path, document)
    if options.time or "speeds" not in document:
        document["speeds"] = speeds(options.seconds, options.threads)
        report.write(path, document)
    print(report.markdown(table(document)))
    print(report.markdown(graph_table(document)))


def missing(runs: list[dict[str, Any]]) -> Iterator[tuple[int, Set, Variant]]:
    """Yield what has not been run, all variants with one seed first."""
    for seed in SEEDS:
        for chosen in SETS:
            for variant in VARIANTS:
                if (chosen.name, variant.name, seed) not in [(run["set"], run["variant"], run["seed"]) for run in runs]:
                    yield seed, chosen, variant


def facts(chosen: Set, rows: Dataset) -> dict[str, Any]:
    """Return the size of a set and its networks, the entropy where it is known, and the nats of the Gaussian."""
    known = chosen.name in toy.DENSITIES
    return {
        "dim": rows.dim,
        "blocks": chosen.blocks,
        "epochs": chosen.epochs,
        "entropy_nats": float(-toy.log_density(chosen.name, rows.test).mean()) if known else None,
        "gaussian_valid_nats": -float(gaussian_of(rows).log_prob(validation_rows(rows)).mean()),
    }


def table(document: Mapping[str, Any]) -> report.Rows:
    """Return a row per variant: nats per validation row of each set, with the deviation over the seeds."""
    sets = document["sets"]
    found: list[tuple[str, ...]] = [("validation nats per row", *sets)]
    for variant in VARIANTS:
        found.append((variant.name, *(_told(valid_nats(document, name, variant.name)) for name in sets)))
    found.append(("Gaussian", *(f"{entry['gaussian_valid_nats']:.3f}" for entry in sets.values())))
    known = ["-" if entry["entropy_nats"] is None else f"{entry['entropy_nats']:.3f}" for entry in sets.values()]
    return [*found, ("entropy, test rows", *known)]


def valid_nats(document: Mapping[str, Any], name: str, variant: str) -> list[float]:
    """Return nats per validation row of every seed."""
    return [run["valid_nats"] for run in document["runs"] if (run["set"], run["variant"]) == (name, variant)]


def graph_table(document: Mapping[str, Any]) -> report.Rows:
    """Return a row per variant: what it costs on the digits."""
    head = ("digits", "parameters", "CPU seconds per epoch", "density, nodes", "ms", "sampling, nodes", "ms")
    found: list[tuple[str, ...]] = [head]
    for variant in VARIANTS:
        runs = [run for run in document["runs"] if (run["set"], run["variant"]) == ("digits", variant.name)]
        seconds = mean(run["cpu_seconds"] / run["epochs"] for run in runs)
        cells = [variant.name, f"{runs[0]['parameters']:,}", f"{seconds:.2f}"]
        for entry in document["speeds"]:
            if entry["variant"] == variant.name:
                cells += [str(entry["nodes"]), f"{entry['p50']:.2f}"]
        found.append(tuple(cells))
    return found


def _told(nats: list[float]) -> str:
    return f"{mean(nats):.3f} ± {stdev(nats):.3f}" if len(nats) > 1 else f"{nats[0]:.3f}" if nats else "-"


if __name__ == "__main__":
    report.run(main)
