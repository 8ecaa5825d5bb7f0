"""The pretended machine: the stand-in CUDA runtime, an environment with onnxruntime-gpu, and what they report."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lunet_export.export import ExportSettings, Provenance, export
from tests.cuda.graphs import NETWORKS, ROOT, Case, write_all, write_convolutional, write_planted
from tests.cuda.standin.build import PROVIDER, BuildError, build

WHEEL = "1.31.1"
ENVIRONMENT = ROOT / ".venv-cuda"
PYTHON = ENVIRONMENT / "bin" / "python"
#: For which the wheel has machine code.
CAPABILITIES = (75, 80, 86, 89, 90, 120)


def pytest_addoption(parser):
    parser.addoption("--write-launches", action="store_true", help="Commit to the launches that are counted now.")


@pytest.fixture(scope="session", autouse=True)
def providers() -> Path:
    """The folder of the wheel's provider library, in the environment that `make test-cuda` makes."""
    if not PYTHON.exists():
        pytest.skip(f"needs onnxruntime-gpu {WHEEL} in .venv-cuda, on Linux: run `make test-cuda`")
    ask = "import onnxruntime as o, pathlib; print(o.__version__, pathlib.Path(o.__file__).parent / 'capi')"
    done = subprocess.run([PYTHON, "-c", ask], capture_output=True, text=True, check=False)
    version, _, folder = done.stdout.strip().partition(" ")
    if version != WHEEL or not (Path(folder) / PROVIDER).exists():
        # No skip: with another version everything here would be green and prove nothing.
        pytest.exit(
            f"Expected onnxruntime-gpu {WHEEL} in .venv-cuda, of which the stand-in, the launches and the kernels are; "
            f"got {version or 'none'}. Run `make clean`, or make them anew for this version.",
            returncode=2,
        )
    return Path(folder)


@pytest.fixture(scope="session")
def standin(providers, tmp_path_factory) -> Path:
    """The folder of the stand-in libraries."""
    target = tmp_path_factory.mktemp("standin")
    try:
        build(target, providers)
    except BuildError as error:
        pytest.exit(str(error), returncode=2)
    return target


def machine(standin: Path | None, **settings: Any) -> dict[str, str]:
    """The environment variables of a process on the pretended machine; without `standin`, one without CUDA."""
    kept = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    chosen = {f"CUDASTANDIN_{name.upper()}": str(value) for name, value in settings.items()}
    libraries = {"LD_LIBRARY_PATH": str(standin)} if standin else {}
    return kept | chosen | libraries | {"PYTHONPATH": str(ROOT)}


def probe(standin: Path, folder: Path, subjects: list[Path], capability: int) -> dict[str, Any]:
    """The report of one process on a machine with a GPU of that compute capability."""
    report, log = folder / f"report-{capability}.json", folder / f"log-{capability}"
    done = subprocess.run(
        [PYTHON, "-m", "tests.cuda.probe", report, *subjects],
        env=machine(standin, cc=capability, log=log),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    log.unlink()
    return json.loads(report.read_text())


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Iterator[tuple[Path, list[Case]]]:
    """Every graph of the proof as a file; half a gigabyte, so it goes when the tests end."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder), write_all(Path(folder))


@pytest.fixture(scope="session")
def cases(written) -> list[Case]:
    return written[1]


@pytest.fixture(scope="session")
def convolutional(written) -> list[Case]:
    """The graphs that are placed and do not run."""
    return write_convolutional(written[0])


@pytest.fixture(scope="session")
def whole_export(tmp_path_factory) -> Path:
    """An exported folder with all four graphs."""
    folder = tmp_path_factory.mktemp("exported") / "whole"
    settings = ExportSettings(with_log_prob=True, rng=True)
    return export(NETWORKS["digits"](), folder, Provenance("whole", image_shape=(8, 8)), settings).folder


@pytest.fixture(scope="session")
def reports(standin, written, convolutional, whole_export) -> dict[int, dict[str, Any]]:
    """What the probe finds of every graph, by compute capability: a process each, two at a time."""
    folder, cases = written
    subjects = [*(case.path for case in (*cases, *convolutional)), *write_planted(folder), whole_export]
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda capability: probe(standin, folder, subjects, capability), CAPABILITIES)
        return dict(zip(CAPABILITIES, found, strict=True))
