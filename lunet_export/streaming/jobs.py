"""What is computed of a range of rows: log p of given rows, or samples. Picklable: any process can do a part."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from math import fsum, isfinite
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.artifact import ClassArtifact, ClassManifest, Manifest, open_folder, read_manifest
from lunet_export.errors import BadInputError, OverflowingRowsError
from lunet_export.likelihood import bits_per_dim
from lunet_export.runtime import ExportedClasses, ExportedFlow
from lunet_export.runtime.misfit import Misfit
from lunet_export.runtime.providers import Provider
from lunet_export.runtime.rows import LARGEST_BATCH, Rows, looks_like
from lunet_export.runtime.scoring import score, score_classes, score_mixture
from lunet_export.scalars import whole
from lunet_export.streaming.sources import Source, open_source
from lunet_export.streaming.tables import Table

Array = NDArray[np.float64]
Flow = ExportedFlow | ExportedClasses
INVALID = ("stop", "nan")
_NUMBERS = 2**20  # read and computed at once


@dataclass(frozen=True)
class Work:
    """What computes, with its sessions open: first, count -> the table of these rows.

    A row that cannot be scored is NaN there. Rows that a model was not made for are scored all the same, and noted.
    """

    compute: Callable[[int, int], Table]
    provider: str  # that the graphs run on
    provider_reason: str
    misfits: dict[str, str] = field(default_factory=dict)  # by kind, the first sentence about such rows

    def __call__(self, first: int, count: int) -> Table:
        """The table of rows number first .. first + count - 1."""
        return self.compute(first, count)


class Job(Protocol):
    """Work on rows 0 .. rows - 1, each by its number alone: however it is split, the answers are the same."""

    @property
    def rows(self) -> int:
        """How many there are in all."""

    @property
    def chunk(self) -> int:
        """Rows to compute at once, a multiple of the batch that graphs are given."""

    def facts(self) -> dict[str, Any]:
        """Plain values that make the job: another job has others."""

    @property
    def bytes_per_row(self) -> int:
        """What a row of results takes on the disk, before any compression."""

    @property
    def place(self) -> "Place":
        """Where the graphs run."""

    def elsewhere(self, place: "Place") -> "Job":
        """The same job for processes with another working directory, their graphs at `place`."""

    def work(self) -> Work:
        """Open sessions, once a process, and return what computes."""


@dataclass(frozen=True)
class Place:
    """Where the graphs run."""

    provider: Provider = "auto"
    threads: int | None = None
    cuda: Mapping[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Of this, what may change bits of the answers: threads and how memory is taken do not."""
        return {"provider": self.provider, "cuda": {"tf32": bool(self.cuda.get("tf32", False))}}

    def open(self, folder: str) -> Flow:
        """The flow of a folder of either kind, verified.

        Raises:
            ArtifactError, ProviderError: As `ExportedFlow` does.
        """
        artifact = open_folder(folder)
        kind = ExportedClasses if isinstance(artifact, ClassArtifact) else ExportedFlow
        return kind(artifact, provider=self.provider, threads=self.threads, cuda=self.cuda)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ScoreJob:
    """log p of the rows of a file, in nats, by one model or by several together.

    Of several, p(x) = sum_k w_k p_k(x). Columns: log_prob, bits_per_dim; log_prob_0, log_prob_1, .. of several models;
    class and posterior (the largest) of one folder with a network a class.

    Args:
        folders: Exported folders, of one width.
        source: The file or folder of rows.
        columns: Of the source, as in `open_source`.
        weights: Of the models, positive, summing to 1; equal without them.
        draws, seed: Noise of grey levels, as in `runtime.scoring.score`.
        invalid: Of rows that are not finite, outside the domain or so far out that they overflow: `stop` at the first,
            or give them `nan`.
        place: Where the graphs run.

    Raises:
        BadInputError: A setting is out of range or does not fit, or the widths differ.
        DataError: As `open_source` does.
    """

    folders: tuple[str, ...]
    source: str
    columns: tuple[str, ...] = ()
    weights: tuple[float, ...] | None = None
    draws: int = 1
    seed: int = 0
    invalid: str = "stop"
    place: Place = field(default_factory=Place)

    def __post_init__(self) -> None:
        if self.invalid not in INVALID:
            raise BadInputError(f"Expected --invalid {' or '.join(INVALID)}; got {self.invalid}.")
        whole(self.draws, "--draws of 1 or more", least=1)
        noise.seed_of(self.seed)  # before a folder is claimed
        if self.weights is not None:
            good = all(isfinite(weight) and weight > 0 for weight in self.weights)
            if len(self.weights) != len(self.folders) or not good or abs(fsum(self.weights) - 1) > 1e-9:
                raise BadInputError(
                    f"Expected {len(self.folders)} positive weights that sum to 1, one a model; got "
                    f"{', '.join(map(repr, self.weights))}."
                )
        manifests = [open_folder(folder).manifest for folder in self.folders]
        widths = {manifest.dim for manifest in manifests} | {self._source.width}
        if len(widths) != 1:
            raise BadInputError(
                f"Expected models and rows of one width; got {', '.join(map(str, sorted(widths)))} numbers a row."
            )
        if len({manifest.preprocessing for manifest in manifests}) != 1:
            raise BadInputError("Expected models of one pre-processing; got several: they are densities of other data.")
        if self.draws > 1:
            refuse_draws(manifests[0], self._source.read(0, 1))

    @property
    def rows(self) -> int:
        """As `Job.rows`."""
        return self._source.rows

    @property
    def chunk(self) -> int:
        """As `Job.chunk`."""
        return _chunk(self._source.width)

    @property
    def bytes_per_row(self) -> int:
        """As `Job.bytes_per_row`."""
        return 8 * (2 + (len(self.folders) if len(self.folders) > 1 else 0))

    def facts(self) -> dict[str, Any]:
        """As `Job.facts`."""
        return {
            "kind": "score",
            "models": [_identity(folder) for folder in self.folders],
            "weights": None if self.weights is None else list(self.weights),
            "source": self._source.identity(),
            "draws": int(self.draws),
            "seed": int(self.seed),
            "invalid": self.invalid,
            "place": self.place.facts(),
        }

    def work(self) -> Work:
        """As `Job.work`."""
        flows, source = [self.place.open(folder) for folder in self.folders], self._source
        misfits: dict[str, str] = {}

        def compute(first: int, count: int) -> Table:
            rows = source.read(first, count)
            good = np.logical_and.reduce([flow.accepts(rows) for flow in flows])
            if not good.all() and self.invalid == "stop":
                row, p = int(np.argmin(good)), flows[0].manifest.preprocessing
                raise BadInputError(
                    f"Expected finite rows inside the domain; row {first + row} is not: "
                    f"{np.array2string(rows[row], threshold=6, edgeitems=3)}. Repair it, or give --invalid nan."
                    f"{looks_like(rows, p.levels) if p else ''}"
                )
            while True:
                try:
                    table = self._good(flows, rows, good, first, misfits)
                    break
                except OverflowingRowsError as error:  # not all of them at once: those of one model, or of one draw
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
        self,
        flows: Sequence[Flow],
        rows: NDArray[Any],
        good: NDArray[np.bool_],
        first: int,
        misfits: dict[str, str],
    ) -> dict[str, NDArray[Any]]:
        """The table of all rows, in which those that are not good have the answers of one that is."""
        if not good.any():
            return _empty(flows, len(rows))
        safe = rows
        if not good.all():  # a row's answer must not depend on its neighbours' places, so bad rows stay where they are
            safe = rows.copy()
            safe[~good] = rows[int(np.argmax(good))]
        return dict(self._table(flows, safe, first, misfits))

    def _table(self, flows: Sequence[Flow], rows: NDArray[Any], first: int, misfits: dict[str, str]) -> Table:
        def note(misfit: Misfit) -> None:
            misfits.setdefault(misfit.kind, misfit.sentence)

        drawn: dict[str, Any] = {"draws": self.draws, "seed": self.seed, "first": first, "on_misfit": note}
        if len(flows) == 1 and isinstance(flows[0], ExportedClasses):
            nats, posterior = score_classes(flows[0], rows, **drawn)
            names = np.array(flows[0].names)[posterior.argmax(axis=1)]
            return _scored(nats, rows.shape[1]) | {"class": names, "posterior": posterior.max(axis=1)}
        if len(flows) == 1:
            return _scored(score(flows[0], rows, **drawn), rows.shape[1])
        weights = self.weights or (1 / len(flows),) * len(flows)
        nats, each = score_mixture(flows, weights, rows, **drawn)
        return _scored(nats, rows.shape[1]) | {f"log_prob_{number}": one for number, one in enumerate(each.T)}

    def elsewhere(self, place: Place) -> "ScoreJob":
        """As `Job.elsewhere`."""
        return replace(self, folders=tuple(map(_absolute, self.folders)), source=_absolute(self.source), place=place)

    @cached_property
    def _source(self) -> Source:
        return open_source(Path(self.source), self.columns)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # open files stay in their process


@dataclass(frozen=True)
class SampleJob:
    """Samples of a folder: column x, and where asked for log_prob in nats; the class of a mixture's row as label.

    Row i is the one that `sample` of the runtime gives for the same seed.

    Args:
        folder: The exported folder.
        count: How many samples.
        seed: Of the noise.
        temperature: Scale of the noise.
        label: Of a folder with a network a class: one class alone.
        with_log_prob: Also log p of every sample, by the density graph.
        place: Where the graphs run.

    Raises:
        BadInputError: A setting is out of range, or `label` of a folder with one network.
    """

    folder: str
    count: int
    seed: int = 0
    temperature: float = 1.0
    label: str | None = None
    with_log_prob: bool = False
    place: Place = field(default_factory=Place)

    def __post_init__(self) -> None:
        artifact = open_folder(self.folder)
        if self.label is not None and not isinstance(artifact, ClassArtifact):
            raise BadInputError(f"Expected no --label; {self.folder} holds one network, without classes. Leave it out.")
        whole(self.count, "-n of 1 or more", least=1)
        # What these would refuse is refused here, before a folder is claimed.
        rows = Rows(self._manifest.dim, np.dtype(self._manifest.dtype), None)
        rows.normal(0, seed=self.seed, temperature=self.temperature)

    @property
    def rows(self) -> int:
        """As `Job.rows`."""
        return self.count

    def elsewhere(self, place: Place) -> "SampleJob":
        """As `Job.elsewhere`."""
        return replace(self, folder=_absolute(self.folder), place=place)

    @cached_property
    def _manifest(self) -> Manifest | ClassManifest:
        return read_manifest(Path(self.folder))

    @property
    def chunk(self) -> int:
        """As `Job.chunk`."""
        return _chunk(self._manifest.dim)

    @property
    def bytes_per_row(self) -> int:
        """As `Job.bytes_per_row`."""
        manifest = self._manifest
        return manifest.dim * np.dtype(manifest.dtype).itemsize + 8 * self.with_log_prob

    def facts(self) -> dict[str, Any]:
        """As `Job.facts`."""
        return {
            "kind": "sample",
            "models": [_identity(self.folder)],
            "rows": int(self.count),
            "seed": int(self.seed),
            "temperature": float(self.temperature),
            "label": self.label,
            "with_log_prob": self.with_log_prob,
            "place": self.place.facts(),
        }

    def work(self) -> Work:
        """As `Job.work`."""
        flow = self.place.open(self.folder)
        settings: dict[str, Any] = {"seed": self.seed, "temperature": self.temperature}

        def compute(first: int, count: int) -> Table:
            try:
                return drawn(first, count)
            except OverflowingRowsError as error:
                raise error.counted_from(first) from None

        def drawn(first: int, count: int) -> Table:
            table: dict[str, NDArray[Any]] = {}
            if isinstance(flow, ExportedClasses):
                table["x"] = flow.sample(count, label=self.label, first=first, **settings)
                if self.label is None:
                    table["label"] = flow.labels(count, seed=self.seed, first=first)
            else:
                table["x"] = flow.sample(count, first=first, **settings)
            if self.with_log_prob:
                table["log_prob"] = flow.log_prob(table["x"]).astype(np.float64)
            return table

        return Work(compute, flow.provider, flow.provider_reason)


def _chunk(width: int) -> int:
    return max(1, _NUMBERS // (width * LARGEST_BATCH)) * LARGEST_BATCH


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _identity(folder: str) -> dict[str, str]:
    manifest = read_manifest(Path(folder))
    return {"name": manifest.name, "sha256_manifest": str(manifest.document["sha256_manifest"])}


def _scored(nats: Array, width: int) -> dict[str, NDArray[Any]]:
    return {"log_prob": nats, "bits_per_dim": bits_per_dim(nats, width)}


def _missing(values: NDArray[Any]) -> Any:  # noqa: ANN401
    return "" if values.dtype.kind == "U" else np.nan


def _empty(flows: Sequence[Flow], count: int) -> dict[str, NDArray[Any]]:
    """The columns of rows none of which can be scored."""
    names = ["log_prob", "bits_per_dim"]
    names += [f"log_prob_{number}" for number in range(len(flows))] if len(flows) > 1 else []
    table: dict[str, NDArray[Any]] = {name: np.full(count, np.nan) for name in names}
    if len(flows) == 1 and isinstance(flows[0], ExportedClasses):
        table |= {
            "class": np.full(count, "", dtype=np.array(flows[0].names).dtype),
            "posterior": np.full(count, np.nan),
        }
    return table


def refuse_draws(manifest: Manifest | ClassManifest, rows: NDArray[Any]) -> None:
    """Raise where there is no noise to average over; `rows` are some of those that would be scored.

    Raises:
        BadInputError: The rows are floats, or the model's rows are no grey levels.
    """
    if manifest.preprocessing is None or rows.dtype.kind == "f":
        raise BadInputError(
            "Expected grey levels of an image model for --draws above 1; got numbers that take no noise. Leave it out."
        )
