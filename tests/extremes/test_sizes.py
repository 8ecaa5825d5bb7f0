"""What would pass 2 GB is refused from its shapes alone, before memory is taken for it."""

import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest

from lunet_cli import models
from lunet_cli.inspect import inspect
from lunet_export.checkpoint import Checkpoint
from lunet_export.distribution import Mixture
from lunet_export.errors import BadInputError
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.flows import JKO, Layered, LUNet, RealNVP
from lunet_export.graphs import builder, sizes
from lunet_export.layers import (
    LU,
    Affine,
    Chain,
    DenseCoupling,
    DenseNet,
    Kind,
    Layer,
    LeakySoftplus,
    Velocity,
    VelocityField,
    Whitening,
)
from lunet_export.training import KINDS


def nothing(*shape: int) -> np.ndarray:
    """An array of that shape without its memory."""
    return np.broadcast_to(np.zeros(1), shape)


def unchecked(made_of, **fields):
    """An object whose arrays nobody looked at: the checks alone would take a gigabyte."""
    made = object.__new__(made_of)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


def chain(dim: int, layers: list[Layer], kind: Kind) -> Chain:
    return unchecked(Chain, dim=dim, layers=tuple(layers), preprocessing=None, kind=kind)


def lunet(dim: int, blocks: int) -> Chain:
    block = LU(nothing(dim, dim), nothing(dim, dim), nothing(dim))
    return chain(dim, [block, *[LeakySoftplus(0.1), block] * (blocks - 1)], LUNet(0.1))


def realnvp(dim: int, width: int) -> Chain:
    half = dim // 2
    net = DenseNet(((nothing(width, half), nothing(width)), (nothing(dim, width), nothing(dim))))
    vectors = {name: nothing(dim) for name in ("scale_factor", "log_scale", "shift_factor", "shift")}
    return chain(dim, [DenseCoupling((dim,), np.arange(dim) < half, **vectors, net=net)], RealNVP())


def jko(dim: int, width: int) -> Chain:
    field = VelocityField(((nothing(width, dim), nothing(width)), (nothing(dim, width), nothing(dim))), nothing(width))
    return chain(dim, [Whitening(nothing(dim), nothing(dim, dim)), Velocity(field, 3, 2.0)], JKO(3, 2.0))


def composed(dim: int, layers: int) -> Chain:
    block = LU(nothing(dim, dim), nothing(dim, dim), nothing(dim))
    return chain(dim, [Affine(nothing(dim), nothing(dim)), *[block] * layers], Layered())


@contextmanager
def little_memory():
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


TOO_LARGE = {
    "64 blocks of 4096": (lambda: lunet(4096, 64), {}, "needs 6.4 GB in float32. Use `solver='fused'` or fewer blocks"),
    "64 blocks, fused": (lambda: lunet(4096, 64), {"solver": "fused"}, "needs 4.3 GB in float32. Use fewer blocks"),
    "64 blocks, auto": (lambda: lunet(4096, 64), {"solver": "auto"}, "needs 4.3 GB in float32"),
    "64 blocks in float16": (lambda: lunet(4096, 64), {"dtype": "float16"}, "needs 3.2 GB in float16"),
    "16384, both inverses": (lambda: lunet(16384, 1), {"solver": "inverse"}, "needs 2.1 GB in float32"),
    "16384 in float64": (
        lambda: lunet(16384, 1),
        {"dtype": "float64"},
        "needs 3.2 GB in float64. Use `dtype='float32'`",
    ),
    "realnvp": (lambda: realnvp(16384, 65536), {}, "needs 6.4 GB in float32. Train a smaller"),
    "jko": (lambda: jko(16384, 8192), {}, "needs 3.2 GB in float32. Train a smaller"),
    "composed": (lambda: composed(16384, 2), {}, "needs 3.2 GB in float32. Use `solver='fused'` or fewer"),
    "composed, fused": (lambda: composed(16384, 2), {"solver": "fused"}, "needs 2.1 GB in float32. Use fewer layers"),
}


@pytest.mark.parametrize(("make", "settings", "sentence"), TOO_LARGE.values(), ids=TOO_LARGE)
def test_an_export_beyond_2_gb_is_refused_before_work(make, settings, sentence, tmp_path):
    with little_memory(), pytest.raises(BadInputError, match="at most 2 GB, the limit of one ONNX file") as caught:
        export(make(), tmp_path / "m", Provenance("m"), ExportSettings(**settings))
    assert sentence in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_classes_beyond_2_gb_are_refused_before_work(tmp_path):
    mixture = unchecked(Mixture, components=(lunet(16384, 1),) * 2, names=("a", "b"), priors=(0.5, 0.5))
    with little_memory(), pytest.raises(BadInputError, match=r"a density graph of at most 2 GB.* needs 2\.1 GB"):
        export(mixture, tmp_path / "m", Provenance("m"))


def test_solvers_are_not_compared_where_none_fits(monkeypatch, tmp_path):
    large = unchecked(Checkpoint, model=lunet(8192, 64), image_shape=None)
    monkeypatch.setattr(models, "read_model", lambda *_: large)
    (tmp_path / "m.pt").touch()
    with little_memory(), pytest.raises(BadInputError, match=r"needs 17\.2 GB in float32"):
        inspect(tmp_path / "m.pt", solvers=True)


STRUCTURES = {
    "lunet": (16384, {"blocks": 64}, "needs 34.4 GB in float16. Take fewer `blocks`"),
    "lunet-spline": (16384, {"blocks": 64}, "needs 34.4 GB in float16. Take fewer `blocks`"),
    "realnvp": (16384, {"width": 65536}, "Take a smaller `width`"),
    "jko": (16384, {"width": 32768}, "Take a smaller `width`"),
}


@pytest.mark.parametrize("family", STRUCTURES)
def test_training_of_what_could_not_be_exported_does_not_begin(family):
    dim, given, sentence = STRUCTURES[family]
    with (
        little_memory(),
        pytest.raises(BadInputError, match="a network whose graphs are of at most 2 GB") as e,
    ):
        KINDS[family].choose(dim, None, given)
    assert sentence in str(e.value)


def test_what_fits_begins():
    for family in STRUCTURES:
        KINDS[family].choose(64, None, {})


def test_a_graph_that_outgrows_its_estimate_is_refused(monkeypatch):
    """The last line of defence: protobuf's own error would be a traceback."""
    monkeypatch.setattr(sizes, "FILE_BYTES", 2**20 + 100)
    g = builder.GraphBuilder("large", dim=8, dtype="float32")
    g.output("y", g.gemm(g.input("x"), np.eye(8)))
    with pytest.raises(BadInputError, match="Expected a graph of at most 2 GB"):
        g.finish({})
