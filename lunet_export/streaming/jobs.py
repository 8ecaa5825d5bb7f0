"""The work on a range of rows: log p of given rows, or samples. Jobs are picklable: any process can do a part."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from math import fsum, isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lunet_export import noise
from lunet_export.artifact import Manifest, open_folder, read_manifest
from lunet_export.columns import Columns, Names, listed
from lunet_export.data.given_context import GivenContext, given_context
from lunet_export.data.own import columns_for
from lunet_export.data.sources import Source, open_source
from lunet_export.errors import BadInputError, DataError, OverflowingRowsError
from lunet_export.layers import Context
from lunet_export.likelihood import bits_per_dim
from lunet_export.runtime import ExportedClasses, ExportedFlow, open_export
from lunet_export.runtime.misfit import Misfit
from lunet_export.runtime.providers import Provider
from lunet_export.runtime.rows import LARGEST_BATCH, Rows, looks_like
from lunet_export.runtime.scoring import Together, scores
from lunet_export.scalars import whole
from lunet_export.streaming.tables import Table

Array = NDArray[np.float64]
Flow = ExportedFlow | ExportedClasses
INVALID = ("stop", "nan")
_NUMBERS = 2**20  # numbers read and computed at once


@dataclass(frozen=True)
class Work:
    """A computation with its sessions open, from (first, count) to the table of these rows.

    A row that cannot be scored is NaN in the table. Rows that a model was not made for are scored all the same, and
    noted.
    """

    compute: Callable[[int, int], Table]
    provider: str  # the provider that runs the graphs
    provider_reason: str
    misfits: dict[str, str] = field(default_factory=dict)  # the first sentence about such rows, by kind

    def __call__(self, first: int, count: int) -> Table:
        """Return the table of rows number first .. first + count - 1."""
        return self.compute(first, count)


class Job(ABC):
    """Work on rows 0 .. rows - 1, each by its number alone: however it is split, the answers are the same.

    Attributes:
        place: Provider and options of the graphs.
    """

    place: "Place"

    @property
    @abstractmethod
    def rows(self) -> int:
        """Number of rows in all."""

    @property
    def x_names(self) -> Names | None:
        """Names of the columns of x in tables, for samples of a model with names; else None."""
        return None

    @property
    @abstractmethod
    def chunk(self) -> int:
        """Number of rows to compute at once, a multiple of the batch that graphs are given."""

    @property
    @abstractmethod
    def bytes_per_row(self) -> int:
        """Bytes of one row of results on the disk, before any compression."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return plain values that identify the job: another job has others."""

    @abstractmethod
    def elsewhere(self, place: "Place") -> "Job":
        """Return the same job for processes with another working directory, with its graphs at `place`."""

    @abstractmethod
    def work(self) -> Work:
        """Open sessions, once per process, and return the computation."""


@dataclass(frozen=True)
class Place:
    """The provider that runs the graphs, and its options."""

    provider: Provider = "auto"
    threads: int | None = None
    cuda: Mapping[str, Any] = field(default_factory=dict)
    cuda_graph: bool = False  # only for a flow in this process

    def facts(self) -> dict[str, Any]:
        """Return what may change bits of the answers: threads and how memory is taken do not."""
        return {"provider": self.provider, "cuda": {"tf32": bool(self.cuda.get("tf32", False))}}

    def open(self, folder: str, *, given: bool = False) -> Flow:
        """Open the flow or the mixture of a folder, verified.

        Args:
            folder: The exported folder.
            given: Whether contexts are given. A flow whose context names classes is else opened as their mixture.

        Raises:
            ArtifactError, ProviderError: as `ExportedFlow` does.
            BadInputError: if `cuda_graph` is set and the folder holds a mixture, or runs on another provider than CUDA.
        """
        artifact = open_folder(folder)
        is_mixture = artifact.manifest.classes is not None and not given
        if not self.cuda_graph:
            kind = ExportedClasses if is_mixture else open_export
            return kind(artifact, provider=self.provider, threads=self.threads, cuda=self.cuda)
        if is_mixture:
            raise BadInputError(f"Expected no `cuda_graph`; {folder} holds classes, whose graphs are not captured.")
        flow = ExportedFlow(artifact, provider=self.provider, threads=self.threads, cuda=self.cuda, cuda_graph=True)
        if flow.provider != "cuda":
            raise BadInputError(
                f"Expected CUDA for `cuda_graph`; {self.provider} took {flow.provider} ({flow.provider_reason}). "
                "Leave it out."
            )
        return flow


@dataclass(frozen=True)
class ScoreJob(Job):
    """The job that computes log p of the rows of a file, in nats, by one model or by several together.

    For several models, p(x) = sum_k w_k p_k(x). Columns: log_prob, bits_per_dim; with `paper` paper_convention;
    log_prob_0, log_prob_1, .. for several models; for one folder with a network per class the most probable class, its
    probability as confidence, and the posterior of all, C numbers per row.

    Args:
        folders: Exported folders, of one width.
        source: File or folder of rows.
        columns: Columns of the source, as in `open_source`; empty takes those of the models, by their names.
        weights: Weights of the models, positive, summing to 1; None takes equal ones.
        draws: Number of noise draws for grey levels, as in `runtime.scoring.score`.
        seed: Seed of that noise.
        invalid: What to do with rows that are not finite, outside the domain or so far out that they overflow: `stop`
            at the first, or give them `nan`.
        place: Provider and options of the graphs.
        hold: Whether to read the whole file into memory, as `open_source` does, and compute all rows at once.
        paper: Whether to add the figure of `lunet_export.likelihood.paper_convention`.
        context: Context of conditional flows, as `GivenContext` takes it; without one, the columns of the source that
            have the names of the context.

    Raises:
        BadInputError: if a setting is out of range or does not fit, or the widths differ.
        DataError: as `open_source` does.
    """

    folders: tuple[str, ...]
    source: str
    columns: tuple[str, ...] = ()
    weights: tuple[float, ...] | None = None
    draws: int = 1
    seed: int = 0
    invalid: str = "stop"
    place: Place = field(default_factory=Place)
    hold: bool = False
    paper: bool = False
    context: str | None = None

    def __post_init__(self) -> None:
        if self.invalid not in INVALID:
            raise BadInputError(f"Expected `invalid` {' or '.join(INVALID)}; got {self.invalid}.")
        whole(self.draws, "`draws` of 1 or more", least=1)
        noise.seed_of(self.seed)  # before a folder is claimed
        if self.weights is not None:
            good = all(isfinite(weight) and weight > 0 for weight in self.weights)
            if len(self.weights) != len(self.folders) or not good or abs(fsum(self.weights) - 1) > 1e-9:
                raise BadInputError(
                    f"Expected {len(self.folders)} positive weights that sum to 1, one per model; got "
                    f"{', '.join(map(repr, self.weights))}."
                )
        self._validate_models()
        manifests, source = self._manifests, self._source
        shape = getattr(source, "shape", ())
        if len(shape) == 1 and manifests[0].dim != 1:
            dim = manifests[0].dim
            raise DataError(
                f"Expected rows of {dim} numbers in {self.source}; it has shape {shape}. Save one row per line."
            )
        if source.width != manifests[0].dim:
            raise DataError(
                f"Expected rows of {manifests[0].dim} numbers, as the model {manifests[0].name} takes them; those of "
                f"{self.source} have {source.width}. Choose columns by `columns`, or give the model's data."
            )
        if len({manifest.preprocessing for manifest in manifests}) != 1:
            raise BadInputError(
                "Expected models of one pre-processing; got several: they are densities of different data."
            )
        if self.draws > 1:
            validate_draws(manifests[0], source.read(0, 1))
        if self._context:
            self._context.validate_rows(source.rows)

    @property
    def rows(self) -> int:
        return self._source.rows

    @property
    def chunk(self) -> int:
        return self.rows if self._source.held else _chunk(self._source.width)

    @property
    def bytes_per_row(self) -> int:
        figures = 2 + self.paper
        if len(self.folders) > 1:
            return 8 * (figures + len(self.folders))
        names = self._names
        return 8 * (figures + (1 + len(names) if names else 0)) + max(map(len, names), default=0)

    def facts(self) -> dict[str, Any]:
        return {
            "kind": "score",
            "models": [_identity(folder) for folder in self.folders],
            "weights": None if self.weights is None else list(self.weights),
            "source": self._source.identity(),
            "draws": int(self.draws),
            "seed": int(self.seed),
            "invalid": self.invalid,
            "place": self.place.facts(),
            # Tables of a mixture had other columns once: one run must not hold parts of both.
            **({"columns": ["class", "confidence", "posterior"]} if self._names else {}),
            **({"paper_convention": True} if self.paper else {}),
            **({"context": self._context.identity()} if self._context else {}),
        }

    def work(self, on_draw: Callable[[], None] = lambda: None) -> Work:
        """Open sessions and return the computation; `on_draw` is called after each draw of the noise."""
        flows = [self.place.open(folder, given=self._context is not None) for folder in self.folders]
        model = flows[0] if len(flows) == 1 else Together(tuple(flows), self.weights or (1 / len(flows),) * len(flows))
        misfits: dict[str, str] = {}

        def note(misfit: Misfit) -> None:
            misfits.setdefault(misfit.kind, misfit.sentence)

        def table_of(rows: NDArray[Any], first: int) -> Table:
            drawn: dict[str, Any] = {"draws": self.draws, "seed": self.seed, "first": first, "paper": self.paper}
            if self._context:
                drawn["context"] = self._context.read(first, len(rows))
            return _columns(scores(model, rows, **drawn, on_draw=on_draw, on_misfit=note), rows.shape[1], self._names)

        def compute(first: int, count: int) -> Table:
            rows = self._source.read(first, count)
            if self._alone and self.invalid == "stop":
                return table_of(rows, first)
            good = model.accepts(rows)
            if not good.all() and self.invalid == "stop":
                row, p = int(np.argmin(good)), model.manifest.preprocessing
                refusing = next(flow for flow in flows if not flow.accepts(rows[row : row + 1]).all())
                raise BadInputError(
                    f"Expected finite rows inside the domain; row {first + row} (from 0) is not: "
                    f"{refusing._rows.told(rows[row])}. Repair it, or give `invalid='nan'`."
                    f"{looks_like(rows, p.levels) if p else ''}"
                )
            while True:
                try:
                    table = self._good(table_of, rows, good, first)
                    break
                except OverflowingRowsError as error:  # it tells rows of one model or one draw, so more may follow
                    if self.invalid == "stop":
                        raise error.counted_from(first) from None
                    good = good & ~error.rows
            if good.all():
                return table
            for name, values in table.items():
                table[name] = np.where(good if values.ndim == 1 else good[:, None], values, _missing(values))
            return table

        return Work(compute, flows[0].provider, flows[0].provider_reason, misfits)

    def _good(
        self, table_of: Callable[[NDArray[Any], int], Table], rows: NDArray[Any], good: NDArray[np.bool_], first: int
    ) -> dict[str, NDArray[Any]]:
        """Return the table of all rows, with the answers of a good row in the place of bad rows."""
        if not good.any():
            count, several = len(self.folders), len(self.folders) > 1
            nothing = {"log_prob": np.full(len(rows), np.nan)}
            nothing |= {"paper_convention": np.full(len(rows), np.nan)} if self.paper else {}
            nothing |= {"each": np.full((len(rows), count), np.nan)} if several else {}
            nothing |= {"posterior": np.full((len(rows), len(self._names)), np.nan)} if self._names else {}
            return _columns(nothing, rows.shape[1], self._names)
        safe = rows
        if not good.all():  # a row's answer must not depend on its neighbours' places, so bad rows keep theirs
            safe = rows.copy()
            safe[~good] = rows[int(np.argmax(good))]
        return dict(table_of(safe, first))

    def elsewhere(self, place: Place) -> "ScoreJob":
        context = None if self.context is None or self._context is None else self._context.elsewhere
        folders, source = tuple(map(_absolute, self.folders)), _absolute(self.source)
        return replace(self, folders=folders, source=source, place=place, context=context)

    @cached_property
    def _source(self) -> Source:
        path, manifest = Path(self.source), self._manifests[0]
        columns = columns_for(Columns(manifest.dim, self._names_of_columns), path, self.columns)
        return open_source(path, columns, hold=self.hold)

    @cached_property
    def _context(self) -> GivenContext | None:
        return given_context(_taken(self._manifests[0], self.context), self.context, self.source)

    @cached_property
    def _manifests(self) -> list[Manifest]:
        return [open_folder(folder).manifest for folder in self.folders]

    @property
    def _names_of_columns(self) -> Names | None:
        """Names of the columns of the first model that has any."""
        return next((manifest.columns for manifest in self._manifests if manifest.columns), None)

    def _validate_models(self) -> None:
        """Raise an error unless the models are of one width, and of the same columns if these have names."""
        for folder, manifest in zip(self.folders, self._manifests, strict=True):
            if manifest.dim != self._manifests[0].dim:
                raise BadInputError(
                    f"Expected models of one width; {self.folders[0]} takes rows of {self._manifests[0].dim} numbers, "
                    f"{folder} of {manifest.dim}."
                )
            one, first = (_taken(each, self.context) for each in (manifest, self._manifests[0]))
            if (one and one.text) != (first and first.text):
                raise BadInputError(
                    f"Expected models of one context; {folder} takes {one.dim if one else 'no'} numbers of one, "
                    f"{self.folders[0]} another."
                )
            if manifest.columns and manifest.columns != self._names_of_columns:
                raise BadInputError(
                    f"Expected models of the same columns in one order, {listed(self._names_of_columns or ())}; "
                    f"{folder} has {listed(manifest.columns)}."
                )

    @property
    def _names(self) -> tuple[str, ...]:
        """Names of the classes if one mixture scores; else empty."""
        classes = self._manifests[0].classes if len(self.folders) == 1 and self._context is None else None
        return classes.names if classes else ()

    @property
    def _alone(self) -> bool:
        """Whether one model scores rows that are held, so that it reports itself what is wrong with the whole array."""
        return self._source.held and len(self.folders) == 1

    def __getstate__(self) -> dict[str, Any]:
        return {
            field.name: getattr(self, field.name) for field in fields(self)
        }  # open files cannot leave their process


@dataclass(frozen=True)
class SampleJob(Job):
    """The job that samples a folder: column x, with `with_log_prob` log_prob in nats, for a mixture the class as label.

    For a model with names, tables other than .npy have one column per name in the place of x.

    Row i is the one that `sample` of the runtime gives for the same seed.

    Args:
        folder: The exported folder.
        count: Number of samples.
        seed: Seed of the noise.
        temperature: Scale of the noise.
        label: Class to sample alone, for a folder with classes; None samples the mixture.
        with_log_prob: Whether to add log p of every sample, by the density graph.
        place: Provider and options of the graphs.
        context: Context of a conditional flow, as `GivenContext` takes it.

    Raises:
        BadInputError: if a setting is out of range, or `label` is given for a folder without classes or beside
            `context`.
    """

    folder: str
    count: int
    seed: int = 0
    temperature: float = 1.0
    label: str | None = None
    with_log_prob: bool = False
    place: Place = field(default_factory=Place)
    context: str | None = None

    def __post_init__(self) -> None:
        manifest = open_folder(self.folder).manifest
        _validate_label(self.label, manifest, self.folder, self.context)
        whole(self.count, "`n` of 1 or more", least=1)
        # Bad values raise their errors here, before a folder is claimed.
        rows = Rows(self._manifest.dim, np.dtype(self._manifest.dtype), None)
        rows.normal(0, seed=self.seed, temperature=self.temperature)
        if self._context:
            self._context.validate_rows(self.count)

    @cached_property
    def _context(self) -> GivenContext | None:
        return given_context(_taken(self._manifest, self.context), self.context)

    @property
    def rows(self) -> int:
        return self.count

    def elsewhere(self, place: Place) -> "SampleJob":
        context = None if self._context is None else self._context.elsewhere
        return replace(self, folder=_absolute(self.folder), place=place, context=context)

    @cached_property
    def _manifest(self) -> Manifest:
        return read_manifest(Path(self.folder))

    @property
    def x_names(self) -> Names | None:
        return self._manifest.columns

    @property
    def chunk(self) -> int:
        return _chunk(self._manifest.dim)

    @property
    def bytes_per_row(self) -> int:
        manifest = self._manifest
        return manifest.dim * np.dtype(manifest.dtype).itemsize + 8 * self.with_log_prob

    def facts(self) -> dict[str, Any]:
        return {
            "kind": "sample",
            "models": [_identity(self.folder)],
            "rows": int(self.count),
            "seed": int(self.seed),
            "temperature": float(self.temperature),
            "label": self.label,
            "with_log_prob": self.with_log_prob,
            "place": self.place.facts(),
            **({"context": self._context.identity()} if self._context else {}),
        }

    def work(self) -> Work:
        flow = self.place.open(self.folder, given=self._context is not None)
        settings: dict[str, Any] = {"seed": self.seed, "temperature": self.temperature}
        misfits: dict[str, str] = {}

        def compute(first: int, count: int) -> Table:
            try:
                return drawn(first, count)
            except OverflowingRowsError as error:
                raise error.counted_from(first) from None

        def drawn(first: int, count: int) -> Table:
            given: dict[str, Any] = {"context": self._context.read(first, count)} if self._context else {}
            if given and (misfit := beyond(flow, given["context"], count)):
                misfits.setdefault(misfit.kind, misfit.sentence)
            table = flow._table(count, label=self.label, first=first, **settings, **given)
            if self.with_log_prob:
                table["log_prob"] = flow.log_prob(table["x"], **given).astype(np.float64)
            return table

        return Work(compute, flow.provider, flow.provider_reason, misfits)


def beyond(flow: Flow, context: NDArray[Any], rows: int) -> Misfit | None:
    """Return the misfit of contexts outside those of training; None where there is none."""
    return flow._rows.beyond(flow._rows.contexts(context, rows))


def draw(
    flow: Flow,
    n: int,
    *,
    seed: int,
    temperature: float = 1.0,
    label: str | None = None,
    z: NDArray[Any] | None = None,
    each: bool = False,
    context: ArrayLike | None = None,
) -> dict[str, NDArray[Any]]:
    """Return samples as columns: `x` (n, D), and for a mixture `label` (n,).

    Args:
        flow: The flow or mixture.
        n: Number of samples.
        seed: Seed of the noise.
        temperature: Scale of the noise.
        label: Class of a mixture to sample alone.
        z: Latents to decode in the place of drawn ones, (n, D); for a mixture by the network of `label`.
        each: Whether to draw from every class of a mixture alike, in their order, at least n in all; without `label`.
        context: Context of a conditional flow, (n, C), or one for all samples, (C,) or (1, C).

    Raises:
        BadInputError: if latents of a mixture come without `label`, `label` is given for a flow, or as `sample` and
            `decode` do.
    """
    settings: dict[str, Any] = {"seed": seed, "temperature": temperature}
    _validate_label(label, flow.manifest, flow.manifest.name, context)
    if not isinstance(flow, ExportedClasses):
        x = flow.sample(n, context=context, **settings) if z is None else flow.decode(z, context=context)
        return {"x": x}
    if z is not None:
        if label is None:
            raise BadInputError(
                "Expected `label` beside `latent`, since each class decodes it to another row; got none."
            )
        x = flow.decode(z, label)
    elif label is None and each:
        count, classes = -(-n // len(flow.names)), range(len(flow.names))
        parts = [flow.sample(count, label=number, **settings) for number in classes]
        return {"x": np.concatenate(parts), "label": np.repeat(classes, count)}
    elif label is None:
        return {"x": flow.sample(n, **settings), "label": flow.labels(n, seed=seed)}
    else:
        x = flow.sample(n, label=label, **settings)
    return {"x": x, "label": np.full(len(x), flow.number(label))}


def _validate_label(label: str | None, manifest: Manifest, name: str, context: object) -> None:
    if label is None:
        return
    if manifest.classes is None:
        raise BadInputError(f"Expected no `label`; {name} holds one network, without classes. Leave it out.")
    if context is not None:
        raise BadInputError("Expected `label` or `context`, which names the class itself; got both. Leave one out.")


def _taken(manifest: Manifest, given: str | None) -> Context | None:
    """Return the context that a folder takes: none where it names classes and none is given, as their mixture does."""
    return None if given is None and manifest.classes is not None else manifest.context


def _chunk(width: int) -> int:
    return max(1, _NUMBERS // (width * LARGEST_BATCH)) * LARGEST_BATCH


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _identity(folder: str) -> dict[str, str]:
    manifest = read_manifest(Path(folder))
    return {"name": manifest.name, "sha256_manifest": str(manifest.document["sha256_manifest"])}


def _columns(answers: Mapping[str, Array], width: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return what `scores` gave as columns of a table; rows of a mixture without an answer have an empty class."""
    nats = answers["log_prob"]
    table: dict[str, NDArray[Any]] = {"log_prob": nats, "bits_per_dim": bits_per_dim(nats, width)}
    if "paper_convention" in answers:
        table["paper_convention"] = answers["paper_convention"]
    if "posterior" in answers:
        posterior = answers["posterior"]
        table["class"] = np.array(names)[posterior.argmax(axis=1)]
        table |= {"confidence": posterior.max(axis=1), "posterior": posterior}
    each = answers.get("each", np.empty((0, 0)))
    return table | {f"log_prob_{number}": of_model for number, of_model in enumerate(each.T)}


def _missing(values: NDArray[Any]) -> Any:  # noqa: ANN401
    return "" if values.dtype.kind == "U" else np.nan


def validate_draws(manifest: Manifest, rows: NDArray[Any]) -> None:
    """Raise an error if there is no noise to average over; `rows` are some of those that would be scored.

    Raises:
        BadInputError: if the rows are floats, or the model does not take grey levels.
    """
    if manifest.preprocessing is None or rows.dtype.kind == "f":
        raise BadInputError(
            "Expected grey levels of an image model for `draws` above 1; got numbers that take no noise. Leave it out."
        )
