"""ONNX files by themselves: what `inspect` describes, and a user's classifier for verifiers."""

from pathlib import Path
from random import Random
from typing import Any

from lunet_export.export import Provenance, export
from lunet_export.graphs import builder, merge, verifier
from tests.fuzz.mutations import graphs, raw
from tests.fuzz.readers.base import Case, Reader
from tests.networks import network
from tests.verification.cases import dense, piecewise_linear

DIM = 3


class _Onnx(Reader):
    file, share = "m.onnx", 10
    bytes: bytes

    def good(self, folder: Path) -> None:
        (folder / self.file).write_bytes(self.bytes)

    def mutate(self, folder: Path, rng: Random) -> Case:
        draw = rng.random()
        if draw < 0.5:
            case, data = Case("raw"), raw.mutate(self.bytes, rng)
        elif draw < 0.6:
            way, data = graphs.outside(self.bytes, rng)
            case = self.elsewhere(way)
        else:
            way, data = graphs.mutate(self.bytes, rng)
            case = Case(f"graph: {way}")
        (folder / self.file).write_bytes(data)
        return case

    def elsewhere(self, way: str) -> Case:
        """What is right of a graph whose numbers are in another file."""
        return Case(f"numbers elsewhere: {way}")


class Described(_Onnx):
    name = "ONNX file that is described"

    def prepare(self) -> None:
        export(network(2, 2), self.home / "m", Provenance("m"))
        self.bytes = (self.home / "m" / "density.onnx").read_bytes()

    def read(self, folder: Path) -> Any:
        return builder.describe(folder / self.file)


class Classifier(_Onnx):
    name = "classifier for verifiers"

    def prepare(self) -> None:
        self.bytes = dense(DIM).SerializeToString()
        self.generator = verifier.build(piecewise_linear(DIM, 2), metadata={})

    def elsewhere(self, way: str) -> Case:
        return Case(f"numbers elsewhere: {way}", refused=True)

    def read(self, folder: Path) -> Any:
        merged = merge.merge(self.generator, merge.read_classifier(folder / self.file))
        return [merge.outputs_of(merged), len(builder.serialize(merged))]


READERS = (Described, Classifier)
