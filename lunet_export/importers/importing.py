"""Another library's object turned into our flow: it is read, then checked against the object itself."""

import warnings
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from lunet_export.errors import BadInputError
from lunet_export.importers import freia, nflows, normflows, sbi, zuko
from lunet_export.importers.classes import LIBRARIES, library_of, names
from lunet_export.importers.own import OwnLayers, Reference
from lunet_export.importers.own import read as read_own
from lunet_export.importers.parts import Part, Reading
from lunet_export.importers.proof import Proof, prove
from lunet_export.importers.twin import dtype_of, in_float64, plain, twin
from lunet_export.layers import Chain
from lunet_export.torch_layers import Flow

_READERS = {
    "FrEIA": freia.read,
    "glasflow": nflows.read,
    "nflows": nflows.read,
    "normflows": normflows.read,
    "sbi": sbi.read,
    "zuko": zuko.read,
}


@dataclass(frozen=True)
class Imported:
    """This is a flow that was read and checked.

    Attributes:
        weights: The flow as plain float64 arrays, from data to latent.
        library: Name of the library it comes from.
        parts: What became of each of its layers.
        proof: Gaps between it and the library's own flow.
    """

    weights: Chain
    library: str
    parts: tuple[Part, ...]
    proof: Proof


def convert(flow: object, *, context: Tensor | None = None, reference: Reference | None = None) -> Flow:
    """Return a flow whose log p(x) and x -> z are those of another library's flow or transform.

    Supported are flows, distributions and transforms of nflows, normflows, zuko and `torch.distributions`, flows of
    FrEIA and glasflow and density estimators of sbi, all in evaluation mode; the object is not changed. A diagonal
    normal base joins the layers, so that z is standard normal; a transform alone, as all of FrEIA's are, gets the base
    N(0, I). The result has been compared with the object itself in float64 (`read`), and has the object's own dtype.

    A conditional flow stays conditional: `Flow.given` takes contexts (N, C), those that the object itself takes, before
    any embedding. With `context` it is fixed to one context, and becomes a flow without any.

    A module of your own goes with `reference`: state its layers, and they are compared with the module on rows of four
    scales, in float64, as the flows of libraries are.

    Args:
        flow: The object; with `reference`, layers of `lunet_export.layers` from data to latent, a `Chain` or a `Flow`.
        context: Context that a conditional flow is fixed to, (C,) or (1, C); None leaves it an input.
        reference: Your module or a method of it, x (N, D) -> z (N, D) and log|det dz/dx| (N,), or log p(x) (N,) in
            nats, which says nothing of z.

    Raises:
        UnsupportedLayersError: if some layers are not supported; all of them are named.
        CheckpointError: if the layers make no flow: a number is NaN, a border does not fit the normal base, or a tensor
            has no numbers.
        CheckFailedError: if the result differs from what the object or the reference computes.
        BadInputError: if the object does not come from these libraries, or is no layers beside a reference.
    """
    if reference is not None:
        if context is not None:
            raise BadInputError("Expected a context or a reference; got both. Fix the context inside the reference.")
        stated = read_own(cast(OwnLayers, flow), reference)
        return Flow.of(stated, dtype=dtype_of(reference) or torch.float32)
    return Flow.of(read(flow, context=context).weights, dtype=dtype_of(flow) or torch.float32)


def read(flow: object, *, context: Tensor | None = None) -> Imported:
    """Return the same flow as plain float64 arrays, with what is known of it; see `convert` for arguments."""
    library, reading = reading_of(flow, context)
    weights = reading.weights()
    computed = not isinstance(flow, nn.Module) and dtype_of(flow) != torch.float64
    proof = prove(reading, weights, dtype="float32" if computed else "float64")
    return Imported(weights, library, reading.parts, proof)


def survey(flow: object, *, context: Tensor | None = None) -> tuple[Part, ...]:
    """Return what would become of each layer, from data to latent, and of the base.

    Raises:
        CheckpointError, BadInputError: as in `convert`, except for unsupported layers.
    """
    return reading_of(flow, context)[1].parts


def reading_of(flow: object, context: Tensor | None) -> tuple[str, Reading]:
    """Return the library, and what the flow's twin is made of; errors are those of `survey`."""
    library = library_of(flow)
    if not library and any(name in ("torch.Transform", "torch.Distribution") for name in names(flow)):
        library = "zuko"  # zuko uses these objects as well
    if library not in _READERS:
        raise BadInputError(
            f"Expected a flow or transform of {', '.join(LIBRARIES)} or torch.distributions; got a "
            f"{type(flow).__name__}. A module of your own goes by its layers: convert(layers, reference=module), as "
            "docs/importing.md shows."
        )
    with in_float64(), warnings.catch_warnings(action="ignore"):  # these libraries warn about themselves
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
