"""`lunet-export doctor`."""

from dataclasses import replace
from typing import TYPE_CHECKING

from lunet_cli import output
from lunet_cli.arguments import in_options
from lunet_cli.options import DeviceId, Json, Provider, ProviderName
from lunet_export.errors import CheckFailedError, MissingPackageError, ProviderError
from lunet_export.runtime.cuda import CudaOptions
from lunet_export.runtime.environment import spelled

if TYPE_CHECKING:
    from lunet_export.runtime.doctor import Attempt, Report


def doctor(provider: Provider = ProviderName.AUTO, device_id: DeviceId = 0, as_json: Json = False) -> None:
    """Find out what this machine can run, and what is missing.

    Each provider is tried: a session is created and multiplies two matrices. The exit code is 3 if the requested
    provider cannot run or two ONNX Runtimes overwrite each other, and 2 if ONNX Runtime is not installed.

    Example: lunet-export doctor --provider cuda
    """
    from lunet_export.runtime import doctor as examiner

    report = in_words(examiner.examine(CudaOptions(device_id)))
    attempts: dict[str, Attempt] = {attempt.provider: attempt for attempt in report.attempts}
    taken = next((name for name in ("cuda", "cpu") if attempts[name].runs), None)
    asked = attempts[(taken or "cpu") if provider.value == "auto" else provider.value]
    if as_json:
        output.dump({"asked": provider.value, "auto_takes": taken, **report.as_json()})
    else:
        _print(report, taken)
    if asked.missing:
        raise MissingPackageError(str(asked.problem))
    if report.clash or not asked.runs:
        raise ProviderError(report.clash or str(asked.problem))
    if asked.problem:
        raise CheckFailedError(f"{asked.provider} runs, but its answer is wrong. {asked.problem}")


def in_words(report: "Report") -> "Report":
    """Return a report whose sentences name options of the commands."""
    return replace(
        report,
        clash=_said(report.clash),
        libraries=[replace(library, problem=_said(library.problem)) for library in report.libraries],
        driver=replace(report.driver, problem=_said(report.driver.problem)),
        attempts=[replace(attempt, problem=_said(attempt.problem)) for attempt in report.attempts],
    )


def _said(sentence: str | None) -> str | None:
    return None if sentence is None else in_options(sentence)


def _print(report: "Report", taken: str | None) -> None:
    processors, room = report.processors, report.room
    rows = [("system", report.system), ("Python", report.python)]
    rows.append(("processors", f"{processors.usable} of {processors.machine} may be used"))
    rows.append(("threads", f"{report.threads or 'as ONNX Runtime chooses'}, per session on the CPU"))
    rows.append(("memory", f"{_size(room.memory)}, {_size(room.memory_available)} available"))
    rows.append(("disk", f"{_size(room.disk)} free here"))
    rows += list(report.packages.items())
    if report.clash:
        rows.append(("clash", report.clash))
    for library in report.libraries:
        rows.append((library.name, library.problem or "loads"))
    driver = report.driver
    supports = f"supports CUDA {spelled(driver.version)}" if driver.version else ""
    rows.append(("NVIDIA driver", "; ".join(part for part in (supports, driver.problem) if part)))
    for device in driver.devices:
        memory = f"{device.memory / 1e9:.0f} GB"
        rows.append((f"device {device.number}", f"{device.name}, compute capability {device.capability}, {memory}"))
    rows += list(report.variables.items())
    rows += [(attempt.provider, _outcome(attempt)) for attempt in report.attempts]
    rows.append(("auto takes", taken or "nothing: neither runs"))
    output.pairs(rows)


def _size(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e9:.1f} GB"


def _outcome(attempt: "Attempt") -> str:
    if not attempt.runs:
        return f"does not run. {attempt.problem}"
    if attempt.problem:
        return f"runs, but its answer is wrong. {attempt.problem}"
    return f"runs: products exact, no TF32, session and first run in {attempt.seconds:.2f} s"
