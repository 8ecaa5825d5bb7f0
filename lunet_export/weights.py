"""A mixture of flows: one a class."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, isfinite
from typing import Generic, TypeVar

from lunet_export.errors import CheckpointError
from lunet_export.layers import Chain
from lunet_export.preprocessing import Logit

_PRIOR_ERROR = 1e-9  # of their sum: what float64 quotients of counts lose, and far more


W = TypeVar("W", bound=Chain, covariant=True)


@dataclass(frozen=True)
class Mixture(Generic[W]):
    """One network a class and how frequent the classes are: p(x) = sum_c pi_c p_c(x).

    Raises:
        CheckpointError: Fewer than 2 classes, networks of different widths or pre-processing, names that are empty or
            repeat, or priors that are not positive or do not sum to 1.
    """

    networks: tuple[W, ...]
    names: tuple[str, ...]
    priors: tuple[float, ...]

    def __post_init__(self) -> None:
        refuse_classes(self.names, self.priors)
        if len(self.networks) != len(self.names):
            raise CheckpointError(
                f"Expected a network a class; got {len(self.networks)} for {len(self.names)} names. Train it again."
            )
        kinds = {(network.dim, network.preprocessing) for network in self.networks}
        if len(kinds) != 1:
            raise CheckpointError(
                f"Expected networks of one width and one pre-processing; got {len(kinds)} kinds. Train them on one set."
            )

    @property
    def dim(self) -> int:
        """Number of dimensions D."""
        return self.networks[0].dim

    @property
    def preprocessing(self) -> Logit | None:
        """The logit that all networks share."""
        return self.networks[0].preprocessing

    def digest(self) -> str:
        """SHA-256 over every network, name and prior, the identity of the model in manifests."""
        parts = [(name, prior) for name, prior in zip(self.names, self.priors, strict=True)]
        state = hashlib.sha256(f"lunet classes {json.dumps(parts)}".encode())
        for network in self.networks:
            state.update(network.digest().encode())
        return state.hexdigest()


def refuse_classes(names: Sequence[str], priors: Sequence[float]) -> None:
    """Raise unless these can be the classes of a mixture.

    Raises:
        CheckpointError: As `Mixture` does.
    """
    if len(names) < 2 or len(names) != len(priors):
        raise CheckpointError(
            f"Expected at least 2 classes with a prior each; got {len(names)} names and {len(priors)} priors."
        )
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
        raise CheckpointError(f"Expected a name of its own for every class; got {', '.join(map(repr, names))}.")
    if not all(isinstance(prior, float) and isfinite(prior) and prior > 0 for prior in priors):
        raise CheckpointError(f"Expected positive priors; got {', '.join(map(repr, priors))}. Count the training rows.")
    if abs(fsum(priors) - 1) > _PRIOR_ERROR:
        raise CheckpointError(f"Expected priors that sum to 1; got {fsum(priors)!r}. Divide them by their sum.")
