"""The README's commands run, the file map is complete, its numbers are the recorded ones."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import embeddings, roofline, table1
from lunet_export import checkpoint, data, diagnostics, noise
from lunet_export.certificate import outwards
from tests.certificate.test_round_trip import COMMITTED as ROUND_TRIPS
from tests.conftest import ROOT

#: What the README says, with the pages that it leads to for comparisons and for verifiers.
README = "\n".join(
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", "docs/benchmarks/comparisons.md", "docs/verifiers.md")
)


def fenced(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_file_map_names_every_module():
    _, _, file_map = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## File map")
    modules = [path for folder in ("lunet_export", "cli/lunet_cli") for path in (ROOT / folder).rglob("*.py")]
    missing = [str(path) for path in modules if path.name != "__init__.py" and path.name not in file_map]
    assert missing == []


def test_every_link_leads_somewhere():
    pages = [
        path
        for path in (*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("tests/*/README.md"))
        if "/." not in str(path)
    ]
    assert len(pages) >= 8
    for path in pages:
        text = path.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert target.startswith("https://") or (path.parent / target).exists(), target


@pytest.mark.parametrize("direction", ["density", "sampling"])
def test_the_latency_table_is_the_recorded_one(direction):
    rows = json.loads((ROOT / "benchmarks" / "results" / "mnist-latency.json").read_text())["rows"]
    for runner in ("ONNX Runtime", "eager PyTorch"):
        line = re.search(rf"\| {direction}, {runner} \| (.*) \|", README)
        printed = [float(cell) for cell in line[1].split("|")]
        recorded = [r["time"]["p50"] for r in rows if r["runner"].startswith(runner) and r["direction"] == direction]
        assert printed == [pytest.approx(value, rel=0.02) for value in recorded]


def recorded(name: str) -> dict:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def cell(measured: float, target: str) -> str:
    """A figure with its target in brackets, bold where it misses."""
    limit = float(target.split(" ")[1])
    met = measured <= limit if target.startswith("<=") else measured >= limit
    text = f"{measured:,.0f}" if measured >= 100 or float(measured).is_integer() else f"{measured:.2f}"
    return f"{text if met else f'**{text}**'} ({limit:,g})"


def test_the_speed_tables_are_the_recorded_ones():
    targets = {entry["name"]: cell(entry["measured"], entry["target"]) for entry in recorded("peers")["targets"]}
    for name, label in {
        "sampling, unrolled": "sampling, `unrolled` (default)",
        "sampling, meeting": "sampling, `meeting`",
        "sampling, fused": "sampling, `fused`",
        "density": "density",
    }.items():
        cells = (targets[f"{name}: {key}"] for key in ("nodes", "batch 1 over floor", "batch 256 over floor"))
        assert f"| {label} | {' | '.join(cells)} |" in README
    for name, label in {
        "eager PyTorch": "eager PyTorch: `solve_triangular`, Newton",
        "torch.compile": "`torch.compile` of the same",
        "nflows LULinear": "nflows `LULinear`, the same activation",
        "nflows LULinear, cached": "... with its cached inverse",
        "zuko LULinearTransform": "zuko `LULinearTransform`, the same activation",
        "authors' inverse": "the authors' inverse: general solve, refitted spline",
    }.items():
        cells = (targets[f"{name}: batch {batch}, times as long as unrolled"] for batch in (1, 256))
        assert f"| {label} | {' | '.join(cells)} |" in README


def test_the_table_of_solvers_is_that_of_the_graphs():
    for name, facts in recorded("peers")["graphs"].items():
        if name not in ("floor", "density"):
            (line,) = re.findall(rf"\| `{name}` \|.*\|", README)
            assert f"| {facts['nodes']} | {facts['bytes'] / 1e6:.1f} |" in line


def test_the_activations_errors_are_the_recorded_ones():
    entries = recorded("accuracy")["activation"]
    ours, eager = (max(entry[key] for entry in entries) for key in ("ours", "eager"))
    text = " ".join(README.split())
    assert f"at most {ours:.1f} units of roundoff" in text
    assert f"converged Newton has {eager:.1f}" in text


def test_the_table_of_precisions_is_the_recorded_one():
    networks = {network["name"]: network for network in recorded("precision")["networks"]}
    mnist = networks["mnist"]

    def figures(entry: dict, over: int = 1) -> str:
        return f"{entry['largest'] / over:.2g} ({entry['budget'] / over:.2g})"

    labels = {
        "float32": "float32, ONNX Runtime on the CPU",
        "TF32 nearest": "TF32, rounded",
        "TF32 truncated": "TF32, truncated",
        "float16": "float16",
    }
    for mode, label in labels.items():
        cells = [figures(mnist["density"][mode]["log_prob"], mnist["dim"]), figures(mnist["density"][mode]["z"])]
        cells += [figures(mnist[solver][mode]["x"]) for solver in ("unrolled", "fused")]
        assert f"| {label} | {' | '.join(cells)} |" in README
    rounds, truncates = (mnist["density"][f"TF32 {way}"]["log_prob"]["largest"] for way in ("nearest", "truncated"))
    assert f"off by {rounds:.2f} nats when TF32 rounds, {truncates:.1f} when it truncates" in README
    shares = [
        entry["share"]
        for network in networks.values()
        for part in ("density", "unrolled", "fused")
        for mode in ("TF32 nearest", "TF32 truncated", "float16")
        for entry in network[part][mode].values()
    ]
    assert f"passed {max(shares):.2f} of its budget" in README


def test_the_roofline_is_the_recorded_one():
    words = {"l": "launches", "b": "bytes", "o": "operations"}
    for gpu in roofline.GPUS:
        rows = [r for r in recorded("roofline")["bounds"] if (r["gpu"], r["graph"]) == (gpu.name, "sampling, fused")]
        cells = [re.sub(r"(?<=\d )[lbo]", lambda m: words[m[0]], roofline.cell(row, "CUDA graph")) for row in rows]
        assert f"| {gpu.name} | {' | '.join(cells)} |" in README


def test_the_launches_are_the_committed_ones():
    launches = json.loads((ROOT / "tests" / "cuda" / "launches.json").read_text())
    density, unrolled, fused = (
        launches[f"wide-float32-{name}"] for name in ("density", "unrolled-sampling", "fused-sampling")
    )
    assert f"(density {density}, `unrolled` {unrolled}, `fused` {fused})" in README


def committed(name: str, dataset: str) -> diagnostics.Report:
    weights = checkpoint.read(ROOT / "exported" / f"{name}.pt").weights
    return diagnostics.diagnose(diagnostics.WeightsSource(weights), data.load(dataset), seed=0)


IMAGES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
TOYS = {"mixture": "the paper's mixture", "eight-gaussians": "eight Gaussians", "two-moons": "two moons"}


def test_the_likelihoods_are_the_recorded_ones():
    runs = [recorded(f"{name}-training") for name in IMAGES]
    models = runs + [
        json.loads((ROOT / "exported" / name / "manifest.json").read_text())["training"] for name in ("digits", "toy2d")
    ]
    for record in models:
        assert f"**{record['test']:.3f}** | {record['gaussian_test']:.3f} |" in README, record["dataset"]
    conventions = [f"{run['paper_convention']:.3f}" for run in runs]
    assert f"{conventions[0]} for this MNIST model and {conventions[1]} on Fashion-MNIST" in README
    text = " ".join(README.split())
    assert "noise is {:.4f} and {:.4f}".format(*(run["test_spread"] for run in runs)) in text
    deeper = recorded("mnist-8-blocks-training")
    assert f"7 + 1 have {deeper['test']:.3f} after {deeper['epochs']} epochs" in text


def test_the_committed_mnist_is_the_recorded_one():
    manifest = json.loads((ROOT / "exported" / "mnist" / "manifest.json").read_text())
    run = recorded("mnist-training")
    assert {key: manifest["training"][key] for key in ("test", "valid", "epochs")} == {
        key: run[key] for key in ("test", "valid", "epochs")
    }
    assert checkpoint.read(ROOT / "exported" / "mnist.pt").weights.digest() == manifest["model"]["sha256_weights"]


def test_the_figures_in_two_dimensions_are_the_recorded_ones():
    for name, label in TOYS.items():
        found = recorded(f"{name}-diagnosis")
        cells = [found["entropy"]["nats"], found["entropy"]["kl_nats"], found["gaussian"]["test"]["nats"]]
        test = found["model"]["test"]["nats"]
        assert f"| {label} | **{test:.3f}** | {' | '.join(f'{cell:.3f}' for cell in cells)} |" in README
        assert (found["flags"], test < cells[2] - 0.8) == ([], True)  # far below the Gaussian, above the entropy


def test_the_figures_of_classes_are_the_recorded_ones():
    for name, label in IMAGES.items():
        run, found, single = (
            recorded(f"{name}-{kind}") for kind in ("classes-training", "classes-classification", "diagnosis")
        )
        epochs = run["classes"][0]["epochs"]
        assert (
            f"| {label}, {epochs} epochs | **{run['test']:.3f}** | {run['gaussian_test']:.3f} "
            f"| **{run['accuracy']:.2%}** | {run['gaussian_accuracy']:.2%} |"
        ) in README
        own = (f"{entry['test']:.2f}, {entry['gaussian_test']:.2f}" for entry in run["classes"])
        assert f"| {label} | {' | '.join(own)} |" in README
        assert f"{found['log_loss']:.2f} nats on MNIST" in README or f"{found['log_loss']:.2f} on Fashion" in README
        (other,) = set(IMAGES.values()) - {label}
        shares = (report["detection"][key] for report in (single, found) for key in ("auroc", "typicality"))
        assert f"| {label} against {other} | {' | '.join(f'{share:.4f}' for share in shares)} |" in README


def test_the_ablation_is_the_recorded_one():
    runs = recorded("ablation")["runs"]

    def mean(variant: str) -> float:
        return float(np.mean([run["valid"] for run in runs if run["variant"] == variant]))

    text, base = " ".join(README.split()), mean("defaults")
    layer, unit = (base - mean(f"learnt alpha, one a {what}") for what in ("layer", "dimension"))
    assert f"gain another {layer:.3f} (one a layer) to {unit:.3f} bits (one a unit)" in text
    balance, bound, diagonal = (mean(name) - base for name in ("balance 0.001", "bound 2", "log-diagonal 1"))
    deep, shallow = mean("15 + 1 blocks, rate 1e-3"), mean("7 + 1 blocks")
    assert f"they have {deep:.2f} after 5, as 7 + 1, and 3 + 1 have {base:.2f}" in text
    assert f"{deep:.2f}" == f"{shallow:.2f}"
    assert f"`balance` at 0.001 costs {balance:.3f} bits" in text
    assert f"`--bound 2` costs {bound:.4f} and `log-diagonal` at 1 costs {diagonal:.3f}" in text


@pytest.mark.slow
def test_the_diagnoses_are_those_of_the_models():
    digits, toy2d, mnist = committed("digits", "digits"), committed("toy2d", "two-moons"), recorded("mnist-diagnosis")
    assert (digits.flags, toy2d.flags, mnist["flags"], recorded("fashion-mnist-diagnosis")["flags"]) == ((), (), [], [])
    text, latents = " ".join(README.split()), mnist["latents_train"]
    for sentence in (
        f"{digits.latents_train.gap_nats:.2f} nats (digits) and {toy2d.latents_train.gap_nats:.3f} (toy2d)",
        f"gains {mnist['gain']['bits_per_dim']:.3f} bits/dim over the Gaussian",
        f"leaves G = {latents['gap_nats']:.1f} nats of {mnist['model']['train']['nats']:.0f}",
        f"excess kurtosis of {latents['excess_kurtosis']:.2f}",
    ):
        assert sentence in text


def test_the_certificates_are_those_of_the_models():
    mnist, certified = recorded("mnist-certificate"), {}
    for name in ("toy2d", "digits"):
        found = json.loads((ROOT / "exported" / name / "manifest.json").read_text())["certificate"]
        certified[name] = (found["data"], min(found["rows"]["squeeze"]))
    certified["MNIST"] = (mnist["data"], mnist["local"]["squeeze"]["smallest"])
    for name, (bounds, squeeze) in certified.items():
        cells = [f"{outwards(bounds[key], upper=True, digits=3):.3g}" for key in ("lip_forward", "lip_inverse")]
        cells += [f"{squeeze:.3g}", f"up to {ROUND_TRIPS[name.lower()][2]}"]
        assert f"| {name} | {' | '.join(cells)} |" in README, (name, cells)
    assert mnist["violations"] == []
    assert mnist["local"]["share"] < 0.01


def test_table_1_is_the_recorded_one():
    found, text = recorded("table1"), " ".join(README.split())
    for line in table1.lines(found):
        assert f"| {' | '.join(line)} |" in README
    over, fused = (
        {
            question: [cases[f"RealNVP, {kind}, onnxruntime"] for kind in ("convolutional", "dense")]
            for question, cases in found[key].items()
        }
        for key in ("over_lunet", "over_fused")
    )
    density, sampling = ([over[f"{what}, batch {batch}"] for batch in (1, 100)] for what in ("density", "sampling"))
    merged = [fused[f"sampling, batch {batch}"] for batch in (1, 100)]
    for sentence in (
        "density is {:.0f} times as fast as the convolutional RealNVP's at batch 1 and {:.0f} times".format(
            *(row[0] for row in density)
        ),
        "{:.1f} and {:.1f} times as fast as the dense one's".format(*(row[1] for row in density)),
        "Sampling is {:.0f} and {:.0f} times as fast as the convolutional".format(*(row[0] for row in sampling)),
        "`--solver fused` {:.0f} and {:.0f} times".format(*(row[0] for row in merged)),
        "{:.2f} and {:.2f} times its time".format(*(1 / row[1] for row in sampling)),
        "wins with `fused`, {:.2f} and {:.2f} times".format(*(1 / row[1] for row in merged)),
    ):
        assert sentence in text, sentence
    assert max(found["checked"].values()) <= 1
    paper = found["paper"]
    assert all(f"{paper[name]['nll']}" in text for name in ("LU-Net", "RealNVP"))


def test_the_formats_known_noise_is_the_generators():
    text = Path(ROOT / "exported" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+.*?) \| (\S+.*?) \| ([\da-f]{8}(?: [\da-f]{8}){3}) \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) == 3
    for seed, row, words, numbers in rows:
        key, place = (eval(entry.replace("^", "**")) for entry in (seed, row))
        counter = np.array([0, place % 2**32, place >> 32, 0], dtype=np.uint64)
        assert [int(word, 16) for word in words.split()] == noise.philox4x32(counter, (key % 2**32, key >> 32)).tolist()
        normal = noise.normal(key, range(place, place + 1), 4)[0]
        assert [float(number) for number in numbers.split()] == pytest.approx(normal.tolist(), abs=1e-9)


def test_the_latencies_of_the_embeddings_are_the_recorded_ones():
    found, text = recorded("embeddings"), " ".join(README.split())
    for line in embeddings.lines(found):
        assert f"| {' | '.join(line)} |" in README
    assert f"Medians of {found['rounds']} rounds" in text
    assert f"with ONNX Runtime {found['machine']['versions']['onnxruntime']}, Node" in text
    for model, of in found["median_ms"].items():
        for way in ("density", "sampling"):
            assert max(of[name][way] for name in ("C", "C++", "Rust")) <= of["Python"][way], (model, way)
