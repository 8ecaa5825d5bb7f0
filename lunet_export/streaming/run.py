"""A run: a folder of parts, each whole or absent, and their records.

part-00000.parquet ...   the rows of each part, in order
_part-00000.json ...     the record of each whole part: its rows, its SHA-256, its sums
_run.json                the settings of the run; at its end, the parts' records and their summary
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import file_digest
from math import fsum, hypot, sqrt
from pathlib import Path
from shutil import disk_usage
from socket import gethostname
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lunet_export.columns import Names
from lunet_export.data.finished import LARGEST_DOCUMENT, RUN
from lunet_export.errors import BadInputError, brief
from lunet_export.files import whole_file
from lunet_export.files.reading import is_plain, sha256
from lunet_export.runtime.rows import LARGEST_BATCH
from lunet_export.streaming.jobs import Job, Work
from lunet_export.streaming.sums import exact_sum
from lunet_export.streaming.tables import FORMATS, Table, naming, writer

FORMAT, VERSION = "lunet_export.run", 1
_MOST_TIMES = 16  # a part may be so many times its numbers: names of classes, and what formats add
_BEGUN = f".{Path(RUN).stem}."  # name of what a process leaves if it dies while it writes RUN
_UNFINISHED = (".part-", "._part-", _BEGUN)  # names of what such processes leave
_SUMMED = ("log_prob", "bits_per_dim", "paper_convention")

#: Doubles that add up exactly to the sum of each figure, as `exact_sum` gives them.
Sums = Mapping[str, Sequence[float]]
#: Called with the number of rows when a part, or a chunk of one, is done.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Part:
    """The record of a whole part; the hash of its file shows every change."""

    number: int
    first: int
    rows: int
    file: str
    sha256: str
    invalid: int  # rows without a finite log p
    sums: Sums  # sums over the rows where they are finite
    provider: str  # provider of the process that computed it
    misfits: Mapping[str, str] = field(
        default_factory=dict
    )  # a sentence about rows that the model was not made for, by kind


@dataclass(frozen=True)
class Summary:
    """The summary of all rows. Sums are exact and rounded once: the same bits however the rows were split."""

    rows: int
    invalid: int
    sums: Mapping[str, float]
    means: Mapping[str, float | None]  # means over valid rows; None if there are none
    providers: tuple[str, ...]
    misfits: Mapping[str, str] = field(default_factory=dict)  # the first sentence of all parts, by kind

    @classmethod
    def of(
        cls, rows: int, invalid: int, sums: Sums, providers: Iterable[str], misfits: Iterable[Mapping[str, str]] = ()
    ) -> "Summary":
        """Return the summary of the sums of all pieces, side by side, and of what was noted of their rows."""
        totals, good = {name: fsum(values) for name, values in sums.items()}, rows - invalid
        means = {name: total / good if good else None for name, total in totals.items()}
        noted: dict[str, str] = {}
        for of_piece in misfits:
            noted = {**of_piece, **noted}
        return cls(rows, invalid, totals, means, tuple(sorted(set(providers))), noted)


class Tally:
    """Counts and sums of tables, one after another.

    Attributes:
        invalid: Number of rows without a finite log p.
    """

    def __init__(self) -> None:
        self.invalid = 0
        self._sums: dict[str, list[float]] = {}
        self._bits = (0, 0.0, 0.0)  # number of finite rows, mean and standard deviation of their bits/dim

    def add(self, table: Table) -> None:
        """Add a table's rows."""
        for name in _SUMMED:
            if name in table:
                finite = np.isfinite(table[name])
                self._sums.setdefault(name, []).extend(exact_sum(table[name][finite]))
                self.invalid += int((~finite).sum()) if name == "log_prob" else 0
                if name == "bits_per_dim":
                    self._spread(table[name][finite])

    def _spread(self, bits: NDArray[np.float64]) -> None:
        """Join the spread of these rows to that of the ones before (Chan, Golub & LeVeque 1979).

        It takes the hypotenuse, not squares: those of rows far out overflow.
        """
        if not len(bits):
            return
        scale = float(np.abs(bits).max()) or 1.0
        (n, mean, deviation), more = self._bits, len(bits)
        of_rows, of_mean = scale * float(np.std(bits / scale)), scale * float(np.mean(bits / scale))
        share = more / (n + more)
        joined = hypot(sqrt(1 - share) * deviation, sqrt(share) * of_rows, sqrt(share * (1 - share)) * (of_mean - mean))
        self._bits = n + more, (1 - share) * mean + share * of_mean, joined

    @property
    def standard_error(self) -> float | None:
        """Standard error of the mean of bits/dim; None for fewer than two rows, which have no spread."""
        n, _, deviation = self._bits
        return deviation / sqrt(n) if n > 1 else None

    @property
    def sums(self) -> Sums:
        """Sums of each figure over the rows where it is finite."""
        return {name: exact_sum(np.array(values)) for name, values in self._sums.items()}


@dataclass(frozen=True)
class Run:
    """A folder of parts.

    Args:
        folder: Folder of the parts.
        job: The job that is computed.
        rows_per_part: Number of rows of every part but the last, a multiple of 4096: batches then begin at the same
            rows in any run.
        format: `parquet`, `arrow` or `npy`.

    Raises:
        BadInputError: if a setting is out of range.
    """

    folder: Path
    job: Job
    rows_per_part: int = 64 * LARGEST_BATCH
    format: str = "parquet"

    def __post_init__(self) -> None:
        if self.rows_per_part < 1 or self.rows_per_part % LARGEST_BATCH:
            raise BadInputError(f"Expected `rows_per_part` a multiple of {LARGEST_BATCH}; got {self.rows_per_part}.")
        if self.format not in FORMATS:
            raise BadInputError(f"Expected a `format` of {', '.join(FORMATS)}; got {self.format}.")

    @property
    def parts(self) -> int:
        """Number of parts."""
        return -(-self.job.rows // self.rows_per_part)

    def begin(self, *, resume: bool) -> list[int]:
        """Claim the folder and return the numbers of the parts that are missing.

        A claim without any part, left by a run that was refused or stopped before its first, can be taken by another
        run.

        Raises:
            BadInputError: if the folder holds something else, another run, or this run and `resume` is not set; or if
                the disk is full.
        """
        facts = json.loads(json.dumps(self._facts()))
        path = self.folder / RUN
        if path.is_file() and not self._is_bare():
            self._validate_same_run(path, facts, resume=resume)
            self._sweep()
            missing = [number for number in range(self.parts) if self.record(number) is None]
            self._validate_space(missing)
            return missing
        there = list(self.folder.iterdir()) if self.folder.exists() and not path.is_file() else []
        if any(not file.name.startswith(_BEGUN) for file in there):
            raise BadInputError(
                f"Expected an empty or a new folder; {self.folder} holds other files. Give another path."
            )
        missing = list(range(self.parts))
        self._validate_space(missing)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        _write(path, {**facts, "complete": False})
        return missing

    def _is_bare(self) -> bool:
        """Return whether the folder holds the claim of a run, and nothing of its parts or of anybody else."""
        known = _document(self.folder / RUN)
        if known is None or known.get("format") != FORMAT or known.get("complete") is not False:
            return False
        return all(path.name == RUN or path.name.startswith(_UNFINISHED) for path in self.folder.iterdir())

    def _validate_space(self, missing: Sequence[int]) -> None:
        rows = sum(map(self._rows_of, missing))
        validate_space(self.folder, rows * self.job.bytes_per_row, compressed=self.format == "parquet")

    def record(self, number: int) -> Part | None:
        """Return the record of a part; None unless the part is there as it was written."""
        known = _document(self._beside(number))
        if known is None or known.pop("sha256_record", None) != _digest(known):
            return None
        try:
            part = Part(**known)
        except TypeError:
            return None
        if not _are_sentences(part.misfits):
            return None
        path = self.folder / f"{self._name(number)}.{self.format}"
        wanted = (number, number * self.rows_per_part, self._rows_of(number), path.name)
        if (part.number, part.first, part.rows, part.file) != wanted or not is_plain(path):
            return None
        most = _MOST_TIMES * (part.rows * self.job.bytes_per_row + 2**16)
        if path.stat().st_size > most:  # it is not the part, and to hash it may take for ever
            return None
        with path.open("rb") as file:
            return part if file_digest(file, "sha256").hexdigest() == part.sha256 else None

    def write(self, number: int, work: Work) -> Part:
        """Compute a part and write it, then its record. Written twice, it is the same part."""
        first, rows = number * self.rows_per_part, self._rows_of(number)
        path = self.folder / f"{self._name(number)}.{self.format}"
        if path.is_symlink():
            path.unlink()  # a part lies in its folder itself, not behind a link
        work.misfits.clear()
        tally = write_rows(path, work, first, rows, self.job.chunk, self.job.x_names)
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        noted = dict(work.misfits)
        part = Part(number, first, rows, path.name, digest, tally.invalid, tally.sums, work.provider, noted)
        record = json.loads(json.dumps(asdict(part)))
        _write(self._beside(number), {**record, "sha256_record": _digest(record)})
        return part

    def validate_unchanged(self) -> None:
        """Raise an error unless this process sees the run, and the models and rows that it was begun with.

        Raises:
            BadInputError: if they changed since, or this is another machine, which sees other files.
        """
        known_run = _document(self.folder / RUN)
        begun = (known_run or {}).get("job")
        if not isinstance(begun, dict):
            raise BadInputError(
                f"Expected {self.folder} where every worker sees it; there is no {RUN} on {gethostname()}. Put it, "
                "models and rows on storage that all machines share."
            )
        known = json.loads(json.dumps(self.job.facts()))
        for key in ("models", "source"):
            changed = _difference(begun.get(key), known.get(key), key)
            if changed is not None:
                raise BadInputError(
                    f"Expected the {key} that {self.folder} was begun with; it changed, or {gethostname()} has "
                    f"another: {changed}. Run it again, on storage that all machines share."
                )

    def note_attempt(self, number: int, most: int) -> None:
        """Note that a process begins a part; raise an error if too many have begun it and died.

        Raises:
            BadInputError: if more than `most` processes have begun it.
        """
        with (self.folder / f".{self._name(number)}.attempts").open("ab") as file:
            file.write(b".")
            begun = file.tell()
        if begun > most:
            raise BadInputError(
                f"Expected part {number} of {self.folder} to be computed; {most} workers died over it. There may be "
                "too little memory for its rows. Give a smaller `rows_per_part`, or fewer `workers`."
            )

    def finish(self) -> Summary:
        """Write the summary into the file of the run and return it.

        Raises:
            BadInputError: if a part is missing or altered, or the source or a model changed since the run began.
        """
        self.validate_unchanged()
        self._sweep()
        found = []
        for number in range(self.parts):
            part = self.record(number)
            if part is None:
                raise BadInputError(
                    f"Expected part {number} of {self.folder} as it was written; it is missing or altered. Run again "
                    "with `resume=True`."
                )
            found.append(part)
        sums = {name: [one for part in found for one in part.sums[name]] for name in found[0].sums}
        invalid = sum(part.invalid for part in found)
        noted = [part.misfits for part in found]
        summary = Summary.of(self.job.rows, invalid, sums, [part.provider for part in found], noted)
        document = {**self._facts(), "complete": True, "summary": asdict(summary)}
        _write(self.folder / RUN, document | {"parts": [asdict(part) for part in found]})
        return summary

    def _sweep(self) -> None:
        """Remove the half-written files of killed processes."""
        for path in self.folder.iterdir():
            if path.name.startswith(_UNFINISHED):
                path.unlink(missing_ok=True)

    def _rows_of(self, number: int) -> int:
        return min(self.rows_per_part, self.job.rows - number * self.rows_per_part)

    def _name(self, number: int) -> str:
        """Return the name of a part; sorted by name, parts are in order."""
        return f"part-{number:0{max(5, len(str(self.parts - 1)))}d}"

    def _beside(self, number: int) -> Path:
        return self.folder / f"_{self._name(number)}.json"

    def _facts(self) -> dict[str, Any]:
        settings = {"rows_per_part": self.rows_per_part, "format": self.format}
        return {"format": FORMAT, "format_version": VERSION, "job": self.job.facts(), "settings": settings}

    def _validate_same_run(self, path: Path, facts: Mapping[str, Any], *, resume: bool) -> None:
        known = _document(path)
        if known is None or known.get("format") != FORMAT:
            raise BadInputError(f"Expected a run in {path}; it holds something else. Give another path.")
        for key, value in facts.items():
            different = _difference(known.get(key), value, key)
            if different is not None:
                raise BadInputError(
                    f"Expected the run that {self.folder} was begun with; got another: {different}. Give the same "
                    "arguments, or another path."
                )
        if not resume:
            raise BadInputError(
                f"Expected a new folder; {self.folder} holds this run. Give `resume=True`, or another path."
            )


def validate_space(target: Path, needed: int, *, compressed: bool = False) -> None:
    """Raise an error if results of so many bytes cannot fit beside `target`: before the work, not after hours.

    Raises:
        BadInputError: if the disk has less room, with compression trusted to halve numbers at most.
    """
    place = target.absolute()
    while not place.exists():
        place = place.parent
    needed, free = needed // (2 if compressed else 1), disk_usage(place).free
    if needed > free:
        raise BadInputError(
            f"Expected {needed / 1e9:.3g} GB of room on the disk for the rows of {target}; got "
            f"{free / 1e9:.3g} GB. Make room, ask for fewer, or give another path."
        )


class Done(NamedTuple):
    """The result of a job whose rows were all computed in this process."""

    summary: Summary
    work: Work  # the computation
    standard_error: float | None  # standard error of the mean of bits/dim; None for fewer than two rows


def compute(job: Job, work: Work, take: Callable[[int, Table], None], progress: Progress = lambda rows: None) -> Done:
    """Compute all rows of a job, a chunk at a time.

    Args:
        job: The job that is computed.
        work: Its computation, with sessions open.
        take: Called with the number of the first row and the table of each chunk, to keep, write or print it.
        progress: Called with the number of rows of each chunk.
    """
    tally = _taken(work, 0, job.rows, job.chunk, take, progress)
    summary = Summary.of(job.rows, tally.invalid, tally.sums, [work.provider], [work.misfits])
    return Done(summary, work, tally.standard_error)


def write_file(path: Path, job: Job, progress: Progress = lambda rows: None) -> Done:
    """Compute all rows of a job and write them into one file, which appears whole or not at all.

    Raises:
        BadInputError: if the disk has too little room, or the source or a model changed during the work.
    """
    validate_space(path, job.rows * job.bytes_per_row, compressed=path.suffix == ".parquet")
    facts = job.facts()
    work = job.work()
    with writer(path, job.rows, job.x_names) as file:
        done = compute(job, work, lambda first, table: file.append(table), progress)
        changed = _difference(facts, job.facts(), "job")
        if changed is not None:
            raise BadInputError(f"Expected models and rows to stay as they are; they changed: {changed}. Run it again.")
    return done


def write_rows(path: Path, work: Work, first: int, rows: int, chunk: int, x_names: Names | None = None) -> Tally:
    """Compute consecutive rows and write them to a file, a chunk at a time; `x_names` as `writer` takes them."""
    with writer(path, rows, x_names) as file:
        return _taken(work, first, rows, chunk, lambda _, table: file.append(table), lambda _: None)


def _taken(
    work: Work, first: int, rows: int, chunk: int, take: Callable[[int, Table], None], progress: Progress
) -> Tally:
    """Compute consecutive rows, a chunk at a time."""
    tally = Tally()
    for begin in range(first, first + rows, chunk):
        count = min(chunk, first + rows - begin)
        table = work(begin, count)
        take(begin, table)
        tally.add(table)
        progress(count)
    return tally


def _difference(known: object, wanted: object, name: str) -> str | None:
    """Return where two plain values first differ, and how; known values beyond the wanted ones do not count."""
    pairs: Iterable[tuple[str, Any, Any]] = ()
    if isinstance(known, dict) and isinstance(wanted, dict):
        pairs = ((f"{name}.{key}", known.get(key), value) for key, value in wanted.items())
    elif isinstance(known, list) and isinstance(wanted, list) and len(known) == len(wanted):
        pairs = ((f"{name}[{at}]", *both) for at, both in enumerate(zip(known, wanted, strict=True)))
    elif known != wanted:
        return f"{name} was {brief(json.dumps(known))} and is {brief(json.dumps(wanted))}"
    found = (_difference(old, new, inner) for inner, old, new in pairs)
    return next((one for one in found if one is not None), None)


def _document(path: Path) -> dict[str, Any] | None:
    """Return the dictionary in a file of JSON; None if there is no such file, or something else in it."""
    if not is_plain(path) or path.stat().st_size > LARGEST_DOCUMENT:
        return None
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _are_sentences(misfits: object) -> bool:
    return isinstance(misfits, dict) and all(isinstance(sentence, str) for sentence in misfits.values())


def _digest(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a document as sorted, compact JSON; empty if it is too deep, which matches no record."""
    try:
        return sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())
    except RecursionError:
        return ""


def _write(path: Path, document: Mapping[str, Any]) -> None:
    with whole_file(path, follow=False) as temporary, naming(path):
        temporary.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
