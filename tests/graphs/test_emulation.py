"""TF32 and float16 products in NumPy: right to the bit, inside their own budgets, outside float32's."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from benchmarks import networks
from lunet_export import checkpoint, parity
from lunet_export.artifact import open_folder
from lunet_export.checks import vectors
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.graphs import builder, emulation, solvers
from lunet_export.graphs.builder import GraphBuilder
from lunet_export.graphs.frame import Frame
from lunet_export.layers import Chain, triangular
from lunet_export.runtime.providers import open_sessions
from tests.conftest import ROOT
from tests.families import realnvp
from tests.networks import NETWORKS, far_out

TF32 = [name for name in emulation.MODES if name != "float32"]
REDUCTIONS = {"nearest": emulation.nearest, "truncated": emulation.truncated}

every_reduction = pytest.mark.parametrize("name", REDUCTIONS)


def patterns() -> np.ndarray:
    """float32 numbers of every exponent, finite, with mantissas on both sides of what TF32 keeps and of its ties."""
    mantissas = [0, 1, 0xFFF, 0x1000, 0x1001, 0x1FFF, 0x2000, 0x2FFF, 0x3000, 0x3001, 0x7FEFFF, 0x7FF000, 0x7FFFFF]
    exponents = np.arange(255, dtype=np.uint32) << 23
    bits = exponents[:, None] | np.array(mantissas, dtype=np.uint32)
    return np.concatenate([bits, bits | np.uint32(1 << 31)]).ravel().view(np.float32)


def by_arithmetic(x: np.ndarray, name: str) -> np.ndarray:
    """The same in float64: units of the last of 10 bits, those of denormals being all alike."""
    exact = np.abs(x.astype(np.float64))
    unit = np.ldexp(1.0, np.maximum(np.frexp(exact)[1] - 1, -126) - 10)
    units = np.floor(exact / unit + (0.5 if name == "nearest" else 0.0))
    with np.errstate(over="ignore"):
        return np.copysign(units * unit, x).astype(np.float32)


def differing(name: str) -> int:
    x = patterns()
    return int((REDUCTIONS[name](x).view(np.uint32) != by_arithmetic(x, name).view(np.uint32)).sum())


@every_reduction
def test_every_exponent_and_tie_is_reduced_to_the_bit(name):
    assert differing(name) == 0


@pytest.mark.parametrize(
    ("name", "constant", "bits"),
    [("nearest", "_HALF", 0xFFF), ("nearest", "_KEPT", 0xFFFFF000), ("truncated", "_KEPT", 0xFFFFC000)],
    ids=["ties towards zero", "11 bits", "9 bits"],
)
def test_a_wrong_bit_is_seen(name, constant, bits, monkeypatch):
    monkeypatch.setattr(emulation, constant, np.uint32(bits))
    assert differing(name) > 0


@pytest.mark.parametrize(
    ("x", "nearest", "truncated"),
    [
        (1024.5, 1025.0, 1024.0),  # what an RTX 3090 was seen to give, and what it would give by truncation
        (-1024.5, -1025.0, -1024.0),
        (1025.5, 1026.0, 1025.0),  # to even it would be 1026 too, 1024.5 would not
        (2.0**-149, 0.0, 0.0),  # the smallest float32
        (-(2.0**-149), -0.0, -0.0),
        (2.0**-136, 2.0**-136, 2.0**-136),  # the smallest TF32
        (2.0**-137, 2.0**-136, 0.0),
        (float(np.finfo(np.float32).max), np.inf, 2.0**128 - 2.0**117),
        (np.inf, np.inf, np.inf),
        (-np.inf, -np.inf, -np.inf),
    ],
)
def test_known_numbers(x, nearest, truncated):
    one = np.float32([x])
    for name, expected in (("nearest", nearest), ("truncated", truncated)):
        got = REDUCTIONS[name](one)
        assert got.view(np.uint32) == np.float32([expected]).view(np.uint32), name


@every_reduction
def test_nan_stays_nan(name):
    """Also where all its bits are among those that TF32 has not."""
    nan = np.array([0x7FC00000, 0x7F800001, 0xFFFFFFFF], dtype=np.uint32).view(np.float32)
    assert np.isnan(REDUCTIONS[name](nan)).all()


def gemm(dtype: str, operator: str, **attributes) -> onnx.ModelProto:
    g = GraphBuilder("product", dim=3, dtype=dtype)
    constants = {"b": np.array([[1.0, 2, 1], [0, 1, 0], [2, 0, 1]]), "c": np.array([10.0, 20, 30])}
    names = [g.constant(constants[key], key) for key in ("b", "c")[: 2 if operator == "Gemm" else 1]]
    g.output("y", g.node(operator, g.input("a"), *names, **attributes))
    return g.finish({})


@pytest.mark.parametrize("mode", emulation.MODES)
@pytest.mark.parametrize(
    ("operator", "attributes", "expected"),
    [
        ("MatMul", {}, [[7, 4, 4]]),
        ("Gemm", {}, [[17, 24, 34]]),
        ("Gemm", {"alpha": -2.0, "beta": 3.0}, [[16, 52, 82]]),
        ("Gemm", {"transB": 1}, [[18, 22, 35]]),
    ],
)
def test_products_are_those_of_onnx(mode, operator, attributes, expected):
    """Small integers are TF32 already."""
    run = emulation.evaluator(gemm("float32", operator, **attributes), mode)
    assert run.run(None, {"a": np.float32([[1, 2, 3]])})[0].tolist() == expected


@pytest.mark.parametrize("mode", TF32)
def test_both_operands_are_reduced(mode):
    """1 + 2^-12 lies below half a unit of TF32's last bit."""
    g = GraphBuilder("product", dim=1, dtype="float32")
    g.output("y", g.gemm(g.input("a"), np.array([[1 + 2.0**-12]])))
    run = emulation.evaluator(g.finish({}), mode)
    assert run.run(None, {"a": np.float32([[1 + 2.0**-12], [3.0]])})[0].tolist() == [[1.0], [3.0]]


def test_float16_products_are_summed_in_float32_and_overflow_to_infinity():
    """2048 + 1 is no float16: a sum in float16 would stay at 2048."""
    g = GraphBuilder("product", dim=4, dtype="float32", products="float16")
    g.output("y", g.gemm(g.input("a"), np.ones((4, 4))))
    run = emulation.evaluator(g.finish({}), "float32")
    with np.errstate(over="ignore"):
        y = run.run(None, {"a": np.float32([[2048, 1, 1, 0], [60000, 60000, 0, 0], [-60000, -60000, 0, 0]])})[0]
    assert y[:, 0].tolist() == [2050.0, np.inf, -np.inf]


def committed(name: str) -> dict[str, onnx.ModelProto]:
    artifact = open_folder(ROOT / "exported" / name)
    return {direction: onnx.load_from_string(data) for direction, data in artifact.graphs.items()}


@pytest.mark.parametrize("name", ["toy2d", "digits"])
def test_mode_float32_is_plain_evaluation_bit_by_bit(name):
    models, known = committed(name), open_folder(ROOT / "exported" / name).vectors
    flow = emulation.EmulatedFlow(models, "float32")
    x, z = known.density.x.astype(np.float32), known.sampling.z.astype(np.float32)
    with np.errstate(all="ignore"):
        plain = [
            *ReferenceEvaluator(models["density"]).run(["z", "log_prob"], {"x": x}),
            *ReferenceEvaluator(models["sampling"]).run(["x"], {"z": z}),
        ]
    for ours, theirs in zip([*flow.density(x), flow.decode(z)], plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["toy2d", "digits"])
@pytest.mark.parametrize("mode", TF32)
def test_committed_exports_hold_a_budget_for_tf32(name, mode):
    """`check` on a GPU with TF32 judges by these; by the others it must see that TF32 is on."""
    flow, known = emulation.EmulatedFlow(committed(name), mode), open_folder(ROOT / "exported" / name).vectors
    assert_inside(parity.run(flow, known.under_tf32("float32")))
    assert_outside(parity.run(flow, known))


NAMES = ("toy2d", "digits", "784 wide")


@cache
def weights_of(name: str) -> Chain:
    return networks.standard() if name == "784 wide" else checkpoint.read(ROOT / "exported" / f"{name}.pt").weights


@cache
def density_of(name: str, products: str | None) -> onnx.ModelProto:
    return Frame(weights_of(name), None, "float32", products).density({})


@cache
def vectors_of(name: str, products: str | None) -> vectors.Vectors:
    """Few rows of all kinds: data, normal numbers, three and ten times these, and latents of data."""
    built = vectors.build(weights_of(name), dtype="float32", products=products, seed=0)
    return chosen(built, density_rows=[0, 1], sampling_rows=[0, 8, 10, 12])


def chosen(known: vectors.Vectors, *, density_rows: Sequence[int], sampling_rows: Sequence[int]) -> vectors.Vectors:
    """Some rows of the vectors."""

    def of(part, rows):
        fields = {name: getattr(part, name) for name in part.__dataclass_fields__}
        return replace(part, **{name: taken(value, rows) for name, value in fields.items()})

    def taken(value, rows):
        if isinstance(value, dict):
            return {key: entry[rows] for key, entry in value.items()}
        return None if value is None else value[rows]

    return vectors.Vectors(of(known.density, density_rows), of(known.sampling, sampling_rows))


@pytest.fixture
def folding_by_blas(monkeypatch):
    """Chain folded element by element take seconds at 784; BLAS gives the same but for float64's roundoff."""
    monkeypatch.setattr(triangular, "product", np.matmul)
    monkeypatch.setattr(triangular, "reversed_product", np.matmul)
    for name in ("inverse_lower", "inverse_upper"):
        monkeypatch.setattr(triangular, name, np.linalg.inv)


def graphs_of(name: str, solver: str, products: str | None = None) -> dict[str, onnx.ModelProto]:
    weights = weights_of(name)
    chosen = solvers.choose(solver, None, weights.dim)
    model = Frame(weights, chosen, "float32", products).sampling({})
    return {"density": density_of(name, products), "sampling": model}


CASES = [(name, solver.name) for name in NAMES for solver in solvers.available(784 if name == "784 wide" else 2)]
every_case = pytest.mark.parametrize(("name", "solver"), [case for case in CASES if case != ("digits", "rows")])


@pytest.mark.slow
@every_case
@pytest.mark.usefixtures("folding_by_blas")
def test_tf32_is_inside_its_budget_and_outside_float32s(name, solver):
    models, known = graphs_of(name, solver), vectors_of(name, None)
    for mode in TF32:
        flow = emulation.EmulatedFlow(models, mode)
        assert_inside(parity.run(flow, known.under_tf32("float32")))
        assert_outside(parity.run(flow, known))


@pytest.mark.slow
@every_case
@pytest.mark.usefixtures("folding_by_blas")
def test_float16_is_inside_its_budget(name, solver):
    """Away from the far tails, where it overflows."""
    flow = emulation.EmulatedFlow(graphs_of(name, solver, "float16"), "float32")
    rows = chosen(vectors_of(name, "float16"), density_rows=[0, 1], sampling_rows=[0, 3])
    assert_inside(parity.run(flow, rows))


def test_float16_overflows_in_the_tails_where_the_cpu_provider_does_not():
    """ONNX Runtime's CPU provider computes these products in float32; a GPU cannot."""
    weights, solver = far_out(), solvers.choose("fused", None, 2)
    known = vectors.build(weights, dtype="float32", products="float16", seed=0)
    z = chosen(known, density_rows=[0], sampling_rows=[0, 8, 10, 12]).sampling.z
    models = {
        "density": Frame(weights, None, "float32", "float16").density({}),
        "sampling": Frame(weights, solver, "float32", "float16").sampling({}),
    }
    (session,), _ = open_sessions([builder.serialize(models["sampling"])], "cpu", threads=1)
    assert np.isfinite(session.run(["x"], {"z": z.astype(np.float32)})[0]).all()
    x = emulation.EmulatedFlow(models, "float32").decode(z)
    assert np.isfinite(x).all(axis=1).tolist() == [True, False, True, True]


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_truncation_is_inside_the_budget_of_every_network(make):
    weights = make()
    solver = solvers.choose("fused", None, weights.dim)
    models = {
        "density": Frame(weights, None, "float32").density({}),
        "sampling": Frame(weights, solver, "float32").sampling({}),
    }
    known = chosen(vectors.build(weights, dtype="float32", seed=0), density_rows=[0, 1], sampling_rows=[0, 8, 10, 12])
    assert_inside(parity.run(emulation.EmulatedFlow(models, "TF32 truncated"), known.under_tf32("float32")))


def assert_inside(checks: list[parity.Check]) -> None:
    assert {check.name: check.difference.ratio for check in checks if not check.passed} == {}


def assert_outside(checks: list[parity.Check]) -> None:
    """Each output of either direction betrays TF32 by itself."""
    passed = {check.name.removeprefix("golden: ") for check in checks if check.passed}
    assert not passed & {"density, z", "density, log_prob", "sampling, x"}


@pytest.mark.parametrize("mode", TF32)
def test_a_convolution_is_reduced_and_stays_within_the_tolerances_of_tf32(mode):
    weights = realnvp.NETWORKS["convolutional, vectors"]()
    graphs = {name: onnx.load_from_string(data) for name, data in built(weights).items()}
    x = vectors.build(weights, dtype="float32", seed=0).density.x
    plain, reduced = (emulation.EmulatedFlow(graphs, name).density(x)[0] for name in ("float32", mode))
    assert np.abs(plain - reduced).max() > 1e-5
    known = vectors.build(weights, dtype="float32", seed=0).under_tf32("float32")
    assert parity.all_passed(parity.run(emulation.EmulatedFlow(graphs, mode), known))


def built(weights: Chain) -> dict[str, bytes]:
    """The graphs of an export in memory."""
    return dict(build_artifact(weights, Provenance("conv"), ExportSettings()).graphs)
