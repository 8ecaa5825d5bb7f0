"""What does a packed LU layer save in training, beside two masked dense matrices as in the paper's code?

Both have the same network, rows and optimizer: forward, exact log-likelihood, backward, Adam.
`python -m benchmarks.train_step` writes results/train_step.json and results/train_step.png.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import memory, networks, report
from benchmarks.masked import MaskedLULinear, gradient_gap, masked, packed
from lunet_export.bench import interleaved
from lunet_export.layers import LU, Chain
from lunet_export.torch_layers import Flow
from lunet_export.torch_layers.lu_linear import LULinear

BATCH = 256
LAYERS: dict[str, Callable[[Chain, torch.dtype], Flow]] = {"packed": packed, "masked dense": masked}
_CHECKED_ROWS = 8
_ALLOWED = 1e-10  # float64
_MEMORY_STEPS = 3


def main() -> None:
    """Measure, write, print."""
    options = report.options(__doc__.splitlines()[0], seconds=6.0).parse_args()
    torch.set_num_threads(options.threads)
    document = measure(networks.standard(), options.seconds, options.threads)
    report.write(options.output / "train_step.json", document)
    draw(document, options.output / "train_step.png")
    show(document)


def measure(weights: Chain, seconds: float, threads: int) -> dict[str, Any]:
    """Check gradients, then measure times, memory and parameters of both kinds of layer."""
    report.progress("checking values and gradients in float64")
    gaps = check(weights, LAYERS["packed"], LAYERS["masked dense"])
    x = rows(weights, BATCH, torch.float32)
    steps, torch_optimizers = {}, {}
    for name, make in LAYERS.items():
        flow = make(weights, torch.float32)
        torch_optimizer = torch.optim.Adam(flow.parameters(), lr=1e-4)
        steps[name] = lambda flow=flow, torch_optimizer=torch_optimizer: step(flow, torch_optimizer, x)
        steps[name]()
        torch_optimizers[name] = torch_optimizer.step
    report.progress("timing whole steps")
    times = interleaved(steps, seconds=seconds, calls_per_turn=5)
    report.progress("timing the optimiser alone")
    alone = interleaved(torch_optimizers, seconds=seconds / 2, calls_per_turn=10)
    report.progress("memory in fresh processes")
    growth = {name: memory.growth_of("benchmarks.train_step:memory_of_steps", name, threads) for name in LAYERS}
    return {
        "network": {"dim": weights.dim, "blocks": len(weights.of(LU)), "batch": BATCH, "dtype": "float32"},
        "machine": report.machine(threads),
        "checked": gaps,
        "layers": {
            name: {
                "step": report.times(times[name]),
                "optimiser": report.times(alone[name]),
                "growth_bytes": growth[name],
                **parameters(make(weights, torch.float32)),
            }
            for name, make in LAYERS.items()
        },
    }


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
    layers = sum(isinstance(layer, LULinear | MaskedLULinear) for layer in flow.chain.bijections)
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
    """Draw four bars each: a whole step, the optimizer alone, memory, parameters."""
    layers = document["layers"]
    panels = {
        "one step, ms": {name: layer["step"]["p50"] for name, layer in layers.items()},
        "Adam alone, ms": {name: layer["optimiser"]["p50"] for name, layer in layers.items()},
        "memory, MB": {name: (layer["growth_bytes"] or 0) / 1e6 for name, layer in layers.items()},
        "stored parameters, millions": {name: layer["stored"] / 1e6 for name, layer in layers.items()},
    }
    with report.picture(path, rows=1, columns=len(panels), size=(11.0, 3.4)) as (figure, axes):
        for (title, values), axis in zip(panels.items(), axes[0], strict=True):
            bars = axis.bar(list(values), list(values.values()), color=["tab:blue", "tab:orange"])
            axis.bar_label(bars, fmt="%.3g")
            axis.set_title(title, fontsize=10)
            axis.spines[["top", "right"]].set_visible(False)
        network, facts = document["network"], document["machine"]
        shape = f"D = {network['dim']}, {network['blocks'] - 1} + 1 blocks, batch {network['batch']}"
        figure.suptitle(f"{shape}; {facts['processor']}, {facts['threads']} threads, float32", fontsize=11)


def layer_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return times, memory and numbers of both kinds of layer."""
    found = [("layer", "step, ms", "Adam alone, ms", "peak memory, MB", "stored numbers, million", "free, million")]
    for name, layer in document["layers"].items():
        times = (f"{layer[part]['p50']:.3g}" for part in ("step", "optimiser"))
        sizes = (f"{layer[part] / 1e6:.2f}" for part in ("stored", "free"))
        found.append((name, *times, f"{(layer['growth_bytes'] or 0) / 1e6:.0f}", *sizes))
    return found


def show(document: Mapping[str, Any]) -> None:
    """Print both kinds of layer."""
    lines = [("layer", "step ms", "p90", "Adam ms", "memory MB", "stored", "free", "noisy")]
    for name, layer in document["layers"].items():
        growth = "?" if layer["growth_bytes"] is None else f"{layer['growth_bytes'] / 1e6:.0f}"
        times = (layer["step"]["p50"], layer["step"]["p90"], layer["optimiser"]["p50"])
        noisy = "noisy" if layer["step"]["noisy"] else ""
        figures = (f"{value:.3g}" for value in times)
        lines.append((name, *figures, growth, str(layer["stored"]), str(layer["free"]), noisy))
    report.table(lines)


if __name__ == "__main__":
    report.run(main)
