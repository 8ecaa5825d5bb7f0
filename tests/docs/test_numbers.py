"""What the documentation says is recorded: figures in sentences, targets, models that are the measured ones.

Tables are not asked: `python -m benchmarks.pages` writes them, and tests/benchmarks/test_pages.py holds them current.
"""

import json
import re

import numpy as np
import pytest

from benchmarks import compat, imported, scale, spline_activation
from lunet_export import checkpoint, data, diagnostics, noise
from lunet_export.artifact import specification
from tests.conftest import ROOT
from tests.docs.sentences import PARAGRAPHS, says, written


def recorded(name: str) -> dict:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def manifest(name: str) -> dict:
    return json.loads((ROOT / "exported" / name / "manifest.json").read_text())


def test_a_figure_is_found_in_its_paragraph_and_nowhere_else():
    assert says("0.47", "log loss", "posteriors")
    assert not says("0.4", "log loss")
    assert not says("0.48", "log loss")
    assert not says("0.47", "log loss", "no such word")
    assert not says("112", "`--solver fused`", "LapackE")


def test_generated_parts_are_not_asked():
    text = "a\n\n<!-- table: x -->\n| 7 |\n<!-- end -->\n\nb <!-- value: y -->8<!-- end --> c"
    assert written(text) == "a\n\n\n\nb  c"
    assert "<!-- end" not in "".join(PARAGRAPHS)


def test_the_errors_of_short_products_are_the_recorded_ones():
    networks = {network["name"]: network for network in recorded("precision")["networks"]}
    rounds, truncates = (
        networks["mnist"]["density"][f"TF32 {way}"]["log_prob"]["largest"] for way in ("nearest", "truncated")
    )
    shares = [
        entry["share"]
        for network in networks.values()
        for part in ("density", "unrolled", "fused")
        for mode in ("TF32 nearest", "TF32 truncated", "float16")
        for entry in network[part][mode].values()
    ]
    assert says(f"{rounds:.2f} nats", "TF32", "log_prob")
    assert says(f"{truncates:.1f}", "TF32", "log_prob", "truncates")
    assert says(f"{max(shares):.2f}", "TF32", "float16", "budget")
    assert max(shares) < 1


def test_the_figures_of_one_network_given_the_class_are_the_recorded_ones():
    document = recorded("labels")
    given, each = document["models"]["given the label"], document["models"]["one per class"]
    assert says(f"{each['test_bits_per_dim'] - given['test_bits_per_dim']:.3f} bits/pixel", "tenth of the numbers")
    assert given["parameters"] / each["parameters"] == pytest.approx(0.1, abs=0.01)
    for entry in (given, each):
        assert says(f"{100 * entry['accuracy']:.2f} %", "worse classifier")
    assert given["log_loss"] > each["log_loss"]  # overconfident
    for run in document["sampling"]:
        if run["model"] == "given the label":
            assert says(f"{run['over_all_classes']:.2f} times", "sampling graph", "worse classifier")


ENDS = "shift, scale at both ends, hidden units"


def test_what_a_context_moves_gains_what_is_recorded():
    document = recorded("conditional")

    def nats(name, variant):
        found = [run["valid_nats"] for run in document["runs"] if (run["set"], run["variant"]) == (name, variant)]
        return np.mean(found), np.std(found, ddof=1) / np.sqrt(len(found))

    def lost(name, variant, other):
        return nats(name, variant)[0] - nats(name, other)[0]

    digits, both, words = "digits given their label", "shift and scale, hidden units", "Shifts and scales together"
    assert says(f"{lost(digits, 'shift, linear', 'shift and scale, linear'):.2f} nats", words)
    assert says(f"{lost(digits, 'shift, hidden units', both):.2f}", words)
    assert says(f"{lost(digits, 'scale, hidden units', both):.2f}", words)
    assert says(f"{lost('two moons', both, 'scale, hidden units'):.3f} nats", words)
    (one, error), (other, its) = nats(digits, "shift and scale, linear"), nats(digits, both)
    assert abs(one - other) < 2 * np.hypot(error, its)
    ends = "behind the first and the last layer alone"
    assert says(f"{lost(digits, both, ENDS):.2f} nats", ends)
    assert says(f"{lost('two moons', ENDS, both):.3f} nats", ends)
    (one, error), (other, its) = nats(digits, ENDS), nats(digits, both)
    assert abs(one - other) < 2 * np.hypot(error, its)
    (one, error), (other, its) = nats("two moons", ENDS), nats("two moons", both)
    assert round(abs(one - other) / np.hypot(error, its)) == 2
    runs = recorded("labels_scales")["valid_bits_per_dim"]
    everywhere, at_ends = (runs[name][4] for name in ("all layers", "both ends"))
    assert says(f"{at_ends - everywhere:.3f} bits/pixel", "both lines agree within their errors")
    assert says(f"{at_ends:.3f} and {everywhere:.3f}", "both lines agree within their errors")
    known = document["sets"]["linear Gaussian"]["gaussian_nats"]["valid"]
    over = [nats("linear Gaussian", variant)[0] - known for variant in {run["variant"] for run in document["runs"]}]
    assert says(f"{min(over):.2f} to {max(over):.2f} nats", "extra parts cost")
    moons = document["sets"]["two moons"]["entropy_nats"]
    assert says(f"{nats('two moons', both)[0] - moons:.2f} nats above their entropy", "extra parts cost")


def test_what_splines_gain_and_cost_is_what_is_recorded():
    document = recorded("spline_activation")
    _, squareplus, spline, *others = (variant.name for variant in spline_activation.VARIANTS)

    def nats(name, variant):
        return np.array(spline_activation.valid_nats(document, name, variant))

    for name in document["sets"]:
        gains = nats(name, squareplus) - nats(name, spline)
        assert says(f"{gains.mean():.2f}", "Splines gain far more")
        assert gains.min() > 3 * nats(name, spline).std(ddof=1)
    lost = {
        name: max(nats(name, other).mean() for other in others) - nats(name, spline).mean() for name in document["sets"]
    }
    assert says(f"{lost.pop('digits'):.2f} nats at most on the digits", "Splines gain far more")
    assert all(gap < nats(name, spline).std(ddof=1) for name, gap in lost.items())
    moons = [run["test_nats"] for run in document["runs"] if (run["set"], run["variant"]) == ("two-moons", spline)]
    assert says(f"{np.mean(moons) - document['sets']['two-moons']['entropy_nats']:.3f} nats", "Splines gain far more")
    grown = recorded("two-moons-diagnosis")
    assert says(f"{grown['entropy']['kl_nats']:.3f}", "Splines gain far more")
    times = {(entry["variant"], entry["direction"]): entry["p50"] for entry in document["speeds"]}
    for direction in ("density", "sampling"):
        assert says(f"{times[spline, direction] / times[squareplus, direction]:.0f}", "no operator for splines")
    seconds = {
        variant: np.mean(
            [
                run["cpu_seconds"] / run["epochs"]
                for run in document["runs"]
                if (run["set"], run["variant"]) == ("digits", variant)
            ]
        )
        for variant in (spline, squareplus)
    }
    assert says(f"{seconds[spline] / seconds[squareplus]:.1f} times", "no operator for splines")


def test_the_launches_are_the_committed_ones():
    launches = json.loads((ROOT / "tests" / "cuda" / "launches.json").read_text())
    for name in ("density", "unrolled-sampling", "fused-sampling"):
        assert says(str(launches[f"wide-float32-{name}"]), "launches as committed"), name
    assert says(str(4 * launches["wide-float32-fused-sampling"]), "1 µs in a CUDA graph and 4 µs in a stream")


def test_the_graphs_and_the_activations_errors_are_the_recorded_ones():
    density = recorded("peers")["graphs"]["density"]
    assert says(f"{density['nodes']} nodes", "the paper's network", "density")
    assert says(f"{density['bytes'] / 1e6:.1f} MB", "the paper's network", "density")
    entries = recorded("accuracy")["activation"]
    for key in ("ours", "eager"):
        assert says(f"{max(entry[key] for entry in entries):.1f}", "roundoff", "Newton", "Halley"), key


def committed(name: str, dataset: str) -> diagnostics.Report:
    weights = checkpoint.read(ROOT / "exported" / f"{name}.pt").weights
    return diagnostics.diagnose(diagnostics.WeightsSource(weights), data.load(dataset), seed=0)


@pytest.mark.slow
def test_the_diagnoses_are_those_of_the_models():
    digits, toy2d, mnist = committed("digits", "digits"), committed("toy2d", "two-moons"), recorded("mnist-diagnosis")
    assert (digits.flags, toy2d.flags, mnist["flags"], recorded("fashion-mnist-diagnosis")["flags"]) == ((), (), [], [])
    assert says(f"{digits.latents_train.gap_nats:.2f} nats", "recalibrate", "digits")
    assert says(f"{toy2d.latents_train.gap_nats:.3f}", "recalibrate", "toy2d")
    assert says(f"{mnist['gain']['bits_per_dim']:.3f} bits/dim", "Gaussian", "MNIST")
    latents = mnist["latents_train"]
    assert says(f"{latents['gap_nats']:.1f} nats", "MNIST", "G =")
    assert says(f"{mnist['model']['train']['nats']:.0f}", "MNIST", "G =")
    assert says(f"{latents['excess_kurtosis']:.2f}", "MNIST", "kurtosis")


def test_the_committed_mnist_is_the_recorded_one():
    found, run = manifest("mnist"), recorded("mnist-training")
    assert {key: found["training"][key] for key in ("test", "valid", "epochs")} == {
        key: run[key] for key in ("test", "valid", "epochs")
    }
    assert checkpoint.read(ROOT / "exported" / "mnist.pt").weights.digest() == found["model"]["sha256_weights"]


def test_likelihoods_keep_to_their_targets():
    """Below what was set beforehand and below the Gaussian; in two dimensions far below it, and above the entropy."""
    for name, target in {"mnist": 1.66, "fashion-mnist": 3.80}.items():
        run = recorded(f"{name}-training")
        assert run["test"] <= target < run["gaussian_test"]
        assert says(f"{target:.2f}", "targets", "MNIST")
    for name in ("mixture", "eight-gaussians", "two-moons"):
        found = recorded(f"{name}-diagnosis")
        assert found["flags"] == []
        assert found["entropy"]["nats"] < found["model"]["test"]["nats"] < found["gaussian"]["test"]["nats"] - 0.8


def test_the_log_losses_of_classes_are_the_recorded_ones():
    for name in ("mnist", "fashion-mnist"):
        assert says(f"{recorded(f'{name}-classes-classification')['log_loss']:.2f}", "log loss"), name


def test_few_rows_are_better_than_before():
    found = recorded("small_data")
    kinds = {(run["kind"], run["rows"], run["columns"]) for run in found["runs"]}
    assert says(f"{len(kinds)} sets", "t-test")
    now, before = (max(run["test"] - run["gaussian"] for run in found[key]) for key in ("runs", "before"))
    assert now < before
    assert sum(run["test"] > run["gaussian"] + 1e-6 for run in found["runs"]) == 1  # as the page owns up to


def test_nothing_breaks_a_certificate():
    for name in ("mnist", "fashion-mnist"):
        assert recorded(f"{name}-certificate")["violations"] == []
    assert recorded("mnist-certificate")["local"]["share"] < 0.01


def test_table_1_was_checked_and_its_sentences_are_the_recorded_ones():
    found = recorded("table1")
    assert max(found["checked"].values()) <= 1
    assert says(f"{found['models']['RealNVP, convolutional']['held']:,} parameters", "convolutional network")
    for name in ("LU-Net", "RealNVP"):
        assert says(f"{found['paper'][name]['nll']}", "likelihoods", "conventions")
    theirs = {key: cases["RealNVP, convolutional, onnxruntime"] for key, cases in found["over_lunet"].items()}
    met = min(theirs["density, batch 1"], theirs["density, batch 100"]) >= 30
    assert (met, theirs["sampling, batch 1"] >= 50) == (True, False)  # as the page says of its targets
    case = found["runs"]["sampling, batch 1"]
    ratio = case["LU-Net, eager"]["p50"] / case["RealNVP, dense, eager"]["p50"]
    assert says(f"{ratio:.1f} times as fast", "eager PyTorch", "dense network")


def test_rows_of_float32_are_within_their_tolerances_with_every_activation():
    for run in recorded("activations")["runs"]:
        found = run["log_prob_from_reference"]
        assert (found["max_of_tolerance"] < 1, found["rows_with_a_tolerance_of_a_nat"] <= 1) == (True, True), run


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
            assert says(f"{target:.0e}".replace("e-0", "e-"), "targets", dtype)


def test_scale_keeps_to_its_targets():
    """The same counts, sums and scores with a worker killed, and memory within 10 % from 1e5 to 1e7 rows."""
    found = recorded("scale")
    scale.validate_answers(found)
    assert found["runs"]["killed"]["killed"] == 1
    assert (found["rows"], found["rounds"]) == (10_000_000, 3)
    for kind in scale.SOURCES:
        memory = {entry["rows"]: entry["anonymous_mb"] for entry in found["memory"] if entry["source"] == kind}
        assert tuple(memory) == scale.SIZES
        assert max(memory.values()) <= 1.1 * min(memory.values())


def test_programs_are_as_fast_as_python():
    found = recorded("embeddings")
    assert says(f"{found['rounds']} rounds", "Medians", "WebGPU")
    for model, of in found["median_ms"].items():
        for way in ("density", "sampling"):
            assert max(of[name][way] for name in ("C", "C++", "Rust")) <= of["Python"][way], (model, way)


def test_marabous_witnesses_are_confirmed():
    queries = recorded("verifier")["queries"]
    assert says(queries[0]["marabou"]["maraboupy"], "Marabou", "Python")
    assert all(entry["confirmed"] for entry in queries if entry["verdict"] == "sat")


@pytest.mark.parametrize("dim", [2, 3, 4])
def test_false_claims_are_found_and_true_ones_proved_in_up_to_four_dimensions(dim):
    of = {(entry["share"], entry["verdict"]) for entry in recorded("verifier")["queries"] if entry["dim"] == dim}
    assert of == {(0.97, "sat"), (1.03, "unsat"), (1.3, "unsat"), (2.0, "unsat")}


def test_committed_exports_give_equal_bits_in_a_group_of_runtimes():
    digests: dict[bool, list] = {True: [], False: []}
    for trial in recorded("compat")["trials"]:
        if trial["runtime"] == "ONNX Runtime" and trial["python"].startswith("Python 3.11"):
            late = tuple(map(int, trial["version"].split(".")))[1] >= 21
            folders = {name: trial["folders"][name] for name in compat.COMMITTED}
            digests[late].append({n: {g: e["digest"] for g, e in graphs.items()} for n, graphs in folders.items()})
    assert (len(digests[False]), len(digests[True])) == (5, 12)
    for group in digests.values():
        assert all(entry == group[0] for entry in group)
    assert says("1.21 to 1.32", "bit by bit", "1.16 to 1.20")


def test_the_formats_known_noise_is_the_generators():
    text = specification()
    rows = re.findall(r"^\| (\S+.*?) \| (\S+.*?) \| ([\da-f]{8}(?: [\da-f]{8}){3}) \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) == 3
    for seed, row, words, numbers in rows:
        key, place = (eval(entry.replace("^", "**")) for entry in (seed, row))
        counter = np.array([0, place % 2**32, place >> 32, 0], dtype=np.uint64)
        assert [int(word, 16) for word in words.split()] == noise.philox4x32(counter, (key % 2**32, key >> 32)).tolist()
        normal = noise.normal(key, range(place, place + 1), 4)[0]
        assert [float(number) for number in numbers.split()] == pytest.approx(normal.tolist(), abs=1e-9)
