"""Opening model files and exported folders for the commands that look at them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lunet_cli import output
from lunet_cli.options import PreprocessName
from lunet_export.errors import BadInputError
from lunet_export.files import exclusive
from lunet_export.preprocessing import NAMED

if TYPE_CHECKING:
    from lunet_export.checkpoint import Checkpoint
    from lunet_export.data import Dataset
    from lunet_export.diagnostics import Source
    from lunet_export.distribution import Distribution
    from lunet_export.export import SourceFile


def read_model(path: Path, latent_stats: Path | None, preprocess: PreprocessName) -> "Checkpoint":
    """The checkpoint in a file; what was assumed of it is said."""
    from lunet_export import checkpoint

    read = checkpoint.read(path, latent_stats=latent_stats, preprocessing=NAMED[preprocess.value])
    for sentence in read.assumed:
        output.warn(sentence)
    return read


def refuse_existing(target: Path, *, force: bool) -> None:
    """Raise where a model file is there and not to be replaced."""
    if target.exists() and not force:
        raise BadInputError(f"Expected a new file; {target} exists already. Give --force or another -o.")


@contextmanager
def new_model(target: Path, *, force: bool) -> Iterator[None]:
    """Be the one process that writes a model file; what was refused before the work is looked at once more."""
    with exclusive(target):
        refuse_existing(target, force=force)
        yield


def files_of(model: Path, latent_stats: Path | None = None, classifier: Path | None = None) -> "dict[str, SourceFile]":
    """What an export is made from, for its manifest."""
    from lunet_export.export import SourceFile

    given = {"model": model, "latent_stats": latent_stats, "classifier": classifier}
    return {role: SourceFile.of(path) for role, path in given.items() if path is not None}


def open_source(path: Path, latent_stats: Path | None, preprocess: PreprocessName) -> "Source":
    """A model file under the float64 reference, or an exported folder by its graphs on the CPU.

    Raises:
        BadInputError: Neither can be read, or a folder with the options of the authors' files.
    """
    from lunet_export.diagnostics import FolderSource, WeightsSource

    if not path.is_dir():
        read = read_model(path, latent_stats, preprocess)
        return WeightsSource(read.weights, name=path.stem, image_shape=read.image_shape)
    if latent_stats is not None or preprocess is not PreprocessName.NONE:
        raise BadInputError(f"Expected neither --latent-stats nor --preprocess with a folder; {path} has its own.")
    from lunet_export.runtime import ExportedFlow

    return FolderSource(ExportedFlow(path, provider="cpu"))


def tell_misfit(source: "Source", rows: "Dataset", *, seed: int) -> None:
    """Warn where rows are not what a model was made for.

    Raises:
        DataError: They are of another width, have another number of grey levels, or lie outside the domain.
    """
    from lunet_export.diagnostics import misfit

    if found := misfit(source, rows, seed=seed):
        output.warn(found.sentence)


def eager_of(dtype: str) -> "Callable[[Distribution], Any]":
    """Makes eager PyTorch of a flow or a mixture, in the dtype of the graphs."""
    from lunet_export.torch_layers import eager

    return lambda model: eager(model, dtype)
