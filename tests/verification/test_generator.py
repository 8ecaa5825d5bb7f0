"""The folded generator: what verifiers read of it, and that it is the model."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from lunet_export.checks import reference
from lunet_export.errors import BadInputError, CheckFailedError
from lunet_export.export import ExportCheckError, Provenance, Question, export_for_verifier
from lunet_export.graphs import builder
from lunet_export.graphs import verifier as generator
from lunet_export.layers import LU, triangular
from lunet_export.preprocessing import NAMED
from lunet_export.verification.replay import TOLERANCE
from tests.networks import network
from tests.verification.cases import SIZES, SLOPES, piecewise_linear


def slopes_of(model: onnx.ModelProto) -> list[float]:
    return [node.attribute[0].f for node in model.graph.node if node.op_type == "LeakyRelu"]


@pytest.mark.parametrize("alpha", SLOPES)
@pytest.mark.parametrize(("dim", "blocks"), SIZES)
def test_the_generator_is_what_verifiers_read_and_computes_the_model(dim, blocks, alpha, tmp_path):
    weights = piecewise_linear(dim, blocks, alpha=alpha)
    written = export_for_verifier(weights, tmp_path / "m", Provenance("m"), Question((0.5, 0.9)))
    model = onnx.load(tmp_path / "m" / "generator.onnx")
    assert builder.operators(model) == {"Gemm": blocks} | ({"LeakyRelu": blocks - 1} if blocks > 1 else {})
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 13)]
    assert model.ir_version == 8
    assert slopes_of(model) == [pytest.approx(alpha, rel=1e-7)] * (blocks - 1)
    assert all(0 < slope <= 1 for slope in slopes_of(model))
    ends = [*model.graph.input, *model.graph.output]
    assert [entry.name for entry in ends] == ["z", "x"]
    assert [[d.dim_value for d in entry.type.tensor_type.shape.dim] for entry in ends] == [[1, dim], [1, dim]]
    checks = {check.name: check for check in written.checks}
    assert all(check.passed for check in checks.values())
    # The derived tolerance, which `passed` is about, is at most half of what a replay allows by default.
    assert checks["generator, x"].difference.relative <= TOLERANCE
    assert checks["generator, x"].difference.rows == 64 + 2 * (64 + 2)


def test_the_fold_is_exact_in_float64():
    """The products of `folded`, in float64, against substitution and the inverse of leaky ReLU."""
    weights = piecewise_linear(7, 4)
    z = np.random.default_rng(2).standard_normal((100, 7))
    h = z
    for number, (matrix, bias) in enumerate(generator.folded(weights)):
        h = np.where(h < 0, weights.kind.alpha * h, h) if number else h
        h = h @ matrix.T + bias
    np.testing.assert_allclose(h, reference.decode(weights, z), rtol=1e-11, atol=1e-11)


def test_the_same_weights_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        export_for_verifier(piecewise_linear(9, 3), tmp_path / name / "m", Provenance("m"), Question(claim="Y_0 <= 1"))
    for file in (tmp_path / "a" / "m").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / "m" / file.name).read_bytes(), file.name


@pytest.mark.parametrize("activation", ["leaky-softplus", "leaky-tanh"])
def test_curved_activations_are_refused(activation, tmp_path):
    weights = network(3, 2, activation=activation)
    with pytest.raises(BadInputError, match=rf"has {activation.replace('-', ' ')}.*`activation='leaky-relu'`"):
        export_for_verifier(weights, tmp_path / "m", Provenance("m"), Question())
    assert list(tmp_path.iterdir()) == []


def test_behind_a_logit_the_generator_ends_at_the_logits(tmp_path):
    weights = piecewise_linear(16, 2, preprocessing=NAMED["digits"])
    document = export_for_verifier(weights, tmp_path / "m", Provenance("m"), Question()).document
    assert document["model"]["output"].startswith("h = logit(x)")
    assert "not piecewise linear" in document["model"]["output"]
    plain = piecewise_linear(16, 2)
    assert [block.bias.tolist() for block in plain.of(LU)] == [block.bias.tolist() for block in weights.of(LU)]
    export_for_verifier(plain, tmp_path / "plain", Provenance("m"), Question())
    nodes = [onnx.load(tmp_path / name / "generator.onnx").graph for name in ("m", "plain")]
    assert nodes[0].SerializeToString() == nodes[1].SerializeToString()


def test_a_weight_that_float32_does_not_hold_is_refused(tmp_path):
    weights = piecewise_linear(2, 2)
    first = weights.of(LU)[0]
    tiny = weights.with_layers([replace(first, upper=1e-39 * first.upper), *weights.of(LU)[1:]])
    with pytest.raises(BadInputError, match="range of float32"):
        export_for_verifier(tiny, tmp_path / "m", Provenance("m"), Question())


# Planted faults


def refused(tmp_path, weights=None, question=None) -> CheckFailedError:
    with pytest.raises(CheckFailedError, match="Expected") as error:
        export_for_verifier(weights or piecewise_linear(4, 3), tmp_path / "m", Provenance("m"), question or Question())
    assert list(tmp_path.iterdir()) == []
    return error.value


def failed(error: CheckFailedError) -> set[str]:
    assert isinstance(error, ExportCheckError)
    return {check.name for check in error.checks if not check.passed}


def test_altered_weights_are_caught(tmp_path, monkeypatch):
    right = triangular.inverse_upper
    monkeypatch.setattr(triangular, "inverse_upper", lambda upper: right(upper) * (1 + 2e-5))
    assert "generator, x" in failed(refused(tmp_path))


def test_a_wrong_slope_is_caught(tmp_path, monkeypatch):
    node = builder.GraphBuilder.node

    def wrong(g, operator, *operands, **attributes):
        changed = {"alpha": 1.001 * attributes["alpha"]} if operator == "LeakyRelu" else {}
        return node(g, operator, *operands, **{**attributes, **changed})

    monkeypatch.setattr(builder.GraphBuilder, "node", wrong)
    assert "generator, x" in failed(refused(tmp_path))


def test_an_unfolded_slope_is_caught(tmp_path, monkeypatch):
    """The inverse written as it stands: right in numbers, and no verifier reads it."""
    node = builder.GraphBuilder.node

    def steep(g, operator, *operands, **attributes):
        changed = {"alpha": 1 / attributes["alpha"]} if operator == "LeakyRelu" else {}
        return node(g, operator, *operands, **{**attributes, **changed})

    monkeypatch.setattr(builder.GraphBuilder, "node", steep)
    assert "slopes in (0, 1]" in str(refused(tmp_path))


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [("OPSET", 14, "opset 14"), ("OPERATORS", frozenset({"Gemm"}), "Gemm and LeakyRelu alone")],
)
def test_another_structure_is_caught(attribute, value, said, tmp_path, monkeypatch):
    if attribute == "OPSET":
        build = generator.build

        def newer(weights, *, with_log_prob=False, metadata):
            model = build(weights, with_log_prob=with_log_prob, metadata=metadata)
            model.opset_import[0].version = value
            return model

        monkeypatch.setattr(generator, "build", newer)
        said = "opset 13; got 14"
    else:
        monkeypatch.setattr(generator, attribute, value)
    assert said in str(refused(tmp_path))


def test_a_box_too_small_is_caught(tmp_path, monkeypatch):
    from lunet_export.verification.box import LatentBox

    right = LatentBox.of_mass.__func__

    def smaller(cls, mass, dim):
        box = right(cls, mass, dim)
        return replace(box, bound=box.bound * 98 / 100)

    monkeypatch.setattr(LatentBox, "of_mass", classmethod(smaller))
    assert {"box-0.9: Monte Carlo", "box-0.9: closed form"} <= failed(refused(tmp_path))


def test_a_query_of_another_bound_is_caught(tmp_path, monkeypatch):
    from lunet_export.verification import vnnlib

    right = vnnlib.write
    monkeypatch.setattr(vnnlib, "write", lambda *arguments: right(*arguments).replace(">= X_0 -2", ">= X_0 -1"))
    assert "read back" in str(refused(tmp_path))


def test_a_wrong_density_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(generator, "log", lambda value: np.log(value) + 1e-3)
    assert failed(refused(tmp_path)) == {"generator with log_prob, log_prob"}
