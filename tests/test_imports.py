"""Running an export must not load torch, onnx or anything else that is heavy; and proof that this test can fail."""

import subprocess
import sys

import pytest

from lunet_export.export import Provenance, Question, export_for_verifier
from tests.verification.cases import piecewise_linear

HEAVY = ("torch", "onnx", "scipy", "sklearn", "matplotlib", "typer", "PIL", "pyarrow", "pandas", "polars", "ray")


def loaded_by(code: str) -> set[str]:
    """Heavy packages that a fresh process has loaded after `code`."""
    script = f"{code}\nimport sys\nprint(','.join(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.strip().split(",")) - {""}


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import lunet_export, lunet_export.parity, lunet_export.bench, lunet_export.figures") == set()
    assert loaded_by("import lunet_export.verification") == set()


def test_what_is_public_loads_nothing_heavy():
    assert loaded_by("from lunet_export import *\nassert callable(convert) and callable(train)") == set()
    assert loaded_by("import lunet_export.export\nassert callable(lunet_export.export)") == set()


def test_the_function_export_stays_where_the_package_is_used():
    code = "import lunet_export\nimport lunet_export.export.write\nfrom lunet_export.export import export\n"
    assert "onnx" in loaded_by(f"{code}assert lunet_export.export is lunet_export.api.export is not export")


def test_checking_from_python_loads_nothing_heavy(exported):
    code = f"import lunet_export\nassert lunet_export.check({str(exported.folder)!r}, provider='cpu')"
    assert loaded_by(code) == set()


def test_running_an_export_loads_nothing_heavy(exported):
    code = (
        "from lunet_export import ExportedFlow\n"
        "from lunet_export import parity\n"
        f"flow = ExportedFlow({str(exported.folder)!r}, provider='cpu')\n"
        "x, log_prob = flow.sample_and_log_prob(4, seed=0)\n"
        "assert flow.encode(x).shape == (4, 16)\n"
        "assert parity.all_passed(parity.run(flow, flow.artifact.vectors))\n"
    )
    assert loaded_by(code) == set()


def test_streaming_arrays_loads_nothing_heavy(exported, tmp_path):
    code = (
        "from pathlib import Path\n"
        "from lunet_export.streaming import Run, SampleJob, ScoreJob, local, on_ray\n"
        f"run = Run(Path({str(tmp_path / 'x')!r}), SampleJob({str(exported.folder)!r}, 10), format='npy')\n"
        "local(run, run.begin(resume=False))\n"
        f"job = ScoreJob(({str(exported.folder)!r},), {str(tmp_path / 'x' / 'part-00000.npy')!r})\n"
        f"run = Run(Path({str(tmp_path / 'y')!r}), job, format='npy')\n"
        "local(run, run.begin(resume=False))\n"
        "assert run.finish().rows == 10\n"
    )
    assert loaded_by(code) == set()


@pytest.mark.parametrize("package", ["torch", "onnx", "pyarrow"])
def test_this_test_can_fail(package):
    assert package in loaded_by(f"import lunet_export\nimport {package}")


def test_the_commands_that_run_an_export_load_neither_torch_nor_onnx(exported, tmp_path):
    code = (
        "from typer.testing import CliRunner\n"
        "from lunet_cli.main import app\n"
        f"for command in (['check', {str(exported.folder)!r}], ['sample', {str(exported.folder)!r}, '-n', '3',"
        f" '-o', {str(tmp_path / 'x.npy')!r}], ['inspect', {str(exported.folder)!r}]):\n"
        "    assert CliRunner().invoke(app, command).exit_code == 0\n"
    )
    assert loaded_by(code) <= {"typer"}


def test_replaying_a_witness_loads_neither_torch_nor_onnx(tmp_path):
    folder = tmp_path / "for-verifier"
    export_for_verifier(piecewise_linear(2, 2), folder, Provenance("m"), Question())
    (tmp_path / "w.json").write_text("[0, 0]")
    code = (
        "from typer.testing import CliRunner\n"
        "from lunet_cli.main import app\n"
        f"assert CliRunner().invoke(app, ['replay', {str(folder)!r}, {str(tmp_path / 'w.json')!r}]).exit_code == 0\n"
    )
    assert loaded_by(code) <= {"typer"}
