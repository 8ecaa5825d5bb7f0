"""Does the JKO objective train LU-Net's blocks better than maximum likelihood of all of them at once, at equal cost?

A block is x -> s f(L U x + b) + c with the leaky softplus f. It is near the identity if b is large and c subtracts
f(b); s and c are folded into the next block's L U. All ways have the same seconds, blocks, rate and batch: block by
block with E[|T(x)|^2 / 2 - log|det| + |T(x) - x|^2 / (2 h)], one step h each; all blocks at once with -log p(x); and
half of the time each. All end with the closed-form affine map to N(0, I).
`python -m benchmarks.jko_lu` writes results/jko_lu.json.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import report
from lunet_export import data
from lunet_export.preprocessing import logit
from lunet_export.torch_layers.leaky_softplus import LeakySoftplusBijection
from lunet_export.torch_layers.lu_linear import LULinear
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.jko.blocks import objective

DATASETS = ("eight-gaussians", "two-moons", "digits")
BLOCKS, ALPHA, RATE, BATCH = 8, 0.1, 2e-2, 500
SIZES = {"growing h": lambda k: 0.25 * 1.4**k, "large h": lambda k: 5.0}
BIASES = (7.0, 3.0)  # where a block starts: f is nearly straight at the first, and curved at the second
SEEDS = (0, 1)


class Block(nn.Module):
    """x -> s f(L U x + b) + c, at first nearly the identity. (N, D) -> (N, D), (N,)."""

    def __init__(self, dim: int, start: float) -> None:
        super().__init__()
        self.linear, self.activation = LULinear(dim), LeakySoftplusBijection(ALPHA)
        bias = torch.full((1, dim), start)
        value, log_slope = self.activation(bias)
        self.scale = nn.Parameter(torch.full((dim,), -float(log_slope) / dim))
        with torch.no_grad():
            self.linear.bias.fill_(start)
        self.shift = nn.Parameter(-(value[0] * self.scale.exp()).detach())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, first = self.linear(x)
        y, second = self.activation(y)
        return y * self.scale.exp() + self.shift, first + second + self.scale.sum()


def main() -> None:
    """Train, write, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=12.0)
    parser.add_argument("--datasets", nargs="*", default=DATASETS, help="of these sets")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    document: dict[str, Any] = {
        "command": f"python -m benchmarks.jko_lu --seconds {options.seconds:g}",
        "machine": report.machine(options.threads),
        "seconds": options.seconds,
        "blocks": BLOCKS,
        "gaussians": {},
        "runs": [],
    }
    for name in options.datasets:
        rows = data.load(name)
        for seed in SEEDS:
            splits = [_whitened(rows, part) for part in (rows.train, rows.test)]
            for bias, (way, run) in product(BIASES, _ways(options.seconds).items()):
                torch.manual_seed(seed)
                blocks = [Block(rows.dim, bias) for _ in range(BLOCKS)]
                run(blocks, splits[0])
                nats = _nats(blocks, *splits)
                named = f"{way}, from b = {bias:g}"
                document["runs"].append({"dataset": name, "way": named, "seed": seed, "test_nats": nats})
                report.progress(f"{name}, {named}, seed {seed}: {nats:.4f} nats behind the Gaussian's whitening")
            gaussian = _nats([], *splits)
        document["gaussians"][name] = gaussian
        report.write(options.output / "jko_lu.json", document)
    show(document)


Way = Callable[[Sequence[Block], Tensor], None]


def _ways(seconds: float) -> dict[str, Way]:
    def in_turn(size: Callable[[int], float], share: float) -> Way:
        def run(blocks: Sequence[Block], x: Tensor) -> None:
            for number, block in enumerate(blocks):

                def loss(rows: Tensor, block: Block = block, h: float = size(number)) -> Tensor:
                    after, log_det = block(rows)
                    return objective(rows, after, log_det, h)

                _descend(list(block.parameters()), loss, x, share * seconds / len(blocks))
                with torch.no_grad():
                    x = block(x)[0]

        return run

    def at_once(share: float) -> Way:
        def run(blocks: Sequence[Block], x: Tensor) -> None:
            def loss(rows: Tensor) -> Tensor:
                z, log_det = _through(blocks, rows)
                return (z.square().sum(1) / 2 - log_det).mean()

            _descend([parameter for block in blocks for parameter in block.parameters()], loss, x, share * seconds)

        return run

    def first_in_turn(blocks: Sequence[Block], x: Tensor) -> None:
        in_turn(SIZES["growing h"], 0.5)(blocks, x)
        at_once(0.5)(blocks, x)

    return {
        **{f"block by block, {name}": in_turn(size, 1.0) for name, size in SIZES.items()},
        "all at once": at_once(1.0),
        "block by block, then all at once": first_in_turn,
    }


def _descend(parameters: list[nn.Parameter], loss: Callable[[Tensor], Tensor], x: Tensor, seconds: float) -> None:
    """Adam for so many seconds, at a rate that falls to 0 over them."""
    adam, begin = torch.optim.Adam(parameters, lr=RATE), time.perf_counter()
    while (spent := time.perf_counter() - begin) < seconds:
        adam.param_groups[0]["lr"] = RATE * (1 - spent / seconds)
        adam.zero_grad()
        loss(x[torch.randint(len(x), (BATCH,))]).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()


def _through(blocks: Sequence[Block], x: Tensor) -> tuple[Tensor, Tensor]:
    log_det = x.new_zeros(len(x))
    for block in blocks:
        x, term = block(x)
        log_det = log_det + term
    return x, log_det


@torch.no_grad()
def _nats(blocks: Sequence[Block], train: Tensor, test: Tensor) -> float:
    """Return mean -log p of the test rows, with the Gaussian of the training rows' latents behind the blocks."""
    (z, _), (latent, log_det) = (_through(blocks, rows) for rows in (train, test))
    last = Gaussian.fit(z.double().numpy(), None)
    return -float((last.log_prob(latent.double().numpy()) + log_det.double().numpy()).mean())


def _whitened(rows: data.Dataset, part: np.ndarray) -> Tensor:
    """Return the rows behind the logit and the whitening by the Gaussian of the training rows."""

    def behind(split: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(0).random(split.shape)
        x = rows.continuous(split, noise).astype(np.float64)
        return logit(x, rows.preprocessing)[0] if rows.preprocessing else x

    gaussian = Gaussian.fit(behind(rows.train), None)
    return torch.from_numpy(((behind(part) - gaussian.mean) @ gaussian.whiten.T).astype(np.float32))


def rows(document: Mapping[str, Any]) -> report.Rows:
    """Return a row per way, with mean and spread over the seeds of each set."""
    runs = document["runs"]
    sets = list(dict.fromkeys(run["dataset"] for run in runs))
    found = [("test nats behind the whitening", *sets)]
    found.append(("the Gaussian alone", *(f"{document['gaussians'][name]:.3f}" for name in sets)))
    for way in dict.fromkeys(run["way"] for run in runs):
        cells = [[run["test_nats"] for run in runs if (run["dataset"], run["way"]) == (name, way)] for name in sets]
        found.append((way, *(f"{np.mean(values):.3f} ± {np.std(values):.3f}" for values in cells)))
    return found


def show(document: Mapping[str, Any]) -> None:
    """Print the table in Markdown."""
    print(report.markdown(rows(document)))


if __name__ == "__main__":
    report.run(main)
