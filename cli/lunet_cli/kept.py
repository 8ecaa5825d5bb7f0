"""The sentence of a stopped `lunet-export train`: what is kept, and the command that continues."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lunet_export import installation
from lunet_export.errors import one_line

if TYPE_CHECKING:
    from lunet_export.api.training_bar import TrainingBar


class Kept:
    """Tells what a run has kept. It is made before the run writes its first file.

    Args:
        model: Path of the model file, for sentences.
        files: Resume file and history; with one network per class, only the resume file of the first class.
        arguments: Arguments that were typed after `lunet-export`.
        resumes: Whether the run continues from existing files.
        bar: Progress bar of the run, which knows whether the network still grows.
    """

    def __init__(
        self, model: Path, files: Sequence[Path], arguments: Sequence[str], *, resumes: bool, bar: "TrainingBar"
    ) -> None:
        self._model, self._files, self._arguments = model, files, arguments
        self._resumes, self._bar = resumes, bar
        self._before = [_identity(path) for path in files]

    def sentence(self) -> str:
        """Return the rest of the sentence that begins with "Stopped by Ctrl-C"."""
        begun = self._resumes or _identity(self._files[0]) != self._before[0]
        return one_line(f"{self._when()}; {self._what() if begun else self._nothing()}")

    def _when(self) -> str:
        return " while the network grew" if self._bar.growing else ""

    def _what(self) -> str:
        go_on = f"no file is half-written. Continue with: {self._command()}"
        if len(self._files) == 1:
            return f"the epochs that are done are kept, and {go_on}"
        history = self._files[1]
        if _identity(history) == self._before[1] and not self._resumes:
            return go_on  # the signal came between the two files of the first epoch
        content = json.loads(history.read_text(encoding="utf-8"))
        done, unit = len(content["epochs"]), content["counted"]
        return f"{self._model} is the best of {done} {unit}{'s' if done > 1 else ''}, and {go_on}"

    def _nothing(self) -> str:
        older = f", and {self._model} is the one from before" if self._model.exists() else ""
        return f"nothing is kept before the end of the first {self._bar.unit}{older}."

    def _command(self) -> str:
        command = [argument for argument in self._arguments if argument not in ("--force", "--resume")]
        place = command.index("--") if "--" in command else len(command)  # after it there are no options
        line = installation.command(*command[:place], "--resume", *command[place:])
        return f"{line} (with the same rows on stdin)" if "-" in command else line


def _identity(path: Path) -> tuple[int, int] | None:
    """Return a value that is different for every file that was ever written at this path; None without a file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
