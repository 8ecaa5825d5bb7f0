"""Streamed rows of `score` and `sample`, as a folder of parts or as one file."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from ctypes import CDLL
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lunet_cli import output
from lunet_cli.models import where
from lunet_cli.option_groups import option
from lunet_cli.options import RunOptions, given
from lunet_cli.pipes import is_piped
from lunet_export.errors import BadInputError
from lunet_export.files import exclusive

if TYPE_CHECKING:
    from lunet_export.streaming import Run, SampleJob, ScoreJob
    from lunet_export.streaming.jobs import Place

FILES = (".parquet", ".arrow", ".npy")
MANY = 1_000_000  # a .npy file with more rows is not read or shown as a whole


class EngineName(StrEnum):
    """Engines that compute the parts."""

    LOCAL = "local"
    RAY = "ray"


class FormatName(StrEnum):
    """Formats of the parts."""

    PARQUET = "parquet"
    ARROW = "arrow"
    NPY = "npy"
    CSV = "csv"


_STDOUT, _STDERR = 1, 2
_PIPED = (FormatName.CSV, FormatName.NPY)  # what may go to stdout


def is_folder(target: Path | None) -> bool:
    """Return whether -o names a folder of parts."""
    return target is not None and not target.suffix and not is_piped(target)


@dataclass(frozen=True)
class Destination:
    """Where rows are written.

    Attributes:
        path: File or folder to write; for stdout a temporary file, whose bytes go there at the end.
        piped: Whether it is stdout.
    """

    path: Path
    piped: bool = False

    def say(self, text: str) -> None:
        """Print what was written, on stderr if stdout holds the rows."""
        if self.piped:
            output.note(f"wrote to stdout: {text}")
        else:
            output.say(f"wrote {self.path}: {text}")


@contextmanager
def destination(target: Path, parts: "PartOptions", *, force: bool, as_json: bool) -> Iterator[Destination]:
    """Yield where the rows of -o are written. Only one process at a time may write there.

    Raises:
        BadInputError: if the file exists and `force` is not set, or options do not fit what -o names.
    """
    if is_piped(target):
        form = parts.piped_form(as_json=as_json, force=force)
        with tempfile.TemporaryDirectory(prefix="lunet-export-") as folder:
            path = Path(folder) / f"stdout.{form}"
            yield Destination(path, piped=True)
            with path.open("rb") as written:
                shutil.copyfileobj(written, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    elif is_folder(target):
        if force:
            raise BadInputError("Expected no --force with a folder of parts, which is never replaced. Leave it out.")
        yield Destination(target)
    else:
        _validate_target(target, force=force)
        with exclusive(target):
            _validate_target(target, force=force)
            yield Destination(target)


def _validate_target(target: Path, *, force: bool) -> None:
    if target.is_file() and not force:
        raise BadInputError(f"Expected a new file; {target} exists already. Give --force or another -o.")


def place(run: RunOptions, *, cuda_graph: bool = False) -> "Place":
    """Return where graphs run, as plain values that any process can read."""
    from lunet_export.streaming.jobs import Place

    return Place(run.provider.value, run.threads, asdict(run.cuda), cuda_graph)


@dataclass(frozen=True, kw_only=True)
class PartOptions:
    """Options of a folder of parts."""

    PANEL: ClassVar[str] = "A folder of parts, and a Ray cluster"

    engine: EngineName = option(
        EngineName.LOCAL, "Engine that computes a folder of parts: this process, or the workers of Ray."
    )
    workers: int | None = option(
        None, "Number of Ray workers. Default: one per processor.", least=1, shown="all processors"
    )
    address: str | None = option(None, "Address of a Ray cluster, or auto.", shown="this machine")
    form: FormatName | None = option(
        None,
        "Format of the parts: parquet, arrow or npy. With -o -, csv or npy is required.",
        "--format",
        shown="parquet",
    )
    rows_per_part: int = option(262144, "Rows per part, a multiple of 4096.", least=1)
    resume: bool = option(False, "Continue the folder of parts that -o names.")

    def validate_ray_options(self) -> None:
        """Raise BadInputError if options of Ray are given to another engine."""
        for name, value in (("--workers", self.workers), ("--address", self.address)):
            if value is not None and self.engine is not EngineName.RAY:
                raise BadInputError(f"Expected --engine ray beside {name}; got {self.engine.value}. Leave {name} out.")

    def piped_form(self, *, as_json: bool, force: bool) -> str:
        """Return the format of what goes to stdout.

        Raises:
            BadInputError: if it is not given, or another option does not fit stdout.
        """
        if self.form not in _PIPED:
            got = "none" if self.form is None else self.form.value
            raise BadInputError(f"Expected --format csv or --format npy with -o -, which is stdout; got {got}.")
        self.validate_folder_options("-, which is stdout")
        if wrong := given({"--json": as_json, "--force": force}):
            raise BadInputError(f"Expected no {wrong} with -o -, which writes the rows to stdout. Leave it out.")
        return self.form.value

    def validate_folder_options(self, got: object, *, engine: str = "--engine") -> None:
        """Raise BadInputError if an option of folders of parts is given, but -o is `got`."""
        if wrong := given({engine: self.engine is not EngineName.LOCAL, "--resume": self.resume}):
            raise BadInputError(f"Expected a folder for -o with {wrong}; got {got}.")


def stream(job: "ScoreJob | SampleJob", into: Destination, parts: PartOptions, *, as_json: bool) -> None:
    """Compute all rows of the job into a file or a folder, and print a summary."""
    verb, target = str(job.facts()["kind"]), into.path
    if is_folder(target):
        document = _folder(job, target, parts, verb)
    elif parts.engine is not EngineName.LOCAL or parts.resume:
        raise BadInputError(f"Expected a folder for --engine ray and --resume; got the file {target}.")
    else:
        document = _file(job, target, verb)
    if as_json:
        counted = {"samples": job.rows} if verb == "sample" else {}
        output.dump({"output": str(target), **counted, "seed": job.seed, **document})
        return
    said = [f"{document['rows']} rows"]
    said += [f"{document['invalid']} invalid"] if document["invalid"] else []
    said += [f"mean {name} {mean:.6f}" for name, mean in document["means"].items() if mean is not None]
    said += [f"standard error {error:.6f}" for error in document.get("standard_error", {}).values()]
    said += [f"provider {' and '.join(document['providers'])}"]
    into.say(", ".join(said))


def _folder(job: "ScoreJob | SampleJob", target: Path, parts: PartOptions, verb: str) -> dict[str, Any]:
    from lunet_export.streaming import Run

    run = Run(target, job, parts.rows_per_part, (parts.form or FormatName.PARQUET).value)
    with exclusive(target):
        return _compute(run, parts, verb)


def _compute(run: "Run", parts: PartOptions, verb: str) -> dict[str, Any]:
    from lunet_export.streaming import local, on_ray

    numbers, misfits = run.begin(resume=parts.resume), Misfits()
    with output.counting(len(numbers), f"{verb} {run.job.rows} rows") as more:
        if parts.engine is EngineName.RAY:
            with _quiet_stdout():
                on_ray(
                    run,
                    numbers,
                    lambda _: more(1),
                    workers=parts.workers,
                    address=parts.address,
                    on_wait=output.complain,
                )
        else:
            local(run, numbers, lambda _: more(1), on_misfit=misfits.tell)
    summary = asdict(run.finish())
    misfits.tell_all(summary.pop("misfits"))
    return {"parts": run.parts, "computed": len(numbers), "engine": parts.engine.value, **summary}


class Misfits:
    """Warns about rows that a model was not made for, once per run and kind."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, kind: str, sentence: str) -> None:
        """Print the warning unless this kind was warned about before."""
        if kind not in self._told:
            self._told.add(kind)
            output.warn(sentence)

    def tell_all(self, misfits: Mapping[str, str]) -> None:
        """Print the warnings of all kinds."""
        for kind, sentence in misfits.items():
            self.tell(kind, sentence)


@contextmanager
def _quiet_stdout() -> Iterator[None]:
    """Send to stderr what Ray and its native libraries print on stdout, which holds the result alone."""
    sys.stdout.flush()
    try:
        kept = os.dup(_STDOUT)
    except OSError:  # stdout is closed
        yield
        return
    try:
        with suppress(OSError):  # stderr is closed
            os.dup2(_STDERR, _STDOUT)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if sys.platform != "win32":
            CDLL(None).fflush(None)  # the libraries have buffers of their own
        os.dup2(kept, _STDOUT)
        os.close(kept)


def _file(job: "ScoreJob | SampleJob", target: Path, verb: str) -> dict[str, Any]:
    from lunet_export.streaming import write_file

    with output.counting(-(-job.rows // job.chunk), f"{verb} {job.rows} rows") as more:
        summary, work, error = write_file(target, job, lambda _: more(1))
    document = asdict(summary) | ({} if error is None else {"standard_error": {"bits_per_dim": error}})
    Misfits().tell_all(document.pop("misfits"))
    return document | where(work)
