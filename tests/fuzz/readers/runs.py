"""Folders of streamed results, and histories of training."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from lunet_export.data.sources import open_source
from lunet_export.export import Provenance, export
from lunet_export.runtime.rows import LARGEST_BATCH
from lunet_export.streaming import Run, SampleJob, ScoreJob, local
from lunet_export.streaming.jobs import Place
from lunet_export.training.history import EpochRecord, History
from tests.fuzz.mutations import places, raw, trees
from tests.fuzz.readers.base import Case, Reader, same, short
from tests.fuzz.readers.rows import pieces
from tests.networks import network

_CPU = Place(provider="cpu", threads=1)


class FolderOfParts(Reader):
    """A run that goes on with --resume: whatever was done to its folder, the summary is the untouched one's."""

    name, share = "run of streams", 12

    def prepare(self) -> None:
        export(network(2, 1), self.home / "model", Provenance("m"))
        np.save(self.home / "x.npy", np.random.default_rng(0).standard_normal((LARGEST_BATCH + 10, 2)))
        self.job = ScoreJob((str(self.home / "model"),), str(self.home / "x.npy"), place=_CPU)
        run = self._run(self.home / "good")
        local(run, run.begin(resume=False))
        run.finish()
        self.files = {path.name: path.read_bytes() for path in sorted((self.home / "good").iterdir())}

    def _run(self, folder: Path) -> Run:
        return Run(folder, self.job, rows_per_part=LARGEST_BATCH, format="npy")

    def good(self, folder: Path) -> None:
        for name, data in self.files.items():
            (folder / name).write_bytes(data)

    def mutate(self, folder: Path, rng: Random) -> Case:
        self.good(folder)
        name = rng.choice([*self.files, *(name for name in self.files if name.endswith(".json"))])
        path = folder / name
        draw = rng.random()
        if draw < 0.15:
            outside = folder.parent / "outside"
            outside.mkdir(exist_ok=True)
            (outside / name).write_bytes(self.files[name])
            return Case(f"{name}: {places.mutate(path, outside / name, rng)}", same=True)
        if draw < 0.4 or not name.endswith(".json"):
            path.write_bytes(raw.mutate(self.files[name], rng))
            return Case(f"{name}: raw", same=True)
        path.write_bytes(trees.text(trees.mutate(json.loads(self.files[name]), rng), rng))
        return Case(f"{name}: tree", same=True)

    def read(self, folder: Path) -> Any:
        run = self._run(folder)
        local(run, run.begin(resume=True))
        summary = run.finish()
        parts = [np.load(path) for path in sorted(folder.glob("part-*"))]
        return [asdict(summary), *(part["log_prob"] for part in parts)]


class FinishedFolder(Reader):
    """A folder of parts that is read as rows."""

    name, share = "folder of rows", 10

    def prepare(self) -> None:
        export(network(2, 1), self.home / "model", Provenance("m"))
        job = SampleJob(str(self.home / "model"), 20, place=_CPU)
        run = Run(self.home / "good", job, rows_per_part=LARGEST_BATCH, format="parquet")
        local(run, run.begin(resume=False))
        run.finish()
        self.files = {path.name: path.read_bytes() for path in sorted((self.home / "good").iterdir())}

    def good(self, folder: Path) -> None:
        (folder / "rows").mkdir()
        for name, data in self.files.items():
            (folder / "rows" / name).write_bytes(data)

    def mutate(self, folder: Path, rng: Random) -> Case:
        self.good(folder)
        name = rng.choice(("_run.json", "_run.json", "part-00000.parquet"))
        path = folder / "rows" / name
        if name == "_run.json" and rng.random() < 0.6:
            path.write_bytes(trees.text(trees.mutate(json.loads(self.files[name]), rng), rng))
            return Case("run: tree", same=True)
        if rng.random() < 0.3:
            outside = folder.parent / "outside"
            outside.mkdir(exist_ok=True)
            (outside / name).write_bytes(self.files[name])
            return Case(f"{name}: {places.mutate(path, outside / name, rng)}", same=True)
        path.write_bytes(raw.mutate(self.files[name], rng))
        return Case(f"{name}: raw", same=True)

    def read(self, folder: Path) -> Any:
        return pieces(open_source(folder / "rows"))


class Histories(Reader):
    name, share = "history", 40

    def prepare(self) -> None:
        records = tuple(EpochRecord(n, 2.0 / n, 2.5 / n, 1e-3) for n in range(1, 5))
        History(3.5, 4.0, records).write(self.home / "m.history.json")
        self.bytes = (self.home / "m.history.json").read_bytes()

    def good(self, folder: Path) -> None:
        (folder / "m.history.json").write_bytes(self.bytes)

    def mutate(self, folder: Path, rng: Random) -> Case:
        path = folder / "m.history.json"
        if rng.random() < 0.4:
            path.write_bytes(raw.mutate(self.bytes, rng))
            return Case("raw")
        path.write_bytes(trees.text(trees.mutate(json.loads(self.bytes), rng), rng))
        return Case("tree")

    def read(self, folder: Path) -> Any:
        found = History.read(folder / "m.history.json")
        assert found.best in found.epochs
        return found

    def wrong(self, folder: Path, case: Case, answer: History) -> str | None:
        held = json.loads((folder / "m.history.json").read_bytes())
        right = [[r["epoch"], *(float(r[key]) for key in ("train", "valid", "learning_rate"))] for r in held["epochs"]]
        got = [[r.epoch, r.train, r.valid, r.learning_rate] for r in answer.epochs]
        ends = [float(held["gaussian_test"]), float(held["start"])], [answer.gaussian_test, answer.start]
        if not same(right, got) or not same(*ends):
            return f"it holds {short(right)}; got {short(got)}"
        numbers = [*ends[1], *(number for line in got for number in line)]
        return None if all(map(math.isfinite, numbers)) else f"it is not finite: {short(numbers)}"


READERS = (FolderOfParts, FinishedFolder, Histories)
