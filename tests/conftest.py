"""Fixtures that several folders share."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lunet_export.artifact import sealed
from lunet_export.export import Exported, ExportSettings, Provenance, export
from tests.networks import network

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _deterministic():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Exported:
    """A small image model, exported once for every test that only reads it."""
    from lunet_export.preprocessing import NAMED

    weights = network(16, 3, preprocessing=NAMED["digits"])
    folder = tmp_path_factory.mktemp("exported") / "small"
    return export(weights, folder, Provenance("small", image_shape=(4, 4)), ExportSettings())


@pytest.fixture
def folder(exported, tmp_path) -> Path:
    """A copy of the small model's folder that a test may damage."""
    copy = tmp_path / "small"
    copy.mkdir()
    for file in exported.folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


@pytest.fixture
def rewrite():
    """Change manifest.json of a folder as one who also mends its hash."""

    def change(folder: Path, edit) -> None:
        path = folder / "manifest.json"
        document = json.loads(path.read_text())
        edit(document)
        path.write_text(json.dumps(sealed(document)))

    return change


def relative_gap(got, expected) -> float:
    """Largest difference over the largest expected number."""
    return float(np.abs(got - expected).max() / max(1e-300, np.abs(expected).max()))
