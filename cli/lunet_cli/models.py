"""Opening model files and exported folders for the commands that look at them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lunet_cli import output
from lunet_cli.options import PreprocessName, ProviderName
from lunet_export.errors import BadInputError
from lunet_export.files import exclusive
from lunet_export.preprocessing import NAMED

if TYPE_CHECKING:
    from lunet_export.artifact import Manifest
    from lunet_export.checkpoint import Checkpoint
    from lunet_export.checkpoint.class_checkpoint import ClassCheckpoint
    from lunet_export.data import Dataset
    from lunet_export.diagnostics import Source
    from lunet_export.export import SourceFile
    from lunet_export.export.classes import Eager
    from lunet_export.parity import Runner
    from lunet_export.runtime import ExportedClasses, ExportedFlow
    from lunet_export.runtime.cuda import CudaOptions
    from lunet_export.weights import Weights


def read_model(path: Path, latent_stats: Path | None, preprocess: PreprocessName) -> "Checkpoint":
    """The checkpoint in a file."""
    from lunet_export import checkpoint

    return _told(checkpoint.read(path, latent_stats=latent_stats, preprocessing=NAMED[preprocess.value]))


def read_either(path: Path, latent_stats: Path | None, preprocess: PreprocessName) -> "Checkpoint | ClassCheckpoint":
    """The checkpoint in a file, of one network or of one a class."""
    from lunet_export.checkpoint import class_checkpoint

    found = class_checkpoint.read_either(path, latent_stats=latent_stats, preprocessing=NAMED[preprocess.value])
    return found if isinstance(found, class_checkpoint.ClassCheckpoint) else _told(found)


def _told(read: "Checkpoint") -> "Checkpoint":
    """The checkpoint; what was assumed of it is said."""
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


def open_export(
    folder: Path,
    provider: ProviderName,
    threads: int | None,
    cuda: "CudaOptions",
    *,
    cuda_graph: bool = False,
) -> "ExportedFlow | ExportedClasses":
    """An exported folder of either kind.

    Raises:
        BadInputError: `cuda_graph`, and the folder holds one network a class, or runs on another provider than CUDA.
    """
    from lunet_export.artifact import ClassArtifact, open_folder
    from lunet_export.runtime import ExportedClasses, ExportedFlow

    artifact = open_folder(folder)
    if not isinstance(artifact, ClassArtifact):
        flow = ExportedFlow(artifact, provider=provider.value, threads=threads, cuda=cuda, cuda_graph=cuda_graph)
        if cuda_graph and flow.provider != "cuda":
            raise BadInputError(
                f"Expected CUDA for --cuda-graph; {provider.value} took {flow.provider} ({flow.provider_reason}). "
                "Leave it out."
            )
        return flow
    if cuda_graph:
        raise BadInputError(f"Expected no --cuda-graph; {folder} holds a network a class, which is not captured.")
    return ExportedClasses(artifact, provider=provider.value, threads=threads, cuda=cuda)


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


def as_exported(weights: "Weights", manifest: "Manifest") -> "Weights | None":
    """Weights with what an export chose of them, as the steps of an integration; None if it was made of others."""
    from lunet_export.export import ExportSettings
    from lunet_export.graphs.blueprint import blueprint_of

    model = manifest.document["model"]
    if "steps" in model and weights.family == manifest.family.name:
        weights = blueprint_of(weights, ExportSettings(steps=model["steps"])).weights
    return weights if weights.digest() == model.get("sha256_weights") else None


def eager_classes(dtype: str) -> "Eager":
    """Makes eager PyTorch of one network a class, in the dtype of the graphs."""
    from lunet_export.export.classes import Eager
    from lunet_export.flows import EagerClasses

    return Eager(lambda mixture: EagerClasses(mixture, dtype), eager_of(dtype))


def eager_of(dtype: str) -> "Callable[[Weights], Runner]":
    """Makes eager PyTorch of weights, in the dtype of the graphs."""
    from lunet_export.flows import EagerFlow

    return lambda weights: EagerFlow(weights, dtype)
