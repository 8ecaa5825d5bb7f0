"""Replay the test vectors of exported folders in one runtime, with NumPy and that runtime, and nothing of this package.

`python compat_replay.py RUNTIME FOLDER...` prints JSON: the versions, and for every graph its largest difference from
the vectors over the tolerance of its row, the SHA-256 of its answers, or the runtime's message if it failed.
"""

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
#: One graph, opened: the rows of its input -> its outputs by name.
Run = Callable[[Array], Mapping[str, Array]]


def onnxruntime(model: bytes) -> Run:
    """Open a graph in ONNX Runtime's CPU provider, with its default settings."""
    import onnxruntime as ort

    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    (entry,), outputs = session.get_inputs(), [tensor.name for tensor in session.get_outputs()]
    return lambda rows: dict(zip(outputs, session.run(outputs, {entry.name: rows}), strict=True))


def openvino(model: bytes, **settings: str) -> Run:
    """Open a graph in OpenVINO's CPU plug-in in float32; by default it uses bfloat16 where the processor has it."""
    import openvino as ov

    core = ov.Core()
    compiled = core.compile_model(core.read_model(model), "CPU", settings or {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda rows: {port.any_name: np.array(values) for port, values in compiled([rows]).items()}


def openvino_as_it_comes(model: bytes) -> Run:
    """Open a graph in OpenVINO with its default settings."""
    return openvino(model, PERFORMANCE_HINT="LATENCY")


def onnx_reference(model: bytes) -> Run:
    """Open a graph in onnx.reference, the standard's operators in NumPy."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    graph = ReferenceEvaluator(onnx.load_from_string(model))
    (entry,), outputs = graph.input_names, graph.output_names

    def run(rows: Array) -> Mapping[str, Array]:
        with np.errstate(all="ignore"):  # e^x far out, as NumPy computes it
            return dict(zip(outputs, graph.run(None, {entry: rows}), strict=True))

    return run


RUNTIMES: dict[str, tuple[str, Callable[[bytes], Run]]] = {  # by name: the module that has the version
    "onnxruntime": ("onnxruntime", onnxruntime),
    "openvino": ("openvino", openvino),
    "openvino, as it comes": ("openvino", openvino_as_it_comes),
    "onnx.reference": ("onnx", onnx_reference),
}


def main() -> None:
    """Replay and print."""
    name, *folders = sys.argv[1:]
    module, opened = RUNTIMES[name]
    answer = {
        "python": platform.python_version(),
        "version": __import__(module).__version__,
        "numpy": np.__version__,
        "folders": {Path(folder).name: replayed(opened, Path(folder)) for folder in folders},
    }
    print(json.dumps(answer))


def replayed(opened: Callable[[bytes], Run], folder: Path) -> dict[str, Any]:
    """Replay every graph of a folder that has vectors; return {"ratio": .., "digest": ..} or {"said": ..}."""
    manifest, vectors = (json.loads((folder / f"{name}.json").read_bytes()) for name in ("manifest", "vectors"))
    found = {}
    for graph, entry, expected in cases(vectors):
        try:
            run = opened((folder / f"{graph}.onnx").read_bytes())
            found[graph] = compared(run, np.array(entry, dtype=manifest["dtype"]), expected)
        except Exception as error:
            found[graph] = {"said": (str(error).strip() or type(error).__name__).splitlines()[0][:300]}
    return found


def cases(vectors: Mapping[str, Any]) -> list[tuple[str, Any, dict[str, tuple[Any, Any]]]]:
    """Yield each graph's name, its rows, and for each output the expected answer and its tolerance per row."""
    density, sampling = vectors["density"], vectors["sampling"]
    outputs = ("z", "log_prob") if isinstance(sampling, dict) else ("class_log_prob", "log_prob", "posterior")
    asked = [("density", density["x"], {name: (density[name], density["tolerance"][name]) for name in outputs})]
    parts = (
        {"sampling": sampling}
        if isinstance(sampling, dict)
        else {f"sampling_{number}": part for number, part in enumerate(sampling)}
    )
    return asked + [(name, part["z"], {"x": (part["x"], part["tolerance"]["x"])}) for name, part in parts.items()]


def compared(run: Run, rows: Array, expected: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Return the largest difference over the tolerance, and the hash of the answers."""
    got, ratio, digest = run(rows), 0.0, hashlib.sha256()
    for name, (numbers, tolerance) in sorted(expected.items()):
        wanted, bound = np.array(numbers), np.array(tolerance)
        answers = got[name].astype(np.float64)
        if answers.shape != wanted.shape or not np.isfinite(answers).all():
            raise ValueError(f"{name} has shape {answers.shape} or numbers that are none")
        bound = bound.reshape(bound.shape + (1,) * (wanted.ndim - bound.ndim))
        gap = np.abs(answers - wanted)
        ratio = max(ratio, float(np.where(gap == 0, 0.0, gap / bound).max()))
        digest.update(np.ascontiguousarray(got[name]).tobytes())
    return {"ratio": ratio, "digest": digest.hexdigest()}


if __name__ == "__main__":
    main()
