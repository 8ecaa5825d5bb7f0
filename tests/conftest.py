"""Fixtures that several folders share."""

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lunet_export.api import progress
from lunet_export.artifact import sealed
from lunet_export.bench import contender
from lunet_export.export import Exported, ExportSettings, Provenance, export
from lunet_export.runtime import doctor, flow, providers, sessions
from lunet_export.runtime.cuda import CudaOptions
from lunet_export.runtime.device_graph import Device
from tests.networks import mixture, network

ROOT = Path(__file__).parent.parent


def once(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], object]) -> Path:
    """A folder that one of the processes of this run fills, and that all of them read: the others wait for it.

    Args:
        factory: Of this process's temporary folders.
        name: Of the folder, and of nothing else in the run.
        fill: Given the empty folder.
    """
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, filled = base / name, base / f"{name}.filled"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not filled.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
            folder.mkdir()
            fill(folder)
            filled.touch()
    return folder


#: The environment is active, as it is for whoever pastes what is printed.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


@pytest.fixture(autouse=True)
def _deterministic():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _as_quiet_as_a_fast_machine(monkeypatch):
    """Commands that a busy machine makes slow would print a line of progress, which has a test of its own."""
    monkeypatch.setattr(progress, "_FIRST", 3600.0)


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Exported:
    """A small image model, exported once for every test that only reads it."""
    from lunet_export.preprocessing import NAMED

    weights = network(16, 3, preprocessing=NAMED["digits"])
    folder = tmp_path_factory.mktemp("exported") / "small"
    return export(weights, folder, Provenance("small", image_shape=(4, 4)), ExportSettings())


@pytest.fixture(scope="session")
def exported_classes(tmp_path_factory) -> Exported:
    """Three classes of small images, exported once."""
    from lunet_export.preprocessing import NAMED

    weights = mixture(16, 3, preprocessing=NAMED["digits"])
    folder = tmp_path_factory.mktemp("exported") / "classes"
    return export(weights, folder, Provenance("classes", image_shape=(4, 4), classes=({}, {"test": 1.0}, {})))


def copied(source: Path, target: Path) -> Path:
    """A folder that a test may damage."""
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


@pytest.fixture
def folder(exported, tmp_path) -> Path:
    """A copy of the small model's folder."""
    return copied(exported.folder, tmp_path / "small")


@pytest.fixture
def class_folder(exported_classes, tmp_path) -> Path:
    """A copy of the folder with three classes."""
    return copied(exported_classes.folder, tmp_path / "classes")


@pytest.fixture
def rewrite():
    """Change manifest.json of a folder as one who also mends its hash, and the sizes of files that were changed."""

    def change(folder: Path, edit) -> None:
        path = folder / "manifest.json"
        document = json.loads(path.read_text())
        sizes = document.get("bytes", {})  # version 1 began without
        sizes.update({name: (folder / name).stat().st_size for name in sizes if (folder / name).is_file()})
        edit(document)
        path.write_text(json.dumps(sealed(document)))

    return change


class OnHost:
    """A session on the CPU that answers for one on CUDA."""

    def __init__(self, session, options):
        self.session, self.options = session, options

    def get_providers(self):
        return ["CUDAExecutionProvider"]

    def get_provider_options(self):
        return {"CUDAExecutionProvider": self.options}

    def get_provider_graph_assignment_info(self):
        nodes = [SimpleNamespace(op_type="Gemm")] * 7
        return [SimpleNamespace(ep_name="CUDAExecutionProvider", get_nodes=lambda: nodes)]

    def __getattr__(self, name):
        return getattr(self.session, name)


@pytest.fixture
def cuda_on_host(monkeypatch):
    """`provider="cuda"` computes on the CPU; what the sessions were asked for is noted."""
    asked = []

    def opened(models, provider, *, threads, cuda=None, cuda_graph=False):
        asked.append((provider, cuda_graph))
        found, choice = providers.open_sessions(models, "cpu", threads=1)
        if provider == "cpu":
            return found, choice
        options = (cuda or CudaOptions()).for_session(cuda_graph=cuda_graph)
        return [OnHost(session, options) for session in found], providers.Choice("cuda", "asked for")

    for module in (sessions, contender, doctor):
        monkeypatch.setattr(module, "open_sessions", opened)
    monkeypatch.setattr(flow, "Device", lambda kind, number: Device("cpu"))
    return asked


def relative_gap(got, expected) -> float:
    """Largest difference over the largest expected number."""
    return float(np.abs(got - expected).max() / max(1e-300, np.abs(expected).max()))
