"""Writes the kernels of an installed onnxruntime-gpu to a file; a new version of it needs a new file.

python -m tests.graphs.kernels.dump .venv-cuda/bin/python tests/graphs/kernels/onnxruntime-1.31.1.json.gz

ONNX Runtime lists its kernels only where all its providers can be constructed, so this runs on the stand-in libraries
of `tests/cuda/standin`, TensorRT's among them.
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.cuda.standin.build import build

_OLDEST_OPSET = 13  # kernels that no newer opset reaches are left out

_ASK = """
import json, pathlib, sys
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state
json.dump({
    "version": onnxruntime.__version__,
    "kernels": [[k.provider, k.domain, k.op_name, *k.version_range, {name: sorted(types) for name, types in
                 k.type_constraints.items()}] for k in state.get_all_opkernel_def()],
}, sys.stdout)
"""


def kernels(python: Path) -> dict[str, Any]:
    """The kernels of the standard operators by provider and operator: first opset, last opset, types by constraint.

    Args:
        python: Of an environment with onnxruntime-gpu.
    """
    with tempfile.TemporaryDirectory() as standin:
        find = "import onnxruntime, pathlib; print(pathlib.Path(onnxruntime.__file__).parent / 'capi')"
        build(Path(standin), Path(_run(python, find, {}).strip()), tensorrt=True)
        document = json.loads(_run(python, _ASK, {"LD_LIBRARY_PATH": standin}))
    found: dict[str, dict[str, list[Any]]] = {}
    for provider, domain, operator, first, last, types in sorted(document["kernels"], key=json.dumps):
        if domain == "" and last >= _OLDEST_OPSET and provider in ("CUDAExecutionProvider", "CPUExecutionProvider"):
            found.setdefault(provider, {}).setdefault(operator, []).append([first, last, types])
    return {"version": document["version"], "kernels": found}


def _run(python: Path, program: str, environment: dict[str, str]) -> str:
    return subprocess.run(
        [python, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    ).stdout


if __name__ == "__main__":
    text = json.dumps(kernels(Path(sys.argv[1])), separators=(",", ":"))
    Path(sys.argv[2]).write_bytes(gzip.compress(text.encode(), mtime=0))
