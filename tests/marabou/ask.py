"""Marabou in its own environment, and the claims that it is asked about."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lunet_export.checks import reference
from lunet_export.layers import Chain
from lunet_export.verification import LatentBox
from tests.conftest import ROOT

PYTHON = ROOT / ".venv-marabou" / "bin" / "python"
SCRIPT = Path(__file__).parent / "solve.py"
POINTS = 100_000


@dataclass(frozen=True)
class Answer:
    """What Marabou says."""

    verdict: str  # sat, unsat, TIMEOUT
    seconds: float  # of the search alone
    leaky_relus: int
    versions: dict[str, str]
    witness: Path


def missing() -> str:
    """Why Marabou cannot be asked; empty where it can."""
    if PYTHON.is_file() and subprocess.run([PYTHON, "-c", "import maraboupy"], capture_output=True).returncode == 0:
        return ""
    return "needs Marabou in .venv-marabou, which has wheels for Python 3.8 to 3.11: run `make test-marabou` with one"


def ask(folder: Path, query: str, witness: Path, *, graph: str = "generator.onnx", limit: int = 60) -> Answer:
    """Marabou's answer to a query of an export, within `limit` seconds."""
    command = [PYTHON, SCRIPT, folder / graph, folder / query, witness, str(limit)]
    # Marabou leaves a file in the folder that it runs in
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=witness.parent)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    own = {name: found.pop(name) for name in ("maraboupy", "onnx", "numpy")}
    return Answer(**found, versions=own, witness=witness)


def points(box: LatentBox, *, seed: int = 0) -> np.ndarray:
    """A hundred thousand points of the box, one in ten of them on its border."""
    rng, c = np.random.default_rng(seed), float(box.bound)
    z = rng.uniform(-c, c, (POINTS, box.dim))
    edge = z[: POINTS // 10]
    corners = edge[rng.uniform(size=len(edge)) < 0.5]
    edge[np.arange(len(edge)), rng.integers(box.dim, size=len(edge))] *= np.inf
    np.clip(edge, -c, c, out=edge)
    corners[:] = c * np.sign(corners)
    return z


def highest(weights: Chain, box: LatentBox) -> tuple[float, float]:
    """Median and maximum of x_0 over points of the box, by the float64 reference."""
    x = reference.decode(weights, points(box))[:, 0]
    return float(np.median(x)), float(x.max())
