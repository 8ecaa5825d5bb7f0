"""Model files: ours of every family, of classes and in safetensors, the authors', resume files, peers' states."""

import json
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import safetensors.torch
import torch

from lunet_export import checkpoint, importers
from lunet_export.checkpoint import Checkpoint
from lunet_export.checks import reference
from lunet_export.data import Dataset
from lunet_export.importers import source
from lunet_export.layers import Chain
from lunet_export.preprocessing import NAMED
from lunet_export.training import FitSettings, train
from lunet_export.training.lunet.architecture import LUNetArchitecture
from lunet_export.training.train import _restore
from tests import conditional
from tests.families import composed, jko, realnvp
from tests.fuzz.mutations import archives, headers, pickles, raw, tensors
from tests.fuzz.readers.base import Case, Reader
from tests.networks import mixture, network
from tests.test_checkpoint import authors_state

TRAINING = {"dataset": "x", "epochs": 3, "test": 1.5, "names": ["a", "b"]}


class TensorFile(Reader):
    """A file of torch.save, `self.file`, that holds `self.content`."""

    file = "model.pt"

    def prepare(self) -> None:
        self.write(self.home / self.file)
        self.bytes = (self.home / self.file).read_bytes()
        self.content = torch.load(BytesIO(self.bytes), weights_only=False)

    def write(self, path: Path) -> None:
        """The good file."""
        raise NotImplementedError

    def good(self, folder: Path) -> None:
        (folder / self.file).write_bytes(self.bytes)

    def mutate(self, folder: Path, rng: Random) -> Case:
        draw = rng.random()
        case, data = self.made(draw, str(self.marker(folder)), rng)
        (folder / self.file).write_bytes(data)
        return case

    def made(self, draw: float, marker: str, rng: Random) -> tuple[Case, bytes]:
        """The case and the bytes of a file."""
        if draw < 0.3:
            return Case("raw", same=True), raw.mutate(self.bytes, rng)
        if draw < 0.4:
            return Case("archive"), archives.mutate(self.bytes, rng)
        if draw < 0.55:
            name, content = tensors.hostile(self.content, marker, rng)
            return Case(f"pickle: {name}"), pickles.saved(content, rng)
        return Case("tensors"), pickles.saved(tensors.mutate(self.content, rng), rng)


def used(weights: Chain) -> dict[str, Any]:
    """What is done with weights: an answer by which they are told apart."""
    context = None if weights.context is None else np.linspace(-0.5, 0.5, weights.context.dim)
    rows = reference.decode(weights, np.random.default_rng(0).standard_normal((2, weights.dim)), context)
    with np.errstate(all="ignore"):
        log_prob = reference.log_prob(weights, rows, context)
        return {"digest": weights.digest(), "facts": weights.facts(), "log_prob": log_prob}


def told(found: Checkpoint) -> dict[str, Any]:
    """The same of a checkpoint; what it says of itself goes into a manifest."""
    json.dumps(dict(found.training or {}), allow_nan=False)
    if found.image_shape is not None and np.prod(found.image_shape, dtype=object) != found.weights.dim:
        raise AssertionError(f"the image shape is {found.image_shape} of {found.weights.dim} numbers")
    examples = None if found.examples is None else np.asarray(found.examples)
    if examples is not None and not np.isfinite(examples).all():
        raise AssertionError("an example is not finite")
    with np.errstate(all="ignore"):
        return {**used(found.weights), "examples": examples, "shape": found.image_shape, "training": found.training}


class _OneModel(TensorFile):
    weights: Any

    def write(self, path: Path) -> None:
        weights = type(self).weights()
        examples = np.full((2, weights.dim), 0.5)
        checkpoint.write_weights(path, weights, image_shape=None, training=TRAINING, examples=examples)

    def read(self, folder: Path) -> Any:
        return told(checkpoint.read(folder / self.file))


class LUNetModel(_OneModel):
    name, share = "checkpoint of LU-Net", 20
    weights = staticmethod(lambda: network(4, 3, preprocessing=NAMED["digits"]))

    def write(self, path: Path) -> None:
        weights = type(self).weights()
        examples = np.full((2, weights.dim), 0.5)
        checkpoint.write_weights(path, weights, image_shape=(2, 2), training=TRAINING, examples=examples)


class RealNVPModel(_OneModel):
    name = "checkpoint of RealNVP"
    weights = staticmethod(lambda: realnvp.convolutional(4, 2))


class JKOModel(_OneModel):
    name = "checkpoint of JKO-iFlow"
    weights = staticmethod(lambda: jko.flow(3, (4, 5), blocks=2, steps=2))


class ComposedModel(_OneModel):
    name = "checkpoint of a composed flow"
    weights = staticmethod(composed.NETWORKS["couplings"])


class MaskedModel(_OneModel):
    name = "checkpoint of masked layers"
    weights = staticmethod(composed.NETWORKS["masked autoregressive"])


class SplineModel(_OneModel):
    name = "checkpoint of splines"
    weights = staticmethod(composed.NETWORKS["spline couplings"])


class AngleModel(_OneModel):
    """Networks that begin with sines, columns on a box beside others, and a base that is uniform in some columns."""

    name = "checkpoint of splines of angles"
    weights = staticmethod(composed.NETWORKS["splines of angles"])


class ClampedModel(_OneModel):
    name = "checkpoint of clamped couplings"
    weights = staticmethod(composed.NETWORKS["clamped couplings"])


class ConditionalSplineModel(_OneModel):
    """Circular splines, and splines of the context alone."""

    name = "checkpoint of conditional splines"
    weights = staticmethod(conditional.splines)


class ConditionalModel(_OneModel):
    name = "checkpoint of a conditional flow"
    weights = staticmethod(conditional.network)


class ConditionalLUNetModel(_OneModel):
    name = "checkpoint of a conditional LU-Net"
    weights = staticmethod(conditional.lu_net)


class ConditionalRealNVPModel(_OneModel):
    name = "checkpoint of a conditional RealNVP"
    weights = staticmethod(conditional.realnvp)


class ClassModel(TensorFile):
    """One network per class."""

    name, file = "checkpoint of classes", "classes.pt"

    def write(self, path: Path) -> None:
        found = mixture(3, 2)
        members = []
        for number, weights in enumerate(found.components):
            member = self.home / f"{number}.pt"
            checkpoint.write_weights(member, weights, image_shape=None, training=TRAINING, examples=None)
            members.append(member)
        checkpoint.write_classes(path, members, names=found.names, priors=found.priors, training=TRAINING)

    def read(self, folder: Path) -> Any:
        found = checkpoint.read(folder / self.file)
        json.dumps(dict(found.training), allow_nan=False)
        return [found.mixture.digest(), [told(member) for member in found.members]]


class _Safetensors(TensorFile):
    """No sum guards its numbers, so that another number is another model."""

    file = "model.safetensors"

    def prepare(self) -> None:
        self.write(self.home / self.file)
        self.bytes = (self.home / self.file).read_bytes()

    def made(self, draw: float, marker: str, rng: Random) -> tuple[Case, bytes]:
        if draw < 0.4:
            return Case("raw"), raw.mutate(self.bytes, rng)
        return Case("header"), headers.safetensors(self.bytes, rng)

    def read(self, folder: Path) -> Any:
        return told(checkpoint.read(folder / self.file))


class SafetensorsModel(_Safetensors):
    """Our own dictionaries in safetensors."""

    name = "checkpoint in safetensors"

    def write(self, path: Path) -> None:
        weights = network(4, 3, preprocessing=NAMED["digits"])
        examples = np.full((2, weights.dim), 0.5)
        checkpoint.write_weights(path, weights, image_shape=(2, 2), training=TRAINING, examples=examples)


class SafetensorsState(_Safetensors):
    """The state of the authors' network."""

    name = "state in safetensors"

    def write(self, path: Path) -> None:
        state = {key: value.contiguous() for key, value in authors_state(network(4, 3)).items()}
        path.write_bytes(safetensors.torch.save(state))


class AuthorsModel(TensorFile):
    """best.pth."""

    name, file = "authors' best.pth", "best.pth"

    def write(self, path: Path) -> None:
        torch.save(authors_state(network(4, 3)), path)

    def made(self, draw: float, marker: str, rng: Random) -> tuple[Case, bytes]:
        case, data = super().made(draw, marker, rng)
        return case, data

    def read(self, folder: Path) -> Any:
        return told(checkpoint.read(folder / self.file))


class AuthorsStatistics(TensorFile):
    """best_stats.pth."""

    name, file = "authors' best_stats.pth", "best_stats.pth"

    def write(self, path: Path) -> None:
        torch.save(authors_state(network(4, 3)), self.home / "best.pth")
        covariance = torch.eye(4, dtype=torch.float64) + 0.1
        torch.save({"latent_mean": torch.arange(4.0), "latent_covariance": covariance}, path)

    def read(self, folder: Path) -> Any:
        return told(checkpoint.read(self.home / "best.pth", latent_stats=folder / self.file))


_DATA = Dataset("vectors", *(np.random.default_rng(n).standard_normal((20, 3)) for n in range(3)))
_SETTINGS = FitSettings(epochs=2, batch_size=10, learning_rate=1e-3)


class ResumeFile(TensorFile):
    """MODEL.resume.pt of a run of training."""

    name, file, share = "resume file", "model.resume.pt", 5

    def write(self, path: Path) -> None:
        train(
            _DATA,
            _SETTINGS,
            self.home / "model.pt",
            architecture=LUNetArchitecture(2),
            device=torch.device("cpu"),
            resume=False,
            on_start=lambda line, trainer: None,
            on_step=lambda step, bits: None,
            on_epoch=lambda record: None,
        )

    def read(self, folder: Path) -> Any:
        torch.manual_seed(0)
        model = self.content["model"]
        trainer = LUNetArchitecture(2).trainer(network(3, 2), _DATA, _SETTINGS, torch.device("cpu"))
        _restore(trainer, folder / self.file, model)
        best = trainer.best
        record = trainer.run_epoch(lambda step, bits: None)
        return [best.epoch, record.valid, trainer.best_flow.to_chain().digest(), trainer.flow.to_chain().digest()]


class _State(TensorFile):
    file = "state.pt"
    library: str

    def flow(self) -> Any:
        """The library's own."""
        raise NotImplementedError

    def write(self, path: Path) -> None:
        torch.manual_seed(0)
        torch.save(OrderedDict(self.flow().state_dict()), path)

    def read(self, folder: Path) -> Any:
        return used(importers.read(source.of_state(self.library, folder / self.file)).weights)


class NflowsState(_State):
    name, library = "state of nflows", "nflows"

    def flow(self) -> Any:
        from nflows.distributions import StandardNormal
        from nflows.flows import Flow
        from nflows.transforms import CompositeTransform, LULinear, PointwiseAffineTransform, RandomPermutation

        affine = PointwiseAffineTransform(torch.ones(3), torch.full((3,), 1.5))
        return Flow(CompositeTransform([LULinear(3), RandomPermutation(3), affine, LULinear(3)]), StandardNormal([3]))


class NormflowsState(_State):
    name, library = "state of normflows", "normflows"

    def flow(self) -> Any:
        from normflows import NormalizingFlow
        from normflows.distributions import DiagGaussian
        from normflows.flows import AffineConstFlow, InvertibleAffine, LULinearPermute

        layers = [LULinearPermute(3), AffineConstFlow((3,)), InvertibleAffine(3), LULinearPermute(3)]
        return NormalizingFlow(DiagGaussian(3), layers)


class ZukoState(_State):
    """Loaded into what a factory gives."""

    name, library = "state of zuko", "zuko"

    def flow(self) -> Any:
        from zuko.flows import MAF

        torch.manual_seed(0)
        return MAF(2, transforms=2, hidden_features=(4,))

    def read(self, folder: Path) -> Any:
        return used(importers.read(source.filled(self.flow(), folder / self.file)).weights)


class ZukoSplineState(ZukoState):
    """The same of splines."""

    name = "state of zuko's splines"

    def flow(self) -> Any:
        from zuko.flows import NSF

        torch.manual_seed(0)
        return NSF(2, bins=3, transforms=1, hidden_features=(4,))


READERS = (
    *(LUNetModel, RealNVPModel, JKOModel, ComposedModel, MaskedModel, ConditionalModel, ConditionalLUNetModel),
    ConditionalRealNVPModel,
    *(SplineModel, AngleModel, ClampedModel, ConditionalSplineModel),
    *(ClassModel, SafetensorsModel, SafetensorsState),
    *(AuthorsModel, AuthorsStatistics, ResumeFile, NflowsState, NormflowsState, ZukoState, ZukoSplineState),
)
