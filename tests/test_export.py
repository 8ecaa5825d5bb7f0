"""Exporting: whole or not at all, and never unchecked."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from lunet_export import ExportedFlow
from lunet_export.artifact import sealed
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel, of_elementwise
from lunet_export.errors import ArtifactError, BadInputError, CheckFailedError
from lunet_export.export import ExportCheckError, ExportSettings, Load, Provenance, build_artifact, export
from lunet_export.files import whole as files
from lunet_export.layers import LU, Activation, LeakyReLU, LeakyTanh, leaky_softplus, leaky_tanh, triangular
from lunet_export.layers.softplus import softplus
from lunet_export.preprocessing import NAMED
from lunet_export.torch_layers import EagerFlow
from tests import tolerances
from tests.networks import NETWORKS, far_out, network, rows

pytestmark = pytest.mark.slow

every_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


@every_network
@pytest.mark.parametrize(
    "settings",
    [
        ExportSettings(with_log_prob=True),
        ExportSettings(solver="auto", load=Load("cuda", 256), rng=True),
        ExportSettings(solver="fused", dtype="float64", with_log_prob=True),
    ],
    ids=["default", "auto", "fused float64"],
)
def test_export_checks_and_runs(make, settings, tmp_path):
    weights = make()
    result = export(weights, tmp_path / "out", Provenance("out"), settings)
    assert all(check.passed for check in result.checks)
    x = rows(weights, 3)
    got = ExportedFlow(tmp_path / "out", provider="cpu").log_prob(x)
    allowed = tolerances.of_density(weights, x, settings.dtype)["log_prob"]
    tolerances.assert_within(got, reference.log_prob(weights, x), allowed)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]  # no scratch folder left


def test_exporting_twice_gives_the_same_files(tmp_path):
    weights = network(9, 3, preprocessing=NAMED["images"])
    for name in ("a", "b"):
        export(weights, tmp_path / name / "m", Provenance("m"), eager=lambda w: EagerFlow(w, "float32"))
    for file in (tmp_path / "a" / "m").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / "m" / file.name).read_bytes(), file.name


def test_eagers_own_error_is_recorded(tmp_path):
    export(network(4, 2), tmp_path / "m", Provenance("m"), eager=lambda w: EagerFlow(w, "float32"))
    checks = json.loads((tmp_path / "m" / "manifest.json").read_text())["checks"]
    assert all(check["eager"] is not None for check in checks)


def test_a_graph_that_is_wrong_is_never_written(tmp_path, monkeypatch):
    """A planted fault in the builder: the reference must catch it before the folder appears."""
    right = triangular.product
    monkeypatch.setattr(triangular, "product", lambda lower, upper: right(lower, upper) * (1 + 1e-3))
    with pytest.raises(ExportCheckError, match="Nothing was written") as error:
        export(network(4, 2), tmp_path / "m", Provenance("m"))
    assert error.value.exit_code == 1
    assert any(not check.passed for check in error.value.checks)
    assert list(tmp_path.iterdir()) == []


def test_a_fault_in_the_tails_is_caught_behind_the_clamp(tmp_path, monkeypatch):
    """Images clamp nearly every far row, so a fault there shows only in the chain without pre-processing."""
    right = leaky_softplus.inverse_nodes

    def saturates(g, target, start):
        return g.node("Clip", right(g, target, start), -60.0, 60.0)

    monkeypatch.setattr(leaky_softplus, "inverse_nodes", saturates)
    with pytest.raises(ExportCheckError) as error:
        export(network(16, 4, preprocessing=NAMED["digits"]), tmp_path / "m", Provenance("m"))
    failed = [check.name for check in error.value.checks if not check.passed]
    assert any(name.startswith("chain without pre-processing: ") for name in failed)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (LeakyReLU, lambda f, g, a: g.node("Where", g.node("Less", a, 0.1), f.alpha, 1.0)),
        (LeakyTanh, lambda f, g, a: g.node("Add", g.node("Mul", a, 0.0), 1.0)),
    ],
)
def test_a_wrong_slope_is_never_written(tmp_path, monkeypatch, kind, fault):
    """A kink at 0.1 in place of 0; a tanh that compresses nothing."""
    monkeypatch.setattr(kind, "_slope", fault)
    with pytest.raises(ExportCheckError, match="Nothing was written"):
        export(network(6, 4, activation=kind.option), tmp_path / "m", Provenance("m"))
    assert list(tmp_path.iterdir()) == []


def test_too_few_steps_are_never_written(tmp_path, monkeypatch):
    monkeypatch.setattr(leaky_tanh, "steps_of", lambda alpha, dtype: 2)
    with pytest.raises(ExportCheckError, match="Nothing was written"):
        export(network(6, 4, activation="leaky-tanh"), tmp_path / "m", Provenance("m"))


def test_graphs_of_another_activation_are_refused(tmp_path):
    """Each graph says which it holds; softplus is said by silence."""
    weights = network(3, 2, activation="leaky-relu")
    export(weights, tmp_path / "m", Provenance("m"))
    model = onnx.load(tmp_path / "m" / "density.onnx")
    assert {entry.key: entry.value for entry in model.metadata_props}["lunet.activation"] == "leaky-relu"
    document = json.loads((tmp_path / "m" / "manifest.json").read_text())
    document["model"]["activation"] = "leaky-tanh"
    (tmp_path / "m" / "manifest.json").write_text(json.dumps(sealed(document)))
    with pytest.raises(ArtifactError, match="it is another graph"):
        ExportedFlow(tmp_path / "m", provider="cpu")


def test_an_existing_folder_needs_force_and_only_ours_is_replaced(tmp_path):
    weights, target = network(3, 2), tmp_path / "m"
    export(weights, target, Provenance("m"))
    before = (target / "density.onnx").read_bytes()
    with pytest.raises(BadInputError, match=r"exists already.*`force=True`"):
        export(network(4, 2), target, Provenance("m"))
    assert (target / "density.onnx").read_bytes() == before
    export(network(4, 2), target, Provenance("m"), force=True)
    assert (target / "density.onnx").read_bytes() != before
    precious = tmp_path / "precious"
    precious.mkdir()
    for name in ("manifest.json", "script.js"):  # a web extension has a manifest.json too
        (precious / name).write_text("{}")
        with pytest.raises(BadInputError, match="exists and holds"):
            export(weights, precious, Provenance("m"), force=True)
    (target / "grid.png").write_text("mine")
    with pytest.raises(BadInputError, match=r"holds grid\.png"):
        export(weights, target, Provenance("m"), force=True)
    assert (target / "grid.png").read_text() == "mine"


def test_ctrl_c_between_the_renames_brings_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "m"
    export(network(3, 2), target, Provenance("m"))
    before = (target / "density.onnx").read_bytes()
    monkeypatch.setattr(files, "exchange", lambda one, other: False)  # where the system cannot, there are two
    rename = Path.rename

    def interrupted(self, other):
        if self.name == "new":
            raise KeyboardInterrupt
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(network(4, 2), target, Provenance("m"), force=True)
    assert (target / "density.onnx").read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(("dtype", "tiny"), [("float32", 1e-30), ("float64", 1e-80)])
def test_a_network_that_overflows_gets_a_sentence(tmp_path, dtype, tiny):
    weights = network(4, 4)
    for block in weights.of(LU):
        block.upper[2, 2] = tiny
    with pytest.raises(BadInputError, match=r"they overflow\. Most likely it is hardly trained"):
        export(weights, tmp_path / "m", Provenance("m"), ExportSettings(dtype=dtype))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_forced_export_leaves_the_old_folder(tmp_path, monkeypatch):
    target = tmp_path / "m"
    export(network(3, 2), target, Provenance("m"))
    before = {file.name: file.read_bytes() for file in target.iterdir()}
    monkeypatch.setattr(triangular, "product", lambda lower, upper: lower)
    with pytest.raises(ExportCheckError):
        export(network(3, 2, seed=5), target, Provenance("m"), force=True)
    assert {file.name: file.read_bytes() for file in target.iterdir()} == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


def test_a_graph_over_2_gb_is_refused_before_work_starts(tmp_path):
    from dataclasses import replace

    small = network(2, 1)
    wide = np.broadcast_to(np.zeros(1), (30_000,))  # a width without its memory
    block = replace(small.of(LU)[0], bias=wide)
    weights = object.__new__(type(small))
    for name, value in (("dim", 30_000), ("layers", (block,)), ("preprocessing", None), ("kind", small.kind)):
        object.__setattr__(weights, name, value)
    with pytest.raises(BadInputError, match=r"at most 2 GB.* needs 5.4 GB"):
        export(weights, tmp_path / "m", Provenance("m"))
    assert list(tmp_path.iterdir()) == []


def test_unknown_dtype_is_refused():
    with pytest.raises(BadInputError, match="Expected a dtype of float32, float64, float16; got bfloat16"):
        ExportSettings(dtype="bfloat16")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX resource limits")
def test_a_full_disk_leaves_nothing(tmp_path):
    """The operating system refuses to write past 20 kB, as a full disk would in the middle of a graph."""
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from lunet_export.export import Provenance, export\n"
        "from tests.networks import network\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "weights = network(64, 4)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n"
        "    export(weights, Path(sys.argv[1]), Provenance('m'))\n"
        "except OSError as error:\n"
        "    sys.exit(f'refused: {error.strerror}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "m"], capture_output=True, text=True, check=False)
    assert "refused: File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_log_prob_comes_with_the_samples(tmp_path):
    """On the rows that no clamp touched it is the density graph's; on the others that of x before the clamp."""
    weights = network(9, 4, preprocessing=NAMED["digits"])
    export(weights, tmp_path / "m", Provenance("m"), ExportSettings(with_log_prob=True))
    flow = ExportedFlow(tmp_path / "m", provider="cpu")
    z = flow.encode(rows(weights, 5))
    x, log_prob = flow.decode_with_log_prob(z)
    allowed = tolerances.of_sampling(weights, z)
    tolerances.assert_within(x, flow.decode(z), tolerances.TWO * allowed["x"])
    tolerances.assert_within(log_prob, flow.log_prob(x), tolerances.TWO * allowed["log_prob"])
    far = 5 * flow.latent(4, seed=0)  # images clamp here
    base = reference.standard_normal_log_prob(far.astype(np.float64))
    h = far.astype(np.float64)
    log_det = np.zeros(4)
    for number in reversed(range(4)):
        block = weights.of(LU)[number]
        h = block.inverse(h)
        log_det += np.log(np.abs(np.diag(block.upper))).sum()
        if number:
            activation = weights.of(Activation)[number - 1]
            h = activation.root(h)
            log_det += np.log(activation.slope(h)).sum(axis=1)
    p = weights.preprocessing
    log_det -= (np.log(p.levels / (1 - p.margin)) - softplus(h) - softplus(-h)).sum(axis=1)
    # Of x before the clamp: in the network's own coordinates, plus the logit's slopes, one term per number.
    behind = tolerances.of_sampling(weights.without_preprocessing(), far)["log_prob"]
    slopes = np.log(p.levels / (1 - p.margin)) - softplus(h) - softplus(-h)
    allowed = behind + tolerances.of_roundings(1, of_elementwise(slopes).sum(axis=1))
    got = flow.decode_with_log_prob(far)[1]
    tolerances.assert_within(got, base + log_det, allowed)
    assert tolerances.beyond(got, reference.log_prob(weights, flow.decode(far).astype(np.float64)), allowed) > 1


def test_a_wrong_log_prob_is_never_written(tmp_path, monkeypatch):
    right = leaky_softplus.slope_nodes
    monkeypatch.setattr(
        leaky_softplus, "slope_nodes", lambda g, a, alpha, shift: right(g, a, alpha * 1.01, shift=shift)
    )
    with pytest.raises(ExportCheckError, match="sampling with log_prob"):
        export(network(4, 3), tmp_path / "m", Provenance("m"), ExportSettings(with_log_prob=True))
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_draws_its_own_noise(tmp_path):
    export(network(4, 3), tmp_path / "m", Provenance("m"), ExportSettings(rng=True))
    flow = ExportedFlow(tmp_path / "m", provider="cpu")
    (x, z), (_, again) = flow.draw(5), flow.draw(5)
    assert x.shape == z.shape == (5, 4)
    assert (z != again).all()
    allowed = tolerances.TWO * tolerances.of_sampling(network(4, 3), z)["x"]
    tolerances.assert_within(x, flow.decode(z), allowed)
    assert tolerances.beyond(x, flow.decode(again), allowed) > 1
    warnings = json.loads((tmp_path / "m" / "manifest.json").read_text())["graphs"]["random_sampling"]["warnings"]
    assert any("CUDA graph" in warning for warning in warnings)
    with pytest.raises(BadInputError, match="from 1 to 4096 samples"):
        flow.draw(0)


@pytest.mark.parametrize("factor", [1.2, np.array([1.0, 1.0, 0.0, 1.0])], ids=["wide", "one column constant"])
def test_noise_that_is_not_normal_is_never_written(tmp_path, monkeypatch, factor):
    from lunet_export.graphs.builder import GraphBuilder

    right = GraphBuilder.random_normal

    def wrong(g, shape):
        return g.node("Mul", right(g, shape), g.constant(factor, "factor"))

    monkeypatch.setattr(GraphBuilder, "random_normal", wrong)
    with pytest.raises(ExportCheckError, match="mean and variance"):
        export(network(4, 3), tmp_path / "m", Provenance("m"), ExportSettings(rng=True))


def test_optional_graphs_that_are_not_there_say_how_to_get_them(exported):
    flow = ExportedFlow(exported.folder, provider="cpu")
    with pytest.raises(BadInputError, match="Export again with `with_log_prob=True`"):
        flow.decode_with_log_prob(np.zeros((1, 16)))
    with pytest.raises(BadInputError, match="Export again with `rng=True`"):
        flow.draw(1)


def test_float16_runs_the_products_in_it_and_nothing_else(tmp_path):
    import onnx

    weights = network(16, 3, preprocessing=NAMED["digits"], off_diagonal=0.1)
    export(weights, tmp_path / "m", Provenance("m"), ExportSettings(dtype="float16", with_log_prob=True))
    manifest = json.loads((tmp_path / "m" / "manifest.json").read_text())
    assert (manifest["dtype"], manifest["products"]) == ("float32", "float16")
    assert manifest["float16"]["log_prob_nats_per_dim"] <= 0.01
    assert manifest["float16"]["x_grey_levels"] <= 0.5
    for name in ("density", "sampling", "sampling_with_log_prob"):
        graph = onnx.load(tmp_path / "m" / f"{name}.onnx").graph
        halves = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
        halves |= {info.name for info in graph.value_info if info.type.tensor_type.elem_type == 10}
        touching = {node.op_type for node in graph.node if halves & {*node.input, *node.output}}
        assert touching == {"Gemm", "Cast"}, name
    flow, x = ExportedFlow(tmp_path / "m", provider="cpu"), rows(weights, 4)
    allowed = RoundingModel(weights, "float32", "float16").density(x.astype(np.float32).astype(np.float64))["log_prob"]
    got, exact = flow.log_prob(x), reference.log_prob(weights, x)
    tolerances.assert_within(got, exact, allowed)
    assert np.abs(got - exact).max() <= 0.01 * 16  # what an export in float16 may lose
    assert tolerances.beyond(got, exact, tolerances.of_density(weights, x)["log_prob"]) > 1  # it is not float32


def test_float16_is_refused_where_it_loses_too_much(tmp_path):
    weights = network(16, 4, preprocessing=NAMED["images"])
    with pytest.raises(
        CheckFailedError, match=r"within 0\.01 nats/dim in log_prob and 0\.5 grey levels in x; measured"
    ):
        export(weights, tmp_path / "m", Provenance("m"), ExportSettings(dtype="float16"))
    assert list(tmp_path.iterdir()) == []


def test_float16_products_that_only_a_gpu_overflows_are_refused(tmp_path):
    """The CPU has no float16 products: it computes these in float32, and right."""
    weights = far_out()
    settings = ExportSettings(dtype="float16")
    flow = ExportedFlow(build_artifact(weights, Provenance("m"), settings), provider="cpu")
    assert np.isfinite(flow.sample(8, seed=0)).all()
    with pytest.raises(CheckFailedError, match=r"standard deviations in x; measured .* and inf\. Nothing was written"):
        export(weights, tmp_path / "m", Provenance("m"), settings)
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_in_memory_is_that_of_the_export(tmp_path):
    weights = network(5, 2)
    written = export(weights, tmp_path / "m", Provenance("m"), ExportSettings()).manifest.sha256
    built = build_artifact(weights, Provenance("m"), ExportSettings()).manifest.sha256
    assert built == written
