"""What the tests of streaming share: jobs, and parts read back."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lunet_export.runtime.rows import LARGEST_BATCH
from lunet_export.streaming import Run, ScoreJob, local
from lunet_export.streaming.jobs import Place

DIM, ROWS = 3, 3 * LARGEST_BATCH + 100
CPU = Place(provider="cpu", threads=1)


def job_of(models: Path, data: Path, *names: str, **settings) -> ScoreJob:
    return ScoreJob(tuple(str(models / name) for name in names or ("m0",)), str(data), place=CPU, **settings)


def finished(run: Run, engine=local):
    engine(run, run.begin(resume=False))
    return run.finish()


def column(run: Run, name: str) -> np.ndarray:
    """A column of all parts."""
    tables = [read(path) for path in sorted(run.folder.glob("part-*"))]
    return np.concatenate([table[name] for table in tables])


def read(path: Path):
    if path.suffix == ".npy":
        return np.load(path)
    table = pq.read_table(path) if path.suffix == ".parquet" else pa.ipc.open_file(pa.OSFile(str(path))).read_all()
    found = {}
    for name in table.column_names:
        values = table.column(name).combine_chunks()
        flat = values.flatten() if pa.types.is_fixed_size_list(values.type) else values
        numbers = flat.to_numpy(zero_copy_only=False)
        found[name] = numbers.reshape(len(values), -1) if flat is not values else numbers
    return found
