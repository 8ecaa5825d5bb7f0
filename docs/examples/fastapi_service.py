"""A web service of an exported folder.

pip install fastapi uvicorn
LUNET_FOLDER=exported/toy2d uvicorn --app-dir docs/examples --factory fastapi_service:app
curl localhost:8000/score -H 'content-type: application/json' -d '{"rows": [[0.1, 0.2]]}'
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from lunet_export.errors import BadInputError
from lunet_export.likelihood import bits_per_dim
from lunet_export.runtime import open_export

LARGEST = 4096  # rows per request


class Rows(BaseModel):
    """Rows (N, D) to score, as in training; of images, grey levels, which get the noise of the seed."""

    rows: list[list[float]] = Field(min_length=1, max_length=LARGEST)
    seed: int = Field(0, ge=0, lt=2**64)


class Wish(BaseModel):
    """How many rows are drawn; the same seed gives the same rows."""

    n: int = Field(1, ge=1, le=LARGEST)
    seed: int = Field(0, ge=0, lt=2**64)


def service(folder: str | Path) -> FastAPI:
    """Return the application of a folder, which is read, verified and opened once, here."""
    flow = open_export(folder, threads=1)  # any number of requests may use it at once
    manifest = flow.manifest
    api = FastAPI(title=f"lunet_export: {manifest.name}")

    @api.exception_handler(BadInputError)
    def refused(request: Request, error: BadInputError) -> JSONResponse:
        """Return the sentence that says what was expected, what came and what to do."""
        return JSONResponse({"detail": str(error)}, status_code=422)

    @api.get("/model")
    def model() -> dict[str, Any]:
        """Return what the folder holds."""
        facts = {key: manifest.document["model"].get(key) for key in ("name", "kind", "dim", "image_shape")}
        facts |= {"dtype": manifest.dtype, "classes": manifest.names, "provider": flow.provider}
        return facts | {"sha256_manifest": manifest.document["sha256_manifest"]}

    @api.post("/score")
    def score(given: Rows) -> dict[str, list[float]]:
        """Return log p of each row in nats, and its bits per dimension."""
        x = flow.dequantize(given.rows, given.seed) if manifest.preprocessing else given.rows
        log_prob = flow.log_prob(x).astype(np.float64)
        return {"log_prob": log_prob.tolist(), "bits_per_dim": bits_per_dim(log_prob, flow.dim).tolist()}

    @api.post("/sample")
    def sample(wish: Wish) -> dict[str, list[list[float]]]:
        """Return rows of the model."""
        return {"rows": flow.sample(wish.n, seed=wish.seed).tolist()}

    return api


def app() -> FastAPI:
    """Return the application of the folder that LUNET_FOLDER names, for uvicorn."""
    return service(os.environ["LUNET_FOLDER"])
