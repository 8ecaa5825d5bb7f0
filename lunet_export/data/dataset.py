"""`Dataset`: training, validation and test rows, how to read them, and their classes and contexts if there are any."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lunet_export.classes import Classes
from lunet_export.columns import Columns, Names, called, usable
from lunet_export.errors import CheckpointError, DataError
from lunet_export.preprocessing import Logit, dequantize

Rows = NDArray[np.generic]
Kind = TypeVar("Kind", bound=np.generic)
Floats = NDArray[np.floating]

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


@dataclass(frozen=True)
class Labels:
    """The class of each row, as a number from 0, and the names of the classes.

    Shapes: train, valid and test are (N,), with N the number of rows of each split.

    Raises:
        DataError: if a number has no name.
    """

    names: tuple[str, ...]
    train: NDArray[np.integer]
    valid: NDArray[np.integer]
    test: NDArray[np.integer]

    def __post_init__(self) -> None:
        for split_labels in (self.train, self.valid, self.test):
            outside = split_labels[(split_labels < 0) | (split_labels >= len(self.names))]
            if len(outside):
                raise DataError(f"Expected labels of 0 .. {len(self.names) - 1}; got {outside[0]}. Fetch them again.")


@dataclass(frozen=True)
class Contexts:
    """The context of each row, which a conditional flow depends on, and the names of its columns if they are known.

    Shapes: train, valid and test are (N, C) float64, with N the number of rows of each split.
    """

    names: tuple[str, ...] | None
    train: NDArray[np.float64]
    valid: NDArray[np.float64]
    test: NDArray[np.float64]
    classes: Classes | None = field(default=None, kw_only=True)  # where contexts name the classes of their rows

    @classmethod
    def of_labels(cls, labels: Labels) -> Self:
        """Return contexts that name the class of each row: 1 in the place of the class, else 0.

        Raises:
            DataError: if there is one class only, or a class has no training row.
        """
        try:
            classes = Classes.counted(labels.names, labels.train)
        except CheckpointError as error:
            raise DataError(f"Expected two classes or more, each with training rows. {error}") from None
        train, valid, test = (classes.contexts(numbers) for numbers in (labels.train, labels.valid, labels.test))
        return cls(None, train, valid, test, classes=classes)

    @property
    def dim(self) -> int:
        """Number of dimensions C."""
        return int(self.train.shape[1])

    def column(self, number: int) -> str:
        """Return how messages call a column: its number counted from one, and its name if it has one."""
        return called(number, self.names)


@dataclass(frozen=True)
class Part:
    """Some rows of a data set, (N, D), with the context of each, (N, C), if they have any."""

    rows: Rows
    contexts: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: slice | NDArray[np.integer]) -> "Part":
        return Part(self.rows[chosen], None if self.contexts is None else self.contexts[chosen])


@dataclass(frozen=True)
class Dataset:
    """Rows of integers (grey levels, if `preprocessing` is set) or of floats (vectors), in fixed splits.

    The flow is trained on `train`, `valid` chooses the epoch, and `test` is used once, at the end. Shapes: (N, D).
    """

    name: str
    train: Rows
    valid: Rows
    test: Rows
    preprocessing: Logit | None = None
    image_shape: tuple[int, ...] | None = None  # (height, width) or (height, width, channels)
    public: bool = True  # rows of public sets may travel inside a checkpoint as examples
    labels: Labels | None = None
    contexts: Contexts | None = None
    why_unlabelled: str = (
        "Expected class labels; this data set has none. Name their column by `label`, or give digits, mnist or "
        "fashion-mnist."
    )
    columns: tuple[str, ...] | None = None  # names of the columns, if they are known
    numbering: tuple[int, ...] = ()  # columns of the file, from 0, that only number its rows
    file: Path | None = None  # the file of a user's rows

    def __post_init__(self) -> None:
        for name in SPLITS:
            rows, contexts = len(getattr(self, name)), self.context(name)
            if contexts is None:
                continue
            if contexts.ndim != 2 or len(contexts) != rows or not np.isfinite(contexts).all():
                raise DataError(
                    f"Expected finite contexts ({rows}, C) for the {name} rows of {self.name}; got shape "
                    f"{contexts.shape}."
                )

    @property
    def dim(self) -> int:
        """Number of dimensions D."""
        return int(self.train.shape[1])

    def column(self, number: int) -> str:
        """Return how messages call a column: its number counted from one, and its name if it has one."""
        return called(number, self.columns)

    @property
    def names(self) -> Names | None:
        """Names of the columns that a model of these rows keeps; None if the columns have none."""
        return usable(self.columns)

    def of_columns(self, model: Columns) -> Self:
        """Return these rows; if their columns have no names, they get those of a model's columns."""
        unnamed = self.columns is None and self.preprocessing is None and self.dim == model.dim
        return replace(self, columns=model.names) if unnamed else self

    def context(self, split_name: Split) -> NDArray[np.float64] | None:
        """Return the contexts of the rows of a split, (N, C); None if they have none."""
        if self.contexts is None:
            return None
        return {"train": self.contexts.train, "valid": self.contexts.valid, "test": self.contexts.test}[split_name]

    def part(self, split_name: Split) -> Part:
        """Return the rows of a split with their contexts."""
        return Part(getattr(self, split_name), self.context(split_name))

    def digest(self) -> str:
        """Return the SHA-256 of what training sees, by which a resumed run recognises its data."""
        state = hashlib.sha256(f"{self.preprocessing} {self.image_shape} {self.train.dtype}".encode())
        for rows in (self.train, self.valid, self.test):
            state.update(np.ascontiguousarray(rows).tobytes())
        for contexts in map(self.context, SPLITS):
            if contexts is None:
                continue
            state.update(f"context {contexts.shape}".encode() + np.ascontiguousarray(contexts).tobytes())
        return state.hexdigest()

    def classes(self) -> Labels:
        """Return the labels.

        Raises:
            DataError: if there are none, or their files were missing or damaged.
        """
        if self.labels is None:
            raise DataError(self.why_unlabelled)
        return self.labels

    def given_labels(self) -> Self:
        """Return the same rows with the label of each as its context.

        Raises:
            DataError: if there are no labels, or contexts already; or as `Contexts.of_labels` does.
        """
        labels = self.classes()
        if self.contexts:
            raise DataError(
                f"Expected no other contexts with the labels as contexts; {self.name} has some. Leave one out."
            )
        return replace(self, contexts=Contexts.of_labels(labels))

    def of_class(self, number: int) -> Self:
        """Return the data set of one class: its rows of each split, in their order, with the same pre-processing.

        Raises:
            DataError: if there are no labels, or a split has no row of this class.
        """
        labels = self.classes()
        if self.contexts:
            raise DataError(f"Expected no contexts with one network per class; {self.name} has some. Leave one out.")
        splits = {}
        for split_name in SPLITS:
            rows = getattr(self, split_name)[getattr(labels, split_name) == number]
            if not len(rows):
                raise DataError(
                    f"Expected rows of class {labels.names[number]} in every split of {self.name}; {split_name} has "
                    "none. Give more data."
                )
            splits[split_name] = rows
        return replace(self, name=f"{self.name}, class {labels.names[number]}", labels=None, **splits)

    def continuous(self, rows: Rows, noise: Floats) -> Floats:
        """Return the x that the density takes in the dtype of `noise`: grey levels plus noise, or vectors unchanged."""
        return dequantize(rows, noise) if self.preprocessing else rows.astype(noise.dtype)


def split(rows: NDArray[Kind], *, valid: int, test: int) -> tuple[NDArray[Kind], NDArray[Kind], NDArray[Kind]]:
    """Return training, validation and test rows by one fixed shuffle that depends on the number of rows only.

    Raises:
        DataError: if there are fewer than 10 rows, or too few for the split.
    """
    if len(rows) < 10 or len(rows) <= valid + test:
        raise DataError(f"Expected at least 10 rows to train and test on; got {len(rows)}. Give more data.")
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = rows[order]
    return shuffled[valid + test :], shuffled[:valid], shuffled[valid : valid + test]
