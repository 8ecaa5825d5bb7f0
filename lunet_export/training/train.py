"""One training run and its files: the model, its resume file, its history and its curve."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lunet_export import checkpoint, noise, reference
from lunet_export.data import Dataset
from lunet_export.errors import BadInputError, CheckpointError, brief
from lunet_export.files import whole_file
from lunet_export.flows import Flow
from lunet_export.likelihood import bits_per_dim, paper_convention
from lunet_export.training.curve import draw
from lunet_export.training.degenerate import refuse_degenerate
from lunet_export.training.fit import FitSettings, log_probs
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.history import EpochRecord, History
from lunet_export.training.structure import Structure, Training
from lunet_export.weights import Weights

_GAUSSIAN_SEED, _EXAMPLE_SEED = 2, 4  # of dequantisation noise
_TEST_SEED = 1000  # of the first draw
_TEST_DRAWS = 10
_EXAMPLES = 8


@dataclass(frozen=True)
class Paths:
    """The files of a run, named after its model."""

    model: Path

    @property
    def resume(self) -> Path:
        """Last weights, optimiser, schedule and random state."""
        return self.model.with_suffix(".resume.pt")

    @property
    def history(self) -> Path:
        """Bits/dim of every epoch, as JSON."""
        return self.model.with_suffix(".history.json")

    @property
    def curve(self) -> Path:
        """The same as a picture."""
        return self.model.with_suffix(".png")


@dataclass(frozen=True)
class Result:
    """What a finished run reached, all on the test rows and in bits/dim unless said otherwise."""

    dataset: str
    dim: int
    network: Mapping[str, Any]  # what kind, as `Weights.facts`
    epochs: int
    best_epoch: int
    valid: float  # on the validation rows
    test: float  # images: mean over `test_draws` draws of the dequantisation noise
    test_spread: float  # standard deviation among these draws
    test_draws: int
    test_nats: float  # mean -log p(x) in nats
    start: float  # on the validation rows, before the first step
    gaussian_test: float  # the full-covariance Gaussian, the line to beat
    paper_convention: float  # what the released code would print for this model; not comparable with the others
    unit: str = "epoch"  # what `epochs` counts

    @property
    def below_the_line(self) -> bool:
        """The full-covariance Gaussian is better on the test rows: something went wrong."""
        return not self.test <= self.gaussian_test


def train(
    data: Dataset,
    settings: FitSettings,
    output: Path,
    *,
    structure: Structure,
    device: torch.device,
    resume: bool,
    on_start: Callable[[float, Training], None],
    on_step: Callable[[int, float], None],
    on_epoch: Callable[[EpochRecord], None],
    begin: Weights | None = None,
    on_growth: Callable[[int, int], None] = lambda done, blocks: None,
) -> Result:
    """Train a flow by exact maximum likelihood and write its files.

    `output` is always the best epoch by validation. Beside it lie, after every epoch, a resume file and the history,
    each written whole. `on_start` receives the Gaussian's test bits/dim, the line to beat, before the first step;
    `on_growth` is what a start that grows calls. Training starts from `begin` where it is given, whose structure then
    counts.

    Raises:
        BadInputError: `output` does not end in .pt; `begin` is of another width or pre-processing than the data.
        CheckpointError: `resume`, and the resume file is missing, unreadable, or of other settings or data.
        DataError: The likelihood of the rows has no bound.
        CheckFailedError: The loss stopped being a finite number.
    """
    if output.suffix != ".pt":
        raise BadInputError(f"Expected a model file that ends in .pt; got {output}. Its companions are named after it.")
    refuse_degenerate(data)
    paths = Paths(output)
    gaussian = gaussian_of(data)
    draws = draws_of(data)
    line = float(np.mean([_bits(gaussian.log_prob(rows_to_test(data, number)), data) for number in range(draws)]))

    if begin is not None:
        _refuse_other(begin, data)
        structure = structure.of(begin)
    first = begin or structure.first(
        gaussian, settings, lambda: _continuous(data, data.train, _GAUSSIAN_SEED), on_growth
    )
    trainer = settings.part.trainer(first, data, settings, structure, device)
    model = {"dataset": data.name, "dim": data.dim, **structure.record(), "data": data.digest()}
    model["begin"] = begin.digest() if begin else None

    def write_what_it_tells() -> None:
        """The files of an epoch that the resume file can make again."""
        if trainer.best.epoch == len(trainer.history):
            _write_model(paths.model, trainer, data, _record(model, trainer))
        History(line, trainer.start, tuple(trainer.history), trainer.unit, data.name).write(paths.history)

    if resume:
        _restore(trainer, paths.resume, model)
        write_what_it_tells()  # the run may have been killed between them
    on_start(line, trainer)
    while not trainer.finished:
        record = trainer.run_epoch(on_step)
        checkpoint.save({"model": model, **trainer.state()}, paths.resume)  # first: what is to go on needs this one
        write_what_it_tells()
        on_epoch(record)

    found = [_test(trainer.best_flow, data, number) for number in range(draws)]
    nats, bits, paper = (np.array(column) for column in zip(*found, strict=True))
    result = Result(
        dataset=data.name,
        dim=data.dim,
        network=trainer.best_flow.to_weights().facts(),
        unit=trainer.unit,
        epochs=len(trainer.history),
        best_epoch=trainer.best.epoch,
        valid=trainer.best.valid,
        test=float(bits.mean()),
        test_spread=float(bits.std()),
        test_draws=draws,
        test_nats=float(nats.mean()),
        start=trainer.start,
        gaussian_test=line,
        paper_convention=float(paper.mean()),
    )
    _write_model(paths.model, trainer, data, {**_record(model, trainer), **asdict(result)})
    history = History(line, trainer.start, tuple(trainer.history), trainer.unit, data.name)
    with whole_file(paths.curve) as temporary:
        draw({data.name: history}, temporary, title=f"{settings.family} on {data.name}")
    return result


def _refuse_other(begin: Weights, data: Dataset) -> None:
    ours, theirs = (data.dim, data.preprocessing), (begin.dim, begin.preprocessing)
    if ours != theirs:
        raise BadInputError(
            f"Expected a model to start from with the data's {ours[0]} dimensions and pre-processing ({ours[1]}); got "
            f"{theirs[0]} and {theirs[1]}. Start from a model of data like {data.name}."
        )


def gaussian_of(data: Dataset) -> Gaussian:
    """The full-covariance Gaussian of the training rows, dequantised once."""
    return Gaussian.fit(_continuous(data, data.train, _GAUSSIAN_SEED), data.preprocessing)


def _continuous(data: Dataset, rows: NDArray[np.generic], seed: int) -> NDArray[np.float64]:
    return data.continuous(rows, noise.uniform(seed, range(len(rows)), data.dim)).astype(np.float64)


def draws_of(data: Dataset) -> int:
    """How many draws of the dequantisation noise the test rows are evaluated with; vectors have none."""
    return _TEST_DRAWS if data.preprocessing else 1


def rows_to_test(data: Dataset, number: int) -> NDArray[np.float64]:
    """The test rows in data space with the noise of draw `number`, (N, D)."""
    return _continuous(data, data.test, _TEST_SEED + number)


def _bits(log_prob: NDArray[np.float64], data: Dataset) -> float:
    return float(bits_per_dim(log_prob, data.dim).mean())


def _test(flow: Flow, data: Dataset, number: int) -> tuple[float, float, float]:
    """Nats a row, bits/dim, and bits/dim in the released code's convention, of one draw of the noise."""
    x = rows_to_test(data, number)
    log_prob = log_probs(flow, x.astype(np.float32))
    return -float(log_prob.mean()), _bits(log_prob, data), _in_paper_convention(log_prob, x, data)


def _in_paper_convention(log_prob: NDArray[np.float64], x: NDArray[np.float64], data: Dataset) -> float:
    log_det = reference.logit(x, data.preprocessing)[1] if data.preprocessing else np.zeros(len(x))
    return float(paper_convention(log_prob, log_det, data.dim).mean())


def _record(model: dict[str, Any], trainer: Training) -> dict[str, Any]:
    best = trainer.best
    progress = {"epochs": len(trainer.history), "best_epoch": best.epoch, "valid": best.valid}
    return {**model, **asdict(trainer.settings), **progress}


def _write_model(path: Path, trainer: Training, data: Dataset, record: dict[str, Any]) -> None:
    examples = None
    if data.public:  # a user's own rows never leave their machine inside a model
        examples = _continuous(data, data.test[:_EXAMPLES], _EXAMPLE_SEED)
    checkpoint.write(path, trainer.best_flow, image_shape=data.image_shape, training=record, examples=examples)


def _restore(trainer: Training, path: Path, model: dict[str, Any]) -> None:
    if not path.exists():
        raise CheckpointError(f"Expected {path} to resume from; it does not exist. Train without --resume.")
    cure = _instead_of(path)
    state = checkpoint.load(path, what="a resume file", cure=cure)
    expected = {**model, **asdict(trainer.settings)}
    try:
        got = {**state["model"], **state["settings"]}
        differ = [f"{key} {got.get(key)} (now {value})" for key, value in expected.items() if got.get(key) != value]
        if differ:
            raise CheckpointError(
                f"Expected the settings and data that {path} was trained with; differs: {', '.join(differ)}. "
                "Repeat them, or train anew with --force."
            )
        trainer.restore(state)
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(
            f"Expected a resume file in {path}; {brief(error, 300)} is missing or wrong. {cure}"
        ) from None


def _instead_of(resume: Path) -> str:
    """What to go on with where a resume file is damaged: the model beside it, where that can be read."""
    model = resume.with_name(f"{resume.name.removesuffix('.resume.pt')}.pt")
    try:
        checkpoint.read(model)
    except CheckpointError:
        return "Train anew."
    return f"{model} beside it is whole: go on from its weights with --from {model} and another -o."


def device_named(name: str) -> torch.device:
    """The torch device of that name.

    Raises:
        BadInputError: Torch does not know it, or it is not there.
    """
    try:
        torch.zeros(1, device=name).item()
        return torch.device(name)
    except (RuntimeError, AssertionError):
        raise BadInputError(f"Expected a device that this PyTorch can use here; got {name}. Try cpu.") from None
