"""What `train` records after every epoch, and its file."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Self

from lunet_export.errors import DataError
from lunet_export.files import whole_file

_ROUNDING = 1e-6  # relative difference of a Gaussian's figure between machines


@dataclass(frozen=True)
class EpochRecord:
    """This is one line of the history: mean bits/dim of the training steps, and of the validation rows under the model.

    Steps of schedule-free training are taken beside the model, where the figure is higher.
    """

    epoch: int
    train: float
    valid: float
    learning_rate: float

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Self:
        """Return the record in values of a parsed file.

        Raises:
            LookupError, TypeError, ValueError, OverflowError: if a value is missing, of another type or not finite.
        """
        return cls(_whole(values["epoch"]), *(_number(values[key]) for key in ("train", "valid", "learning_rate")))


def validate_epochs(records: Sequence[EpochRecord]) -> None:
    """Raise unless the records are of epochs 1, 2, ... and there is at least one.

    Raises:
        ValueError: if there is none, or an epoch is missing or out of order.
    """
    if not records or [record.epoch for record in records] != [*range(1, len(records) + 1)]:
        raise ValueError("history")


def best_of(start: float, records: Sequence[EpochRecord]) -> EpochRecord:
    """Return the record with the lowest validation figure; epoch 0, with that figure alone, if none beats the start."""
    return min([EpochRecord(0, start, start, 0.0), *records], key=lambda record: record.valid)


@dataclass(frozen=True)
class History:
    """This history holds the epochs of a run, in bits/dim.

    Attributes:
        gaussian_test: Figure of the full-covariance Gaussian on the test rows.
        start: Figure of the validation rows before the first step.
        epochs: Records of the epochs.
        unit: What is counted: `epoch`, or `block` if a flow is trained block by block.
        dataset: Name of the data set; empty in older files, which have no such entry.
    """

    gaussian_test: float
    start: float
    epochs: tuple[EpochRecord, ...]
    unit: str = "epoch"
    dataset: str = ""

    @property
    def best(self) -> EpochRecord:
        """Return the epoch with the lowest validation figure; 0 is the start."""
        return best_of(self.start, self.epochs)

    def write(self, path: Path) -> None:
        """Write MODEL.history.json, whole or not at all."""
        content = {
            "unit": "bits/dim",
            "dataset": self.dataset,
            "gaussian_test": self.gaussian_test,
            "start": self.start,
            "counted": self.unit,
            "epochs": [asdict(record) for record in self.epochs],
        }
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read such a file.

        Raises:
            DataError: if it is missing, is no history, or has no epoch.
        """
        if not path.is_file():
            raise DataError(f"Expected the history {path} beside its model; it does not exist. `train` writes it.")
        try:
            content = json.loads(path.read_bytes())
            epochs = tuple(map(EpochRecord.of, content["epochs"]))
            if epochs:
                validate_epochs(epochs)
            line, start = _number(content["gaussian_test"]), _number(content["start"])
            unit = content.get("counted", "epoch")  # older files have no such entry
            if not isinstance(unit, str) or not unit.isalpha():
                raise ValueError("counted")
            dataset = content.get("dataset", "")
            if not isinstance(dataset, str):
                raise ValueError("dataset")
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise DataError(
                f"Expected a history that `train` wrote in {path}; {str(error)[:100]!r} is missing or wrong."
            ) from None
        if not epochs:
            raise DataError(f"Expected at least one epoch in {path}; got none. Train longer.")
        return cls(line, start, epochs, unit, dataset)


def of_one_set(runs: Iterable[History]) -> bool:
    """Return whether the runs are of the same data, by the Gaussian's figure, which older files have too."""
    lines = [run.gaussian_test for run in runs]
    return max(lines) - min(lines) <= _ROUNDING * max(1.0, abs(max(lines)))


def _whole(value: object) -> int:
    """Return an integer as it stands in the file. Raises ValueError."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(str(value)[:80])
    return value


def _number(value: object) -> float:
    """Return a finite number as it stands in the file. Raises ValueError or OverflowError."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise ValueError(str(value)[:80])
    return float(value)
