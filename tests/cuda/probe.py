"""Opens ONNX files on the stand-in CUDA libraries through our runtime and writes what ONNX Runtime did, as JSON.

LD_LIBRARY_PATH=STANDIN CUDASTANDIN_LOG=LOG .venv-cuda/bin/python -m tests.cuda.probe REPORT.json FILE.onnx ...
Instead of a file, an exported folder: what `ExportedFlow` captures of it.
"""

import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from lunet_export import ExportedFlow
from lunet_export.errors import LunetExportError
from lunet_export.runtime.cuda import CudaOptions
from lunet_export.runtime.device_graph import Device, DeviceGraph
from lunet_export.runtime.providers import open_sessions, placement, run
from tests.cuda.journal import Counts, Journal, inside_captures

ROWS = 4
#: Inputs of the graphs that our runtime captures.
CAPTURED = frozenset({"x", "z", "context"})
_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
_NOISE = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


def of_graph(model: bytes, journal: Journal) -> dict[str, Any]:
    """What a graph does on CUDA; "refused" says why our strict session would not open or run it."""
    found: dict[str, Any] = {"refused": None}
    try:
        (session,), _ = open_sessions([model], "cuda", threads=1)
        placed = placement(session)
        found["placed"] = {provider: len(nodes) for provider, nodes in placed.items()}
        found |= {"run": _plain(session, journal), **_profiled(model, journal)}
    except LunetExportError as error:
        return found | {"refused": str(error), "placed": _placed(model)}
    draws = any(node in _NOISE for nodes in placed.values() for node in nodes)
    whole = not draws and {entry.name for entry in session.get_inputs()} <= CAPTURED
    return found | {"capture": _captured(model, journal, only_open=not whole)}


def _placed(model: bytes) -> dict[str, int] | None:
    """Where the nodes of a graph would run that our session opens, tries and refuses; None if it does not open."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    providers = [("CUDAExecutionProvider", CudaOptions().for_session(cuda_graph=False))]
    try:
        session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
    except Exception:  # of many kinds; that there is none is the answer
        return None
    return {provider: len(nodes) for provider, nodes in placement(session).items()}


def of_folder(folder: Path, journal: Journal) -> dict[str, Any]:
    """What the calls of an exported flow do: captures of one that was opened with cuda_graph, copies on the device."""
    return {"captures": _captures(folder, journal), "resident": _resident(folder, journal)}


def _resident(folder: Path, journal: Journal) -> dict[str, Any]:
    """x -> z -> x with rows that are on the device already and stay there, by DLPack in between."""
    device = ExportedFlow(folder, provider="cuda").on_device
    x = device.sample(ROWS, seed=0)
    device.decode(device.encode(x))  # makes room for the batch size
    with journal.section() as lines:
        back = device.decode(onnxruntime.OrtValue.from_dlpack(device.encode(x)))
    return {"device": list(back.__dlpack_device__()), "counts": Counts.of(lines).as_json()}


def _captures(folder: Path, journal: Journal) -> dict[str, int]:
    captures = {}
    with journal.section() as opening:
        flow = ExportedFlow(folder, provider="cuda", cuda_graph=True)
    x, z = np.ones((ROWS, flow.dim)), np.zeros((ROWS, flow.dim))
    calls = {
        "density": lambda: flow.density(x),
        "sampling": lambda: flow.decode(z),
        "sampling_with_log_prob": lambda: flow.decode_with_log_prob(z),
        "random_sampling": lambda: flow.draw(ROWS),
    }
    for name, call in calls.items():
        with journal.section() as lines:
            call()
            call()
        captures[name] = Counts.of(lines).captures
    return {"opening": Counts.of(opening).captures, **captures}


def _feeds(session: onnxruntime.InferenceSession) -> dict[str, NDArray[Any]]:
    """Rows of zeros. Integers are the shape of the rows that a graph draws."""
    (dim,) = {entry.shape[-1] for entry in session.get_outputs() if len(entry.shape) > 1}
    shapes = {entry.name: [ROWS, *entry.shape[1:]] for entry in session.get_inputs()}
    return {
        entry.name: np.zeros(shapes[entry.name], _TYPES[entry.type])
        if entry.type in _TYPES
        else np.array([ROWS, dim][: entry.shape[0]], dtype=np.int64)
        for entry in session.get_inputs()
    }


def _plain(session: onnxruntime.InferenceSession, journal: Journal) -> dict[str, Any]:
    """The second run of a batch size with NumPy arrays: the first makes room for it."""
    outputs, feeds = [entry.name for entry in session.get_outputs()], _feeds(session)
    run(session, outputs, feeds)
    with journal.section() as lines:
        run(session, outputs, feeds)
    return Counts.of(lines).as_json()


def _profiled(model: bytes, journal: Journal) -> dict[str, Any]:
    """A run with TF32 asked for, in ONNX Runtime's own profile, which lists the nodes that it added too.

    "executed" are operators by provider, "tf32" the math modes that cuBLAS was set to. Which nodes there are does not
    depend on TF32: it is a mode of each product.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.enable_profiling = True
    options.intra_op_num_threads = 1
    providers = [("CUDAExecutionProvider", CudaOptions(tf32=True).for_session(cuda_graph=False))]
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
        with journal.section() as lines:
            session.run(None, _feeds(session))
        events = json.loads(Path(session.end_profiling()).read_text())
    executed: dict[str, Counter[str]] = {}
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            executed.setdefault(event["args"]["provider"], Counter())[event["args"]["op_name"]] += 1
    return {"executed": executed, "tf32": sorted(set(Counts.of(lines).math_modes))}


def _captured(model: bytes, journal: Journal, *, only_open: bool) -> dict[str, Any]:
    """A captured CUDA graph: its first run, what was inside of the capture, a replay with NumPy arrays.

    Args:
        model: The graph.
        journal: Of this process.
        only_open: See whether ONNX Runtime would take it for a CUDA graph, and do not run it.
    """
    try:
        (session,), _ = open_sessions([model], "cuda", threads=1, cuda_graph=True)
        if only_open:
            return {"refused": None}
        graph = DeviceGraph(session, Device("cuda"), captured=True)
        fed = list(_feeds(session).values())
        with journal.section() as first:
            graph.to_numpy(*fed)
        with journal.section() as again:
            graph.to_numpy(*fed)
    except LunetExportError as error:
        return {"refused": str(error)}
    return {
        "refused": None,
        "captures": Counts.of(first).captures,
        "inside": Counts.of(inside_captures(first)).as_json(),
        "replay": Counts.of(again).as_json(),
    }


def _loaded() -> list[str]:
    """The CUDA libraries in this process, by their paths."""
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
    return sorted(path for path in mapped if Path(path).name.startswith(("libcu", "libnv")))


def main(report: Path, subjects: list[Path]) -> None:
    """Probe every subject, by its name without suffix."""
    journal, found = Journal(Path(os.environ["CUDASTANDIN_LOG"])), {}
    for subject in subjects:
        found[subject.stem] = (
            of_folder(subject, journal) if subject.is_dir() else of_graph(subject.read_bytes(), journal)
        )
    report.write_text(json.dumps({"subjects": found, "libraries": _loaded()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
