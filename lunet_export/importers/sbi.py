"""sbi's estimators: a flow of nflows or zuko, and a network that embeds the context."""

from dataclasses import replace
from math import prod

from torch import Tensor

from lunet_export.errors import BadInputError
from lunet_export.importers import nflows, zuko
from lunet_export.importers.classes import first_known, library_of
from lunet_export.importers.parts import Foreign, Given, Part, Reading

_ESTIMATORS = ("sbi.NFlowsFlow", "sbi.ZukoFlow", "sbi.ZukoUnconditionalFlow")


def read(estimator: Foreign, context: Tensor | None) -> Reading:
    """Read a density estimator, such as `posterior.posterior_estimator`, whose context is the posterior's observation.

    Args:
        estimator: Twin of the object in float64.
        context: The observation, (1, ...); None leaves the context an input.

    Raises:
        BadInputError: if it is another object of sbi.
    """
    kind = first_known(estimator, _ESTIMATORS)
    if kind is None:
        raise BadInputError(
            f"Expected a density estimator of sbi; got a {type(estimator).__name__}. For a posterior, give "
            "posterior.posterior_estimator, whose density is not cut off at the borders of the prior."
        )
    shape = () if kind == "sbi.ZukoUnconditionalFlow" else tuple(estimator.condition_shape)
    found = _of_net(estimator, kind, context, prod(shape) if shape else None)
    if len(shape) > 1 and any((found.given.context, found.given.embedding)):
        why = f"a context has the shape {shape}, not a row's; give `context` to fix the flow to one"
        return replace(found, given=Given(None, Part("condition_shape", type(estimator).__name__, refusal=why)))
    return found


def _of_net(estimator: Foreign, kind: str, context: Tensor | None, width: int | None) -> Reading:
    if library_of(estimator.net) == "nflows":
        return nflows.read(estimator.net, context, width=width)
    if kind != "sbi.ZukoFlow":
        return zuko.read(estimator.net, context)
    if context is not None:
        return zuko.read(estimator.net, nflows.embedding(estimator._embedding_net, context))
    return zuko.read(estimator.net, None, embedding=("_embedding_net", estimator._embedding_net), width=width)
