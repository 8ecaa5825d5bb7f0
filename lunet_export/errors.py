"""The error tree. Every error a user can cause is one of these and carries its exit code.

    LunetExportError              base of all of them
    ├── BadInputError             2: an argument, array or file is not what was expected
    │   ├── CheckpointError       2: a model file that cannot be read as an LU-Net
    │   ├── UnsupportedLayersError 2: a flow of another library with layers that cannot be carried over
    │   ├── DataError             2: a data set that is missing or malformed
    │   ├── ArtifactError         2: an exported folder that is missing, altered or malformed
    │   ├── OverflowingRowsError  2: rows whose answers the graphs' dtype cannot hold
    │   ├── NarrowDtypeError      2: a model whose numbers the graphs' dtype cannot hold
    │   ├── OutOfMemoryError      2: more than this machine's memory holds; a `MemoryError` too
    │   └── MissingPackageError   2: the command needs an extra that is not installed
    ├── CheckFailedError          1: a numerical check ran and its answer was wrong
    ├── ProviderError             3: the execution provider that was asked for is not there
    └── UnreadableError           4: the operating system does not let a file be read; an `OSError` too

Exit code 4 is the operating system's (`OSError`: disk, permission), 70 a defect of this package, which nobody foresaw,
130 is Ctrl-C, 143 SIGTERM, 129 SIGHUP.
`ProviderWarning` warns of a slower provider than the machine seems to have, `RowsWarning` of rows that a model was not
made for, `DataWarning` of rows that may spoil what is trained on them.
A message is one sentence or two: what was expected, what came, what to do.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST, _END = 1500, 300  # characters of a sentence; of these, what is kept of its end


def brief(value: object, most: int = 100) -> str:
    """What a sentence can quote of anything that a file may hold: one printable line, of at most so many characters."""
    try:
        line = " ".join(str(value).split())
    except ValueError:  # Python's own limit of digits
        line = "a number of very many digits"
    line = line.encode(errors="backslashreplace").decode()
    return line if len(line) <= most else f"{line[:most]}…"


class LunetExportError(Exception):
    """Base of all errors of this package; `exit_code` is what the command line returns.

    Whatever a sentence quotes, of a file say, it is one printable line, and no longer than anybody reads.
    """

    exit_code = 2

    def __init__(self, sentence: str = "") -> None:
        line = brief(sentence, len(sentence))
        super().__init__(line if len(line) <= _LONGEST else f"{line[:-_END][: _LONGEST - _END]}… {line[-_END:]}")


class BadInputError(LunetExportError):
    """An argument, an array or a file is not what was expected."""


class CheckpointError(BadInputError):
    """A model file that cannot be read as an LU-Net."""


class UnsupportedLayersError(BadInputError):
    """A flow of another library has layers that cannot be carried over.

    Attributes:
        layers: Of each of them where it is, its class, and why not.
    """

    def __init__(self, layers: Sequence[tuple[str, str, str]]) -> None:
        self.layers = tuple(layers)
        alike: dict[tuple[str, str], list[str]] = {}
        for path, kind, why in self.layers:
            alike.setdefault((kind, why), []).append(path)
        listed = "; ".join(f"{', '.join(paths)} ({kind}): {why}" for (kind, why), paths in alike.items())
        super().__init__(f"Expected layers that can be carried over; got {len(self.layers)} that cannot. {listed}.")


class DataError(BadInputError):
    """A data set that is missing or malformed."""


class ArtifactError(BadInputError):
    """An exported folder that is missing, altered or malformed."""


class OverflowingRowsError(BadInputError):
    """Rows in the domain whose answers are no numbers of the graphs' dtype: too far from the data, or from N(0, I).

    Attributes:
        rows: Whether each of the rows that were given is one of them, (N,).
        answers: All answers as the graph gave them, in the order in which the method would have returned them.
    """

    def __init__(self, rows: "NDArray[np.bool_]", answers: "tuple[NDArray[np.floating], ...]", first: int = 0) -> None:
        dtype, more = answers[0].dtype.name, int(rows.sum()) - 1
        row = f"row {first + int(rows.argmax())}" + (f", and {more} more," if more else "")
        cure = " or export with --dtype float64" if dtype == "float32" else ""
        super().__init__(
            f"Expected rows whose answers {dtype} can hold; {row} overflows: it is too far out. Leave it out{cure}."
        )
        self.rows, self.answers, self._first = rows, answers, first

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        """Workers of other processes raise it too."""
        return type(self), (self.rows, self.answers, self._first)

    def counted_from(self, first: int) -> Self:
        """The same of rows whose first has that number."""
        return type(self)(self.rows, self.answers, first)


class NarrowDtypeError(BadInputError):
    """A model has numbers that the dtype of its graphs cannot hold.

    Args:
        what: What was expected and what came, in sentences.
        cure: What to do.
    """

    def __init__(self, what: str, cure: str = "") -> None:
        super().__init__(f"{what} {cure}".rstrip())
        self._what = what

    def curing(self, cure: str) -> Self:
        """Return the same error with something else to do."""
        return type(self)(self._what, cure)

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        """Workers of other processes raise it too."""
        return type(self), (str(self),)


class OutOfMemoryError(BadInputError, MemoryError):
    """What was asked for does not fit into this machine's memory."""

    @classmethod
    def of(cls, what: str, said: str = "there is less") -> Self:
        """Of what does not fit, in words; and of who says so, and how."""
        return cls(f"Expected memory for {what}; {said}. Ask for fewer rows at a time, or free memory.")


class MissingPackageError(BadInputError):
    """The command needs an optional package that is not installed."""


class CheckFailedError(LunetExportError):
    """A numerical check ran and its answer was wrong."""

    exit_code = 1


class ProviderError(LunetExportError):
    """The execution provider that was asked for is not there."""

    exit_code = 3


class UnreadableError(LunetExportError, OSError):
    """The operating system does not let a file or a folder be read."""

    exit_code = 4

    @classmethod
    def of(cls, path: object, error: OSError) -> Self:
        """Of the file or folder, and of what the system says."""
        reason = error.strerror or str(error)
        return cls(
            f"Expected {path} to be readable; the operating system says: {reason}. Look at its owner and permissions."
        )

    @classmethod
    @contextmanager
    def instead(cls, path: object) -> Iterator[None]:
        """Of what the operating system refuses while `path` is read."""
        try:
            yield
        except OSError as error:
            if isinstance(error, LunetExportError):
                raise
            raise cls.of(path, error) from error


class ProviderWarning(UserWarning):
    """`auto` took the CPU on a machine that shows a GPU."""


class DataWarning(UserWarning):
    """Rows to train on with values, rows or columns that may spoil the density, as those that repeat."""


class RowsWarning(UserWarning):
    """Rows that a model was not made for: their log p is computed right, and says nothing.

    Grey levels without noise, or for a model without pre-processing; images scaled to [0, 1]; rows in other units.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that names the known word that is nearest to another, a space before it; empty where none is near."""
    near = get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""
