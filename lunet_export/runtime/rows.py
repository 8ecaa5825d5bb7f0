"""The rows that a graph may be fed: of the right shape, finite, and inside the domain of the data."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lunet_export import noise
from lunet_export.columns import Columns, Names, called
from lunet_export.errors import BadInputError, OutOfMemoryError, brief
from lunet_export.frames import Frame, is_frame
from lunet_export.layers import Context
from lunet_export.layers.domain import Domain
from lunet_export.preprocessing import Logit, dequantize, largest_below
from lunet_export.runtime.misfit import MadeFor, Misfit
from lunet_export.scalars import real

Floats = NDArray[np.floating]

#: Rows given to ONNX Runtime at once: the graphs are made for batches of 1 to 4096.
LARGEST_BATCH = 4096
_OF_8_BITS = 255  # the largest grey level of most images
_LARGEST_NORMAL = 7.0  # the numbers of `lunet_export.noise` stay below: sqrt(-2 log 2^-33) is 6.8


@contextmanager
def computing(what: str) -> Iterator[None]:
    """Turn NumPy's lack of memory into a sentence, and leave the caller's `np.seterr` alone.

    Numbers that overflow, or are too small, are looked for where they matter; no warning or error is needed for them.

    Raises:
        OutOfMemoryError: if there is no memory for the computation.
    """
    with np.errstate(all="ignore"):
        try:
            yield
        except OutOfMemoryError:
            raise
        except MemoryError:
            raise OutOfMemoryError.of(what) from None


def as_array(given: ArrayLike, name: str) -> NDArray[Any]:
    """Return what a caller gave as an array without masked entries.

    Raises:
        BadInputError: if entries are masked, or NumPy cannot make an array, as of rows of several lengths.
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
            f"Expected an array of numbers for {name}, with rows of one length; NumPy says: {said}."
        ) from None


def typed(given: ArrayLike, rows: Floats) -> NDArray[Any]:
    """Return what a caller gave in its own dtype if it has one, else the rows (N, D) that were made of it."""
    return given if isinstance(given, np.ndarray) and given.dtype.kind in "ui" else rows


def with_noise(grey: NDArray[Any], dtype: "np.dtype[Any]", *, seed: int, draw: int, first: int) -> Floats:
    """Return grey levels (N, D) plus the uniform noise of a draw, in the dtype; rows are counted from `first`."""
    numbers = noise.rows_of(len(grey), first)
    return dequantize(grey, noise.uniform(seed, numbers, grey.shape[1], draw=draw).astype(dtype))


class Rows:
    """The way from what users give to arrays (N, D) of the graph's dtype, or to an error that tells what is wrong.

    Args:
        dim: Number of dimensions D.
        dtype: Dtype of the graphs.
        preprocessing: Pre-processing of the model, whose images have the domain [0, levels); None for vectors.
        domain: Domain of a model that is not defined everywhere.
        source: Kind of the file that the model came from, by the manifest.
        names: Names of the columns, if they have any.
        context: Context that every row of a conditional flow has, without its network.
        assumed: Whether it was assumed that latent statistics belong to this model.
    """

    def __init__(
        self,
        dim: int,
        dtype: "np.dtype[Any]",
        preprocessing: Logit | None,
        domain: Domain | None = None,
        source: str = "",
        names: Names | None = None,
        *,
        context: Context | None = None,
        assumed: bool = False,
    ) -> None:
        self.context = context
        self.dim, self.dtype, self._preprocessing, self._domain = dim, dtype, preprocessing, domain
        self._columns = Columns(dim, names)
        #: Recognises acceptable rows that the model was not made for.
        self.made_for = MadeFor(dim, preprocessing, source, assumed=assumed)

    def given(self, x: ArrayLike, name: str = "x") -> NDArray[Any]:
        """Return what a caller gave as an array; from a data frame it takes the model's columns by their names.

        Raises:
            BadInputError: as `as_array` does, or if a frame lacks a column, or holds something else than numbers.
        """
        if not is_frame(x):
            return as_array(x, name)
        frame = Frame(x)
        return frame.rows(frame.places(self._columns))

    def latents(self, array: ArrayLike) -> Floats:
        """Return z, (N, D), from what a caller gave.

        Raises:
            BadInputError: if z has the wrong shape, NaN or infinity, or masked entries.
            OutOfMemoryError: if there is no memory for a copy.
        """
        with computing("z"):
            return self._cast(as_array(array, "z"), "z")

    def contexts(self, given: ArrayLike | None, n: int) -> Floats | None:
        """Return the contexts of n rows, (n, C), or the one of all rows, (1, C); None for a flow that takes none.

        Raises:
            BadInputError: if there is none for a flow that takes one, or the other way round, if it has another shape,
                NaN or infinity, or masked entries; or as `Frame` does.
            OutOfMemoryError: if there is no memory for a copy.
        """
        if self.context is None:
            if given is not None:
                raise BadInputError("Expected no context for a flow that takes none; got one. Leave it out.")
            return None
        with computing("context"):
            if given is None:
                self.context.validate_shape(None, n)  # which raises
                raise AssertionError
            columns = Columns(self.context.dim, self.context.names)
            found = Frame(given).rows(Frame(given).places(columns)) if is_frame(given) else as_array(given, "context")
            _validate_numbers(found, "context")
            self.context.validate_shape(found.shape, n)
            return _finite(np.atleast_2d(found), self.dtype, "context", columns.names)

    def beyond(self, context: Floats | None) -> Misfit | None:
        """Return the misfit of contexts that lie outside those of training; None without contexts."""
        if context is None or self.context is None:
            return None
        beyond = self.context.beyond(context)
        outside = beyond.any(axis=0)
        if not outside.any():
            return None
        if self.context.classes is not None:
            row = int(beyond.any(axis=1).argmax())
            numbers = ", ".join(f"{number:g}" for number in context[row])
            return Misfit(
                "context",
                f"Expected contexts that name one of {self.context.dim} classes, by 1 in its place and 0 elsewhere; "
                f"row {row} (from 0) has {brief(numbers, 100)}. Nothing was fitted there.",
            )
        if self.context.low is None or self.context.high is None:
            return None
        column, more = int(outside.argmax()), int(outside.sum()) - 1
        others = f", like {more} more," if more else ""
        return Misfit(
            "context",
            f"Expected contexts within those of training; {called(column, self.context.names)}{others} is not: it has "
            f"{context[:, column].min():g} .. {context[:, column].max():g}, and training had "
            f"{self.context.low[column]:g} .. {self.context.high[column]:g}. Nothing was fitted there.",
        )

    def probes(self, array: ArrayLike, n: int) -> Floats:
        """Return directions of Hutchinson's estimate, (N, D), one per row.

        Raises:
            BadInputError: if there are not n rows, or as `latents` does.
            OutOfMemoryError: as `latents` does.
        """
        with computing("probe"):
            rows = self._cast(as_array(array, "probe"), "probe")
        if len(rows) != n:
            raise BadInputError(f"Expected a probe for each of {n} rows; got {len(rows)}.")
        return rows

    def data(self, array: ArrayLike) -> Floats:
        """Return x, (N, D), from what a caller gave.

        Raises:
            BadInputError: if x has the wrong shape, NaN or infinity, masked entries, or numbers outside the domain, [0,
                levels) for images.
            OutOfMemoryError: if there is no memory for a copy.
        """
        with computing("x"):
            rows = self.given(array)
            cast, p = self._cast(rows, "x", self._columns.names), self._preprocessing
            if self._domain:
                _validate_domain(rows, self._domain, self._columns)
                return self._domain.clip(cast)  # a number near a border may round onto it
            if p is None:
                return cast
            _validate_levels(rows, p.levels)
            # A float64 number just below levels may round up to it in float32; step back.
            return np.minimum(cast, largest_below(p.levels, self.dtype))

    def dequantized(self, array: ArrayLike, *, seed: int, draw: int, first: int) -> Floats:
        """Return grey levels plus noise, (N, D).

        Raises:
            BadInputError: if the model takes vectors, the images are of another size, not whole numbers, or outside [0,
                levels), or the seed or a number is not valid.
            OutOfMemoryError: if there is no memory for a copy.
        """
        p = self._preprocessing
        if p is None:
            raise BadInputError(
                "Expected a model of grey levels to dequantize for; this one takes vectors as they are."
            )
        with computing("the images"):
            grey = self.given(array, "the images")
            grey = grey.reshape(len(grey), -1) if grey.ndim > 2 else grey
            self._validate_shape(grey, "the images")
            if grey.dtype.kind == "f" and (grey != np.floor(grey)).any():
                raise BadInputError(
                    f"Expected grey levels 0 .. {p.levels - 1}, which are whole numbers; got other numbers. Give rows "
                    "that have noise already to log_prob as they are."
                )
            _validate_levels(grey, p.levels)
            return with_noise(grey, self.dtype, seed=seed, draw=draw, first=first)

    def acceptable(self, array: ArrayLike) -> NDArray[np.bool_]:
        """Return for every row (N, D) whether `data` takes it: finite in the graph's dtype, and inside the domain.

        Raises:
            BadInputError: if x has the wrong shape, is not numbers, or has masked entries.
            OutOfMemoryError: if there is no memory for a copy.
        """
        with computing("x"):
            return np.logical_and.reduce(self._within(self.given(array)), axis=1)

    def told(self, row: NDArray[Any]) -> str:
        """Return what is wrong with a row (D,) that is not acceptable: its first bad column, and the number there.

        Raises:
            BadInputError: if the row has the wrong shape, or is not numbers.
        """
        with computing("a row"):
            column = int(np.argmin(self._within(row[None])[0]))
            return f"{self._columns.called(column)} is {row[column]}"

    def _within(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Return for every number of rows (N, D) whether it is acceptable."""
        self._validate_shape(rows, "x")
        good: NDArray[np.bool_] = np.isfinite(rows.astype(self.dtype))
        p = self._preprocessing
        if self._domain:
            return good & self._domain.contains(rows)
        return good if p is None else good & (rows >= 0) & (rows < p.levels)

    def normal(self, n: int, *, seed: int, temperature: float = 1.0, first: int = 0) -> Floats:
        """Return temperature times the normal numbers of `lunet_export.noise`, (n, D), from which samples are decoded.

        Rows are counted from `first`.

        Raises:
            BadInputError: if `n`, `first` or `seed` is not a whole number of 0 or more or is too large, or
                `temperature` is negative, not a number, or so large that z would overflow.
            OutOfMemoryError: if there is no memory for so many rows.
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
        """Return no rows, (0, D)."""
        return np.empty((0, self.dim), self.dtype)

    def _validate_shape(self, rows: NDArray[Any], name: str) -> None:
        _validate_numbers(rows, name)
        if rows.ndim != 2 or rows.shape[1] != self.dim:
            hint = f" Add a batch axis: {name}[None]." if rows.shape == (self.dim,) else ""
            raise BadInputError(f"Expected {name} of shape (N, {self.dim}); got {rows.shape}.{hint}")

    def _cast(self, rows: NDArray[Any], name: str, names: Names | None = None) -> Floats:
        self._validate_shape(rows, name)
        return _finite(rows, self.dtype, name, names)


def _validate_numbers(array: NDArray[Any], name: str) -> None:
    if array.dtype.kind == "U" and not array.ndim:
        raise BadInputError(f"Expected numbers in {name}; got the text {brief(repr(array[()]))}. Read the file first.")
    if array.dtype.kind not in "uif":
        raise BadInputError(f"Expected numbers in {name}; got an array of {array.dtype}.")


def _finite(rows: NDArray[Any], dtype: "np.dtype[Any]", name: str, names: Names | None) -> Floats:
    """Return rows (N, K) in the dtype, in which all of their numbers are finite."""
    cast = np.ascontiguousarray(rows, dtype=dtype)
    if not np.isfinite(cast).all():
        row, column = np.argwhere(~np.isfinite(cast))[0]
        raise BadInputError(
            f"Expected finite {dtype} numbers in {name}; {_place(row, column, names)} is {rows[row, column]}. "
            "Remove or repair that row."
        )
    return cast


def _place(row: int, column: int, names: Names | None) -> str:
    """Return the place of a number: rows are counted from 0, as in arrays and tables of scores, columns from one."""
    return f"row {row} (from 0), {called(column, names)}"


def _validate_domain(rows: NDArray[Any], domain: Domain, columns: Columns) -> None:
    outside = ~domain.contains(rows)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        left, right = "[]" if domain.closed else "()"
        raise BadInputError(
            f"Expected x in {left}{domain.low[column]:g}, {domain.high[column]:g}{right} in {columns.called(column)}; "
            f"row {row} (from 0) is {rows[row, column]}. The density is not defined there."
        )


def _validate_levels(rows: NDArray[Any], levels: int) -> None:
    outside = (rows < 0) | (rows >= levels)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise BadInputError(
            f"Expected x in [0, {levels}): grey level plus noise; {_place(row, column, None)} is "
            f"{rows[row, column]}. The density is not defined there.{looks_like(rows, levels)}"
        )


def looks_like(rows: NDArray[Any], levels: int) -> str:
    """Return what rows outside [0, levels) may be, as a sentence; empty if nothing tells."""
    low, high = rows.min(), rows.max()
    if low >= -1 and high <= 1:
        return f" Rows in [-1, 1] look scaled: the model takes grey levels 0 .. {levels - 1}, plus noise."
    if low >= 0 and levels <= high <= _OF_8_BITS and (rows == np.floor(rows)).all():
        return f" Whole numbers up to {high:g} look like images of 256 grey levels; the model has {levels}."
    return ""
