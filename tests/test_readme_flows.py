"""The README's comparisons with other flows are the recorded ones, and their targets are met."""

import pytest

from benchmarks import activations, equal_cost, imported, jko, jko_lu, scale
from tests.test_readme import README, recorded


def test_quality_at_equal_cost_is_the_recorded_one():
    for line in equal_cost.lines(recorded("equal_cost")):
        assert f"| {' | '.join(line)} |" in README


def test_the_table_of_activations_is_the_recorded_one():
    """With the nodes that are named, and rows of float32 all within their tolerances."""
    found, text = recorded("activations"), " ".join(README.split())
    for line in activations.lines(found):
        assert f"| {' | '.join(line)} |" in README
    nodes = {run["activation"]: run["nodes"] for run in found["runs"] if run["dataset"] == "digits"}
    ours, paper, tanh = (nodes[name] for name in ("leaky-relu", "leaky-softplus", "leaky-tanh"))
    assert f"density {ours['density']} and sampling {ours['sampling']} nodes on the digits" in text
    assert f"for {paper['density']} and {paper['sampling']} with leaky softplus" in text
    assert f"and {tanh['density']} and {tanh['sampling']} with leaky tanh" in text
    for run in found["runs"]:
        assert run["log_prob_from_reference"]["max_of_tolerance"] < 1, run["dataset"]
        assert run["log_prob_from_reference"]["rows_with_a_tolerance_of_a_nat"] <= 1


def test_the_tables_of_jko_are_the_recorded_ones():
    found, text = recorded("jko"), " ".join(README.split())
    for line in (*jko.lines(found), *jko.step_lines(found), *jko_lu.lines(recorded("jko_lu"))):
        assert f"| {' | '.join(line)} |" in README
    rows = {
        (row["runner"], row["direction"], row["batch"]): row["time"]["p50"] for row in recorded("jko-latency")["rows"]
    }
    for direction in ("density", "sampling"):
        cells = []
        for batch in (1, 256, 4096):
            ours, eager = (rows[runner, direction, batch] for runner in ("ONNX Runtime, cpu", "eager PyTorch"))
            cells.append(f"{ours:.3g} ({eager / ours:.1f} x)")
        assert f"| {direction} | {' | '.join(cells)} |" in README
    (worst,) = (run for run in found["runs"] if (run["dataset"], run["flow"]) == ("checkerboard", "JKO-iFlow"))
    ours, theirs = (worst["log_prob_from_reference"][name] for name in ("onnxruntime", "pytorch"))
    assert f"where ONNX Runtime is {ours:.1e} and PyTorch {theirs:.1e} off the float64 reference" in text
    gaps = {run["dataset"]: run["onnx_from_pytorch"]["log_prob"] for run in found["runs"] if "nodes" in run}
    assert f"at most {gaps['eight-gaussians']:.1e} nats on eight Gaussians and {max(gaps.values()):.1e} on" in text
    nodes = next(run["nodes"] for run in found["runs"] if run.get("nodes") and run["dataset"] == "eight-gaussians")
    assert f"{nodes['density']} and {nodes['sampling']} nodes" in README


def test_jko_keeps_to_its_targets():
    """Within 0.05 nats of the truth, below the Gaussian, an integral of 1, round trips by 3 and 6 steps."""
    runs = {(run["dataset"], run["flow"]): run for run in recorded("jko")["runs"]}
    found = runs["eight-gaussians", "JKO-iFlow"]
    assert found["test_nats"] - found["entropy_nats"] <= 0.05
    assert found["test_nats"] < found["gaussian_nats"]
    assert found["integral"]["3"] == pytest.approx(1, abs=1e-3)
    assert (found["round_trip"]["3"] <= 1e-3, found["round_trip"]["6"] <= 1e-4) == (True, True)
    for (_, name), run in runs.items():
        assert name == "LU-Net" or run["test_nats"] < run["gaussian_nats"]


def test_the_tables_of_imported_flows_and_of_scale_are_the_recorded_ones():
    for line in imported.lines(recorded("imported")):
        assert f"| {' | '.join(line)} |" in README
    for line in (*scale.lines(recorded("scale")), *scale.memory_lines(recorded("scale"))):
        assert f"| {' | '.join(line)} |" in README


def test_imported_flows_keep_to_their_targets():
    """Where the library's own export fails in a direction, ours does not, and the answers are the library's."""
    runs = recorded("imported")["runs"]
    assert {(run["library"], run["dim"]) for run in runs} == {
        (name, dim) for name in imported.PEERS for dim in imported.WIDTHS
    }
    for run in runs:
        assert run["own"]["sampling"] != "runs"
        for dtype, target in imported.TARGETS.items():
            assert max(run["ours"][dtype][name] for name in ("log_prob", "x")) <= target


def test_scale_keeps_to_its_targets():
    """The same counts, sums and scores with a worker killed, and memory within 10 % from 1e5 to 1e7 rows."""
    found = recorded("scale")
    scale.refuse_wrong(found)
    assert found["runs"]["killed"]["killed"] == 1
    assert (found["rows"], found["rounds"]) == (10_000_000, 3)
    for kind in scale.SOURCES:
        memory = {entry["rows"]: entry["anonymous_mb"] for entry in found["memory"] if entry["source"] == kind}
        assert tuple(memory) == scale.SIZES
        assert max(memory.values()) <= 1.1 * min(memory.values())
