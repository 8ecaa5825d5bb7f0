"""A sample of the extreme cases, each right or refused with its reason, and proof that a wrong answer would be seen."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lunet_export import ExportedFlow
from lunet_export.checks import reference
from lunet_export.errors import BadInputError, CheckpointError
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.graphs import builder, solvers
from lunet_export.graphs.blueprint import Blueprint
from lunet_export.layers import LU, Affine, Inverse, LogTanh, Sigmoid
from lunet_export.preprocessing import NAMED
from lunet_export.torch_layers import Flow
from tests.extremes import verdict as verdicts
from tests.extremes.cases import CASES, conditioned
from tests.extremes.verdict import Case, assess
from tests.families import composed as parts
from tests.networks import network

RIGHT = "right"
#: Of the table's cases: right, or what the sentence says.
SAMPLE = {
    "lunet, one dimension, one block, float32": RIGHT,
    "lunet, one dimension, one block, float64": RIGHT,
    "lunet, one dimension, one block, float16": RIGHT,
    "lunet, leaky-softplus, alpha 1e-06, float32": "Expected an alpha from 0.001 to 0.9999",
    "lunet, leaky-softplus, alpha 0.999999, float64": "Expected an alpha from 0.001 to 0.9999",
    "lunet, leaky-relu, alpha 1e-06, float32": "leaves float32 a digit of z",
    "lunet, leaky-relu, alpha 1e-06, float64": RIGHT,
    "lunet, leaky-relu, alpha 0.999999, float32": RIGHT,
    "lunet, leaky-tanh, alpha 1e-06, float32": "Expected an alpha of at least 0.001",
    "lunet, leaky-tanh, alpha 0.999999, float64": RIGHT,
    "lunet, 64 blocks that are near 1, float32": RIGHT,
    "lunet, data of 1e-30, float32": RIGHT,
    "lunet, data of 1e30, float32": RIGHT,
    "lunet, data of 1e300, float32": "range of float32; got up to 8.5e+299. A wider dtype is refused too: Expected",
    "lunet, data of 1e300, float64": "test rows stay within the range of float64",
    "lunet, biases of 1e6, float32": "leaves float32 a digit of z",
    "lunet, biases of 1e6, float64": RIGHT,
    "lunet, condition 1e4, float32": RIGHT,
    "lunet, condition 1e12, float32": "too ill-conditioned. Export with `dtype='float64'`",
    "lunet, condition 1e12, float64": RIGHT,
    "lunet, condition 1e12, float16": "weights within the range of float16",
    "lunet, units from 1 to 1e12, float32": RIGHT,
    "lunet, denormal entries, float32": RIGHT,
    "lunet, denormal entries, float64": RIGHT,
    "lunet, a pivot of 1e-310, float64": "A number of the model, or its inverse, overflows; use another checkpoint",
    "lunet, a pivot of 0, float64": "Expected a non-zero diagonal in U of block 1",
    "lunet, a pivot that is no number, float64": "Expected finite numbers in U of block 1",
    "lunet, images, float32": RIGHT,
    "realnvp, two dimensions, float32": RIGHT,
    "realnvp, scales of e^10, float64": RIGHT,
    "realnvp, scales of e^60, float32": "test rows stay within the range of float32",
    "realnvp, shifts of 1e6, float64": "leaves float64 a digit of z",
    "composed, splines, numbers x 100.0, float32": RIGHT,
    "composed, splines with slopes of e^, limit 30.0, float32": RIGHT,
    "composed, splines of 64 bins, float64": RIGHT,
    "composed, splines of 1 bins, float32": RIGHT,
    "composed, splines of a box, numbers x 100.0, float32": RIGHT,
    "composed, circular splines, turned by 1e-09, float32": RIGHT,
    "composed, splines on a box of 1e-30, float32": "on boxes from 1.1e-19 to 1.8e+19 wide in float32; got 2.0e-30",
    "composed, splines whose bins are at least 1e-30, numbers x 100, float64": "rows stay within the range of float64",
    "composed, splines without a least width, float64": "Expected least widths and heights above 0, or a limit",
    "composed, waves of frequency 1e4, float32": RIGHT,
    "lunet, leaky-squareplus, alpha 0.9999, float64": RIGHT,
    "jko, one dimension, float32": RIGHT,
    "jko, velocities of 1e30, float64": "test rows stay within the range of float64",
    "jko, data of 1e45, float32": "weights within the range of float32",
    "jko, data of 1e12, float32": RIGHT,
    "composed, one dimension, float32": RIGHT,
    "composed, one affine layer, float32": RIGHT,
    "composed, affine 1e-30, float32": RIGHT,
    "composed, affine 1e+300, float64": RIGHT,
    "composed, slope 1e-310, float64": "Expected an alpha of at least 1e-06 to export a leaky ReLU",
    "composed, slope 1e+30, float64": "leaves float64 a digit of z",
    "composed, log tanh of 1.0 and 1000000.0, float64": RIGHT,
    "composed, log tanh of 8.0 and 0.1, float64": "Expected golden: sampling, x within",  # a border that is rounded
    "composed, log tanh of 25.0 and 1.0, float32": "LogTanh with floats within its limits",
    "composed, a logit without a margin, float32": RIGHT,
    "composed, a logit with a margin of 1e-30, float32": RIGHT,
    "composed, the inverse of tanh, float64": RIGHT,
    "composed, a uniform base, float32": RIGHT,
    "composed, a uniform base on a box of 1e30, float64": RIGHT,
    "composed, a base that is uniform in one column, float32": RIGHT,
    "composed, a normal cdf and back, float64": RIGHT,
    "composed, a soft box of 1e6, float32": RIGHT,
    "composed, clamped by atan 40.0, float32": RIGHT,
    "composed, clamped by centred-atan 20.0, float64": RIGHT,
    "composed, one dimension, meeting, float32": "at least 2 dimensions for `solver='meeting'`",
    **{f"lunet, condition 1e12, {solver}, float64": RIGHT for solver in solvers.SOLVERS},
    **{f"lunet, condition 1e8, {solver}, float32": "a digit of z" for solver in solvers.SOLVERS},
}


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_case_is_right_or_says_why_not(name, tmp_path):
    found = assess(CASES[name], tmp_path / "case")
    assert found.wrong == {}
    if SAMPLE[name] == RIGHT:
        assert found.refused == ""
        assert found.right
        assert found.digits > 0
    else:
        assert SAMPLE[name] in found.refused
        assert found.refused.startswith("Expected ")
        assert not (tmp_path / "case").exists()


def test_no_refusal_in_float64_says_to_export_in_float64():
    for name, sentence in SAMPLE.items():
        if name.endswith("float64") and sentence != RIGHT:
            assert "--dtype float64" not in sentence


def test_a_wrong_answer_a_nan_and_an_answer_to_no_row_are_seen(tmp_path, monkeypatch):
    """The planted faults: a float32 sum where float64 is promised, a NaN, and a runtime that looks at nothing."""
    case = Case(lambda: network(3, 2), {"dtype": "float64"})

    class Coarse(ExportedFlow):
        def density(self, x):
            z, log_prob = super().density(x)
            return z, log_prob.astype(np.float32).astype(np.float64)

        def decode(self, z):
            return np.where(np.abs(z) > 1, np.nan, super().decode(np.nan_to_num(z)))

    monkeypatch.setattr(verdicts, "ExportedFlow", Coarse)
    found = assess(case, tmp_path / "case")
    assert found.outcome == "wrong"
    assert "of the tolerance" in found.wrong["graph, density, usual: log_prob"]
    assert "no finite numbers" in found.wrong["graph, sampling, 1e4: x"]
    assert found.wrong["graph, sampling, one nan"] == "answered"


def test_what_keeps_no_digit_is_refused_and_a_digit_is_enough(tmp_path):
    with pytest.raises(
        BadInputError, match=r"leaves float32 a digit of z; rounding may move a usual row's by"
    ) as caught:
        export(conditioned(6, 1e10), tmp_path / "m", Provenance("m"))
    assert str(caught.value).endswith("Export with `dtype='float64'`.")
    assert list(tmp_path.iterdir()) == []
    export(conditioned(6, 1e10), tmp_path / "m", Provenance("m"), ExportSettings(dtype="float64"))


def test_log_tanh_is_refused_where_tanh_has_no_inverse():
    with pytest.raises(CheckpointError, match="LogTanh with floats within its limits in layer 2"):
        parts.composed(parts.lu_layer(2), LogTanh(19.5, 1.0))
    Blueprint.choose(parts.composed(parts.lu_layer(2), LogTanh(17.9, 1.0)), ExportSettings()).build("density", {})


def test_samples_of_a_closed_box_stay_inside_it_whatever_its_borders_round_to():
    """1 / 3 rounds up in float32: the end that samples are moved to must not be beyond the border."""
    scale = Affine(np.array([3.0, 30.0]), np.array([0.0, -0.1]))
    weights = parts.composed(scale, Inverse(Sigmoid(1e-12)), parts.lu_layer(2))
    for dtype in ("float32", "float64"):
        least, most = (end.astype(np.float64) for end in weights.domain.ends(np.dtype(dtype)))
        assert (least >= weights.domain.low).all()
        assert (most <= weights.domain.high).all()
        assert weights.domain.contains(np.stack([least, most])).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pytorch_gives_no_density_to_a_row_outside_the_domain(dtype):
    """A logit with a margin first moves what it is given inside, and log p of 1.5 was a number."""
    images = network(4, 2, preprocessing=NAMED["digits"])
    for weights, outside in ((parts.NETWORKS["a logit in front"](), 1.5), (images, 17.5), (images, -1.0)):
        x = np.full((4, 4), 0.5, dtype)
        x[1, 2], x[2, 0], x[3, 1] = outside, np.nan, weights.domain.high[1] if weights.domain else 0.0
        log_prob = Flow.of(weights, dtype=getattr(torch, dtype)).log_prob(torch.from_numpy(x)).detach()
        assert torch.isfinite(log_prob).tolist() == [True, False, False, True]


def test_a_graph_holds_no_constant_that_nobody_reads():
    for make in parts.NETWORKS.values():
        blueprint = Blueprint.choose(make(), ExportSettings())
        for name in blueprint.settings.graphs:
            graph = blueprint.build(name, {}).graph
            read = {operand for node in graph.node for operand in node.input}
            assert {tensor.name for tensor in graph.initializer} <= read, name


def test_a_number_among_the_operands_must_fit_too():
    g = builder.GraphBuilder("case", dim=1, dtype="float32")
    with pytest.raises(BadInputError, match="Expected weights within the range of float32"):
        g.node("Mul", g.input("x"), 1e39)


def test_the_reference_agrees_with_itself_across_units():
    """The judge itself: a network on data of 1e30 is the same network on data of 1, but for the units."""
    plain = network(3, 2)
    first, *others = plain.of(LU)
    far = plain.with_layers([replace(first, upper=1e-30 * first.upper), *others])
    x = np.random.default_rng(0).standard_normal((4, 3))
    (z, log_det), (its, its_log_det) = reference.encode(plain, x), reference.encode(far, 1e30 * x)
    np.testing.assert_allclose(its, z, rtol=1e-12)
    np.testing.assert_allclose(its_log_det, log_det - 3 * 30 * np.log(10), rtol=1e-12)
