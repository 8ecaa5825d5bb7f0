"""Comparison of an imported flow with the library's own, on the same rows in float64, before anything is returned."""

import warnings
from contextlib import nullcontext
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.errors import CheckFailedError
from lunet_export.importers.parts import Reading
from lunet_export.importers.twin import exact_softplus, in_float64
from lunet_export.layers import Chain, Context, Inverse, SplineAutoregressive
from lunet_export.layers.networks import Scaling

Array = NDArray[np.float64]

#: Largest gap |ours - theirs| / max(1, |theirs|) that passes without a look at rounding. It cannot be less: PyTorch's
#: softplus, which makes some scales, is a straight line above 20, where it is off by 2e-9.
LIMIT = 1e-9
#: The same limit for objects of a library that hold numbers computed in float32.
LIMIT_OF_FLOAT32 = 1e-5

_SCALES = (0.25, 0.5, 1.0, 2.0)  # for normal numbers z; some flows leave no digit of rows that are a little far out
_ROWS = 32
_CONTEXTS = 128  # random contexts of a conditional flow, each with a row on every scale
_LOST = 1e-6  # rows with a larger error of z -> x -> z are left out


@dataclass(frozen=True)
class Proof:
    """These are the largest gaps that were seen, each relative to max(1, |theirs|).

    Attributes:
        rows: Number of rows that were compared.
        log_prob: Gap of log p(x), or of the log-determinant for a transform alone.
        latent: Gap of x -> z.
        inverse: Gap of z -> x; None if the library's own inverse does not run, as in some layers of nflows with recent
            versions of PyTorch.
        contexts: Number of contexts at which rows were compared; None for a flow without a context.
    """

    rows: int
    log_prob: float
    latent: float
    inverse: float | None
    contexts: int | None = None

    def as_json(self) -> dict[str, float | None]:
        """Return the gaps for `--json` and the model file; `contexts` for a flow with a context alone."""
        return {name: value for name, value in asdict(self).items() if name != "contexts" or value is not None}


def prove(reading: Reading, weights: Chain, *, dtype: str = "float64") -> Proof:
    """Compare the library's own flow with ours.

    Rows x are what our inverse makes of normal numbers z, on four scales; the library computes its forward direction
    from these x, and its inverse from these z. A conditional flow is compared at many contexts. A gap may exceed the
    limit where the flow's conditioning makes rounding as large.

    Args:
        reading: The library's flow.
        weights: Ours.
        dtype: Dtype in which the numbers that the library's object holds were computed.

    Raises:
        CheckFailedError: if a gap is larger.
    """
    rows = rows_of(weights)
    # Of many contexts some make scales above 20, and gaps beyond the limit of what softplus loses there.
    exact = nullcontext() if rows.context is None else exact_softplus()
    with in_float64(), exact, warnings.catch_warnings(action="ignore"):  # these libraries warn about themselves
        try:
            theirs_z, theirs_log_prob = _density(reading, rows)
        except Exception as error:  # the library's own code may raise anything
            said = (str(error).splitlines() or [""])[0][:200]
            raise CheckFailedError(
                f"Expected the library's own flow to run; it raised {type(error).__name__}: {said}."
            ) from error
        theirs_x = _inverse(reading, rows)
    ours_z, _ = reference.encode(weights, rows.x, rows.context)
    limit = LIMIT if dtype == "float64" else LIMIT_OF_FLOAT32
    gaps = Gaps(weights, limit, context=rows.context, dtype=dtype)
    return Proof(
        rows=len(rows.x),
        log_prob=gaps.gap("log_prob", reference.log_prob(weights, rows.x, rows.context), theirs_log_prob, rows.x),
        latent=gaps.gap("z", ours_z, theirs_z, rows.x),
        inverse=None if theirs_x is None else gaps.gap("x", rows.x, theirs_x, rows.z),
        contexts=None if rows.context is None else len(np.unique(rows.context, axis=0)),
    )


@dataclass(frozen=True)
class Rows:
    """These are latent rows z (N, D), the rows x (N, D) that a flow makes of them, and their contexts (N, C)."""

    z: Array
    x: Array
    context: Array | None

    @property
    def given(self) -> torch.Tensor | None:
        """Return the contexts for the library."""
        return None if self.context is None else torch.from_numpy(self.context.copy())


def rows_of(weights: Chain) -> Rows:
    """Return normal numbers z on four scales and the x that the flow makes of them, at random contexts if it takes any.

    Rows that do not come back from x are left out.

    Raises:
        CheckFailedError: if none comes back.
    """
    each = len(_SCALES)
    count = _ROWS if weights.context is None else _CONTEXTS * each
    scales = np.repeat(_SCALES, _ROWS // each) if weights.context is None else np.tile(_SCALES, _CONTEXTS)
    z = scales[:, None] * noise.normal(0, range(count), weights.dim)
    context = None if weights.context is None else np.repeat(_contexts(weights.context), each, axis=0)
    with np.errstate(all="ignore"):  # rows that overflow are left out
        x = reference.decode(weights, z, context)
        back, log_det = reference.encode(weights, x, context)
        fine = (np.abs(back - z).max(axis=1) < _LOST) & np.isfinite(log_det) & np.isfinite(x).all(axis=1)
        fine &= _defined(weights, x, context)
    if not fine.any():
        raise CheckFailedError(
            f"Expected a flow that maps normal numbers to rows and back; none of {count} comes back in float64."
        )
    return Rows(z[fine], x[fine], None if context is None else context[fine])


def _defined(weights: Chain, x: Array, context: Array | None) -> NDArray[np.bool_]:
    """Return which rows stay inside the boxes of splines of angles: normflows maps all numbers outside of one to 0."""
    found = np.ones(len(x), dtype=np.bool_)
    for layer, entering, step in weights.passages(x, context=context):
        inner, h = (layer.layer, step.rows) if isinstance(layer, Inverse) else (layer, entering)
        if isinstance(inner, SplineAutoregressive) and inner.only_inside is not None:
            low, high = inner.spline.interval
            found &= ((h >= low) & (h <= high))[:, inner.changed].all(axis=1)
    return found


def _contexts(context: Context) -> Array:
    """Return random contexts that are normal numbers, behind the standardisation if the context begins with one."""
    found = noise.normal(1, range(_CONTEXTS), context.dim)
    first = context.network[0] if context.network else None
    if not isinstance(first, Scaling):
        return found
    return np.divide(found - first.shift, first.scale, out=np.zeros_like(found), where=first.scale != 0)


def _density(reading: Reading, rows: Rows) -> tuple[Array, Array]:
    """Return the library's z, behind its base's own scale and mean, and its log p(x)."""
    x = torch.from_numpy(rows.x)
    latent, log_det = (value.numpy() for value in reading.forward(x.clone(), rows.given))
    for layer in reading.base_given(rows.context):
        latent = layer.forward(latent).rows
    if reading.log_prob is not None:
        return latent, reading.log_prob(x.clone(), rows.given).numpy()
    return latent, reference.standard_normal_log_prob(latent) + log_det


def _inverse(reading: Reading, rows: Rows) -> Array | None:
    latent = rows.z
    for layer in reversed(reading.base_given(rows.context)):
        latent = layer.inverse(latent)
    try:
        return np.asarray(reading.inverse(torch.from_numpy(latent.copy()), rows.given).numpy())
    except Exception:  # the library's own code may use functions that PyTorch has removed, or check domains
        return None


class Gaps:
    """This holds the limit of gaps; rounding is computed only if a gap is above the limit.

    Args:
        weights: Flow that is compared.
        limit: Largest gap for which rounding is not computed.
        context: Contexts of the rows, (N, C); None for a flow without one.
        dtype: Dtype whose rounding is allowed.
        whose: Words for what the flow is compared with.
        cause: Words for the usual cause of a gap.
    """

    def __init__(
        self,
        weights: Chain,
        limit: float,
        *,
        context: Array | None = None,
        dtype: str = "float64",
        whose: str = "the library's own",
        cause: str = "A layer of your own class, or of another version of the library, computes something other "
        "than its name says",
    ) -> None:
        self._weights, self._limit, self._whose, self._cause = weights, limit, whose, cause
        self._context, self._dtype = context, dtype

    def gap(self, name: str, ours: Array, theirs: Array, given: Array) -> float:
        """Return the largest relative gap.

        Raises:
            CheckFailedError: if it is above the limit and above rounding.
        """
        if theirs.shape != ours.shape:
            raise CheckFailedError(
                f"Expected {self._whose} {name} of shape {ours.shape}; got {theirs.shape}. It is not a flow of rows."
            )
        with np.errstate(all="ignore"):  # a gap that is no number is above every limit
            gaps = np.abs(ours - theirs) / np.maximum(1.0, np.abs(theirs))
        largest = float(gaps.max())
        worst = gaps.reshape(len(gaps), -1).max(axis=1)
        above = ~(worst <= self._limit)
        if above.any() and not self._rounding(name, ours, theirs, given)[above].all():
            row = int(np.argmax(worst))
            raise CheckFailedError(
                f"Expected {self._whose} {name}; ours differs by {largest:.3g} relative in row {row} of {len(gaps)}, "
                f"above {self._limit:.0e} and above rounding. {self._cause}; nothing is imported."
            )
        return largest

    def _rounding(self, name: str, ours: Array, theirs: Array, given: Array) -> NDArray[np.bool_]:
        """Return which rows differ by no more than rounding."""
        model = RoundingModel(self._weights, self._dtype)
        tolerances = model.sampling if name == "x" else model.density
        allowed = tolerances(given, self._context)[name]
        with np.errstate(all="ignore"):
            size = np.abs(ours - theirs).reshape(len(ours), -1).max(axis=1)
        return size <= allowed
