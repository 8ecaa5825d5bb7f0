"""Comparison of an imported flow with the library's own, on the same rows in float64, before anything is returned."""

import warnings
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.errors import CheckFailedError
from lunet_export.importers.parts import Reading
from lunet_export.importers.twin import in_float64
from lunet_export.layers import Chain

Array = NDArray[np.float64]

#: Largest gap |ours - theirs| / max(1, |theirs|) that passes without a look at rounding. It cannot be less: PyTorch's
#: softplus, which makes some scales, is a straight line above 20, where it is off by 2e-9.
LIMIT = 1e-9
#: The same limit for objects of a library that hold numbers computed in float32.
LIMIT_OF_FLOAT32 = 1e-5

_SCALES = (0.25, 0.5, 1.0, 2.0)  # for normal numbers z; some flows leave no digit of rows that are a little far out
_ROWS = 32
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
    """

    rows: int
    log_prob: float
    latent: float
    inverse: float | None

    def as_json(self) -> dict[str, float | None]:
        """Return the gaps for `--json` and the model file."""
        return asdict(self)


def prove(reading: Reading, weights: Chain, *, limit: float = LIMIT) -> Proof:
    """Compare the library's own flow with ours.

    Rows x are what our inverse makes of normal numbers z, on four scales; the library computes its forward direction
    from these x, and its inverse from these z. A gap may exceed the limit where the flow's conditioning makes rounding
    as large.

    Raises:
        CheckFailedError: if a gap is larger.
    """
    z, x = rows_of(weights)
    with in_float64(), warnings.catch_warnings(action="ignore"):  # these libraries warn about themselves
        try:
            theirs_z, theirs_log_prob = _density(reading, x)
        except Exception as error:  # the library's own code may raise anything
            said = (str(error).splitlines() or [""])[0][:200]
            raise CheckFailedError(
                f"Expected the library's own flow to run; it raised {type(error).__name__}: {said}."
            ) from error
        theirs_x = _inverse(reading, z)
    ours_z, _ = reference.encode(weights, x)
    gaps = Gaps(weights, limit)
    return Proof(
        rows=len(x),
        log_prob=gaps.gap("log_prob", reference.log_prob(weights, x), theirs_log_prob, x),
        latent=gaps.gap("z", ours_z, theirs_z, x),
        inverse=None if theirs_x is None else gaps.gap("x", x, theirs_x, z),
    )


def rows_of(weights: Chain) -> tuple[Array, Array]:
    """Return normal numbers z on four scales and the x that the flow makes of them, (N, D) each.

    Rows that do not come back from x are left out.

    Raises:
        CheckFailedError: if none comes back.
    """
    z = np.repeat(_SCALES, _ROWS // len(_SCALES))[:, None] * noise.normal(0, range(_ROWS), weights.dim)
    with np.errstate(all="ignore"):  # rows that overflow are left out
        x = reference.decode(weights, z)
        back, log_det = reference.encode(weights, x)
        fine = (np.abs(back - z).max(axis=1) < _LOST) & np.isfinite(log_det) & np.isfinite(x).all(axis=1)
    if not fine.any():
        raise CheckFailedError(
            f"Expected a flow that maps normal numbers to rows and back; none of {_ROWS} comes back in float64."
        )
    return z[fine], x[fine]


def _density(reading: Reading, x: Array) -> tuple[Array, Array]:
    """Return the library's z, behind its base's own scale and mean, and its log p(x)."""
    rows = torch.from_numpy(x)
    latent, log_det = (value.numpy() for value in reading.forward(rows.clone()))
    for layer in reading.base.layers if reading.base else ():
        latent = layer.forward(latent).rows
    if reading.log_prob is not None:
        return latent, reading.log_prob(rows.clone()).numpy()
    return latent, reference.standard_normal_log_prob(latent) + log_det


def _inverse(reading: Reading, z: Array) -> Array | None:
    latent = z
    for layer in reversed(reading.base.layers if reading.base else ()):
        latent = layer.inverse(latent)
    try:
        return np.asarray(reading.inverse(torch.from_numpy(latent.copy())).numpy())
    except Exception:  # the library's own code may use functions that PyTorch has removed, or check domains
        return None


class Gaps:
    """This holds the limit of gaps; rounding is computed only if a gap is above the limit.

    Args:
        weights: Flow that is compared.
        limit: Largest gap for which rounding is not computed.
        whose: Words for what the flow is compared with.
        cause: Words for the usual cause of a gap.
    """

    def __init__(
        self,
        weights: Chain,
        limit: float,
        *,
        whose: str = "the library's own",
        cause: str = "A layer of your own class, or of another version of the library, computes something other "
        "than its name says",
    ) -> None:
        self._weights, self._limit, self._whose, self._cause = weights, limit, whose, cause

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
        model = RoundingModel(self._weights, "float64")
        allowed = (model.sampling(given) if name == "x" else model.density(given))[name]
        with np.errstate(all="ignore"):
            size = np.abs(ours - theirs).reshape(len(ours), -1).max(axis=1)
        return size <= allowed
