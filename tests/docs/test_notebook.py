"""The notebook runs, cell by cell, in a kernel of Jupyter."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.docs.conftest import DOCS

PATH = DOCS / "notebooks" / "first-flow.ipynb"

#: In a process of its own, whose sockets are its own affair; the kernel is spoken to by files, and takes no port.
RUN = """
import sys
import nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient

source, target = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
kernel = AsyncKernelManager(transport="ipc", ip="kernel")
NotebookClient(notebook, km=kernel, timeout=600, resources={"metadata": {"path": "."}}).execute()
nbformat.write(notebook, target)
"""


def run(source: Path, folder: Path) -> subprocess.CompletedProcess:
    """Run a notebook in a folder, where `run.ipynb` then holds it with its outputs."""
    command = [sys.executable, "-c", RUN, source, folder / "run.ipynb"]
    own = {**os.environ, "IPYTHONDIR": str(folder / "ipython"), "JUPYTER_RUNTIME_DIR": str(folder / "jupyter")}
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=False)


def text(cell, kind: str) -> str:
    """All that a cell shows of one kind."""
    return "\n".join(output.data[kind] for output in cell.outputs if kind in output.get("data", {}))


@pytest.mark.slow  # it starts a kernel and trains
def test_the_notebook_runs(tmp_path):
    done = run(PATH, tmp_path)
    assert done.returncode == 0, done.stderr
    code = [cell for cell in nbformat.read(tmp_path / "run.ipynb", as_version=4).cells if cell.cell_type == "code"]
    assert [output for cell in code for output in cell.outputs if output.get("name") == "stderr"] == []
    trained, figures, exported, checked = code[2:6]
    assert re.search("table: .* bits/dim .*━.* gone", text(trained, "text/plain"))  # the bar as it was last
    assert "<polyline" in text(trained, "text/html")  # the curve of the model
    assert "'kept': 'epoch'" in text(figures, "text/plain")
    assert "<svg" in text(exported, "text/html")
    passed, of = re.findall(r"\d+", text(checked, "text/plain"))
    assert passed == of
    assert "image/png" in code[-2].outputs[-1].data
    assert {"density.onnx", "sampling.onnx", "manifest.json"} <= {
        path.name for path in (tmp_path / "first-flow" / "exported").iterdir()
    }


@pytest.mark.slow  # it starts a kernel
def test_a_cell_that_fails_is_seen(tmp_path):
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import lunet_export\nlunet_export.trian()")])
    nbformat.write(broken, tmp_path / "broken.ipynb")
    done = run(tmp_path / "broken.ipynb", tmp_path)
    assert (done.returncode, "has no attribute 'trian'" in done.stderr) == (1, True)
    assert not (tmp_path / "run.ipynb").exists()


def test_it_is_committed_without_outputs():
    """They would be of some other version, and change with every run."""
    notebook = json.loads(PATH.read_text(encoding="utf-8"))
    nbformat.validate(notebook)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [(cell["outputs"], cell["execution_count"]) for cell in code] == [([], None)] * len(code)
