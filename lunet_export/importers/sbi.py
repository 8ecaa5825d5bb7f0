"""sbi's estimators: a flow of nflows or zuko, and a network that embeds the context."""

from torch import Tensor

from lunet_export.errors import BadInputError
from lunet_export.importers import nflows, zuko
from lunet_export.importers.classes import first_known, library_of
from lunet_export.importers.parts import Foreign, Reading

_ESTIMATORS = ("sbi.NFlowsFlow", "sbi.ZukoFlow", "sbi.ZukoUnconditionalFlow")


def read(estimator: Foreign, context: Tensor | None) -> Reading:
    """Read a density estimator, such as `posterior.posterior_estimator`, whose context is the posterior's observation.

    Args:
        estimator: Twin of the object in float64.
        context: The observation, (1, ...).

    Raises:
        BadInputError: if it is another object of sbi.
    """
    kind = first_known(estimator, _ESTIMATORS)
    if kind is None:
        raise BadInputError(
            f"Expected a density estimator of sbi; got a {type(estimator).__name__}. For a posterior, give "
            "posterior.posterior_estimator, whose density is not cut off at the borders of the prior."
        )
    if library_of(estimator.net) == "nflows":
        return nflows.read(estimator.net, context)
    if context is not None and kind == "sbi.ZukoFlow":
        context = nflows.embedding(estimator._embedding_net, context)
    return zuko.read(estimator.net, context)
