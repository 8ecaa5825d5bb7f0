"""The error tree. Every error a user can cause is one of these and carries its exit code.

    LunetExportError              base of all of them
    ├── BadInputError             2: an argument, array or file is not what was expected
    │   ├── CheckpointError       2: a model file cannot be read as a flow
    │   ├── UnsupportedLayersError 2: a flow of another library has layers that are not supported
    │   ├── DataError             2: a data set is missing or malformed
    │   ├── ArtifactError         2: an exported folder is missing, altered or malformed
    │   ├── OverflowingRowsError  2: rows have answers that the graphs' dtype cannot hold
    │   ├── NarrowDtypeError      2: a model has numbers that the graphs' dtype cannot hold
    │   ├── OutOfMemoryError      2: more was asked for than this machine's memory holds; a `MemoryError` too
    │   └── MissingPackageError   2: the command needs an extra that is not installed
    ├── CheckFailedError          1: a numerical check ran and its answer was wrong
    ├── ProviderError             3: the execution provider that was asked for is not available
    └── UnreadableError           4: the operating system does not let a file be read; an `OSError` too

Exit code 4 is the operating system's (`OSError`: disk, permission), 70 an unforeseen defect of this package, 130 is
Ctrl-C, 143 SIGTERM, 129 SIGHUP.
`ProviderWarning` warns of a slower provider than the machine seems to have, `RowsWarning` of rows that a model was not
made for, `DataWarning` of rows that may spoil what is trained on them.
A message is one or two sentences: what was expected, what came, what to do.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST, _END = 1500, 300  # most characters of a message, and how many of its end are kept


def brief(value: object, most: int = 100) -> str:
    """Return what a message can quote of any value in a file: one printable line of at most `most` characters."""
    try:
        line = " ".join(str(value).split())
    except ValueError:  # the number exceeds Python's limit of digits
        line = "a number of very many digits"
    line = line.encode(errors="backslashreplace").decode()
    return line if len(line) <= most else f"{line[:most]}…"


def one_line(text: str) -> str:
    """The text with whatever is not printable spelled out.

    Names come from strangers' files. With a newline in it a name would be a line of its own, and a terminal obeys what
    begins with an escape.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


class LunetExportError(Exception):
    """This is the base of all errors of this package; `exit_code` is what the command line returns.

    Whatever a message quotes, for example from a file, it is one printable line of limited length.
    """

    exit_code = 2

    def __init__(self, sentence: str = "") -> None:
        line = brief(sentence, len(sentence))
        super().__init__(line if len(line) <= _LONGEST else f"{line[:-_END][: _LONGEST - _END]}… {line[-_END:]}")


class BadInputError(LunetExportError):
    """An argument, an array or a file is not what was expected."""


class CheckpointError(BadInputError):
    """A model file cannot be read as a flow."""


class UnsupportedLayersError(BadInputError):
    """A flow of another library has layers that are not supported.

    Attributes:
        layers: Place, class and reason for each of them.
    """

    def __init__(self, layers: Sequence[tuple[str, str, str]]) -> None:
        self.layers = tuple(layers)
        alike: dict[tuple[str, str], list[str]] = {}
        for path, kind, why in self.layers:
            alike.setdefault((kind, why), []).append(path)
        listed = "; ".join(f"{', '.join(paths)} ({kind}): {why}" for (kind, why), paths in alike.items())
        super().__init__(f"Expected layers that can be imported; got {len(self.layers)} that cannot. {listed}.")


class DataError(BadInputError):
    """A data set is missing or malformed."""


class ArtifactError(BadInputError):
    """An exported folder is missing, altered or malformed."""


class OverflowingRowsError(BadInputError):
    """Rows in the domain have answers beyond the graphs' dtype: they are too far from the data, or from N(0, I).

    Attributes:
        rows: Whether each of the given rows is one of them, (N,).
        answers: All answers as the graph gave them, in the order in which the method would have returned them.
    """

    def __init__(self, rows: "NDArray[np.bool_]", answers: "tuple[NDArray[np.floating], ...]", first: int = 0) -> None:
        dtype, more = answers[0].dtype.name, int(rows.sum()) - 1
        row = f"row {first + int(rows.argmax())}" + (f", and {more} more," if more else "")
        cure = " or export with `dtype='float64'`" if dtype == "float32" else ""
        super().__init__(
            f"Expected rows whose answers {dtype} can hold; {row} overflows: it is too far out. Leave it out{cure}."
        )
        self.rows, self.answers, self._first = rows, answers, first

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        """Pickle the error, so that other processes can raise it too."""
        return type(self), (self.rows, self.answers, self._first)

    def counted_from(self, first: int) -> Self:
        """Return the same error for rows whose first one has that number."""
        return type(self)(self.rows, self.answers, first)


class NarrowDtypeError(BadInputError):
    """A model has numbers that the dtype of its graphs cannot hold."""

    _what = ""

    @classmethod
    def of(cls, what: str, cure: str = "") -> Self:
        """Return the error.

        Args:
            what: What was expected and what came, in sentences.
            cure: What to do.
        """
        error = cls(f"{what} {cure}".rstrip())
        error._what = what
        return error

    def curing(self, cure: str) -> Self:
        """Return the same error with something else to do."""
        return type(self).of(self._what, cure)


class OutOfMemoryError(BadInputError, MemoryError):
    """What was asked for does not fit into this machine's memory."""

    @classmethod
    def of(cls, what: str, said: str = "there is less") -> Self:
        """Return the error for what does not fit, in words, and for what was said about it."""
        return cls(f"Expected memory for {what}; {said}. Ask for fewer rows at a time, or free memory.")


class MissingPackageError(BadInputError):
    """The command needs an optional package that is not installed."""


class CheckFailedError(LunetExportError):
    """A numerical check ran and its answer was wrong."""

    exit_code = 1


class ProviderError(LunetExportError):
    """The execution provider that was asked for is not available."""

    exit_code = 3


class UnreadableError(LunetExportError, OSError):
    """The operating system does not let a file or a folder be read."""

    exit_code = 4

    @classmethod
    def of(cls, path: object, error: OSError) -> Self:
        """Return the error for a file or folder and what the system says about it."""
        reason = error.strerror or str(error)
        return cls(
            f"Expected {path} to be readable; the operating system says: {reason}. Look at its owner and permissions."
        )

    @classmethod
    @contextmanager
    def instead(cls, path: object) -> Iterator[None]:
        """Raise this error in place of what the operating system raises while `path` is read."""
        try:
            yield
        except OSError as error:
            if isinstance(error, LunetExportError):
                raise
            raise cls.of(path, error) from error


class ProviderWarning(UserWarning):
    """`auto` took the CPU on a machine that shows a GPU."""


class DataWarning(UserWarning):
    """Rows to train on have values, rows or columns that may spoil the density, such as those that repeat."""


class RowsWarning(UserWarning):
    """A model was not made for these rows: their log p is computed correctly, but means nothing.

    Such rows are grey levels without noise, or for a model without pre-processing; images scaled to [0, 1]; or rows in
    other units.
    """


def near(word: str, known: Iterable[str], most: int = 2) -> list[str]:
    """The known words that are nearest to another, the nearest first, whatever case their letters have."""
    spelled: dict[str, str] = {}
    for one in known:
        spelled.setdefault(one.casefold(), one)
    return [spelled[found] for found in get_close_matches(word.casefold(), list(spelled), n=most)]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a sentence that suggests the nearest known word, with a space before it; empty if none is near."""
    found = near(word, known, most=1)
    return f" Did you mean {found[0]}?" if found else ""
