"""The engines that compute the parts of a run: this process, or actors of Ray on any number of machines."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from socket import create_connection
from time import monotonic, sleep
from typing import Any

from lunet_export import errors
from lunet_export.errors import BadInputError, LunetExportError, MissingPackageError, ProviderError
from lunet_export.installation import install_extra
from lunet_export.streaming.jobs import Work
from lunet_export.streaming.run import Progress, Run

#: Number of workers that may die over a part; Ray itself would begin it again without end.
_MOST_ATTEMPTS = 5
#: Seconds that a cluster may have no room for a single worker; Ray itself would wait without end or message.
_PATIENCE = 600.0
_SAID_AFTER = 5.0  # seconds before the wait is reported: a new cluster does not know its processors yet
#: No usage statistics, no log lines between ours.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}


def local(
    run: Run,
    numbers: Sequence[int],
    progress: Progress = lambda rows: None,
    *,
    on_misfit: Callable[[str, str], None] = lambda kind, sentence: None,
) -> None:
    """Compute these parts one after another in this process.

    Args:
        run: The run that the parts belong to.
        numbers: Numbers of the parts.
        progress: Called with the number of rows of every part.
        on_misfit: Called for every part with rows that the model was not made for, with the kind and a sentence.

    Raises:
        BadInputError: if the source or a model changed since the run began, or as the job does.
    """
    if not numbers:
        return
    work = run.job.work()
    run.validate_unchanged()  # after the sessions are open, no other model can come between
    for number in numbers:
        part = run.write(number, work)
        progress(part.rows)
        for kind, sentence in part.misfits.items():
            on_misfit(kind, sentence)


def on_ray(
    run: Run,
    numbers: Sequence[int],
    progress: Progress = lambda rows: None,
    *,
    workers: int | None = None,
    address: str | None = None,
    on_part: Any = None,  # noqa: ANN401
    on_wait: Callable[[str], None] = lambda sentence: None,
) -> None:
    """Compute these parts with Ray Data: `workers` actors, each with sessions of its own.

    A part is a file that appears whole under its own name: a worker that dies leaves a whole part or nothing, and
    whoever computes it again writes the same.

    Args:
        run: The run that the parts belong to. Every machine must see the files of the job and of the run.
        numbers: Numbers of the parts.
        progress: Called with the number of rows of every part.
        workers: Number of actors; None takes as many as the cluster has processors.
        address: Address of a Ray cluster, or `auto`; None takes this machine alone.
        on_part: Called with the process that computed a part.
        on_wait: Called once with a sentence if the cluster is full.

    Raises:
        MissingPackageError: if Ray is not installed.
        BadInputError: if the cluster is missing, or has no room for ten minutes; or as the job does.
        ProviderError: if the provider is `cuda` and the cluster has no GPU; if it has, every worker has a GPU to
            itself.
    """
    if not numbers:
        return
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        ray = import_module("ray")
        import_module("ray.data")
    except ModuleNotFoundError:
        raise MissingPackageError(
            f"Expected Ray for `engine='ray'`; it is not installed. Run: {install_extra('ray')}"
        ) from None
    started = not ray.is_initialized()
    if started:
        _begin(ray, address)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        shared, gpus = _for_workers(run), int(run.job.place.provider == "cuda")
        most = _most(ray.cluster_resources(), gpus)
        count = min(len(numbers), workers or most)
        _wait_for_room(ray, {"CPU": 1, "GPU": gpus}, on_wait)
        rows = ray.data.from_items([{"number": number} for number in numbers], override_num_blocks=len(numbers))
        done = rows.map(
            _Actor,
            fn_constructor_args=(shared,),
            compute=ray.data.ActorPoolStrategy(size=count),
            num_cpus=1,
            num_gpus=gpus,
        )
        for row in done.iter_rows():
            if row["error"]:
                raise _of_worker(row["kind"], row["error"], int(row["number"]))
            progress(int(row["rows"]))
            if on_part:
                on_part(int(row["process"]))
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInputError(
            f"Expected Ray's workers to compute every part; {reason}. Whole parts are kept: give `resume=True`."
        ) from None
    finally:
        if started:
            ray.shutdown()


def _for_workers(run: Run) -> Run:
    """Return the run with what holds in any process: absolute paths, and one thread for an actor's one processor.

    `auto` is the CPU: all workers must give the same bits, and Ray shows a GPU only to those that ask for one.
    """
    place = run.job.place
    provider = "cpu" if place.provider == "auto" else place.provider
    there = replace(place, provider=provider, threads=place.threads or 1)
    return replace(run, folder=run.folder.absolute(), job=run.job.elsewhere(there))


def _most(resources: Mapping[str, float], gpus: int) -> int:
    """Return how many workers a cluster has room for.

    Raises:
        ProviderError: if they need GPUs and the cluster has none: Ray would wait for one.
    """
    if gpus and not resources.get("GPU"):
        raise ProviderError(
            "Expected GPUs in the Ray cluster for `provider='cuda'`; it has none. Add a machine with one, or give "
            "`provider='cpu'`."
        )
    return max(1, int(resources.get("GPU" if gpus else "CPU", 1)))


def _wait_for_room(ray: Any, needed: Mapping[str, int], told: Callable[[str], None]) -> None:  # noqa: ANN401
    """Wait until a cluster has room for one worker; more of them begin as others' work ends.

    Raises:
        BadInputError: if the cluster has no room for as long as the patience lasts.
    """
    begun, said = monotonic(), False
    while True:
        free, there = ray.available_resources(), ray.cluster_resources()
        missing = [name for name, count in needed.items() if free.get(name, 0) < count]
        if not missing:
            return
        name, waited = missing[0], monotonic() - begun
        room = f"{needed[name]} {name} of the Ray cluster; {free.get(name, 0):g} of its {there.get(name, 0):g} are free"
        if waited >= _PATIENCE:
            raise BadInputError(
                f"Expected {room} after {waited:.0f} s. End other work there, or give another `address`. Whole "
                "parts are kept: give `resume=True`."
            )
        if waited >= _SAID_AFTER and not said:
            told(f"waiting for {room}")
            said = True
        sleep(min(1.0, _PATIENCE))


def _validate_listening(address: str) -> None:
    """Raise an error if nothing listens at a host and port: Ray itself would try for minutes.

    Raises:
        BadInputError: if nothing listens there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise BadInputError(f"Expected a Ray cluster at {address}; {error}. Start it with: ray start --head") from None


def _begin(ray: Any, address: str | None) -> None:  # noqa: ANN401
    if address:
        _validate_listening(address)
    paths = {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    try:
        with _silent(), _own_signals():
            ray.init(
                address=address,
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": paths},
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BadInputError(
            f"Expected a Ray cluster at {address or 'this machine'}; {str(error).splitlines()[0]}."
        ) from None


def _of_worker(kind: str, sentence: str, number: int) -> Exception:
    """Return the error that a worker met."""
    if kind == "OSError":
        return OSError(number, sentence)
    found = getattr(errors, kind, BadInputError)
    plain = issubclass(found, LunetExportError) and found.__init__ is LunetExportError.__init__
    return found(sentence) if plain else BadInputError(sentence)


@contextmanager
def _silent() -> Iterator[None]:
    """Silence stderr: Ray's libraries write there past Python when they start. What goes wrong is an exception."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's signal handlers: Ray's handler of SIGTERM ends it amid its own threads, by an abort."""
    if threading.current_thread() is not threading.main_thread():  # there Ray cannot set handlers
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            if callable(handler):  # the system's own would leave Ray's processes behind
                signal.signal(number, handler)


class _Actor:
    """A process of Ray that opens its sessions with its first part."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._work: Work | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Compute the part with the number in the row."""
        nothing = {"rows": 0, "process": os.getpid(), "kind": "", "number": 0, "error": ""}
        try:
            if self._work is None:
                self._run.validate_unchanged()
            self._run.note_attempt(int(row["number"]), _MOST_ATTEMPTS)
            self._work = self._work or self._run.job.work()
            part = self._run.write(int(row["number"]), self._work)
        except LunetExportError as error:  # Ray would run the part again, and wrap the error
            return {**nothing, "kind": type(error).__name__, "error": str(error)}
        except OSError as error:
            return {**nothing, "kind": "OSError", "number": error.errno or 0, "error": error.strerror or str(error)}
        return {**nothing, "rows": part.rows}
