"""Exported folders: manifest, vectors, graphs, and what may stand in the place of a file.

Where a mutation mends the hashes after it, as somebody with our code could, `same` is asked only of what the readers
claim to check; else nothing but the untouched answers will do.
"""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from lunet_export.artifact import open_folder, read_readme, sealed
from lunet_export.errors import RowsWarning
from lunet_export.export import Provenance, export
from lunet_export.files.reading import sha256
from lunet_export.preprocessing import NAMED
from lunet_export.runtime import ExportedClasses, ExportedFlow
from tests import conditional
from tests.families import composed, realnvp
from tests.fuzz.mutations import graphs, places, raw, trees
from tests.fuzz.readers.base import Case, Reader, same, short
from tests.networks import mixture, network

MANIFEST, VECTORS = "manifest.json", "vectors.json"


class _Folder(Reader):
    rows: np.ndarray

    def prepare(self) -> None:
        self.write(self.home / "good")
        self.files = {path.name: path.read_bytes() for path in sorted((self.home / "good").iterdir())}
        self.document = json.loads(self.files[MANIFEST])

    def write(self, folder: Path) -> None:
        """The good folder."""
        export(network(4, 2, preprocessing=NAMED["digits"]), folder, Provenance("m", image_shape=(2, 2)))

    def good(self, folder: Path) -> None:
        for name, data in self.files.items():
            (folder / name).write_bytes(data)

    def resealed(self, folder: Path, document: Any, rng: Random | None = None) -> None:
        """Write the manifest with the hash of what is in it."""
        rng = rng or Random(0)
        if isinstance(document, dict) and not trees.deep(document):
            document = sealed(document)
        (folder / MANIFEST).write_bytes(trees.text(document, rng))

    def replaced(self, folder: Path, name: str, data: bytes) -> None:
        """Write a file, and its hash into the manifest."""
        (folder / name).write_bytes(data)
        digests = {**self.document["sha256"], name: sha256(data)}
        self.resealed(folder, {**self.document, "sha256": digests})

    def read(self, folder: Path) -> Any:
        artifact = open_folder(folder)
        read_readme(folder, artifact.manifest.document)  # as `verify` and `embed` do
        flow = ExportedFlow(artifact, provider="cpu", threads=1)
        rows = np.linspace(0.2, 0.8, 2 * flow.dim).reshape(2, -1)
        context = None if flow.context is None else np.linspace(-0.5, 0.5, flow.context.dim)
        with warnings.catch_warnings(action="ignore", category=RowsWarning):  # another range is another advice
            z, nats = flow.density(rows, context=context)
            return [artifact.manifest.dim, z, nats, flow.decode(rows, context=context)]


class ManifestOfFlow(_Folder):
    name, share = "manifest", 20

    def mutate(self, folder: Path, rng: Random) -> Case:
        self.good(folder)
        path = folder / MANIFEST
        if rng.random() < 0.3:
            path.write_bytes(raw.mutate(self.files[MANIFEST], rng))
            return Case("raw", same=True)
        document = trees.mutate(self.document, rng)
        if rng.random() < 0.7:
            self.resealed(folder, document, rng)
            return Case("tree, sealed", same=True)
        path.write_bytes(trees.text(document, rng))
        return Case("tree", same=True)


class ManifestOfComposed(ManifestOfFlow):
    """With a domain."""

    name, share = "manifest with a domain", 5

    def write(self, folder: Path) -> None:
        export(composed.NETWORKS["a logit in front"](), folder, Provenance("m"))


class ManifestOfRealNVP(ManifestOfFlow):
    name, share = "manifest of RealNVP", 5

    def write(self, folder: Path) -> None:
        export(realnvp.dense(2, 4, couplings=2), folder, Provenance("m"))


class _Conditional(_Folder):
    def write(self, folder: Path) -> None:
        chain = conditional.lu_net()
        assert chain.context is not None
        named = replace(chain.context, names=("a", "b", "c"))
        export(replace(chain, context=named), folder, Provenance("m"))


class ManifestOfConditional(_Conditional, ManifestOfFlow):
    name, share = "manifest of a conditional flow", 8


class _Classes(_Folder):
    def write(self, folder: Path) -> None:
        export(mixture(3, 2), folder, Provenance("c"))

    def read(self, folder: Path) -> Any:
        artifact = open_folder(folder)
        flow = ExportedClasses(artifact, provider="cpu", threads=1)
        rows = np.linspace(0.2, 0.8, 2 * flow.dim).reshape(2, -1)
        return [flow.dim, list(flow.names), flow.log_prob(rows), flow.sample(2, seed=1)]


class ManifestOfClasses(_Classes, ManifestOfFlow):
    name, share = "manifest of classes", 5


class VectorsOfFlow(_Folder):
    name, share = "vectors", 20

    def mutate(self, folder: Path, rng: Random) -> Case:
        self.good(folder)
        data = self.files[VECTORS]
        if rng.random() < 0.4:
            case, data = Case("raw"), raw.mutate(data, rng)
        else:
            case, data = Case("tree"), trees.text(trees.mutate(json.loads(data), rng), rng)
        if rng.random() < 0.1:
            (folder / VECTORS).write_bytes(data)
            return Case(f"{case.mutation}, not sealed", same=True)
        self.replaced(folder, VECTORS, data)
        return case

    def read(self, folder: Path) -> Any:
        return open_folder(folder).vectors.to_json()

    def wrong(self, folder: Path, case: Case, answer: Any) -> str | None:
        if case.same:
            return super().wrong(folder, case, answer)
        whole = json.loads((folder / VECTORS).read_bytes())
        held = {name: whole[name] for name in ("density", "sampling")}  # what else stands there is not read
        return None if same(_numbers(held), _numbers(answer)) else f"it holds {short(held)}; got {short(answer)}"


def _numbers(value: Any) -> Any:
    """What vectors hold, as arrays; of null entries and names that are not known, nothing."""
    if isinstance(value, dict):
        return {key: _numbers(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_numbers(entry) for entry in value]
    return np.asarray(value, dtype=np.float64)


class VectorsOfClasses(VectorsOfFlow, _Classes):
    name, share = "vectors of classes", 10
    read = VectorsOfFlow.read


class VectorsOfConditional(_Conditional, VectorsOfFlow):
    name, share = "vectors with contexts", 8


class GraphsOfFolder(_Folder):
    """Graphs with right hashes: what anybody can write who has this package."""

    name, share = "graphs of a folder", 8

    def mutate(self, folder: Path, rng: Random) -> Case:
        self.good(folder)
        graph = rng.choice(("density.onnx", "sampling.onnx"))
        draw = rng.random()
        if draw < 0.2:
            (folder / graph).write_bytes(raw.mutate(self.files[graph], rng))
            return Case("raw, not sealed", same=True)
        if draw < 0.4:
            case, data = Case("raw"), raw.mutate(self.files[graph], rng)
        elif draw < 0.6:
            (folder / "secret").write_bytes(bytes(4096))
            way, data = graphs.outside(self.files[graph], rng)
            case = Case(f"numbers elsewhere: {way}", refused=True)
        else:
            way, data = graphs.mutate(self.files[graph], rng)
            case = Case(f"graph: {way}", refused=way in ("endless", "filled"))
        self.replaced(folder, graph, data)
        return case

    def wrong(self, folder: Path, case: Case, answer: Any) -> str | None:
        """Graphs with right hashes may compute what they like; that is what `check` is for."""
        return super().wrong(folder, case, answer)


class PlacesOfFolder(_Folder):
    """Links, pipes, devices and folders where a file is expected."""

    name, share = "files of a folder", 6

    def mutate(self, folder: Path, rng: Random) -> Case:
        self.good(folder)
        outside = folder.parent / "outside"
        shutil.rmtree(outside, ignore_errors=True)
        outside.mkdir()
        name = rng.choice(list(self.files))
        (outside / name).write_bytes(self.files[name])
        way = places.mutate(folder / name, outside / name, rng)
        return Case(way, refused=way != "link in" and way != "other", same=True)


READERS = (
    *(ManifestOfFlow, ManifestOfComposed, ManifestOfRealNVP, ManifestOfClasses, VectorsOfFlow, VectorsOfClasses),
    *(ManifestOfConditional, VectorsOfConditional, GraphsOfFolder, PlacesOfFolder),
)
