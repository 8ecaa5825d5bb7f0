"""One training run per class: all networks end up in one file."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lunet_export import checkpoint
from lunet_export.classes import Classes
from lunet_export.data import Dataset
from lunet_export.errors import CheckpointError
from lunet_export.layers import Chain
from lunet_export.likelihood import bits_per_dim
from lunet_export.torch_layers import Flow
from lunet_export.training.architecture import Architecture, Training
from lunet_export.training.fit import log_probs
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.history import EpochRecord
from lunet_export.training.rows import draws_of, gaussian_of, rows_to_test
from lunet_export.training.settings import FitSettings
from lunet_export.training.train import Paths, Result, by_bayes, train, validate_output

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ClassPaths:
    """These are the files of a run with one network per class: the model, and a folder with each class's files.

    They are named after the number of the class, since its name may contain what no file name can.
    """

    model: Path

    @property
    def folder(self) -> Path:
        """Return the folder of the classes' files."""
        return self.model.with_suffix(".classes")

    def of_class(self, number: int) -> Paths:
        """Return the files of one class."""
        return Paths(self.folder / f"{number}.pt")


@dataclass(frozen=True)
class ClassesResult:
    """This is what a finished run reached on the test rows; bits/dim are those of the mixture p(x) = sum_c pi_c p_c(x).

    Figures are means over `test_draws` draws of the dequantization noise. There is one Gaussian per class, with the
    same priors.
    """

    dataset: str
    dim: int
    names: tuple[str, ...]
    priors: tuple[float, ...]  # shares of the training rows
    test: float
    test_spread: float  # standard deviation among the draws
    test_draws: int
    test_nats: float
    accuracy: float  # share of the test rows that the argmax of the posterior classifies right
    gaussian_test: float
    gaussian_accuracy: float
    classes: tuple[Result, ...]  # each class's network on the class's own rows


def train_classes(
    data: Dataset,
    settings_of: Callable[[Dataset], FitSettings],
    output: Path,
    *,
    architecture: Architecture,
    device: torch.device,
    resume: bool,
    on_class: Callable[[int, Dataset, FitSettings], None],
    on_start: Callable[[float, Training], None],
    on_step: Callable[[int, float], None],
    on_epoch: Callable[[EpochRecord], None],
    begin: Chain | None = None,
    on_growth: Callable[[int, int], None] = lambda done, blocks: None,
) -> ClassesResult:
    """Train a network on each class by itself, as arXiv 2302.10524 does, and write all of them as one file.

    Classes are trained one after another, each by `train` with its own settings, validation rows and files in the
    folder beside `output`. A run that was interrupted goes on with `resume`: finished classes are only evaluated again.

    Args:
        data: Rows with labels.
        settings_of: Function from the rows of a class to its settings.
        output: Path of the model file, written when all classes are done.
        architecture: Architecture as in `train`, like all arguments that are not listed here.
        resume: Whether to go on from the files of the classes.
        on_class: Function called with the number, rows and settings of a class before it is trained.

    Returns:
        The figures of the mixture, and those of each class's network on the class's own rows.

    Raises:
        DataError: if `data` has no labels, or a class has no rows.
        BadInputError: if `train` raises it.
        CheckpointError: if `train` raises it, or there is nothing to resume from.
        CheckFailedError: if `train` raises it.
    """
    validate_output(output)
    labels, paths = data.classes(), ClassPaths(output)
    parts = [data.of_class(number) for number in range(len(labels.names))]
    priors = Classes.counted(labels.names, labels.train).priors
    files = [paths.of_class(number) for number in range(len(parts))]
    if resume and not files[0].resume.exists():
        raise CheckpointError(f"Expected {files[0].resume} to resume from; it does not exist. Train without `resume`.")
    settings = [settings_of(part) for part in parts]
    if not resume:
        for file in files:  # files of an older run, from which this one must not be resumed
            file.resume.unlink(missing_ok=True)

    train_one = partial(
        train,
        architecture=architecture,
        device=device,
        on_start=on_start,
        on_step=on_step,
        on_epoch=on_epoch,
        begin=begin,
        on_growth=on_growth,
    )
    results = []
    for number, (part, file) in enumerate(zip(parts, files, strict=True)):
        on_class(number, part, settings[number])
        results.append(train_one(part, settings[number], file.model, resume=file.resume.exists()))
    result = _evaluate(data, parts, [file.model for file in files], priors, tuple(results), device)
    record = _as_record(result)
    checkpoint.write_classes(output, [file.model for file in files], names=labels.names, priors=priors, training=record)
    return result


def _as_record(result: ClassesResult) -> dict[str, Any]:
    """Return the figures of all classes together; those of each class are in its own network's record."""
    record = asdict(result)
    for key in ("classes", "names", "priors"):
        del record[key]
    return record


def _evaluate(
    data: Dataset,
    parts: list[Dataset],
    models: list[Path],
    priors: tuple[float, ...],
    results: tuple[Result, ...],
    device: torch.device,
) -> ClassesResult:
    """Evaluate the mixtures of networks and of Gaussians on all test rows."""
    labels = data.classes()
    flows = [Flow.of(checkpoint.read(model).weights).to(device) for model in models]
    gaussians = [gaussian_of(part) for part in parts]
    ours, theirs = [], []
    for number in range(draws_of(data)):
        x = rows_to_test(data, number)
        ours.append(by_bayes(_by_flows(flows, x), priors, labels.test))
        theirs.append(by_bayes(_by_gaussians(gaussians, x), priors, labels.test))
    nats, accuracy = (np.array(column) for column in zip(*ours, strict=True))
    gaussian_nats, gaussian_accuracy = (float(np.mean(column)) for column in zip(*theirs, strict=True))
    bits = bits_per_dim(-nats, data.dim)
    return ClassesResult(
        dataset=data.name,
        dim=data.dim,
        names=labels.names,
        priors=priors,
        test=float(bits.mean()),
        test_spread=float(bits.std()),
        test_draws=len(bits),
        test_nats=float(nats.mean()),
        accuracy=float(accuracy.mean()),
        gaussian_test=float(bits_per_dim(np.array(-gaussian_nats), data.dim)),
        gaussian_accuracy=gaussian_accuracy,
        classes=results,
    )


def _by_flows(flows: list[Flow], x: Array) -> Array:
    return np.stack([log_probs(flow, x.astype(np.float32)) for flow in flows], axis=1)


def _by_gaussians(gaussians: list[Gaussian], x: Array) -> Array:
    return np.stack([gaussian.log_prob(x) for gaussian in gaussians], axis=1)
