"""One training run and its files: the model, its resume file, its history and its curve."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lunet_export import checkpoint
from lunet_export.checks import reference
from lunet_export.columns import listed, usable
from lunet_export.data import Contexts, Dataset
from lunet_export.errors import BadInputError, CheckpointError, brief
from lunet_export.files import whole_file
from lunet_export.layers import Chain, Context
from lunet_export.likelihood import bits_per_dim, paper_convention
from lunet_export.preprocessing import log_det_of
from lunet_export.torch_layers import Flow
from lunet_export.training.architecture import Architecture, Training
from lunet_export.training.choice import Comparison, Evidence
from lunet_export.training.curve import draw
from lunet_export.training.degenerate import validate_full_rank
from lunet_export.training.fit import log_probs
from lunet_export.training.gaussian import BASELINE, Gaussian, baseline_of
from lunet_export.training.history import EpochRecord, History
from lunet_export.training.rows import draws_of, examples_of, rows_to_test, training_rows, validation_rows
from lunet_export.training.settings import FitSettings

Array = NDArray[np.float64]
_CONTEXTS, _LABELS = "Name them by `context_columns`.", "Train with `context_labels=True`."
Candidate = Literal["gaussian", "start", "epoch"]


@dataclass(frozen=True)
class Paths:
    """These are the files of a run, named after its model."""

    model: Path

    @property
    def resume(self) -> Path:
        """Return the file of the last weights, optimizer, schedule and random state."""
        return self.model.with_suffix(".resume.pt")

    @property
    def history(self) -> Path:
        """Return the file of every epoch's bits/dim, as JSON."""
        return self.model.with_suffix(".history.json")

    @property
    def curve(self) -> Path:
        """Return the file of the same as a picture."""
        return self.model.with_suffix(".png")


@dataclass(frozen=True)
class Result:
    """This is what a finished run reached, all on the test rows and in bits/dim unless said otherwise."""

    dataset: str
    dim: int
    network: Mapping[str, Any]  # its kind and sizes, as in `Chain.facts`
    epochs: int
    best_epoch: int  # best by the validation rows; 0: the start
    kept: Candidate  # what the model file holds
    over_gaussian: Evidence  # on the validation rows, as in `Kept.evidence`
    valid: float  # best epoch on the validation rows
    test: float  # images: mean over `test_draws` draws of the dequantization noise
    test_spread: float  # standard deviation among these draws
    test_draws: int
    test_nats: float  # mean -log p(x) in nats
    start: float  # on the validation rows, before the first step
    gaussian_test: float  # the baseline: the full-covariance Gaussian; with contexts, the linear Gaussian
    test_over_gaussian: Evidence  # what the model file gains over the Gaussian, on the test rows of the first draw
    paper_convention: float  # what the released code would print for this model; not comparable with the others
    mixture: float | None = None  # where contexts name classes: bits/dim of p(x) = sum_k pi_k p(x | k)
    accuracy: float | None = None  # share of the test rows that Bayes' rule, argmax pi_k p(x | k), classifies right
    gaussian_mixture: float | None = None  # the same two of the baseline
    gaussian_accuracy: float | None = None
    unit: str = "epoch"  # what `epochs` counts
    baseline: str = BASELINE  # what the Gaussian is called

    @property
    def below_gaussian(self) -> bool:
        """Return whether a model other than the Gaussian was kept that is worse on the test rows by more than chance.

        This is also true if the model's test figure is not finite.
        """
        return self.kept != "gaussian" and (not isfinite(self.test) or self.test_over_gaussian.negated.convinces)


@dataclass(frozen=True)
class Kept:
    """This is what the model file holds while a run goes on, and when it has ended."""

    flow: Flow
    by: Candidate
    evidence: Evidence  # over the Gaussian, on the validation rows; the best epoch's if the Gaussian is kept


class _Choice:
    """This choice is between the Gaussian of the training rows, the start of a run and its best epoch, simplest first.

    Each takes the place of what is kept if the comparison prefers it. Without `FitSettings.fallback` the best epoch is
    kept in any case.
    """

    def __init__(
        self, comparison: Comparison, gaussian: Gaussian, architecture: Architecture, trainer: Training
    ) -> None:
        self._comparison, self._trainer = comparison, trainer
        self._gaussian = Flow.of(architecture.gaussian(gaussian), dtype=torch.float64)
        self._known = gaussian.log_prob(comparison.rows, comparison.contexts)
        self._start = self._log_prob(trainer.start_flow)

    def kept(self) -> Kept:
        """Return what is kept of the run so far."""
        trainer = self._trainer
        best = self._log_prob(trainer.best_flow)
        kept: tuple[Flow, Candidate, Array] = (self._gaussian, "gaussian", self._known)
        if self._comparison.prefers(self._start, kept[2]):
            kept = (trainer.start_flow, "start", self._start)
        if self._comparison.prefers(best, kept[2]) or not trainer.settings.fallback:
            kept = (trainer.best_flow, "epoch" if trainer.best.epoch else "start", best)
        flow, by, found = kept
        return Kept(flow, by, self._comparison.evidence(best if by == "gaussian" else found, self._known))

    def _log_prob(self, flow: Flow) -> Array:
        return log_probs(flow, self._comparison.rows, self._comparison.contexts)


@dataclass(frozen=True)
class _Run:
    """This is a training run and its files."""

    trainer: Training
    choice: _Choice
    data: Dataset
    paths: Paths
    model: Mapping[str, Any]  # record of network and data, by which a resumed run is known to be the same
    gaussian: Gaussian
    known: Sequence[Array]  # log-densities of the test rows under the Gaussian, (N,) per draw

    @property
    def line(self) -> float:
        """Return the Gaussian's test bits/dim, the baseline."""
        return float(np.mean([_bits(log_prob, self.data) for log_prob in self.known]))

    def resume(self) -> None:
        """Go on from the resume file, which may be newer than the others: the run may have been killed between them.

        Raises:
            CheckpointError: if it is missing, unreadable, or of other settings or data.
        """
        _restore(self.trainer, self.paths.resume, self.model)
        self._write_what_it_tells()

    def run_epoch(self, on_step: Callable[[int, float], None]) -> EpochRecord:
        """Train one epoch and write its files."""
        record = self.trainer.run_epoch(on_step)
        state = {"model": self.model, **self.trainer.state()}
        checkpoint.save(state, self.paths.resume)  # first, since it is what resuming needs
        self._write_what_it_tells()
        return record

    def finish(self) -> Result:
        """Evaluate what is kept on the test rows; write the model with what it reached, and draw the curve."""
        kept = self.choice.kept()
        result = self._evaluated(kept)
        self._write_model(kept, asdict(result))
        with whole_file(self.paths.curve) as temporary:
            title = f"{self.trainer.settings.family} on {self.data.name}"
            draw({self.data.name: self._history()}, temporary, title=title, baseline=baseline_of(self.data))
        return result

    def _write_what_it_tells(self) -> None:
        """Write the files of an epoch that can be made again from the resume file."""
        if len(self.trainer.history) in (1, self.trainer.best.epoch):
            self._write_model(self.choice.kept(), {})
        self._history().write(self.paths.history)

    def _history(self) -> History:
        trainer = self.trainer
        return History(self.line, trainer.start, tuple(trainer.history), trainer.unit, self.data.name)

    def _write_model(self, kept: Kept, reached: Mapping[str, Any]) -> None:
        trainer, data = self.trainer, self.data
        best, epochs = trainer.best, len(trainer.history)
        progress = {"epochs": epochs, "best_epoch": best.epoch, "valid": best.valid, "kept": kept.by}
        examples = examples_of(data)
        record = {**self.model, **asdict(trainer.settings), **progress, **reached}
        checkpoint.write(
            self.paths.model,
            kept.flow,
            image_shape=data.image_shape,
            training=record,
            examples=examples,
            columns=data.names,
        )

    def _evaluated(self, kept: Kept) -> Result:
        """Return what the kept model reaches on the test rows."""
        trainer, data = self.trainer, self.data
        found, paper = [], []
        for number in range(draws_of(data)):  # one by one: together they may not fit into memory
            x = rows_to_test(data, number)
            found.append(log_probs(kept.flow, x, data.context("test")))
            before = log_det_of(x, data.preprocessing)
            paper.append(float(paper_convention(found[-1], before, data.dim).mean()))
        bits = np.array([_bits(log_prob, data) for log_prob in found])
        with np.errstate(invalid="ignore"):  # infinite figures
            spread = float(bits.std())
        return Result(
            dataset=data.name,
            dim=data.dim,
            network=kept.flow.to_chain().facts(),
            unit=trainer.unit,
            baseline=baseline_of(data),
            epochs=len(trainer.history),
            best_epoch=trainer.best.epoch,
            kept=kept.by,
            over_gaussian=kept.evidence,
            valid=trainer.best.valid,
            test=float(bits.mean()),
            test_spread=spread,
            test_draws=len(bits),
            test_nats=-float(np.mean([log_prob.mean() for log_prob in found])),
            start=trainer.start,
            gaussian_test=self.line,
            test_over_gaussian=Evidence.of(found[0], self.known[0]),
            paper_convention=float(np.mean(paper)),
            **self._of_classes(kept.flow),
        )

    def _of_classes(self, flow: Flow) -> dict[str, float]:
        """Return what the mixture of all classes and Bayes' rule reach, where contexts name classes; else nothing."""
        data, contexts = self.data, self.data.contexts
        if contexts is None or contexts.classes is None:
            return {}
        each, priors, labels = np.eye(contexts.dim), contexts.classes.priors, contexts.test.argmax(axis=1)
        found = []
        for number in range(draws_of(data)):
            x = rows_to_test(data, number)
            given = [np.broadcast_to(context, contexts.test.shape) for context in each]
            ours = np.stack([log_probs(flow, x, context) for context in given], axis=1)
            theirs = np.stack([self.gaussian.log_prob(x, context) for context in given], axis=1)
            found.append([*by_bayes(ours, priors, labels), *by_bayes(theirs, priors, labels)])
        nats, accuracy, gaussian_nats, gaussian_accuracy = np.mean(found, axis=0)
        return {
            "mixture": float(bits_per_dim(-nats, data.dim)),
            "accuracy": float(accuracy),
            "gaussian_mixture": float(bits_per_dim(-gaussian_nats, data.dim)),
            "gaussian_accuracy": float(gaussian_accuracy),
        }


def train(
    data: Dataset,
    settings: FitSettings,
    output: Path,
    *,
    architecture: Architecture,
    device: torch.device,
    resume: bool,
    on_start: Callable[[float, Training], None],
    on_step: Callable[[int, float], None],
    on_epoch: Callable[[EpochRecord], None],
    begin: Chain | None = None,
    on_growth: Callable[[int, int], None] = lambda done, blocks: None,
) -> Result:
    """Train a flow by exact maximum likelihood and write its files.

    `output` always holds the best epoch by validation, or the start or the full-covariance Gaussian as long as no epoch
    is better than these by more than chance. Beside it, a resume file and the history are written after every epoch,
    each whole or not at all.

    Args:
        data: The rows.
        settings: Settings of the run.
        output: Path of the model file, which ends in .pt.
        architecture: Architecture of the network; that of `begin` counts instead if `begin` is given.
        device: Device on which the flow is trained.
        resume: Whether to go on from the resume file.
        on_start: Function called before the first step, with the Gaussian's test bits/dim and the run.
        on_step: Function called after every step, with its number and the bits/dim of its batch.
        on_epoch: Function called with the record of every epoch.
        begin: Model to start from.
        on_growth: Function called while a network is grown, with the steps done and the number of all.

    Returns:
        What the run reached.

    Raises:
        BadInputError: if `output` does not end in .pt, `begin` has another width or pre-processing than the data, the
            settings are for another kind of network than `architecture`, or the rows have contexts that it cannot take.
        CheckpointError: if the run is to be resumed, and the resume file is missing, unreadable, or of other settings
            or data.
        DataError: if the likelihood of the rows has no bound.
        CheckFailedError: if the loss stops being a finite number.
    """
    validate_output(output)
    architecture.validate_contexts(data)
    validate_full_rank(data)
    rows = training_rows(data)
    gaussian = Gaussian.fit(rows, data.preprocessing, data.contexts)
    if begin is not None:
        _validate_begin(begin, data)
        architecture = architecture.of(begin)
    if settings.family != architecture.family:
        raise BadInputError(
            f"Expected settings for {architecture.family}; got settings for {settings.family}. "
            f"Take those of {type(architecture).__name__}.settings."
        )
    comparison = Comparison(gaussian, rows, validation_rows(data), data.contexts)
    first = (
        _begun(begin, data)
        if begin
        else architecture.first(gaussian, settings, rows, comparison, on_growth, data.context("train"))
    )
    del rows
    trainer = architecture.trainer(first, data, settings, device)
    model = {"dataset": data.name, "dim": data.dim, **architecture.record(), "data": data.digest()}
    model["begin"] = begin.digest() if begin else None
    if data.contexts:
        names = data.contexts.names
        model["context"] = {"dim": data.contexts.dim, "columns": None if names is None else list(names)}
        if data.contexts.classes is not None:
            model["context"]["classes"] = data.contexts.classes.to_json()
    known = [gaussian.log_prob(rows_to_test(data, number), data.context("test")) for number in range(draws_of(data))]
    choice = _Choice(comparison, gaussian, architecture, trainer)
    run = _Run(trainer, choice, data, Paths(output), model, gaussian, known)
    if resume:
        run.resume()
    on_start(run.line, trainer)
    while not trainer.finished:
        on_epoch(run.run_epoch(on_step))
    return run.finish()


def validate_output(output: Path) -> None:
    """Raise unless a file can be the model of a run.

    Raises:
        BadInputError: if its name does not end in .pt.
    """
    if output.suffix != ".pt":
        raise BadInputError(f"Expected a model file that ends in .pt; got {output}. Its companions are named after it.")


def _validate_begin(begin: Chain, data: Dataset) -> None:
    ours, theirs = (data.dim, data.preprocessing), (begin.dim, begin.preprocessing)
    if ours != theirs:
        raise BadInputError(
            f"Expected a model to start from with the data's {ours[0]} dimensions and pre-processing ({ours[1]}); got "
            f"{theirs[0]} and {theirs[1]}. Start from a model of data like {data.name}."
        )
    _validate_contexts(begin.context, data)


def _validate_contexts(taken: Context | None, data: Dataset) -> None:
    """Raise unless the rows have the contexts that a model to start from takes."""
    given = data.contexts
    if taken is None and given is None:
        return
    if taken is None:
        raise BadInputError(
            f"Expected a model to start from that takes a context, as {data.name} has; got one that takes none. Start "
            "from a conditional model, or from none."
        )
    if given is None or given.dim != taken.dim:
        raise BadInputError(
            f"Expected contexts of {taken.dim} columns for the model to start from; {data.name} has "
            f"{given.dim if given else 'none'}. {_CONTEXTS if taken.classes is None else _LABELS}"
        )
    if _named(taken) != _named(given):
        raise BadInputError(
            f"Expected contexts that name {_told(taken)}, for the model to start from; those of {data.name} name "
            f"{_told(given)}. Start from a model of such contexts, or from none."
        )
    names = usable(given.names)
    if names and taken.names and names != taken.names:
        raise BadInputError(
            f"Expected the contexts {listed(taken.names)}, in this order, for the model to start from; got "
            f"{listed(names)}. Name them by `context_columns`."
        )


def _begun(begin: Chain, data: Dataset) -> Chain:
    """Return a model to start from, with the shares of the classes in these rows as priors if contexts name any."""
    if begin.context is None or data.contexts is None or data.contexts.classes is None:
        return begin
    return replace(begin, context=replace(begin.context, classes=data.contexts.classes))


def _named(context: Context | Contexts) -> tuple[str, ...]:
    return () if context.classes is None else context.classes.names


def _told(context: Context | Contexts) -> str:
    """Return which classes contexts name."""
    names = _named(context)
    return f"the classes {listed(names)}" if names else "no classes"


def by_bayes(class_log_prob: Array, priors: Sequence[float], labels: NDArray[np.integer]) -> tuple[float, float]:
    """Return the mean -log p of the mixture in nats, and the share of rows that Bayes' rule classifies right.

    Args:
        class_log_prob: log p_k(x) of every class in nats, (N, K).
        priors: Priors of the classes.
        labels: Numbers of the rows' own classes, (N,).
    """
    nats = -float(reference.mixture_log_prob(class_log_prob, priors).mean())
    right = reference.posterior(class_log_prob, priors).argmax(axis=1) == labels
    return nats, float(right.mean())


def _bits(log_prob: Array, data: Dataset) -> float:
    return float(bits_per_dim(log_prob, data.dim).mean())


def _restore(trainer: Training, path: Path, model: Mapping[str, Any]) -> None:
    if not path.exists():
        raise CheckpointError(f"Expected {path} to resume from; it does not exist. Train without `resume`.")
    cure = _instead_of(path)
    state = checkpoint.load(path, what="a resume file", cure=cure)
    expected = {**model, **asdict(trainer.settings)}
    try:
        got = {"fallback": True, **state["model"], **state["settings"]}  # older files have no fallback
        differ = [f"{key} {got.get(key)} (now {value})" for key, value in expected.items() if got.get(key) != value]
        if differ:
            raise CheckpointError(
                f"Expected the settings and data that {path} was trained with; differs: {', '.join(differ)}. "
                "Repeat them, or start a new run with `force=True`."
            )
        trainer.restore(state)
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(
            f"Expected a resume file in {path}; {brief(error, 300)} is missing or wrong. {cure}"
        ) from None


def _instead_of(resume: Path) -> str:
    """Return what to do about a damaged resume file: go on from the model beside it, if that can be read."""
    model = resume.with_name(f"{resume.name.removesuffix('.resume.pt')}.pt")
    try:
        checkpoint.read(model)
    except CheckpointError:
        return "Start a new run."
    return f"{model} beside it is whole: go on from its weights with `begin={str(model)!r}` and another path."


def device_named(name: str) -> torch.device:
    """Return the torch device of that name.

    Raises:
        BadInputError: if torch does not know the device, or cannot use it here.
    """
    try:
        torch.zeros(1, device=name).item()
        return torch.device(name)
    except (RuntimeError, AssertionError):
        raise BadInputError(f"Expected a device that this PyTorch can use here; got {name}. Try cpu.") from None
