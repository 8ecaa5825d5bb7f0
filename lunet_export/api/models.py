"""`Model`: weights, the training record and the source files of a model, made of whatever a user has."""

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union

from lunet_export.artifact import made_from
from lunet_export.columns import given_names, listed
from lunet_export.distribution import Distribution, Mixture, classes_of, kind_of
from lunet_export.errors import BadInputError, LunetExportError, brief
from lunet_export.layers import Chain
from lunet_export.pictures import html
from lunet_export.preprocessing import NAMED

if TYPE_CHECKING:
    from torch import Tensor

    from lunet_export.artifact import Manifest
    from lunet_export.checkpoint import Checkpoint
    from lunet_export.export import Provenance, SourceFile
    from lunet_export.importers import Imported
    from lunet_export.torch_layers import Flow

#: A `Model`, a `Flow`, a `Chain`, a `Mixture`, a flow of another library, or the path of a model file.
ModelLike = Union["Model", Distribution, str, Path, object]


@dataclass(frozen=True, repr=False, eq=False)
class Model:
    """A model with its training record and source files.

    Attributes:
        checkpoint: Weights in float64, the record of the training, and a few example rows.
        files: Files that the model was read from, by role; an export names them in its manifest.
    """

    checkpoint: "Checkpoint"
    files: "Mapping[str, SourceFile]" = field(default_factory=dict)

    @property
    def distribution(self) -> Distribution:
        """Return the model as arrays: a `Chain`, or a `Mixture` of one chain per class."""
        return self.checkpoint.model

    @property
    def dim(self) -> int:
        """Return the number of dimensions D."""
        return self.distribution.dim

    @property
    def columns(self) -> tuple[str, ...] | None:
        """Return the names of the D columns in order; None for a model without names."""
        return self.checkpoint.columns

    @property
    def path(self) -> Path | None:
        """Return the path of the model file; None if there is no file."""
        return self.checkpoint.path

    @property
    def training(self) -> Mapping[str, Any]:
        """Return the record of the training, such as `test` in bits/dim and `test_nats` in nats per row."""
        return self.checkpoint.training or {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Return sentences about how the file was read, such as what was left out; usually none."""
        return self.checkpoint.notes

    def flow(self, dtype: Literal["float32", "float64"] = "float32") -> "Flow":
        """Return the model as a PyTorch flow, whose parameters can be trained.

        Args:
            dtype: Dtype of its parameters, and of the rows that it takes.

        Raises:
            CheckpointError: if the model has one network per class.
        """
        import torch

        from lunet_export.torch_layers import Flow

        return Flow.of(self.checkpoint.weights, dtype=getattr(torch, dtype))

    def with_columns(self, columns: Sequence[str]) -> "Model":
        """Return the model with these names of its columns: samples and tables of scores then have them.

        Args:
            columns: D different names, in the order of the columns.

        Raises:
            BadInputError: if these are not D different names, or the rows of the model are images.
        """
        if self.checkpoint.image_shape is not None:
            raise BadInputError("Expected no `columns` for a model of images, whose columns are pixels. Leave it out.")
        names = given_names(columns, self.dim)
        members = tuple(replace(member, columns=names) for member in self.checkpoint.members)
        return replace(self, checkpoint=replace(self.checkpoint, columns=names, members=members))

    def __repr__(self) -> str:
        model, test, gaussian = self.distribution, self.training.get("test"), self.training.get("gaussian_test")
        kind = f"{len(model.names)} classes" if isinstance(model, Mixture) else model.kind.name
        parts = [kind, f"dim={self.dim}", f"dtype={self.checkpoint.dtype}"]
        if isinstance(test, float):
            parts.append(f"{test:.4g} bits/dim on test rows")
            parts += [f"of a Gaussian {gaussian:.4g}"] if isinstance(gaussian, float) else []
        return f"Model({', '.join([*parts, *([str(self.path)] if self.path else [])])})"

    def _repr_html_(self) -> str:
        """Return the HTML that a notebook shows: facts of the model, and its training curve if the history exists.

        It never raises.
        """
        return html.page("Model", self._facts(), self._curve())

    def _facts(self) -> dict[str, str]:
        """Return the facts of the model by name, for a table."""
        model, training = self.distribution, self.training
        parts = {} if isinstance(model, Mixture) else model.kind.facts(model)
        figures = {name: training.get(key) for name, key in (("test", "test"), ("Gaussian, test", "gaussian_test"))}
        return {
            "kind": kind_of(model),
            **({"classes": ", ".join(model.names)} if isinstance(model, Mixture) else {}),
            "dimensions": str(self.dim),
            **{name.replace("_", " "): brief(part) for name, part in parts.items()},
            **({"columns": listed(self.columns)} if self.columns else {}),
            "dtype": self.checkpoint.dtype,
            **({"file": str(self.path)} if self.path else {}),
            **{name: f"{value:.4f} bits/dim" for name, value in figures.items() if isinstance(value, float)},
        }

    def _curve(self) -> str:
        from lunet_export.training import Paths
        from lunet_export.training.history import History

        if self.path is None:
            return ""
        try:
            run = History.read(Paths(self.path).history)
        except (LunetExportError, OSError):  # there is no history, or it cannot be read
            return ""
        lines = {"training": [record.train for record in run.epochs]}
        lines["validation"] = [record.valid for record in run.epochs]
        return html.curves(lines, run.unit, "bits/dim")


def model_of(given: ModelLike, columns: Sequence[str] | None = None) -> Model:
    """Return the model of whatever a user has, with names of its columns if they are given.

    Raises:
        BadInputError: if it is not a model, or `columns` are not D different names.
        CheckpointError, CheckFailedError, UnsupportedLayersError: as `load` and `convert` raise.
    """
    model = _model_of(given)
    return model if columns is None else model.with_columns(columns)


def _model_of(given: ModelLike) -> Model:
    """Return the model of whatever a user has. Kinds of models are told apart in this one place."""
    from lunet_export.checkpoint import Checkpoint
    from lunet_export.importers.classes import library_of, names
    from lunet_export.torch_layers import Flow

    match given:
        case Model():
            return given
        case str() | os.PathLike():
            return read(Path(given))
        case Flow():
            return Model(Checkpoint(given.to_chain(), "arrays", dtype=str(given.like.dtype).removeprefix("torch.")))
        case Chain() | Mixture():
            return Model(Checkpoint(given, "arrays"))
        case _ if not library_of(given) and not any(name.startswith("torch.") for name in names(given)):
            raise BadInputError(
                "Expected a model: a Model, a Flow, a Chain, a Mixture, a flow of FrEIA, glasflow, nflows, normflows, "
                f"sbi or zuko, or the path of a model file; got a {type(given).__name__}."
            )
        case _:
            found = imported(given)
            return Model(Checkpoint(found.weights, "lunet_export", training=facts_of(found)))


def read(path: Path, *, latent_stats: Path | None = None, preprocess: str = "none") -> Model:
    """Return the model in a file; arguments and errors are those of `load`."""
    from lunet_export import checkpoint

    if preprocess not in ("none", "paper"):
        raise BadInputError(f"Expected a pre-processing of none or paper; got {preprocess}.")
    found = checkpoint.read(path, latent_stats=latent_stats, preprocessing=NAMED[preprocess])
    return Model(found, files_of(path, latent_stats))


def of_no_file(model: Model) -> Model:
    """Return the model without the path of its file, which no longer exists."""
    return Model(replace(model.checkpoint, path=None))


def imported(flow: object, context: "Tensor | None" = None) -> "Imported":
    """Return another library's flow as arrays, with the measured differences; errors are those of `convert`."""
    from lunet_export import importers
    from lunet_export.graphs.sizes import validate_size

    found = importers.read(flow, context=context)
    validate_size(found.weights.stored, "float16", "Import a smaller flow.", "a flow whose graphs are")
    return found


def facts_of(found: "Imported") -> dict[str, Any]:
    """Return the record of an imported flow."""
    return {"imported_from": found.library, "proof": found.proof.as_json()}


def files_of(model: Path, latent_stats: Path | None = None, classifier: Path | None = None) -> "dict[str, SourceFile]":
    """Return the files that an export is made from, by role, for its manifest."""
    from lunet_export.export import SourceFile

    given = {"model": model, "latent_stats": latent_stats, "classifier": classifier}
    return {role: SourceFile.of(path) for role, path in given.items() if path is not None}


def provenance_of(read: "Checkpoint", folder: Path, files: "Mapping[str, SourceFile]") -> "Provenance":
    """Return the name, source and training record of a model, for the manifest of its export."""
    from lunet_export.export import Provenance

    name = folder.resolve().name
    classes = tuple(member.training or {} for member in read.members) or ({},) * len(classes_of(read.model))
    training = read.training or {}
    return Provenance(name, read.kind, read.image_shape, training, files, read.assumed, classes, read.columns)


def eager_of(dtype: str) -> Callable[[Distribution], Any]:
    """Return a function that makes eager PyTorch of a flow or a mixture, in the dtype of the graphs."""
    from lunet_export.torch_layers import eager

    return lambda model: eager(model, dtype)


def another_model(manifest: "Manifest", model: Model, command: Sequence[str]) -> BadInputError:
    """Return the error for an export that was made of another model than the given one.

    Args:
        manifest: Manifest of the export.
        model: The model that is given.
        command: Command that was run, up to its options for the files of the model.
    """
    from lunet_export.export import SourceFile

    path, made = model.path, made_from(manifest.document)
    given = "the one that was given" if path is None else path
    begin = f"Expected the model that {manifest.name} was exported from; {given} is"
    if path is None or not path.is_file() or SourceFile.of(path).sha256 != made.get("model", {}).get("sha256"):
        return BadInputError(f"{begin} another one. Give the file from which it was exported.")
    stats, mine = made.get("latent_stats"), model.files.get("latent_stats")
    if stats and mine and mine.sha256 != stats.get("sha256"):
        return BadInputError(
            f"{begin} the very file, but its latent statistics are another file than {mine.name}: {stats.get('name')} "
            f"of SHA-256 {stats.get('sha256')}. Give that one."
        )
    of_authors = model.checkpoint.kind == "authors"
    if manifest.preprocessing == model.distribution.preprocessing and bool(stats) == bool(mine):
        return BadInputError(f"{begin} another one. Give the file from which it was exported.")
    options, arguments = [], []
    if of_authors and manifest.preprocessing:
        options += ["--preprocess", "paper"]
        arguments.append("`preprocess='paper'`")
    if stats:
        beside = path.with_name(str(stats.get("name")))
        options += ["--latent-stats", str(beside if beside.is_file() else beside.name)]
        arguments.append(f"`latent_stats={options[-1]!r}`")
    said = " and ".join(arguments) or "neither `preprocess` nor `latent_stats`"
    whole = shlex.join(["lunet-export", *command, "--model", str(path), *options])
    return BadInputError(f"{begin} the very file, but the export was given {said}. Run: {whole}")


def validate_model_path(target: Path, *, force: bool) -> None:
    """Raise BadInputError if the path has another ending, or exists and `force` is not set."""
    if target.suffix not in (".pt", ".safetensors"):
        raise BadInputError(f"Expected a model file that ends in .pt or .safetensors; got {target}. Give another path.")
    if target.exists() and not force:
        raise BadInputError(f"Expected a new file; {target} exists already. Give `force=True` or another path.")
