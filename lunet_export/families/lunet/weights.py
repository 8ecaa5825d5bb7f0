"""A trained LU-Net as plain float64 arrays, checked once."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export import lu
from lunet_export.errors import BadInputError, CheckpointError
from lunet_export.lu import LUBlock
from lunet_export.preprocessing import Logit
from lunet_export.weights import Weights

Array = NDArray[np.float64]

#: The first is the paper's, and that of files and manifests that name none.
ACTIVATIONS = ("leaky-softplus", "leaky-relu", "leaky-tanh")


@dataclass(frozen=True)
class LUNetWeights:
    """Blocks with an elementwise activation between them, after an optional logit.

    Raises:
        CheckpointError: A shape does not fit, a number is not finite, L or U is not triangular, a diagonal entry of
            U is 0, alpha is outside (0, 1), or the activation is unknown.
    """

    family: ClassVar[str] = "lunet"
    domain: ClassVar[None] = None

    blocks: tuple[LUBlock, ...]
    alpha: float  # smallest slope of the activation; the largest is 1
    preprocessing: Logit | None = None  # None: x is the network's own input
    activation: str = ACTIVATIONS[0]

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha < 1.0:
            raise CheckpointError(f"Expected alpha in (0, 1); got {self.alpha}. The paper uses 0.1.")
        if self.activation not in ACTIVATIONS:
            raise CheckpointError(
                f"Expected an activation of {', '.join(ACTIVATIONS)}; got {self.activation!r}. "
                "The paper uses the first."
            )
        if not self.blocks:
            raise CheckpointError("Expected at least one LU block; got none. The file holds no network.")
        for number, block in enumerate(self.blocks, 1):
            _check_block(block, self.dim, f"block {number} of {len(self.blocks)}")

    @property
    def dim(self) -> int:
        """Number of dimensions D."""
        return int(self.blocks[0].bias.shape[0])

    def without_preprocessing(self) -> Self:
        """The same network on its own input, the logit left out."""
        return replace(self, preprocessing=None)

    def fold_latent(self, mean: Array, covariance: Array) -> Self:
        """The network whose latent law N(mean, covariance) has become N(0, I), exactly.

        With covariance = K K^T, W = K^-1 (lower triangular) and d = diag W, the last block turns into
        L' = W L diag(1/d), U' = diag(d) U, b' = W (b - mean): unit lower and upper triangular again.

        Shapes: mean (D,), covariance (D, D).

        Raises:
            CheckpointError: The shapes do not fit, a number is not finite, or the covariance is not positive definite.
        """
        dim = self.dim
        if mean.shape != (dim,) or covariance.shape != (dim, dim):
            raise CheckpointError(
                f"Expected latent statistics of shapes ({dim},) and ({dim}, {dim}); got {mean.shape} and "
                f"{covariance.shape}. Give the statistics file of this model."
            )
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise CheckpointError("Expected finite latent statistics; got NaN or infinity. Recompute them.")
        if not np.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-9 * np.abs(covariance).max()):
            raise CheckpointError("Expected a symmetric latent covariance; got one that is not. Recompute it.")
        try:
            root = np.linalg.cholesky((covariance + covariance.T) / 2)
        except np.linalg.LinAlgError:
            raise CheckpointError(
                "Expected a positive definite latent covariance; got one that is not. Estimate it from more samples."
            ) from None
        whiten = np.tril(np.linalg.inv(root))
        scale = np.diag(whiten)
        last = self.blocks[-1]
        lower = np.tril(whiten @ last.lower / scale, -1) + np.eye(dim)
        folded = LUBlock(lower, scale[:, None] * last.upper, whiten @ (last.bias - mean))
        return replace(self, blocks=(*self.blocks[:-1], folded))

    def facts(self) -> dict[str, Any]:
        """As `lunet_export.weights.Weights.facts`."""
        free = len(self.blocks) * (self.dim**2 + self.dim)
        return {"blocks": len(self.blocks), "alpha": self.alpha, "activation": self.activation, "free_parameters": free}

    def digest(self) -> str:
        """SHA-256 over every number and setting, the identity of the model in manifests."""
        settings = f"lunet alpha={self.alpha!r} preprocessing={self.preprocessing!r} dim={self.dim}"
        if self.activation != ACTIVATIONS[0]:  # or manifests of the paper's activation would name another model
            settings += f" activation={self.activation}"
        state = hashlib.sha256(settings.encode())
        for block in self.blocks:
            for array in (block.lower, block.upper, block.bias):
                state.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return state.hexdigest()


def only_lunet(weights: Weights, what: str) -> LUNetWeights:
    """The weights, if they are an LU-Net's.

    Raises:
        BadInputError: They are not; `what` is what cannot be done with them.
    """
    if not isinstance(weights, LUNetWeights):
        raise BadInputError(f"Expected an LU-Net for {what}; got a {weights.family} model. Give an LU-Net.")
    return weights


def _check_block(block: LUBlock, dim: int, where: str) -> None:
    lu.refuse(block, dim, where)
    if (np.diag(block.lower) != 1.0).any():
        raise CheckpointError(f"Expected a unit diagonal in L of {where}; got other values. Divide L by its diagonal.")
