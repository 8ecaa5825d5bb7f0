"""A distribution is a flow, or a mixture of flows: p(x) = sum_c pi_c p_c(x) with a flow p_c and a prior pi_c per class.

The flows of a mixture may be of different kinds. They are densities of the same rows: of one width, one pre-processing
and one domain.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Generic, TypeVar

from lunet_export.classes import Classes, validate_classes
from lunet_export.errors import CheckpointError
from lunet_export.layers import Chain, validate_unconditional
from lunet_export.layers.domain import Domain
from lunet_export.preprocessing import Logit

W = TypeVar("W", bound=Chain, covariant=True)

_ALL_LUNETS = "lunet"  # the kind of flow whose mixtures the format knew first


@dataclass(frozen=True)
class Mixture(Generic[W]):
    """A mixture has one flow per class and says how frequent the classes are: p(x) = sum_c pi_c p_c(x).

    Raises:
        CheckpointError: if there are fewer than 2 classes, flows of different widths, pre-processing or domains, names
            that are empty or repeat, or priors that are not positive or do not sum to 1.
        BadInputError: if a flow takes a context.
    """

    components: tuple[W, ...]
    names: tuple[str, ...]
    priors: tuple[float, ...]

    def __post_init__(self) -> None:
        validate_classes(self.names, self.priors)
        if len(self.components) != len(self.names):
            raise CheckpointError(
                f"Expected one network per class; got {len(self.components)} for {len(self.names)} names. Train again."
            )
        for component in self.components:
            validate_unconditional(component.context, "one network per class")
        kinds = {(component.dim, component.preprocessing) for component in self.components}
        if len(kinds) != 1:
            raise CheckpointError(
                f"Expected networks of one width and one pre-processing; got {len(kinds)} kinds. Train them on one set."
            )
        # Outside its domain a density is 0, and not a number in a graph: samples of one class would have no density
        # under another.
        domains = {_borders(component.domain) for component in self.components}
        if len(domains) != 1:
            raise CheckpointError(
                f"Expected networks whose densities are defined on one domain; got {len(domains)} domains. Bring them "
                "to one first, by a layer in front."
            )

    @property
    def dim(self) -> int:
        """Return the number of dimensions D."""
        return self.components[0].dim

    @property
    def preprocessing(self) -> Logit | None:
        """Return the logit that all flows share."""
        return self.components[0].preprocessing

    @property
    def domain(self) -> Domain | None:
        """Return the domain that all flows share; None where it is all of R^D, or given by the pre-processing."""
        return self.components[0].domain

    @property
    def kind(self) -> str:
        """Return `lunet-classes` where every flow is an LU-Net, else `mixture`."""
        kinds = {component.kind.name for component in self.components}
        return LUNET_CLASSES if kinds == {_ALL_LUNETS} else MIXTURE

    def digest(self) -> str:
        """Return the SHA-256 over every flow, name and prior, the identity of the model in manifests."""
        parts = [(name, prior) for name, prior in zip(self.names, self.priors, strict=True)]
        state = hashlib.sha256(f"lunet classes {json.dumps(parts)}".encode())
        for component in self.components:
            state.update(component.digest().encode())
        return state.hexdigest()


#: What `model.kind` of a manifest says of mixtures.
LUNET_CLASSES, MIXTURE = "lunet-classes", "mixture"
Distribution = Chain | Mixture[Chain]


def components_of(model: Distribution) -> tuple[Chain, ...]:
    """Return the flows of a mixture, or the flow itself where the model is one."""
    return model.components if isinstance(model, Mixture) else (model,)


def classes_of(model: Distribution) -> tuple[str, ...]:
    """Return the names of a mixture's classes; a flow has none."""
    return model.names if isinstance(model, Mixture) else ()


def labels_of(model: Distribution) -> Classes | None:
    """Return the classes of a mixture, or those that the context of a flow names; None for any other flow."""
    if isinstance(model, Mixture):
        return Classes(model.names, model.priors)
    return None if model.context is None else model.context.classes


def kind_of(model: Distribution) -> str:
    """Return the `model.kind` of a manifest: the kind of a flow or of a mixture."""
    return model.kind if isinstance(model, Mixture) else model.kind.name


def _borders(domain: Domain | None) -> str:
    """Return a text that is the same for the same domain: == does not compare arrays as a whole."""
    return json.dumps(None if domain is None else domain.to_json())
