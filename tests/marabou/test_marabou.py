"""Marabou reads what is exported for it; its witnesses are confirmed in ONNX Runtime, its proofs by dense sampling."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from lunet_export.checks import reference
from lunet_export.export import Provenance, Question, export_for_verifier
from lunet_export.verification import LatentBox, VerifierFolder, replay, witness
from lunet_export.verification.replay import TOLERANCE
from tests.marabou.ask import ask, highest, points
from tests.verification.cases import CLASSES, dense, of_images, piecewise_linear

MASS, QUERY = 0.9, "query-0.9.vnnlib"
NETWORKS = [(2, 3, 0.1), (2, 4, 0.01), (3, 3, 0.1), (3, 2, 0.5), (4, 2, 0.1), (4, 3, 0.1)]
every_network = pytest.mark.parametrize(("dim", "blocks", "alpha"), NETWORKS)


def exported(weights, folder, claim, classifier=None, mass=MASS):
    export_for_verifier(weights, folder, Provenance("m"), Question((mass,), classifier, claim))
    return VerifierFolder.open(folder)


def threshold(weights, share: float) -> float:
    """A bound of x_0, from its median in the box (0) to its maximum (1) and beyond."""
    middle, top = highest(weights, LatentBox.of_mass(MASS, weights.dim))
    return middle + share * (top - middle)


@every_network
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_a_false_claim_gets_a_witness_that_onnx_runtime_confirms(dim, blocks, alpha, share, tmp_path):
    weights = piecewise_linear(dim, blocks, alpha=alpha)
    folder = exported(weights, tmp_path / "m", f"Y_0 <= {threshold(weights, share):.6f}")
    answer = ask(folder.path, QUERY, tmp_path / "w.txt")
    assert (answer.verdict, answer.leaky_relus) == ("sat", dim * (blocks - 1))
    found = replay(folder, witness.read(answer.witness, dim), query=QUERY)
    assert found.confirmed, found
    assert found.output_gap <= TOLERANCE * max(1, np.abs(found.y).max())  # what a replay allows a verifier


@every_network
def test_a_true_claim_is_proved_and_no_point_of_the_box_contradicts(dim, blocks, alpha, tmp_path):
    weights = piecewise_linear(dim, blocks, alpha=alpha)
    limit = threshold(weights, 1.3)
    folder = exported(weights, tmp_path / "m", f"Y_0 <= {limit:.6f}")
    assert ask(folder.path, QUERY, tmp_path / "w.txt").verdict == "unsat"
    z = points(LatentBox.of_mass(MASS, dim))
    assert reference.decode(weights, z)[:, 0].max() < limit


@pytest.mark.parametrize("dim", [2, 3, 4])
def test_the_box_alone_has_a_witness_at_any_mass(dim, tmp_path):
    folder = exported(piecewise_linear(dim, 3), tmp_path / "m", None, mass=0.5)
    answer = ask(folder.path, "box-0.5.vnnlib", tmp_path / "w.txt")
    assert answer.verdict == "sat"
    assert replay(folder, witness.read(answer.witness, dim), query="box-0.5.vnnlib").confirmed


def test_a_disjunction_is_sat_where_any_case_is(tmp_path):
    weights = piecewise_linear(3, 3)
    low, high = threshold(weights, 0.5), threshold(weights, 1.3)
    folder = exported(weights, tmp_path / "m", f"Y_0 <= {high:.6f} and Y_0 <= {low:.6f}")
    verdicts = {
        name: ask(folder.path, f"query-0.9{name}.vnnlib", tmp_path / "w.txt").verdict for name in ("-1", "-2", "")
    }
    assert verdicts == {"-1": "unsat", "-2": "sat", "": "sat"}


def test_a_witness_of_another_network_is_not_confirmed(tmp_path):
    """The replay can fail: the claim is true of one network and false of the other."""
    weights = piecewise_linear(3, 3)
    altered = piecewise_linear(3, 3, seed=1)
    folder = exported(weights, tmp_path / "m", f"Y_0 <= {threshold(weights, 1.3):.6f}")
    other = exported(altered, tmp_path / "other", f"Y_0 <= {threshold(altered, 0.9):.6f}")
    answer = ask(other.path, QUERY, tmp_path / "w.txt")
    found = witness.read(answer.witness, 3)
    assert replay(other, found, query=QUERY).confirmed
    assert not replay(folder, found, query=QUERY).confirmed


def decided(classifier, weights, box, wanted: int, lead: float) -> onnx.ModelProto:
    """The classifier with a last bias by which class `wanted` leads in the whole box, by `lead` of the spread."""
    plain = exported_outputs(classifier, weights, points(box))
    others = np.delete(plain, wanted, axis=1).max(axis=1) - plain[:, wanted]
    shifted = onnx.ModelProto()
    shifted.CopyFrom(classifier)
    (last,) = (tensor for tensor in shifted.graph.initializer if tensor.name in ("b2", "b"))
    bias = numpy_helper.to_array(last).copy()
    bias[wanted] += others.max() + lead * (others.max() - others.min())
    last.CopyFrom(numpy_helper.from_array(bias, last.name))
    return shifted


def exported_outputs(classifier, weights, z) -> np.ndarray:
    """The classifier's outputs at g(z), in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(classifier.SerializeToString(), providers=["CPUExecutionProvider"])
    fed = session.get_inputs()[0]
    x = reference.decode(weights, z).astype(np.float32).reshape(len(z), *fed.shape[1:])
    return session.run(None, {fed.name: x})[0].reshape(len(z), CLASSES)


@pytest.mark.parametrize("make", [lambda: dense(4), lambda: of_images(2)], ids=["dense", "images"])
def test_a_classifier_behind_the_generator_is_verified(make, tmp_path):
    """Class 1 everywhere in the box by a margin: unsat. The same with too little of it: sat, and the witness is one."""
    weights, box = piecewise_linear(4, 2), LatentBox.of_mass(0.5, 4)
    for lead, verdict in ((0.3, "unsat"), (-0.3, "sat")):
        classifier = decided(make(), weights, box, 1, lead)
        folder = exported(weights, tmp_path / verdict, "class 1", classifier, mass=0.5)
        answer = ask(folder.path, "query-0.5.vnnlib", tmp_path / "w.txt", graph="merged.onnx")
        assert answer.verdict == verdict
        y = exported_outputs(classifier, weights, points(box))
        assert (y.argmax(axis=1) == 1).all() == (verdict == "unsat")
        if verdict == "sat":
            assert replay(folder, witness.read(answer.witness, 4), query="query-0.5.vnnlib").confirmed
