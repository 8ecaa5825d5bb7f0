"""The README's commands run, its file map is complete, its numbers are the recorded ones."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lunet_cli.main import app
from lunet_export import noise
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def fenced(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_tour_runs_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tour = [line for block in fenced("sh") for line in block.splitlines() if line.startswith("lunet-export ")]
    assert len(tour) == 5
    quick = {"train": ["--epochs", "2"], "bench": ["--seconds", "0.05", "--batch", "1", "--no-compile"]}
    for line in tour:
        arguments = shlex.split(line)[1:]
        result = CliRunner().invoke(app, arguments + quick.get(arguments[0], []))
        assert result.exit_code == 0, (line, result.output)
    assert (tmp_path / "grid.png").exists()


def test_the_python_example_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    (example,) = fenced("python")
    names: dict = {}
    exec(example, names)
    assert (names["x"].shape, names["log_prob"].shape, names["z"].shape) == ((64, 64), (64,), (64, 64))


def test_the_file_map_names_every_module():
    _, _, file_map = README.partition("## File map")
    modules = [path for folder in ("lunet_export", "cli/lunet_cli") for path in (ROOT / folder).rglob("*.py")]
    missing = [str(path) for path in modules if path.name != "__init__.py" and path.name not in file_map]
    assert missing == []


def test_every_link_leads_somewhere():
    texts = {ROOT / name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "exported/README.md")}
    for path, text in texts.items():
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert target.startswith("https://") or (path.parent / target).exists(), target


def test_every_documented_option_exists():
    helps = CliRunner().invoke(app, ["--help"]).output
    for command in app.registered_commands:
        helps += CliRunner().invoke(app, [command.callback.__name__, "--help"], env={"COLUMNS": "200"}).output
    for option in set(re.findall(r"(?<![-\w])--[a-z][a-z-]+", README)) - {"--extra-index-url"}:
        assert option in helps, option


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


def test_the_likelihoods_are_the_recorded_ones():
    mnist = json.loads((ROOT / "benchmarks" / "results" / "mnist-training.json").read_text())
    models = [mnist] + [
        json.loads((ROOT / "exported" / name / "manifest.json").read_text())["training"] for name in ("digits", "toy2d")
    ]
    for record in models:
        assert f"**{record['test']:.3f}** | {record['gaussian_test']:.3f} |" in README, record["dataset"]
    assert f"{mnist['paper_convention']:.3f} for this MNIST model" in README


def test_the_formats_known_noise_is_the_generators():
    text = Path(ROOT / "exported" / "README.md").read_text(encoding="utf-8")
    printed = re.search(r"Seed 7, row 0, columns 0 \.\. 3: (.*)\.\n", text)[1].split(", ")
    assert [float(number) for number in printed] == pytest.approx(noise.normal(7, range(1), 4)[0].tolist(), abs=1e-9)
