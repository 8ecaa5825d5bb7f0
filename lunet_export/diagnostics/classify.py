"""`classify`: Bayes classification of a data set's test rows by the densities of classes, and how often it is right."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks import reference
from lunet_export.columns import Names
from lunet_export.data import Dataset
from lunet_export.diagnostics import rows as data_rows
from lunet_export.diagnostics.detection import Detection, detect
from lunet_export.distribution import Distribution, labels_of
from lunet_export.errors import BadInputError
from lunet_export.likelihood import bits_per_dim, paper_convention
from lunet_export.preprocessing import Logit, log_det_of
from lunet_export.runtime import ExportedClasses

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


class ClassSource(Protocol):
    """A source computes the densities of the classes: a model file under the reference, or an exported folder."""

    names: tuple[str, ...]
    priors: tuple[float, ...]
    dim: int
    preprocessing: Logit | None
    columns: Names | None  # names of the columns, where they have any

    def density(self, x: Array) -> tuple[Array, Array, Array]:
        """Return class_log_prob (N, C), log_prob (N,) in nats and posterior (N, C) of x (N, D), all float64."""


class MixtureSource(ClassSource):
    """This source is a model file, under the float64 reference: a mixture, or a flow whose context names classes.

    Raises:
        BadInputError: if the model has no classes.
    """

    def __init__(self, model: Distribution, *, columns: Names | None = None) -> None:
        classes = labels_of(model)
        if classes is None:
            raise BadInputError(
                "Expected a model with one network per class; got one network, whose contexts name no classes. "
                "Make one with: lunet-export train digits --per-class"
            )
        self._model, self.columns = model, columns
        self.names, self.priors = classes.names, classes.priors
        self.dim, self.preprocessing = model.dim, model.preprocessing

    def density(self, x: Array) -> tuple[Array, Array, Array]:
        found = reference.class_log_prob(self._model, x)
        return found, reference.mixture_log_prob(found, self.priors), reference.posterior(found, self.priors)


class ClassFolderSource(ClassSource):
    """This source is an exported folder, by its density graph."""

    def __init__(self, flow: ExportedClasses) -> None:
        self._flow = flow
        self.names, self.priors = flow.names, flow.priors
        self.dim, self.preprocessing, self.columns = flow.dim, flow.manifest.preprocessing, flow.columns

    def density(self, x: Array) -> tuple[Array, Array, Array]:
        class_log_prob, log_prob, posterior = (values.astype(np.float64) for values in self._flow.density(x))
        return class_log_prob, log_prob, posterior


@dataclass(frozen=True)
class ClassFigures:
    """These are the figures of one class. A share of nothing is NaN."""

    name: str
    rows: int
    recall: float  # share of the class's rows that are found to be of it
    precision: float  # share of the rows found to be of it that are
    bits_per_dim: float  # the class's rows under its own density
    paper_convention: float  # the same as the released code would print it


@dataclass(frozen=True)
class Classification:
    """These are test rows classified by the argmax of the posterior, with one draw of the dequantization noise."""

    dataset: str
    rows: int
    seed: int
    accuracy: float
    bits_per_dim: float  # all rows under the mixture
    paper_convention: float  # the same as the released code would print it: `lunet_export.likelihood`
    log_loss: float  # mean -log p(true class | x), nats
    classes: tuple[ClassFigures, ...]
    confusion: Integers  # [true class, class found], rows
    detection: Detection | None  # by log p(x) of the mixture; None without other data

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "confusion": self.confusion.tolist()}


def classify(
    source: ClassSource,
    dataset: Dataset,
    *,
    seed: int,
    against: Dataset | None = None,
    on_rows: Callable[[int], None] = lambda n: None,
) -> Classification:
    """Classify the test rows of a labelled data set.

    Args:
        source: The model or folder.
        dataset: Data set with labels of the same classes.
        seed: Random seed of the dequantization noise.
        against: Other data, labelled or not, to tell from these by log p(x).
        on_rows: Function called with the number of rows after each batch.

    Raises:
        DataError: if there are no labels, the classes differ, or the rows are of another kind than the model's.
    """
    labels = dataset.classes()
    data_rows.validate_rows(dataset, source.preprocessing, source.dim)
    data_rows.validate_class_names(labels, source.names, dataset)
    batches = data_rows.over_batches(
        lambda x, _: (*source.density(x), log_det_of(x, source.preprocessing)),
        dataset,
        dataset.part("test"),
        seed=seed,
        draw=data_rows.TEST,
        on_rows=on_rows,
    )
    class_log_prob, log_prob, posterior, before = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    true, found, count = labels.test, posterior.argmax(axis=1), len(labels.names)
    confusion = np.zeros((count, count), dtype=np.int64)
    np.add.at(confusion, (true, found), 1)
    of_true = class_log_prob[np.arange(len(true)), true]
    own, own_in_paper = bits_per_dim(of_true, source.dim), paper_convention(of_true, before, source.dim)
    right = np.diag(confusion)
    told = None
    if against is not None:
        told = detect(
            lambda x, _: source.density(x)[1],
            log_prob,
            dataset,
            against,
            source.preprocessing,
            seed=seed,
            on_rows=on_rows,
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = right / confusion.sum(axis=1), right / confusion.sum(axis=0)
    return Classification(
        dataset=dataset.name,
        rows=len(true),
        seed=seed,
        accuracy=float(right.sum() / len(true)),
        bits_per_dim=float(bits_per_dim(log_prob, source.dim).mean()),
        paper_convention=float(paper_convention(log_prob, before, source.dim).mean()),
        # Not the posterior's logarithm: in the graph's dtype a posterior may be 0.
        log_loss=float((log_prob - of_true - np.log(source.priors)[true]).mean()),
        classes=tuple(
            ClassFigures(
                name,
                int((true == number).sum()),
                float(recall[number]),
                float(precision[number]),
                *(
                    float(of_rows[true == number].mean()) if (true == number).any() else float("nan")
                    for of_rows in (own, own_in_paper)
                ),
            )
            for number, name in enumerate(labels.names)
        ),
        confusion=confusion,
        detection=told,
    )
