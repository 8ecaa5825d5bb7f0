"""What does a step of training cost, beside other LU layers and beside the floor of its products?

All have the same network, rows and optimizer: forward, exact log-likelihood, backward, Adam. The floor is three times
the products of the density, one D x D matrix per block: what any step must at least multiply whose gradients are exact.
`train` itself holds its layers in whitened coordinates and uses the schedule-free optimizer; its step is the last line.
`python -m benchmarks.train_step` writes results/train_step.json and results/train_step.png.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import memory, networks, report, rivals
from benchmarks.masked import MaskedLULinear, gradient_gap, masked, packed
from lunet_export.bench import interleaved
from lunet_export.layers import LU, Chain
from lunet_export.torch_layers import Flow
from lunet_export.torch_layers.lu_linear import LULinear
from lunet_export.training.lunet.architecture import LUNetArchitecture
from lunet_export.training.lunet.coordinates import flow_of
from lunet_export.training.optimizer import optimizer_of

BATCH = 256
OURS, MASKED, NFLOWS, ZUKO = "packed", "masked dense", "nflows LULinear", "zuko LULinearTransform"
FLOOR, TRAIN = "floor", "as `train` does it"
TARGET = 1.6  # times the floor
MNIST_ROWS = 55_000  # of an epoch
_CHECKED_ROWS = 8
_ALLOWED = 1e-10  # float64
_MEMORY_STEPS = 3
_LAYERS = (LULinear, MaskedLULinear, rivals.NflowsLULinear, rivals.TrainedZukoLULinear)


def _nflows(weights: Chain, dtype: torch.dtype) -> Flow:
    return rivals.with_layers(weights, partial(rivals.NflowsLULinear, cached=False)).to(dtype)


def _zuko(weights: Chain, dtype: torch.dtype) -> Flow:
    return rivals.with_layers(weights, rivals.TrainedZukoLULinear).to(dtype)


LAYERS: dict[str, Callable[[Chain, torch.dtype], Flow]] = {
    OURS: packed,
    MASKED: masked,
    NFLOWS: _nflows,
    ZUKO: _zuko,
}


def main() -> None:
    """Measure, write, print."""
    options = report.options(__doc__.splitlines()[0], seconds=6.0).parse_args()
    torch.set_num_threads(options.threads)
    document = measure(networks.standard(), options.seconds, options.threads)
    report.write(options.output / "train_step.json", document)
    draw(document, options.output / "train_step.png")
    show(document)


def measure(weights: Chain, seconds: float, threads: int) -> dict[str, Any]:
    """Check gradients, then measure times, memory and parameters of all kinds of layer."""
    report.progress("checking values and gradients in float64")
    gaps = check(weights, packed, masked)
    for name in (NFLOWS, ZUKO):
        check_values(name, weights, LAYERS[name])
    x = rows(weights, BATCH, torch.float32)
    steps: dict[str, Callable[[], object]] = {}
    torch_optimizers = {}
    for name, make in LAYERS.items():
        flow = make(weights, torch.float32)
        torch_optimizer = torch.optim.Adam(flow.parameters(), lr=1e-4)
        steps[name] = partial(step, flow, torch_optimizer, x)
        steps[name]()
        torch_optimizers[name] = torch_optimizer.step
    steps |= {TRAIN: own_step(weights, x), FLOOR: floor(weights)}
    report.progress("timing whole steps")
    times = interleaved(steps, seconds=seconds, calls_per_turn=5)
    report.progress("timing the optimizer alone")
    alone = interleaved(torch_optimizers, seconds=seconds / 2, calls_per_turn=10)
    report.progress("memory in fresh processes")
    growth = {name: memory.growth_of("benchmarks.train_step:memory_of_steps", name, threads) for name in LAYERS}
    base = times[FLOOR].p50
    return {
        "network": {"dim": weights.dim, "blocks": len(weights.of(LU)), "batch": BATCH, "dtype": "float32"},
        "machine": report.machine(threads),
        "checked": gaps,
        "steps": {
            name: {
                "step": report.times(measured),
                "over_floor": measured.p50 / base,
                "epochs_per_minute": 60_000 / (measured.p50 * (MNIST_ROWS // BATCH)),
            }
            for name, measured in times.items()
        },
        "layers": {
            name: {
                "optimiser": report.times(alone[name]),
                "growth_bytes": growth[name],
                **parameters(make(weights, torch.float32)),
            }
            for name, make in LAYERS.items()
        },
    }


def own_step(weights: Chain, x: Tensor) -> Callable[[], object]:
    """Return a step as `train` takes it: in whitened coordinates, by its usual optimizer."""
    settings = LUNetArchitecture.settings(MNIST_ROWS, weights.dim)
    flow = flow_of(weights)
    optimizer = optimizer_of(settings, flow, settings.epochs * (MNIST_ROWS // BATCH))
    return lambda: optimizer.step(lambda: -flow.log_prob(x).mean())


def floor(weights: Chain) -> Callable[[], object]:
    """Return the products alone: per block one forward, and one for each of two gradients."""
    matrices = [torch.from_numpy(block.lower @ block.upper).float() for block in weights.of(LU)]
    x = torch.randn(BATCH, weights.dim, generator=torch.Generator().manual_seed(0))

    def products() -> None:
        for matrix in matrices:
            x @ matrix.T
            x @ matrix
            x.T @ x

    return products


def check_values(name: str, weights: Chain, make: Callable[[Chain, torch.dtype], Flow]) -> None:
    """Compare z and log_prob of a network with the reference, within the roundings of float32.

    Raises:
        CheckFailedError: if they are not the same network.
    """
    questions = networks.Questions.about(weights)
    z, log_prob = rivals.ChainRunner(make(weights, torch.float32)).density(questions.x)
    questions.check(name, {"z": z, "log_prob": log_prob})


def check(
    weights: Chain,
    ours: Callable[[Chain, torch.dtype], Flow],
    theirs: Callable[[Chain, torch.dtype], Flow],
) -> dict[str, float]:
    """Return relative differences of log_prob and of all gradients in float64.

    Raises:
        CheckFailedError: if they are not the same network.
    """
    x = rows(weights, _CHECKED_ROWS, torch.float64)
    flows = [make(weights, torch.float64) for make in (ours, theirs)]
    values = [flow.log_prob(x) for flow in flows]
    for value in values:
        value.mean().backward()
    a, b = (value.detach().numpy() for value in values)
    gaps = {"log_prob": float(np.abs(a - b).max() / np.abs(b).max()), "gradients": gradient_gap(*flows)}
    for name, gap in gaps.items():
        networks.validate_answers(f"{name} of the masked dense network", gap, _ALLOWED)
    return gaps


def rows(weights: Chain, batch: int, dtype: torch.dtype) -> Tensor:
    """Return rows of data: uniform grey levels, or normal numbers without pre-processing."""
    rng, p = np.random.default_rng(2), weights.preprocessing
    shape = (batch, weights.dim)
    return torch.from_numpy(rng.uniform(0.5, p.levels - 0.5, shape) if p else rng.standard_normal(shape)).to(dtype)


def step(flow: Flow, torch_optimizer: torch.optim.Optimizer, x: Tensor) -> None:
    """Take one step of maximum likelihood."""
    torch_optimizer.zero_grad()
    (-flow.log_prob(x).mean()).backward()
    torch_optimizer.step()


def parameters(flow: Flow) -> dict[str, int]:
    """Return how many numbers the optimizer holds, and how many of them the model is free to choose."""
    stored = sum(parameter.numel() for parameter in flow.parameters())
    layers = sum(isinstance(layer, _LAYERS) for layer in flow.chain.bijections)
    return {"stored": stored, "free": layers * (flow.dim**2 + flow.dim)}


def memory_of_steps(name: str, threads: int) -> int:
    """Return the growth of this process from before the network is made, over three steps."""
    torch.set_num_threads(threads)
    weights = networks.standard()
    x = rows(weights, BATCH, torch.float32)
    before = memory.resident_bytes("VmRSS")
    flow = LAYERS[name](weights, torch.float32)
    torch_optimizer = torch.optim.Adam(flow.parameters(), lr=1e-4)
    for _ in range(_MEMORY_STEPS):
        step(flow, torch_optimizer, x)
    return memory.resident_bytes("VmHWM") - before


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Draw three bars each: a whole step, memory, the optimizer's numbers."""
    layers = document["layers"]
    panels = {
        "one step, over the floor": {name: each["over_floor"] for name, each in document["steps"].items()},
        "memory, MB": {name: (layer["growth_bytes"] or 0) / 1e6 for name, layer in layers.items()},
        "stored parameters, millions": {name: layer["stored"] / 1e6 for name, layer in layers.items()},
    }
    with report.picture(path, rows=1, columns=len(panels), size=(13.0, 3.4)) as (figure, axes):
        for (title, values), axis in zip(panels.items(), axes[0], strict=True):
            bars = axis.barh(list(values), list(values.values()), color="tab:blue")
            axis.bar_label(bars, fmt="%.3g", padding=2)
            axis.invert_yaxis()
            axis.margins(x=0.15)
            axis.set_title(title, fontsize=10)
            axis.spines[["top", "right"]].set_visible(False)
        network, facts = document["network"], document["machine"]
        shape = f"D = {network['dim']}, {network['blocks'] - 1} + 1 blocks, batch {network['batch']}"
        figure.suptitle(f"{shape}; {facts['processor']}, {facts['threads']} threads, float32", fontsize=11)


def layer_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return times, memory and numbers of every kind of layer; the target is in brackets, a miss is bold."""
    sizes = ("Adam alone, ms", "peak memory, MB", "stored numbers, million")
    found = [("layer", "step, ms", "over the floor", "epochs of MNIST per minute", *sizes)]
    for name, each in document["steps"].items():
        aimed = name in (OURS, TRAIN)
        over = f"{each['over_floor']:.2f}"
        over = over if not aimed or each["over_floor"] <= TARGET else f"**{over}**"
        over += f" ({TARGET})" if aimed else ""
        pace = "" if name == FLOOR else f"{each['epochs_per_minute']:.1f}"
        layer = document["layers"].get(name)
        sizes = (
            ("", "", "")
            if layer is None
            else (
                f"{layer['optimiser']['p50']:.3g}",
                f"{(layer['growth_bytes'] or 0) / 1e6:.0f}",
                f"{layer['stored'] / 1e6:.2f}",
            )
        )
        found.append((name, f"{each['step']['p50']:.3g}", over, pace, *sizes))
    return found


def show(document: Mapping[str, Any]) -> None:
    """Print all kinds of layer."""
    report.table(layer_rows(document))


if __name__ == "__main__":
    report.run(main)
