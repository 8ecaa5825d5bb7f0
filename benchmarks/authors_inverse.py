"""What does the authors' inverse cost with trained weights, and how does its cost grow with the batch?

The arithmetic of their inverse, restated (`rivals.authors`), draws from three networks of 3 + 1 blocks, D = 784: one
trained by their recipe on the zeros of MNIST, with the latents' mean and covariance folded in, as their code draws;
`exported/mnist.pt`; and the seeded weights of the other benchmarks. Its spline is fitted in every call, with 2,000,001
knots whatever the batch. Its evaluation walks from the knot of one number to the knot of the next, so its cost grows
with the batch and with the distance between the numbers. `python -m benchmarks.authors_inverse --data-dir DIR
--threads 1` writes results/authors_inverse.json. It gives processor time, because others may use the machine as well.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks import graphs, networks, report, rivals
from lunet_export import checkpoint, data, noise
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.flows import lunet
from lunet_export.layers import LU, Activation, Chain
from lunet_export.likelihood import paper_convention
from lunet_export.preprocessing import NAMED, dequantize, log_det_of, logit

Floats = NDArray[np.floating]
Array = NDArray[np.float64]

BATCHES = (1, 10, 100, 256)
_RUNS = 3
_KNOTS = (-100.0, 1000.0)  # the spline's range: leaky softplus of [-1000, 1000]
_SPACING = 0.001  # between knots, in the spline's values
RECIPE, OURS, SEEDED = "the authors' recipe, zeros of MNIST", "exported/mnist.pt", "seeded weights"
_BATCH, _RATE, _MOMENTUM, _CLIP, _WEIGHT = 256, 0.6, 0.9, 1.0, 100.0  # of the recipe; the last of log|u_ii|


def main() -> None:
    """Train, measure, write, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=0.0)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="where the MNIST files lie")
    parser.add_argument("--epochs", type=int, default=10, help="of the authors' recipe (default 10)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    zeros = _zeros(options.data_dir)
    report.progress(f"training by the authors' recipe, {options.epochs} epochs")
    trained, recipe = recipe_of(*zeros, epochs=options.epochs)
    found = {
        RECIPE: drawn(trained),
        OURS: drawn(checkpoint.read(report.ROOT / OURS).weights),
        SEEDED: (networks.standard(), networks.Questions.about(networks.standard()).batch("sampling", max(BATCHES))),
    }
    document = {
        "machine": report.machine(options.threads),
        "recipe": recipe,
        "runs": _RUNS,
        "networks": {name: asked(weights, z) for name, (weights, z) in found.items()},
        "rows": [row for name, (weights, z) in found.items() for row in measured(name, weights, z, options.threads)],
    }
    report.write(options.output / "authors_inverse.json", document)
    report.table(rows(document))


def drawn(weights: Chain) -> tuple[Chain, Floats]:
    """Return a network with the latents that it draws from."""
    return weights, noise.normal(0, range(max(BATCHES)), weights.dim)


def recipe_of(train: NDArray[np.integer], test: NDArray[np.integer], *, epochs: int) -> tuple[Chain, dict[str, Any]]:
    """Return a network trained by the authors' recipe, with its latents folded in, and its record.

    Rows (N, 784) are grey levels, with fresh noise every epoch. The network starts as PyTorch's linear layers do. The
    loss is the sum over a batch of 1/2 |z|^2 - 100 sum log|u_ii|, in which the slopes of the activations have no
    gradient. The optimizer is SGD with momentum and gradients of norm 1; its rate halves every third epoch.
    """
    torch.manual_seed(42)
    rng = np.random.default_rng(42)
    blocks = [_Block(train.shape[1]) for _ in range(networks.BLOCKS)]
    parameters = [parameter for block in blocks for parameter in block.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=_RATE, momentum=_MOMENTUM)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.5)
    for epoch in range(epochs):
        for x in _batches(train, rng):
            optimizer.zero_grad()
            z = _encoded(blocks, x)
            volume = sum(block.upper.diagonal().abs().log().sum() for block in blocks)
            loss = 0.5 * z.square().sum() - _WEIGHT * len(x) * volume
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, _CLIP)
            optimizer.step()
        schedule.step()
        report.progress(f"epoch {epoch + 1} of {epochs}: loss {loss.item():.4g}")
    plain = lunet([block.layer() for block in blocks], networks.ALPHA, NAMED["paper"])
    latents = reference.encode(plain, _dequantized(train, rng))[0]
    folded = plain.fold_latent(latents.mean(axis=0), np.cov(latents.T))
    x = _dequantized(test, rng)
    before = log_det_of(x, plain.preprocessing)
    figures = {
        name: float(paper_convention(reference.log_prob(weights, x), before, weights.dim).mean())
        for name, weights in (("paper_convention", plain), ("paper_convention_folded", folded))
    }
    return folded, {"rows": len(train), "epochs": epochs, **figures}


class _Block(nn.Module):
    """U and L as masked dense matrices."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        upper, lower = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim)
        self.upper = nn.Parameter(upper.weight.detach().triu())
        self.lower = nn.Parameter(lower.weight.detach().tril(-1) + torch.eye(dim))
        self.bias = nn.Parameter(lower.bias.detach())
        self.upper.register_hook(lambda gradient: gradient.triu())
        self.lower.register_hook(lambda gradient: gradient.tril(-1))

    def forward(self, h: Tensor) -> Tensor:
        return h @ self.upper.T @ self.lower.T + self.bias

    def layer(self) -> LU:
        lower, upper, bias = (value.detach().double().numpy() for value in (self.lower, self.upper, self.bias))
        return LU(lower, upper, bias)


def _encoded(blocks: list[_Block], x: Tensor) -> Tensor:
    h = blocks[0](x)
    for block in blocks[1:]:
        h = block(networks.ALPHA * h + (1 - networks.ALPHA) * nn.functional.softplus(h))
    return h


def _dequantized(grey: NDArray[np.integer], rng: np.random.Generator) -> Array:
    return dequantize(grey, rng.random(grey.shape))


def _batches(grey: NDArray[np.integer], rng: np.random.Generator) -> Iterator[Tensor]:
    order = rng.permutation(len(grey))
    p = NAMED["paper"]
    assert p is not None
    for start in range(0, len(grey), _BATCH):
        x = logit(_dequantized(grey[order[start : start + _BATCH]], rng), p)[0]
        yield torch.from_numpy(x.astype(np.float32))


def _zeros(data_dir: Path) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    mnist = data.load("mnist", data_dir=data_dir)
    labels = mnist.classes()
    return mnist.train[labels.train == 0], mnist.test[labels.test == 0]


def asked(weights: Chain, z: Floats) -> dict[str, float]:
    """Return facts of what the splines evaluate: extremes, the share beyond them, and the knots walked per number."""
    entering, walked, h = [], [], z.astype(np.float64)
    for layer in reversed(weights.layers):
        before, h = h, layer.inverse(h)
        if isinstance(layer, Activation):
            entering.append(before)
            walked.append(np.abs(np.diff(h.ravel())) / _SPACING)
    given, (low, high) = np.stack(entering), _KNOTS
    return {
        "least": float(given.min()),
        "most": float(given.max()),
        "beyond_the_spline": float(((given < low) | (given > high)).mean()),
        "knots_walked": float(np.mean(walked)),
    }


def measured(name: str, weights: Chain, z: Floats, threads: int) -> list[dict[str, Any]]:
    """Return one row of the record per batch: the authors' inverse, and our sampling graph beside it."""
    theirs = rivals.authors(weights).decode
    ours = graphs.opened(graphs.sampling_graph(weights, "unrolled"), threads).run
    rows = z.astype(np.float32)
    model = RoundingModel(weights, "float32")
    exact = model.clamp(reference.decode(weights, rows.astype(np.float64)))
    allowed = model.sampling(rows.astype(np.float64))["x"]
    found = []
    for size in BATCHES:
        report.progress(f"{name}, batch {size}")
        feed = rows[:size]
        far = np.abs(theirs(feed) - exact[:size]).max(axis=1) / allowed[:size]
        found.append(
            {
                "network": name,
                "batch": size,
                **{f"authors_{unit}": seconds for unit, seconds in _timed(theirs, feed).items()},
                **{f"unrolled_{unit}": seconds for unit, seconds in _timed(ours, feed).items()},
                "error_over_tolerance": float(far.max()),
            }
        )
    return found


def _timed(call: Callable[[Floats], Any], feed: Floats) -> dict[str, float]:
    """Return medians of some calls, after one that is not counted: processor seconds, and seconds by the clock."""
    call(feed)
    spent = []
    for _ in range(_RUNS):
        begin = time.process_time(), time.perf_counter()
        call(feed)
        spent.append((time.process_time() - begin[0], time.perf_counter() - begin[1]))
    return {"cpu_s": median(cpu for cpu, _ in spent), "s": median(clock for _, clock in spent)}


def rows(document: Mapping[str, Any]) -> report.Rows:
    """Return processor seconds per call by network and batch, and the knots that the spline walks per number."""
    sizes = [f"{size} {'row' if size == 1 else 'rows'}" for size in BATCHES]
    table: list[tuple[str, ...]] = [("processor seconds per call", *sizes, "knots walked per number")]
    for name, facts in document["networks"].items():
        mine = {row["batch"]: row for row in document["rows"] if row["network"] == name}
        figures = (f"{mine[size]['authors_cpu_s']:.2f}" for size in BATCHES)
        table.append((f"authors' inverse, {name}", *figures, f"{facts['knots_walked']:,.0f}"))
        ours = (f"{mine[size]['unrolled_cpu_s']:.4f}" for size in BATCHES)
        table.append((f"`unrolled`, {name}", *ours, ""))
    return table


if __name__ == "__main__":
    report.run(main)
