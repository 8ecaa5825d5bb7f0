"""One block after another by the JKO objective (arXiv 2212.14424, equations 5 to 8)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lunet_export.data import Dataset
from lunet_export.layers import Chain
from lunet_export.layers import Velocity as VelocityLayer
from lunet_export.likelihood import bits_per_dim
from lunet_export.torch_layers import Bijection, Flow, standard_normal_log_prob
from lunet_export.torch_layers.velocity import FlowBlock, Velocity
from lunet_export.torch_layers.whitening import WhiteningBijection
from lunet_export.training.architecture import Training
from lunet_export.training.fit import mean_bits_per_dim, validate_finite
from lunet_export.training.history import EpochRecord
from lunet_export.training.jko.growth import Growth
from lunet_export.training.optimizer import optimizer_of
from lunet_export.training.rows import VALIDATION_SEED
from lunet_export.training.settings import FitSettings

_FEWEST_ROWS = 20_000  # rows that a block sees: images are dequantized often enough for it
_PUSHED = 5000  # rows per batch
_RECORDED = 5000  # most training rows for the figure in the history
_LOOKS = 10  # evaluations on the validation rows per block
_IDLE = 2  # blocks that may be added without a better validation figure


def objective(before: Tensor, after: Tensor, log_det: Tensor, size: float) -> Tensor:
    """Return the mean of |x(1)|^2 / 2 - int div v dt + |x(1) - x(0)|^2 / (2 h), in nats (equation 8).

    Its minimum is the step of size h down KL(p | N(0, I)) in the Wasserstein metric from the distribution p of x(0).

    Args:
        before: x(0), (N, D).
        after: x(1), (N, D).
        log_det: int_0^1 div v dt, (N,).
        size: h; an infinite h leaves the last term out, which is maximum likelihood.
    """
    energy = after.square().sum(1) / 2 - log_det
    return (energy + (after - before).square().sum(1) / (2 * size)).mean()


class BlockTrainer(Training):
    """This run holds blocks, their step sizes and the random state; `run_epoch` trains one block for all of its epochs.

    Blocks are added, each from a copy of the one before, until the growth's rule stops; then all are trained again in
    rounds. The rows that reach a block are the training rows behind the blocks before it; images get fresh
    dequantization noise for every block. The weights that are kept for a block are those with the lowest objective on
    the validation rows.
    """

    unit = "block"

    def __init__(
        self, first: Chain, data: Dataset, settings: FitSettings, *, growth: Growth, device: torch.device
    ) -> None:
        super().__init__(data, settings, device)
        self.growth = growth
        self.flow = Flow.of(first).to(device)
        self.start_flow = self.best_flow = deepcopy(self.flow)
        rows = len(data.train)
        self._batch = min(settings.batch_size, rows)
        self.steps_per_epoch = settings.epochs * max(1, rows // self._batch)
        self.sizes: list[float] = []  # h_k of every block
        self.lengths: list[float] = []  # E|x_k - x_{k-1}| of every block trained in this round
        self.round = 0  # 0 while blocks are added; the last round may refine
        self._blocks = 0  # number of blocks done in this round
        self.start = self._valid()

    @property
    def finished(self) -> bool:
        """Return whether all rounds are done."""
        return self.round > self.growth.rounds + self.growth.refine

    @property
    def length(self) -> int:
        """Return how many times a block is trained, or the largest such number while blocks are added."""
        refined = self.growth.refine and self.round > self.growth.rounds
        return self.growth.length(len(self.sizes) // (2 if refined else 1) if self.round else None)

    def run_epoch(self, on_step: Callable[[int, float], None]) -> EpochRecord:
        """Train the next block, and validate all of them."""
        number, growing = self._blocks, self.round == 0
        if growing and number:
            self._add(deepcopy(self._all_blocks[-1].velocity))
        if growing:
            self.sizes.append(self.growth.size(number + 1))
        block = self._all_blocks[number]
        x, before = self._pushed(number, self.data.train, copies=self._copies)
        with _without_denormals():
            self._train(block, x, before, self.sizes[number], on_step)
        moved, length = self._movement(block, x)
        self.lengths.append(length)
        self._blocks += 1
        valid = self._valid()
        validate_finite(valid, "validation")
        train = self._bits(self.data.train[:_RECORDED])
        record = EpochRecord(len(self.history) + 1, train, valid, self.settings.learning_rate)
        self.history.append(record)
        if self.best is record:
            self.best_flow = deepcopy(self.flow)
        idle = record.epoch - self.best.epoch
        grown = self.growth.enough(self._blocks, moved) or idle >= _IDLE
        if grown if growing else self._blocks == len(self.sizes):
            self._next_round()
        return record

    def state(self) -> dict[str, Any]:
        return {
            **super().state(),
            "flow": _state(self.flow),
            "best_flow": _state(self.best_flow),
            "sizes": list(self.sizes),
            "lengths": list(self.lengths),
            "round": self.round,
            "blocks": self._blocks,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.flow, self.best_flow = (self._restored(state[name]) for name in ("flow", "best_flow"))
        self.sizes, self.lengths = ([float(value) for value in state[name]] for name in ("sizes", "lengths"))
        self.round, self._blocks = state["round"], state["blocks"]
        if type(self.round) is not int or type(self._blocks) is not int or not 0 <= self._blocks <= len(self.sizes):
            raise ValueError("round or blocks")
        super().restore(state)

    def _next_round(self) -> None:
        self.round += 1
        if self.growth.refine and self.round == self.growth.rounds + 1:
            self._refine()
        elif not self.finished:
            self.sizes = self.growth.evened(self.sizes, self.lengths)
        self.lengths, self._blocks = [], 0

    def _refine(self) -> None:
        """Cut each block into two that together are the same map, each with half the step."""
        blocks = self.flow.to_chain().of(VelocityLayer)
        halves = [(half, block.beta) for block in blocks for half in block.field.halves()]
        self._replace_blocks([Velocity.of(field, beta=beta) for field, beta in halves])
        self.sizes = [size / 2 for size in self.sizes for _ in range(2)]

    def _add(self, velocity: Velocity) -> None:
        self._replace_blocks([*(block.velocity for block in self._all_blocks), velocity])

    def _replace_blocks(self, velocities: list[Velocity]) -> None:
        self.flow = self._with(velocities).to(torch.float32)

    @property
    def _all_blocks(self) -> list[FlowBlock]:
        """Return the blocks in the order of `forward`."""
        return self.flow.modules_of(FlowBlock)

    def _with(self, velocities: list[Velocity]) -> Flow:
        """Return a flow with the same pre-processing, whitening and steps, and these velocity fields."""
        whitening, steps = self.flow.modules_of(WhiteningBijection), self._all_blocks[0].steps
        blocks = [FlowBlock(velocity, steps) for velocity in velocities]
        flow = Flow(self.flow.dim, [*whitening, *blocks], self.flow.kind, preprocessing=self.flow.preprocessing)
        return flow.to(self.device)

    def _train(
        self, block: FlowBlock, x: Tensor, before: Tensor, size: float, on_step: Callable[[int, float], None]
    ) -> None:
        scale = float(bits_per_dim(np.array(-1.0), self.data.dim))
        optimizer = optimizer_of(self.settings, block, self.steps_per_epoch)
        valid, _ = self._pushed(self._blocks, self.data.valid, copies=1)
        best, kept = np.inf, block.state_dict()
        looks = {-(-self.steps_per_epoch * look // _LOOKS) for look in range(1, _LOOKS + 1)}
        where = f"block {self._blocks + 1} of round {self.round + 1}"
        for step, chosen in enumerate(islice(self._batches(len(x)), self.steps_per_epoch), 1):
            nats: list[float] = []
            optimizer.step(_loss(block, x[chosen], before[chosen], size, nats))
            validate_finite(nats[0], f"{where}, step {step}")
            on_step(step, scale * nats[0])
            if step in looks:
                model: nn.Module = optimizer.model()
                with torch.no_grad():
                    after, log_det = model(valid)
                    found = float(objective(valid, after, log_det, size))
                if found < best:
                    best, kept = found, deepcopy(model.state_dict())
        block.load_state_dict(kept)

    def _batches(self, rows: int) -> Iterator[Tensor]:
        """Yield row numbers in batches, every row once per pass."""
        while True:
            order = torch.from_numpy(self.rng.permutation(rows)).to(self.device)
            yield from order[: rows // self._batch * self._batch].split(self._batch)  # type: ignore[no-untyped-call]

    @property
    def _copies(self) -> int:
        """Return how often each training row reaches a block; images get other noise each time."""
        return -(-_FEWEST_ROWS // len(self.data.train)) if self.data.preprocessing else 1

    @torch.no_grad()
    def _pushed(self, blocks: int, rows: NDArray[np.generic], *, copies: int) -> tuple[Tensor, Tensor]:
        """Return rows behind the first `blocks` blocks, (copies N, D), and log|det| of the way there, (copies N,)."""
        before: list[Bijection] = [module for module in self.flow.chain if not isinstance(module, FlowBlock)]
        chain = [*before, *self._all_blocks[:blocks]]
        found = []
        for _ in range(copies):
            uniform = self.rng.random(rows.shape, dtype=np.float32)
            for part in torch.from_numpy(self.data.continuous(rows, uniform)).split(_PUSHED):  # type: ignore[no-untyped-call]
                h = part.to(self.device)
                log_det = h.new_zeros(len(h))
                for bijection in chain:
                    h, term = bijection(h)
                    log_det = log_det + term
                found.append((h, log_det))
        x, log_det = (torch.cat(column) for column in zip(*found, strict=True))
        return x, log_det

    @torch.no_grad()
    def _movement(self, block: FlowBlock, x: Tensor) -> tuple[float, float]:
        """Return E|T(x) - x|^2 / E|T(x)|^2, and E|T(x) - x|."""
        after = torch.cat([block(part)[0] for part in x.split(_PUSHED)])  # type: ignore[no-untyped-call]
        square = (after - x).square().sum(1)
        return float(square.mean() / after.square().sum(1).mean()), float(square.sqrt().mean())

    def _valid(self) -> float:
        return self._bits(self.data.valid)

    def _bits(self, rows: NDArray[np.generic]) -> float:
        return mean_bits_per_dim(self.flow, self.data, rows, seed=VALIDATION_SEED)

    def _restored(self, state: dict[str, Tensor]) -> Flow:
        count = len({key.split(".")[2] for key in state if ".velocity." in key})
        velocities = [deepcopy(self._all_blocks[0].velocity) for _ in range(count)]
        flow = self._with(velocities)
        flow.load_state_dict(state)
        return flow


def _loss(block: FlowBlock, rows: Tensor, before: Tensor, size: float, nats: list[float]) -> Callable[[], Tensor]:
    """Return the objective of a batch; evaluations add the mean -log p(x) to `nats`; `before` is log|det| so far."""

    def evaluate() -> Tensor:
        after, log_det = block(rows)
        log_prob = standard_normal_log_prob(after) + log_det + before
        nats.append(-float(log_prob.detach().mean()))
        return objective(rows, after, log_det, size)

    return evaluate


@contextmanager
def _without_denormals() -> Iterator[None]:
    """Count numbers below 1e-38 as 0: the tails of a sharp softplus are full of them, which are slow."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _state(flow: Flow) -> dict[str, Tensor]:
    return {key: tensor.detach().cpu().clone() for key, tensor in flow.state_dict().items()}
