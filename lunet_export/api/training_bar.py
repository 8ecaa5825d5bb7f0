"""The progress bar of a training, for the command and for Python."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from lunet_export.api import progress

if TYPE_CHECKING:
    from lunet_export.api.plan import Watch
    from lunet_export.data import Dataset
    from lunet_export.training import EpochRecord, FitSettings
    from lunet_export.training.architecture import Training


class TrainingBar:
    """A bar of epochs, a new one per network; on a terminal, lines of finished epochs are above it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._name, self._done, self._steps = "", 0, 1
        self.growing, self.unit = False, "epoch"  # whether a greedy start still grows; what a network is trained by

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def watch(self) -> "Watch":
        """Return the functions that a run calls."""
        from lunet_export.api.plan import Watch

        return Watch(self.begin, self.on_class, self.on_growth, self.on_start, self.on_step, self.on_epoch)

    def begin(self, name: str, epochs: int) -> None:
        """Show the bar of a network in place of the previous one."""
        self._stack.close()
        self._bar = self._stack.enter_context(progress.bar(epochs, f"training on {name}"))
        self._name = name

    def on_class(self, number: int, rows: "Dataset", settings: "FitSettings") -> None:
        """Show that a class is about to be trained."""
        self.begin(rows.name, settings.epochs)
        self._bar.console.print(f"{rows.name} ({number}): {len(rows.train)} training rows", markup=False)

    def on_growth(self, done: int, of: int) -> None:
        """Show the progress of a greedy start: `done` of `of`, in any unit."""
        self.growing = True
        text = f"{self._name}: {100 * done // of} % of the search for a start"
        self._bar.update(self._bar.task_ids[0], description=text, completed=done, total=of, counted=False)

    def on_start(self, gaussian: float, trainer: "Training") -> None:
        """Show that training begins or continues."""
        self._trainer, self._done, self._steps = trainer, len(trainer.history), trainer.steps_per_epoch
        self.unit = trainer.unit
        if self.growing:  # growth has another speed, which would spoil the estimate
            self._bar.reset(self._bar.task_ids[0], description=f"training on {self._name}", counted=True)
            self.growing = False
        self._bar.update(self._bar.task_ids[0], total=trainer.length)
        kind = "Linear Gaussian" if trainer.data.contexts else "Gaussian"
        self._bar.console.print(f"{kind} baseline: {gaussian:.4f} bits/dim on the test rows")
        self._bar.console.print(f"start: {trainer.start:.4f} bits/dim on the validation rows")

    def on_step(self, step: int, bits: float) -> None:
        """Show that a step of an epoch is done."""
        completed = self._done + step / self._steps
        self._bar.update(self._bar.task_ids[0], completed=completed, description=f"{self._name}: {bits:.3f} bits/dim")

    def on_epoch(self, record: "EpochRecord") -> None:
        """Show that an epoch is done."""
        self._done = record.epoch
        figures = f"train {record.train:.4f}   valid {record.valid:.4f} bits/dim"
        self._bar.console.print(f"{self._trainer.unit} {self._done:3d}   {figures}")
        self._bar.update(self._bar.task_ids[0], total=self._trainer.length)
