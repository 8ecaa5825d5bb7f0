"""What a graph may be fed: rows of the right shape, finite, and inside the domain of the data."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lunet_export import noise
from lunet_export.errors import BadInputError, OutOfMemoryError
from lunet_export.layers.domain import Domain
from lunet_export.preprocessing import Logit, dequantize, largest_below
from lunet_export.runtime.misfit import MadeFor
from lunet_export.scalars import real

Floats = NDArray[np.floating]

#: Rows given to ONNX Runtime at once; the graphs are made for batches of 1 to 4096.
LARGEST_BATCH = 4096
_OF_8_BITS = 255  # the largest grey level of most images
_LARGEST_NORMAL = 7.0  # no number of `lunet_export.noise` is larger: sqrt(-2 log 2^-33) is 6.8


@contextmanager
def computing(what: str) -> Iterator[None]:
    """NumPy at work on what a caller gave: its lack of memory becomes a sentence, and `np.seterr` of the host nothing.

    Numbers that overflow, or are too small, are looked for where that matters; no warning or error is needed for them.

    Raises:
        OutOfMemoryError: There is no memory for it.
    """
    with np.errstate(all="ignore"):
        try:
            yield
        except OutOfMemoryError:
            raise
        except MemoryError:
            raise OutOfMemoryError.of(what) from None


def as_array(given: ArrayLike, name: str) -> NDArray[Any]:
    """What a caller gave, as an array, each entry of it a value.

    Raises:
        BadInputError: Entries of it are masked, or it cannot be made an array: rows of several lengths, say.
    """
    rows = given if isinstance(given, (list, tuple)) else [given]
    masked = sum(int(np.ma.getmaskarray(row).sum()) for row in rows if isinstance(row, np.ma.MaskedArray))
    if masked:
        raise BadInputError(
            f"Expected a number in every place of {name}; {masked} are masked. Fill them, or leave their rows out."
        )
    try:
        return np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        said = (str(error).splitlines() or [""])[0].rstrip(".")
        raise BadInputError(
            f"Expected an array of numbers for {name}, its rows of one length; NumPy cannot make one: {said}."
        ) from None


def typed(given: ArrayLike, rows: Floats) -> NDArray[Any]:
    """What a caller gave in its own dtype, where it has one; else the rows (N, D) that were made of it."""
    return given if isinstance(given, np.ndarray) and given.dtype.kind in "ui" else rows


def with_noise(grey: NDArray[Any], dtype: "np.dtype[Any]", *, seed: int, draw: int, first: int) -> Floats:
    """Grey levels (N, D) plus the uniform noise of a draw, in the dtype; rows are counted from `first`."""
    numbers = noise.rows_of(len(grey), first)
    return dequantize(grey, noise.uniform(seed, numbers, grey.shape[1], draw=draw).astype(dtype))


class Rows:
    """Turns what users give into arrays (N, D) of the graph's dtype, or says what is wrong with it.

    Args:
        dim: D.
        dtype: Of the graphs.
        preprocessing: Of the model; its images have the domain [0, levels).
        domain: Of a model that is not defined everywhere.
        source: Kind of the file that the model came from, as the manifest tells it.
    """

    def __init__(
        self,
        dim: int,
        dtype: "np.dtype[Any]",
        preprocessing: Logit | None,
        domain: Domain | None = None,
        source: str = "",
    ) -> None:
        self.dim, self.dtype, self._preprocessing, self._domain = dim, dtype, preprocessing, domain
        #: Tells rows that are acceptable, and not what the model was made for.
        self.made_for = MadeFor(dim, preprocessing, source)

    def latents(self, array: ArrayLike) -> Floats:
        """z, (N, D).

        Raises:
            BadInputError: Wrong shape, NaN or infinity, or masked.
            OutOfMemoryError: There is no memory for a copy.
        """
        with computing("z"):
            return self._cast(as_array(array, "z"), "z")

    def probes(self, array: ArrayLike, n: int) -> Floats:
        """Directions of Hutchinson's estimate, (N, D), one for each of n rows.

        Raises:
            BadInputError, OutOfMemoryError: Wrong number of rows, or as `latents` does.
        """
        with computing("probe"):
            rows = self._cast(as_array(array, "probe"), "probe")
        if len(rows) != n:
            raise BadInputError(f"Expected a probe for each of {n} rows; got {len(rows)}.")
        return rows

    def data(self, array: ArrayLike) -> Floats:
        """x, (N, D).

        Raises:
            BadInputError: Wrong shape, NaN or infinity, masked, or a number outside the domain, [0, levels) for images.
            OutOfMemoryError: There is no memory for a copy.
        """
        with computing("x"):
            rows = as_array(array, "x")
            cast, p = self._cast(rows, "x"), self._preprocessing
            if self._domain:
                _refuse_beyond(rows, self._domain)
                return self._domain.clip(cast)  # a number near a border may round onto it
            if p is None:
                return cast
            _refuse_outside(rows, p.levels)
            # A float64 number just below levels may round up to it in float32; step back.
            return np.minimum(cast, largest_below(p.levels, self.dtype))

    def dequantized(self, array: ArrayLike, *, seed: int, draw: int, first: int) -> Floats:
        """Grey levels plus noise, (N, D).

        Raises:
            BadInputError: The model takes vectors; another size, no whole numbers, or outside [0, levels); or the seed
                or a number is none.
            OutOfMemoryError: There is no memory for a copy.
        """
        p = self._preprocessing
        if p is None:
            raise BadInputError(
                "Expected a model of grey levels to dequantize for; this one takes vectors as they are."
            )
        with computing("the images"):
            grey = as_array(array, "the images")
            grey = grey.reshape(len(grey), -1) if grey.ndim > 2 else grey
            self._refuse_shape(grey, "the images")
            if grey.dtype.kind == "f" and (grey != np.floor(grey)).any():
                raise BadInputError(
                    f"Expected grey levels 0 .. {p.levels - 1}, which are whole numbers; got others. Rows that have "
                    "noise already go into log_prob as they are."
                )
            _refuse_outside(grey, p.levels)
            return with_noise(grey, self.dtype, seed=seed, draw=draw, first=first)

    def acceptable(self, array: ArrayLike) -> NDArray[np.bool_]:
        """For every row (N, D), whether `data` takes it: finite in the graph's dtype, and inside the domain.

        Raises:
            BadInputError: Wrong shape, no numbers, or masked ones.
            OutOfMemoryError: There is no memory for a copy.
        """
        with computing("x"):
            rows = as_array(array, "x")
            self._refuse_shape(rows, "x")
            good = np.isfinite(rows.astype(self.dtype)).all(axis=1)
            if self._domain:
                return good & self._domain.contains(rows).all(axis=1)
            p = self._preprocessing
            return good if p is None else good & ((rows >= 0) & (rows < p.levels)).all(axis=1)

    def normal(self, n: int, *, seed: int, temperature: float = 1.0, first: int = 0) -> Floats:
        """temperature times the normal numbers of `lunet_export.noise`, (n, D): what samples are decoded from.

        Rows are counted from `first`.

        Raises:
            BadInputError: `n`, `first` or `seed` is no whole number of 0 or more, or too large; or a temperature that
                is negative, no number, or so large that z would overflow.
            OutOfMemoryError: There is no memory for so many rows.
        """
        rows = noise.rows_of(n, first)
        temperature = real(temperature, "a temperature of 0 or more", least=0, advice="1 is the model itself.")
        if temperature > np.finfo(self.dtype).max / _LARGEST_NORMAL:
            raise BadInputError(
                f"Expected a temperature that keeps z in {self.dtype}; got {temperature}. 1 is the model."
            )
        with computing(f"{len(rows)} rows of {self.dim} numbers"):
            return (temperature * noise.normal(seed, rows, self.dim)).astype(self.dtype)

    def empty(self) -> Floats:
        """No rows, (0, D)."""
        return np.empty((0, self.dim), self.dtype)

    def _refuse_shape(self, rows: NDArray[Any], name: str) -> None:
        if rows.dtype.kind not in "uif":
            raise BadInputError(f"Expected numbers in {name}; got an array of {rows.dtype}.")
        if rows.ndim != 2 or rows.shape[1] != self.dim:
            hint = f" Add a batch axis: {name}[None]." if rows.shape == (self.dim,) else ""
            raise BadInputError(f"Expected {name} of shape (N, {self.dim}); got {rows.shape}.{hint}")

    def _cast(self, rows: NDArray[Any], name: str) -> Floats:
        self._refuse_shape(rows, name)
        cast = np.ascontiguousarray(rows, dtype=self.dtype)
        if not np.isfinite(cast).all():
            row, column = np.argwhere(~np.isfinite(cast))[0]
            raise BadInputError(
                f"Expected finite {self.dtype} numbers in {name}; row {row}, column {column} is "
                f"{rows[row, column]}, both counted from 0. Remove or repair that row."
            )
        return cast


def _refuse_beyond(rows: NDArray[Any], domain: Domain) -> None:
    outside = ~domain.contains(rows)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        left, right = "[]" if domain.closed else "()"
        raise BadInputError(
            f"Expected x in {left}{domain.low[column]:g}, {domain.high[column]:g}{right} in column {column}; row {row} "
            f"is {rows[row, column]}, both counted from 0. The density is not defined there."
        )


def _refuse_outside(rows: NDArray[Any], levels: int) -> None:
    outside = (rows < 0) | (rows >= levels)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise BadInputError(
            f"Expected x in [0, {levels}): grey level plus noise; row {row}, column {column} is "
            f"{rows[row, column]}, both counted from 0. The density is not defined there.{looks_like(rows, levels)}"
        )


def looks_like(rows: NDArray[Any], levels: int) -> str:
    """What rows outside [0, levels) may be, as a sentence; empty where nothing tells."""
    low, high = rows.min(), rows.max()
    if low >= -1 and high <= 1:
        return f" Rows in [-1, 1] look scaled: the model takes grey levels 0 .. {levels - 1}, plus noise."
    if low >= 0 and levels <= high <= _OF_8_BITS and (rows == np.floor(rows)).all():
        return f" Whole numbers up to {high:g} look like images of 256 grey levels; the model has {levels}."
    return ""
