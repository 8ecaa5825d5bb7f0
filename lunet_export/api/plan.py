"""`Plan`: the choices of a training, made by a command or a call, and the run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lunet_export.api.choices import FlowName
from lunet_export.data import Dataset
from lunet_export.errors import BadInputError
from lunet_export.layers import Chain
from lunet_export.training import (
    KINDS,
    ClassesResult,
    ClassPaths,
    EpochRecord,
    FitSettings,
    Paths,
    Result,
    Training,
    train,
    train_classes,
)
from lunet_export.training.discrete import Repeats, dequantized
from lunet_export.training.lunet.splines import SPLINE, SplineArchitecture, has_splines
from lunet_export.training.train import device_named


@dataclass(frozen=True)
class Watch:
    """Functions that are called during a run."""

    on_begin: Callable[[str, int], None] = lambda name, epochs: None
    on_class: Callable[[int, Dataset, FitSettings], None] = lambda number, rows, settings: None
    on_growth: Callable[[int, int], None] = lambda done, of: None
    on_start: Callable[[float, Training], None] = lambda gaussian, trainer: None
    on_step: Callable[[int, float], None] = lambda step, bits: None
    on_epoch: Callable[[EpochRecord], None] = lambda record: None

    def also(self, on_epoch: Callable[[EpochRecord], None]) -> "Watch":
        """Return these functions and another one that is called after every epoch."""

        def both(record: EpochRecord) -> None:
            self.on_epoch(record)
            on_epoch(record)

        return replace(self, on_epoch=both)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The choices of a training.

    Attributes:
        flow: Kind of the flow.
        network: Choices of the network by name, without None.
        fit: Choices of the fit by name; a missing or None value takes the default for the kind and the data.
        per_class: Whether one network is trained per class.
        context_labels: Whether the label of a row is its context.
        begins: Whether the run starts from the weights of a model.
        dequantize: Whether columns that hold counts or rounded numbers get noise.
        seed: Random seed.
    """

    flow: FlowName = "lunet"
    network: Mapping[str, Any]
    fit: Mapping[str, Any]
    per_class: bool = False
    context_labels: bool = False
    begins: bool = False
    dequantize: bool = False
    seed: int = 0

    @property
    def family(self) -> str:
        """Return the kind of the flow, as `KINDS` names it."""
        if self.flow == "lunet" and self._splines:
            return SplineArchitecture.family
        return "realnvp" if self.flow == "realnvp-dense" else self.flow

    @property
    def _splines(self) -> bool:
        return self.network.get("activation") == SPLINE

    def validate_choices(self) -> None:
        """Raise if choices contradict each other.

        Raises:
            BadInputError: if they do.
        """
        if self.begins and self.network.keys() & {"blocks", "alpha", "activation", "width"}:
            raise BadInputError(
                "Expected no `blocks`, `alpha`, `activation` or `width` with `begin`, whose model has its own."
            )
        if self.per_class and self.flow != "lunet":
            raise BadInputError(
                f"Expected `flow='lunet'` with `per_class=True`; got {self.flow}. Train one network of all classes."
            )

        self._validate_classes()
        if self.per_class and self.context_labels:
            raise BadInputError(
                "Expected `per_class=True` for one network per class, or `context_labels=True` for one network of all; "
                "got both. Leave one out."
            )

    def _validate_classes(self) -> None:
        if self.per_class and self._splines:
            raise BadInputError(
                f"Expected no `activation={SPLINE!r}` with `per_class=True`. Take another activation, such as "
                "'leaky-squareplus'."
            )

    def validate_target(self, output: Path, *, resume: bool, force: bool) -> None:
        """Raise if a file that the run would write exists, unless the run continues from it or may replace it.

        Raises:
            BadInputError: if such a file exists.
        """
        paths, folder = Paths(output), ClassPaths(output).folder
        of_classes = [path for path in sorted(folder.glob("*")) if not path.name.startswith(".")]  # unfinished
        of_one = (paths.resume, paths.history, paths.curve)
        for path in (output, *(of_classes if self.per_class else of_one)):
            if path.exists() and not (resume or force):
                raise BadInputError(
                    f"Expected new files; {path} exists already. Give `resume=True`, `force=True` or another path."
                )

    def prepared(self, rows: Dataset) -> tuple[Dataset, list[Repeats]]:
        """Return the rows as they are trained on, and the columns that got noise.

        Raises:
            BadInputError: if the flow takes images and the rows are vectors, or grey levels would get noise twice.
            DataError: if labels are to be contexts, and the rows have none, or other contexts.
        """
        found: list[Repeats] = []
        if self.dequantize:
            rows, found = dequantized(rows, self.seed)
        if self.flow == "realnvp" and rows.image_shape is None:
            raise BadInputError(f"Expected images for `flow='realnvp'`; {rows.name} holds vectors. Take realnvp-dense.")
        return (rows.given_labels() if self.context_labels else rows), found

    def settings_of(self, part: Dataset) -> FitSettings:
        """Return how to train on these rows."""
        kind = KINDS[self.family]
        return kind.settings(len(part.train), part.dim, contexts=_contexts_of(part), seed=self.seed, **self.fit)

    def run(
        self, rows: Dataset, output: Path, *, begin: Chain | None, device: str, resume: bool, watch: Watch
    ) -> ClassesResult | Result:
        """Train on prepared rows and write the files of the run; errors are those of `train` and `train_classes`."""
        if begin is not None and self.family == "lunet" and has_splines(begin):
            plan = replace(self, network={**self.network, "activation": SPLINE})
            plan._validate_classes()
            return plan.run(rows, output, begin=begin, device=device, resume=resume, watch=watch)
        shape = None if self.flow == "realnvp-dense" else rows.image_shape
        common: dict[str, Any] = {
            "architecture": KINDS[self.family].choose(rows.dim, shape, self.network, _contexts_of(rows)),
            "begin": begin,
            "device": device_named(device),
            "resume": resume,
            "on_growth": watch.on_growth,
            "on_start": watch.on_start,
            "on_step": watch.on_step,
            "on_epoch": watch.on_epoch,
        }
        if self.per_class:
            return train_classes(rows, self.settings_of, output, on_class=watch.on_class, **common)
        settings = self.settings_of(rows)
        watch.on_begin(rows.name, settings.epochs)
        return train(rows, settings, output, **common)


def _contexts_of(rows: Dataset) -> int:
    """Return the number of dimensions of the contexts, 0 if the rows have none."""
    return rows.contexts.dim if rows.contexts else 0
