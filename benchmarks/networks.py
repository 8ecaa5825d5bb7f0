"""The standard network of every benchmark, its inputs, and the answers of the float64 reference."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.errors import CheckFailedError
from lunet_export.flows import lunet
from lunet_export.layers import LU, Chain
from lunet_export.parity.difference import compare
from lunet_export.preprocessing import NAMED

if TYPE_CHECKING:
    from lunet_export.torch_layers import Flow

Floats = NDArray[np.floating]

DIM, BLOCKS, ALPHA = 784, 4, 0.1  # the paper's "3 + 1" on MNIST
OFF_DIAGONAL = 0.3  # spectral size of what stands beside the diagonals: solves stay well conditioned


def standard(dim: int = DIM, blocks: int = BLOCKS, *, seed: int = 0) -> Chain:
    """Return seeded, well conditioned weights with the logit for 256 grey levels.

    The diagonals lie in [0.5, 1.5] and are positive, because nflows has no other sign.
    """
    rng = np.random.default_rng(seed)

    def block() -> LU:
        noise = OFF_DIAGONAL * rng.standard_normal((2, dim, dim)) / np.sqrt(dim)
        upper = np.triu(noise[1], 1) + np.diag(rng.uniform(0.5, 1.5, dim))
        return LU(np.tril(noise[0], -1) + np.eye(dim), upper, rng.standard_normal(dim))

    return lunet(tuple(block() for _ in range(blocks)), ALPHA, NAMED["images"])


def disturbed(flow: "Flow", *, seed: int = 0) -> Chain:
    """Return a RealNVP's weights with factors away from 0; at its start, the identity, no network has an effect."""
    import torch

    from lunet_export.torch_layers.coupling import AffineCoupling

    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for coupling in flow.modules_of(AffineCoupling):
            for parameter in (coupling.scale_factor, coupling.shift_factor, coupling.bias):
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=rng))
    return flow.to_chain()


def load(model: Path | None) -> tuple[Chain, str]:
    """Return the weights of `--model`, or the standard ones, and their name."""
    if model is None:
        return standard(), f"seeded weights, {BLOCKS - 1} + 1 blocks, D = {DIM}"
    from lunet_export import checkpoint

    return checkpoint.read(model).weights, model.stem


def validate_answers(runner: str, error: float, allowed: float) -> None:
    """Raise CheckFailedError unless `error` is at most `allowed`; NaN is not."""
    if not error <= allowed:
        raise CheckFailedError(
            f"Expected right answers before timing; {runner} is {error:.1e} off, above {allowed:.1e}."
        )


@dataclass(frozen=True)
class Questions:
    """Rows that every runner must answer rightly before it is timed.

    x lies inside the domain and z is its latent, so that no clamp hides a wrong answer. `tolerance` holds the absolute
    differences that rounding allows in each row, by output.
    """

    x: Floats
    z: Floats
    answers: Mapping[str, Floats]  # z and log_prob of `x`; x of `z`
    tolerance: Mapping[str, Floats]

    @classmethod
    def about(cls, weights: Chain, rows: int = 8, *, seed: int = 1) -> "Questions":
        """Return uniform grey levels (normal numbers without pre-processing) and their latents, in float32."""
        rng, p = np.random.default_rng(seed), weights.preprocessing
        shape = (rows, weights.dim)
        x = (rng.uniform(0.5, p.levels - 0.5, shape) if p else rng.standard_normal(shape)).astype(np.float32)
        exact_x, model = x.astype(np.float64), RoundingModel(weights, "float32")
        exact_z = reference.encode(weights, exact_x)[0]
        z = exact_z.astype(np.float32)
        answers = {
            "z": exact_z,
            "log_prob": reference.log_prob(weights, exact_x),
            "x": model.clamp(reference.decode(weights, z.astype(np.float64))),
        }
        density, sampling = model.density(exact_x), model.sampling(z.astype(np.float64))
        return cls(x, z, answers, {"z": density["z"], "log_prob": density["log_prob"], "x": sampling["x"]})

    def batch(self, direction: str, size: int) -> Floats:
        """Return `size` rows to feed: the same few repeated, so that every row of a batch is checked."""
        return np.resize(self.x if direction == "density" else self.z, (size, self.x.shape[1]))

    def check(self, runner: str, got: Mapping[str, Floats]) -> float:
        """Return the largest difference over its tolerance, at most 1.

        Args:
            runner: Name of the runner, for the message.
            got: Outputs of a `batch`, by name.

        Raises:
            CheckFailedError: if an answer is wrong.
        """
        worst = 0.0
        for output, value in got.items():
            size = (len(value), *self.answers[output].shape[1:])
            tolerance = np.resize(self.tolerance[output], len(value))
            gap = compare(output, expected=np.resize(self.answers[output], size), got=value, tolerance=tolerance)
            if not gap.passed:
                raise CheckFailedError(
                    f"Expected right answers before timing; {runner} gives {output} = {gap.got:.9g} at row {gap.row}, "
                    f"column {gap.column}, where the reference says {gap.expected:.9g} within {gap.tolerance:.1e}."
                )
            worst = max(worst, gap.ratio)
        return worst
