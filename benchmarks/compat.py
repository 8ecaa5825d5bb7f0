"""Do the committed exports give the same answers in every runtime, from ONNX Runtime 1.16 to the newest?

The runtimes are every minor version of ONNX Runtime that pip offers to this Python, and the oldest and newest that it
offers to every other Python from 3.11 on that is installed, each in its own environment; OpenVINO; onnx.reference; and
the oldest and newest onnxruntime-web, in Node. In each, a script that needs NumPy and the runtime only
(compat_replay.py) replays the test vectors of the folders. ONNX Runtime is also tested by this package itself, as
`lunet-export check` does it. The folders are the committed exports, and those of tests/version1, small ones of every
kind of flow and dtype.

`python -m benchmarks.compat`, or `make compat`, writes results/compat.json and prints the table.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import report
from lunet_export.errors import BadInputError, CheckFailedError

PLACE = report.ROOT / ".venv-compat"
COMMITTED = ("toy2d", "digits", "digits-classes", "mnist")
KINDS, DOUBLE = "every kind", "float64"  # the columns of the folders in tests/version1
#: It takes float64 graphs and computes them in float32 without a warning. By default it computes all in bfloat16.
_KNOWN = {"OpenVINO, float32": DOUBLE, "OpenVINO, as it comes": ""}
OLDEST = (1, 16)
#: Before ONNX Runtime 1.19 its wheels are built for NumPy 1.
_FIRST_WITH_NUMPY_2 = (1, 19)
OURS = Path(sys.base_prefix) / "bin" / "python{}.{}".format(*sys.version_info)
_PYTHONS = ((3, 11), (3, 12), (3, 13), (3, 14))

_CHECK = """
import json, sys
from pathlib import Path
from lunet_export import parity
from lunet_export.artifact import open_folder
from lunet_export.parity.optional import run_optional
from lunet_export.runtime import open_export
found = {}
for folder in sys.argv[1:]:
    artifact = open_folder(folder)
    try:
        flow = open_export(artifact, provider="cpu")
        checks = parity.run(flow, flow.vectors, predicted=artifact.round_trip) + run_optional(flow, flow.vectors)
        found[Path(folder).name] = {check.name: {"ratio": check.difference.ratio} for check in checks}
    except Exception as error:
        found[Path(folder).name] = {"all": {"said": str(error)[:300]}}
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Trial:
    """One runtime in one environment."""

    runtime: str  # as the table calls it
    version: str
    python: str  # or Node
    numpy: str
    folders: Mapping[str, Mapping[str, Mapping[str, Any]]]  # folder -> graph -> ratio and digest, or said
    checks: Mapping[str, Mapping[str, Mapping[str, Any]]]  # the same of the package's own checks; {} where it has none

    def worst(self, folder: str) -> float | None:
        """Return the largest difference of a folder over its tolerance; None if something failed or is not a number."""
        entries = [*self.folders[folder].values(), *self.checks.get(folder, {}).values()]
        ratios = [entry.get("ratio") for entry in entries]
        if not ratios or any(ratio is None or not ratio < float("inf") for ratio in ratios):
            return None
        return max(ratios)

    @property
    def equal(self) -> bool:
        """Return whether every answer is within its tolerance, except those that are known not to be."""
        known = _KNOWN.get(self.runtime)
        judged = [folder for folder in self.folders if known is None or known not in folder]
        return all((worst := self.worst(folder)) is not None and worst <= 1 for folder in judged)


def main() -> None:
    """Run all trials, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="runtimes whose name and version hold this text")
    parser.add_argument("--output", type=Path, default=report.RESULTS, help="folder of the results")
    options = parser.parse_args()
    folders = [
        *(report.ROOT / "exported" / name for name in COMMITTED),
        *sorted((report.ROOT / "tests/version1/folders").iterdir()),
    ]
    trials = []
    for name, trial in planned(folders):
        if options.only in name:
            report.progress(name)
            trials.append(trial())
    document = {"command": "make compat", "machine": report.machine(os.cpu_count() or 1)}
    document |= {"trials": [vars(trial) for trial in trials]}
    report.write(options.output / "compat.json", short(document))
    print(report.markdown(rows(document)))
    assess(trials)


def planned(folders: Sequence[Path]) -> Iterable[tuple[str, Callable[[], Trial]]]:
    """Yield every trial with its name, for --only and for the progress."""
    for python in pythons():
        versions = minors(offered("onnxruntime", python))
        for version in versions if python == OURS else (versions[0], versions[-1]):
            numpy = "numpy<2" if _numbers(version) < _FIRST_WITH_NUMPY_2 else "numpy"
            packages = (f"onnxruntime=={version}", numpy)
            name = f"onnxruntime {version}, Python {python.parent.parent.name}"
            yield name, lambda p=python, w=packages: in_python("ONNX Runtime", "onnxruntime", p, w, folders, own=True)
    newest = offered("openvino", OURS)[0]
    for name, label in (("openvino", "OpenVINO, float32"), ("openvino, as it comes", "OpenVINO, as it comes")):
        packages = (f"openvino=={newest}",)
        yield f"{name} {newest}", lambda n=name, r=label, w=packages: in_python(r, n, OURS, w, folders)
    newest = offered("onnx", OURS)[0]
    packages = (f"onnx=={newest}",)
    yield f"onnx.reference {newest}", lambda w=packages: in_python("onnx.reference", "onnx.reference", OURS, w, folders)
    web = minors(_stable(json.loads(_said("npm", "view", "onnxruntime-web", "versions", "--json"))))
    for version in (web[0], web[-1]):
        yield f"onnxruntime-web {version}", lambda v=version: in_node(v, folders)


def in_python(
    label: str, runtime: str, python: Path, packages: Sequence[str], folders: Sequence[Path], *, own: bool = False
) -> Trial:
    """Run a trial in an environment with these packages; with `own`, this package's own checks too."""
    interpreter = environment(python, packages)
    # -P: not what lies beside the script. A runtime that crashes must not end the others.
    done = _run(interpreter, "-P", report.ROOT / "benchmarks" / "compat_replay.py", runtime, *folders)
    answer = _last(done, folders)
    checks = {}
    if own:
        environment_of = {"PYTHONPATH": str(report.ROOT), "ORT_DISABLE_TELEMETRY": "1"}
        checks = together(_last(_run(interpreter, "-c", _CHECK, *folders, env=environment_of), folders, wrapped=False))
    python_version = answer.get("python", python.parent.parent.name)
    version = answer.get("version", packages[0].partition("==")[2])
    version = version.partition("-")[0]  # OpenVINO's names its build
    return Trial(label, version, f"Python {python_version}", answer.get("numpy", ""), answer["folders"], checks)


def together(checks: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the number of checks of each folder and the worst; the checks as they are if one failed."""
    found: dict[str, dict[str, Any]] = {}
    for folder, entries in checks.items():
        ratios = [entry.get("ratio") for entry in entries.values()]
        whole = bool(ratios) and all(isinstance(ratio, float | int) for ratio in ratios)
        found[folder] = {"all": {"ratio": max(ratios), "checks": len(ratios)}} if whole else dict(entries)
    return found


def in_node(version: str, folders: Sequence[Path]) -> Trial:
    """Run a trial of onnxruntime-web."""
    place = PLACE / f"web-{version}"
    if not (place / "setup").exists():
        place.mkdir(parents=True, exist_ok=True)
        (place / "package.json").write_text('{"private": true}\n', encoding="utf-8")
        install = ("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
        _said(*install, f"onnxruntime-web@{version}", cwd=place)
        (place / "setup").touch()
    answer = _last(_run("node", report.ROOT / "benchmarks" / "compat_replay.mjs", place, *folders), folders)
    node = f"Node {answer.get('node', '')}".strip()
    return Trial("onnxruntime-web, WASM", answer.get("version", version), node, "", answer["folders"], {})


def environment(python: Path, packages: Sequence[str]) -> Path:
    """Return the interpreter of an environment with these packages, which is made at the first call."""
    name = "-".join([python.parent.parent.name, *packages])
    place = PLACE / re.sub(r"[^\w.]+", "-", name.replace("<", " below "))
    interpreter = place / "bin" / "python"
    if not (place / "setup").exists():
        shutil.rmtree(place, ignore_errors=True)
        _said(python, "-m", "venv", "--without-pip", place)
        _said(sys.executable, "-m", "pip", "--python", interpreter, "install", "-q", *packages)
        (place / "setup").touch()
    return interpreter


def pythons() -> list[Path]:
    """Return the interpreters to try: this one, and those of pyenv and the system with another minor version."""
    found = {sys.version_info[:2]: OURS}
    places = [*sorted(Path(sys.base_prefix).parent.glob("3.*/bin")), Path("/usr/local/bin"), Path("/usr/bin")]
    for version in _PYTHONS:
        for place in places:
            path = place / "python{}.{}".format(*version)
            if version not in found and path.exists():
                found[version] = path
    return [found[version] for version in sorted(found)]


def offered(package: str, python: Path) -> list[str]:
    """Return the versions of a package that pip offers to an interpreter, the newest first."""
    said = _said(sys.executable, "-m", "pip", "--python", python, "index", "versions", package)
    return re.search(r"Available versions: (.*)", said)[1].split(", ")  # type: ignore[index]


def minors(versions: Iterable[str]) -> list[str]:
    """Return the newest patch of every minor version, from the oldest supported one on, in order."""
    newest: dict[tuple[int, ...], str] = {}
    for version in sorted(versions, key=_numbers):
        if _numbers(version) >= OLDEST:
            newest[_numbers(version)[:2]] = version
    return list(newest.values())


def rows(document: Mapping[str, Any]) -> report.Rows:
    """Return a row per version, with the worst over the Pythons: a difference over its tolerance, or what failed."""
    trials = [Trial(**entry) for entry in document["trials"]]
    small = [name for name in trials[0].folders if name not in COMMITTED]
    double = [name for name in small if DOUBLE in name]
    columns = {**{name: [name] for name in COMMITTED}, KINDS: [n for n in small if n not in double], DOUBLE: double}
    found = [["runtime", "with", *columns]]
    for key in dict.fromkeys((trial.runtime, trial.version) for trial in trials):
        group = [trial for trial in trials if (trial.runtime, trial.version) == key]
        cells = [_cell(group, folders) for folders in columns.values()]
        found.append([" ".join(key), ", ".join(_short(trial.python) for trial in group), *cells])
    return found


def assess(trials: Sequence[Trial]) -> None:
    """Raise if a runtime gives other answers and is not known to.

    Raises:
        CheckFailedError: if a runtime does.
    """
    wrong = [f"{t.runtime} {t.version} ({t.python})" for t in trials if not t.equal]
    if wrong:
        raise CheckFailedError(f"Expected the recorded answers in every runtime; not in {', '.join(wrong)}.")


def short(value: Any) -> Any:  # noqa: ANN401
    """Return the document with four digits of every ratio, half of every hash, and null for what is not a number."""
    if isinstance(value, Mapping):
        return {key: short(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [short(entry) for entry in value]
    if isinstance(value, str) and len(value) == 64:
        return value[:32]
    if isinstance(value, float):
        return float(f"{value:.4g}") if abs(value) < float("inf") else None
    return value


def _cell(trials: Sequence[Trial], folders: Sequence[str]) -> str:
    """Return the worst of some folders in some trials, or how many folders failed."""
    worst = [trial.worst(folder) for trial in trials for folder in folders]
    failed = sum(ratio is None for ratio in worst)
    if failed:
        return f"**{failed} of {len(worst)} fail**"
    largest = max(ratio for ratio in worst if ratio is not None)
    return f"{largest:.2f}" if largest <= 1 else f"**{largest:.3g}**"


def _short(python: str) -> str:
    """Shorten `Python 3.11.7` to `3.11`, and `Node 20.20.0` to `Node 20`."""
    name, _, version = python.partition(" ")
    return ".".join(version.split(".")[:2]) if name == "Python" else f"Node {version.split('.')[0]}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _stable(versions: Iterable[str]) -> list[str]:
    return [version for version in versions if re.fullmatch(r"[\d.]+", version)]


def _run(*command: Any, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    arguments = [str(part) for part in command]
    return subprocess.run(
        arguments, capture_output=True, text=True, check=False, env={**clean, **(env or {})}, timeout=900
    )


def _last(done: subprocess.CompletedProcess[str], folders: Sequence[Path], *, wrapped: bool = True) -> dict[str, Any]:
    """Return the JSON of the last line; if there is none, every folder as failed, with the program's last words."""
    try:
        return json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        words = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300]
        failed = {folder.name: {"all": {"said": words}} for folder in folders}
        return {"folders": failed} if wrapped else failed


def _said(*command: Any, cwd: Path | None = None) -> str:  # noqa: ANN401
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise BadInputError(f"Expected {' '.join(map(str, command[:4]))} to succeed; it says: {' '.join(words)}.")
    return done.stdout


if __name__ == "__main__":
    report.run(main)
