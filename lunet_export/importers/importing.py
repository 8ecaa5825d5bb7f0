"""From another library's object to our flow: read, checked against the object itself, given out."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lunet_export.errors import BadInputError
from lunet_export.importers import nflows, normflows, sbi, zuko
from lunet_export.importers.classes import LIBRARIES, library_of, names
from lunet_export.importers.parts import Part, Reading
from lunet_export.importers.proof import LIMIT, LIMIT_OF_FLOAT32, Proof, prove
from lunet_export.importers.twin import dtype_of, in_float64, plain, twin
from lunet_export.layers import Chain
from lunet_export.torch_layers import Flow

_READERS = {"nflows": nflows.read, "normflows": normflows.read, "sbi": sbi.read, "zuko": zuko.read}


@dataclass(frozen=True)
class Imported:
    """A flow that was read and checked.

    Attributes:
        weights: It, as plain float64 arrays, from data to latent.
        library: Where it comes from.
        parts: What became of each of its layers.
        proof: How far it is from the library's own.
    """

    weights: Chain
    library: str
    parts: tuple[Part, ...]
    proof: Proof


def convert(flow: object, *, context: Tensor | None = None) -> Flow:
    """Our flow, log p(x) and x -> z being those of another library's flow or transform.

    Taken are flows, distributions and transforms of nflows, normflows, zuko and `torch.distributions`, and density
    estimators of sbi, all in evaluation mode; the object is not changed. A base that is a diagonal normal joins the
    layers, so that z is standard normal; a transform alone is given the base N(0, I). What comes out was compared with
    the object itself in float64 (`read`), and is in the object's own dtype.

    Args:
        flow: The object.
        context: Of a conditional flow, the one that it is fixed to: (C,) or (1, C).

    Raises:
        UnsupportedLayersError: Some layers cannot be carried over; all are named.
        CheckpointError: They make no flow: a NaN, a border that the normal base has not, no tensor's numbers.
        CheckFailedError: What was made is not what the object computes.
        BadInputError: It is no object of these libraries.
    """
    return Flow.of(read(flow, context=context).weights, dtype=dtype_of(flow) or torch.float32)


def read(flow: object, *, context: Tensor | None = None) -> Imported:
    """The same as plain float64 arrays, with what is known of it; arguments and errors as of `convert`."""
    library, reading = reading_of(flow, context)
    weights = reading.weights()
    computed = not isinstance(flow, nn.Module) and dtype_of(flow) != torch.float64
    proof = prove(reading, weights, limit=LIMIT_OF_FLOAT32 if computed else LIMIT)
    return Imported(weights, library, reading.parts, proof)


def survey(flow: object, *, context: Tensor | None = None) -> tuple[Part, ...]:
    """What would become of each layer, from data to latent, and of the base.

    Raises:
        CheckpointError, BadInputError: As `convert`, but for layers that cannot be carried over.
    """
    return reading_of(flow, context)[1].parts


def reading_of(flow: object, context: Tensor | None) -> tuple[str, Reading]:
    """The library, and what the flow's twin is made of; errors as of `survey`."""
    library = library_of(flow)
    if not library and any(name in ("torch.Transform", "torch.Distribution") for name in names(flow)):
        library = "zuko"  # whose objects these are as well
    if library not in _READERS:
        raise BadInputError(
            f"Expected a flow or transform of {', '.join(LIBRARIES)} or torch.distributions; got a "
            f"{type(flow).__name__}."
        )
    with in_float64(), warnings.catch_warnings(action="ignore"):  # of one part of these libraries about another
        try:
            return library, _READERS[library](twin(flow), _row(context))
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            said = (str(error).splitlines() or [""])[0][:200]
            raise BadInputError(
                f"Expected a {type(flow).__name__} built as {library} builds it; reading it raised "
                f"{type(error).__name__}: {said}."
            ) from error


def _row(context: Tensor | None) -> Tensor | None:
    if context is None:
        return None
    whole = plain(torch.as_tensor(context))
    return whole[None] if whole.ndim < 2 else whole
