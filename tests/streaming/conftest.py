"""Models and rows that the tests of streaming score."""

from pathlib import Path

import numpy as np
import pytest

from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.preprocessing import NAMED
from tests.families import composed
from tests.networks import network
from tests.streaming.cases import DIM, ROWS


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed in range(3):
        export(network(DIM, 2, seed=seed), folder / f"m{seed}", Provenance(f"m{seed}"), ExportSettings())
    export(network(4, 2, preprocessing=NAMED["digits"]), folder / "images", Provenance("images"))
    export(composed.NETWORKS["a logit in front"](), folder / "interval", Provenance("interval"))
    return folder


@pytest.fixture(scope="session")
def x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)


@pytest.fixture
def data(x, tmp_path) -> Path:
    np.save(tmp_path / "x.npy", x)
    return tmp_path / "x.npy"
