"""The matrix products of a GPU in an exported graph, in NumPy: TF32 and float16, without a GPU.

`onnx.reference` evaluates the graph node by node, with its products replaced:
    float32 tensors   both operands reduced to TF32 (8 bits of exponent, 10 of mantissa), products summed in float32
    float16 tensors   products summed in float32, the result rounded to float16, to infinity beyond 65504
ONNX Runtime sums float16 products in float32 unless told otherwise (`HalfGemmOptions` in its sources). How cuBLAS
reduces to TF32 is not documented, so both ways are here. It was seen to round to nearest with ties away from zero, as
PTX's `cvt.rna.tf32.f32` does: 1024.5 came out as 1025 (pytorch/pytorch#53635). Tensor cores that are fed plain float32
do not read the last 13 bits (triton-lang/triton#4574).

Not modelled: the order of a sum, accumulators of another width, and which kernel is taken: cuBLAS may leave a small
product in float32, which is only better. A GPU's own e^x and log differ from NumPy's by units of roundoff.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_conv import Conv as PlainConv

Floats = NDArray[np.floating]
Reduce = Callable[[Floats], Floats]  # an operand of a float32 product -> the operand that is multiplied

_KEPT = np.uint32(0xFFFFE000)  # float32 without the last 13 bits of its mantissa
_HALF = np.uint32(0x00001000)  # half a unit of the last bit that is kept


def nearest(x: Floats) -> Floats:
    """Return float32 rounded to TF32, ties away from zero; the largest numbers become infinity. NaN stays NaN."""
    bits = x.view(np.uint32)
    # A carry out of the mantissa runs into the exponent, as it must. NaN and infinity must not move.
    return np.where(np.isfinite(x), (bits + _HALF) & _KEPT, bits).view(np.float32)


def truncated(x: Floats) -> Floats:
    """Return float32 cut to TF32, towards zero. NaN stays NaN."""
    bits = x.view(np.uint32)
    return np.where(np.isfinite(x), bits & _KEPT, bits).view(np.float32)


def whole(x: Floats) -> Floats:
    """Return float32 as it is: TF32 is switched off."""
    return x


#: How the products of float32 tensors may be computed.
MODES: Mapping[str, Reduce] = {"float32": whole, "TF32 nearest": nearest, "TF32 truncated": truncated}


class EmulatedFlow:
    """This class runs an exported flow or mixture with a GPU's products: a `parity.Runner` or `parity.ClassRunner`.

    Args:
        graphs: Graphs of the export; one that draws its noise itself is left out.
        mode: How products of float32 tensors are computed, a name of `MODES`; those of float16 tensors ignore it.
    """

    def __init__(self, graphs: Mapping[str, onnx.ModelProto], mode: str) -> None:
        self._graphs = {name: evaluator(graph, mode) for name, graph in graphs.items() if name != "random_sampling"}
        element = graphs["density"].graph.input[0].type.tensor_type.elem_type
        self._dtype = helper.tensor_dtype_to_np_dtype(element)
        of_flow = "sampling" in graphs
        self._answers = ["z", "log_prob"] if of_flow else ["class_log_prob", "log_prob", "posterior"]

    @property
    def has_log_prob(self) -> bool:
        """Return whether there is a graph that samples with the density; a mixture has one per class."""
        return not {"sampling_with_log_prob", "sampling_with_log_prob_0"}.isdisjoint(self._graphs)

    def density(self, x: Floats, context: Floats | None = None) -> tuple[Any, ...]:
        """Return z (N, D) and log_prob (N,) in nats for x (N, D) and, of a conditional flow, contexts (N, C).

        A mixture gives class_log_prob, log_prob and posterior.
        """
        return self._run("density", self._answers, {"x": x}, context)

    def decode(self, z: Floats, label: int | None = None, /, *, context: Floats | None = None) -> Floats:
        """Return x (N, D) for z (N, D); a mixture uses the flow of the class `label`."""
        found: Floats = self._run(_of_class("sampling", label), ["x"], {"z": z}, context)[0]
        return found

    def decode_with_log_prob(
        self, z: Floats, label: int | None = None, /, *, context: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Return x (N, D) and log_prob (N,) in nats for z (N, D); a mixture uses the flow of the class `label`."""
        graph = _of_class("sampling_with_log_prob", label)
        x, log_prob = self._run(graph, ["x", "log_prob"], {"z": z}, context)
        return x, log_prob

    def _run(
        self, name: str, outputs: list[str], rows: Mapping[str, Floats], context: Floats | None
    ) -> tuple[Any, ...]:
        rows = rows if context is None else {**rows, "context": context}
        with np.errstate(all="ignore"):  # NumPy warns of the infinities that the graph counts on
            found = self._graphs[name].run(outputs, {key: array.astype(self._dtype) for key, array in rows.items()})
        return tuple(np.asarray(array) for array in found)


def _of_class(name: str, label: int | None) -> str:
    return name if label is None else f"{name}_{label}"


def evaluator(model: onnx.ModelProto, mode: str) -> ReferenceEvaluator:
    """Return the graph, ready to run, with the products of `mode`."""
    reduce = MODES[mode]

    class Gemm(OpRun):
        """alpha A B + beta C."""

        op_domain = ""

        def _run(self, a: Floats, b: Floats, c: Floats | None = None, **attributes: Any) -> tuple[Floats]:  # noqa: ANN401
            left, right = (array.T if attributes[name] else array for array, name in ((a, "transA"), (b, "transB")))
            product = attributes["alpha"] * _multiplied(left, right, reduce)
            return ((product if c is None else product + attributes["beta"] * c).astype(a.dtype),)

    class MatMul(OpRun):
        """A B."""

        op_domain = ""

        def _run(self, a: Floats, b: Floats) -> tuple[Floats]:
            return (_multiplied(a, b, reduce).astype(a.dtype),)

    class Conv(PlainConv):
        """Sums over a window of X times W, + B."""

        op_domain = ""

        def _run(  # type: ignore[override]
            self,
            x: Floats,
            w: Floats,
            b: Floats | None = None,
            **attributes: Any,  # noqa: ANN401
        ) -> tuple[Floats]:
            x, w = (reduce(array) if array.dtype == np.float32 else array for array in (x, w))
            (found,) = super()._run(x, w, b, **attributes)  # type: ignore[no-untyped-call]
            return (found,)

    return ReferenceEvaluator(model, new_ops=[Gemm, MatMul, Conv])


def _multiplied(a: Floats, b: Floats, reduce: Reduce) -> Floats:
    """A B before it is rounded to the tensors' dtype."""
    if a.dtype == np.float16:
        return a.astype(np.float32) @ b.astype(np.float32)
    return reduce(a) @ reduce(b) if a.dtype == np.float32 else a @ b
