"""The only file that makes ONNX: nodes, constants, and what must hold for a finished graph."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import ArrayLike, DTypeLike, NDArray
from onnx import TensorProto, checker, helper, numpy_helper, shape_inference

from lunet_export.errors import BadInputError, NarrowDtypeError, brief
from lunet_export.graphs import sizes

#: Runs in every ONNX Runtime from 1.16.3 on, as tested; every kernel that is needed exists at 18 on CPU and CUDA.
OPSET = 18
IR_VERSION = 8
PRODUCER = "lunet_export"

_ELEMENT = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
#: The CUDA provider uploads the sizes of a Split into more groups that differ, at every run, captured or not.
_MOST_UNEQUAL = 4
#: A shader of WebGPU has room for 8 tensors at least, one of which is the whole.
_MOST_PARTS = 7
#: Advice if a dtype is too narrow for a constant.
_WIDER = {
    "float16": "Export with `dtype='float32'`, or another solver.",
    "float32": "Export with `dtype='float64'`, or another solver.",
    "float64": "A number of the model, or its inverse, overflows; use another checkpoint.",
}
#: ONNX Runtime makes one node of a Gemm and one of these behind it; before 1.18 it has no float64 kernel for that node.
_FUSED_WITH_GEMM = frozenset({"Elu", "LeakyRelu", "Relu", "Sigmoid", "Tanh"})
Value = str  # a tensor in the graph is known by its name


class GraphBuilder:
    """A builder makes a graph node by node: `g.node("Add", a, 1.0)` returns the name of the sum.

    Operands are names of tensors or numbers; numbers become scalar constants, each written once. Names follow the
    `scope` they are made in, so that the same weights always give the same bytes.

    Args:
        name: Name of the graph.
        dim: Number of dimensions D of its rows.
        dtype: Dtype of every tensor, `float32` or `float64`.
        products: Dtype of the matrix products alone, with casts around them: `float16`.
        rows: Fixed number of rows in place of `batch`.
        opset: Opset of the finished graph; older ones have fewer operators.
    """

    def __init__(
        self,
        name: str,
        *,
        dim: int,
        dtype: str,
        products: str | None = None,
        rows: int | None = None,
        opset: int = OPSET,
    ) -> None:
        self.name, self.dim, self.dtype = name, dim, np.dtype(dtype)
        self._rows: str | int = rows or "batch"
        self._opset = opset
        self._element = _ELEMENT[dtype]
        self._products = np.dtype(products or dtype)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._short: dict[Value, Value] = {}  # tensors that also exist in the dtype of the products
        self._known: list[onnx.ValueInfoProto] = []  # shapes that inference cannot see
        self._scope: tuple[str, ...] = ()
        self._counts: dict[str, int] = {}

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Open a scope; names made inside begin with `name.`."""
        self._scope = (*self._scope, name)
        try:
            yield
        finally:
            self._scope = self._scope[:-1]

    @property
    def here(self) -> tuple[str, ...]:
        """Return the scope that names are made in."""
        return self._scope

    @contextmanager
    def at(self, scope: tuple[str, ...]) -> Iterator[None]:
        """Reopen a scope that may be closed already; names made inside belong to it."""
        before, self._scope = self._scope, scope
        try:
            yield
        finally:
            self._scope = before

    def input(self, name: str, *, rows: str | int | None = None, width: int | None = None) -> Value:
        """Add an input: rows [batch, dim] that the caller feeds, or others of another number or width."""
        shape = [rows or self._rows, width or self.dim]
        self._inputs.append(helper.make_tensor_value_info(name, self._element, shape))
        return name

    def random_normal(self, shape: str) -> Value:
        """Add standard normal rows; the caller feeds the two integers batch and dim as `shape`.

        Only this way of sizing them keeps every node on the GPU and can be captured in a CUDA graph.
        """
        self._inputs.append(helper.make_tensor_value_info(shape, TensorProto.INT64, [2]))
        zero = numpy_helper.from_array(np.zeros(1, dtype=self.dtype))
        rows = self.node("RandomNormalLike", self.node("ConstantOfShape", shape, value=zero))
        self._known.append(helper.make_tensor_value_info(rows, self._element, ["batch", self.dim]))
        return rows

    def output(self, name: str, value: Value, *, rows: bool = True, width: int | None = None) -> None:
        """Make `value` the output `name`: rows [batch, width], dim wide by default, or one number per row [batch]."""
        for node in self._nodes:
            node.output[:] = [name if output == value else output for output in node.output]
            node.input[:] = [name if operand == value else operand for operand in node.input]
        self._known = [info for info in self._known if info.name != value]
        shape: list[str | int] = [self._rows, width or self.dim] if rows else [self._rows]
        self._outputs.append(helper.make_tensor_value_info(name, self._element, shape))

    def constant(self, array: ArrayLike, name: str, dtype: DTypeLike | None = None) -> Value:
        """Add a constant, rounded to the graph's dtype or the one given (int64 stays int64).

        Raises:
            BadInputError: if a number is too large for the dtype.
        """
        rounded = self._rounded(np.asarray(array), np.dtype(dtype or self.dtype))
        full = self._unique(name)
        self._constants[full] = numpy_helper.from_array(rounded, full)
        return full

    def node(self, operator: str, *operands: Value | float, **attributes: Any) -> Value:  # noqa: ANN401
        """Add one node with one output, and return the output's name."""
        inputs = [operand if isinstance(operand, str) else self._number(operand) for operand in operands]
        output = self._unique(operator.lower())
        self._nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def cast(self, value: Value) -> Value:
        """Cast `value` to the graph's dtype: truth values become 1 and 0."""
        return self.node("Cast", value, to=self._element)

    def matrix(self, weight: NDArray[np.float64]) -> Value:
        """Add a weight (out, in) for several calls of `gemm`, written once."""
        return self.constant(weight.T, "weight", self._products)

    def gemm(
        self,
        rows: Value,
        weight: Value | NDArray[np.float64],
        addend: Value | NDArray[np.float64] | None = None,
        *,
        alpha: float = 1.0,
        beta: float = 1.0,
    ) -> Value:
        """Add alpha rows weight^T + beta addend. The weight is (out, in) as in the formulas, stored transposed."""
        term = addend if isinstance(addend, str) or addend is None else self.constant(addend, "bias")
        factors = {"alpha": float(alpha), **({} if beta == 1.0 else {"beta": float(beta)})}
        if self._products == self.dtype:
            matrix = weight if isinstance(weight, str) else self.matrix(weight)
            return self.node("Gemm", rows, matrix, *([] if term is None else [term]), **factors)
        if rows not in self._short:
            self._short[rows] = self.node("Cast", rows, to=_ELEMENT[self._products.name])
        if isinstance(weight, str):
            short = self.node("Gemm", self._short[rows], weight, alpha=float(alpha))
        else:
            short = self.node("Gemm", self._short[rows], self.matrix(alpha * weight))
        product = self.node("Cast", short, to=self._element)
        self._short[product] = short  # a product that goes into the next one needs no casts in between
        if term is None:
            return product
        return self.node("Add", product, term if beta == 1.0 else self.node("Mul", term, beta))

    def add(self, rows: Value, addend: Value | NDArray[np.float64]) -> Value:
        """Add rows + addend."""
        return self.node("Add", rows, addend if isinstance(addend, str) else self.constant(addend, "bias"))

    def split(self, rows: Value, sizes: Sequence[int], *, axis: int = 1) -> list[Value]:
        """Split the columns of `rows`, or another axis, into consecutive groups.

        The nodes are fewest where all groups but the last have one width.
        """
        if len(sizes) == 1:
            return [rows]
        if len(sizes) > _MOST_PARTS or (len(sizes) > _MOST_UNEQUAL and len(set(sizes[:-1])) > 1):
            middle = (len(sizes) + 1) // 2
            halves = sizes[:middle], sizes[middle:]
            found = self.split(rows, [sum(half) for half in halves], axis=axis)
            return [
                part for whole, half in zip(found, halves, strict=True) for part in self.split(whole, half, axis=axis)
            ]
        *equal, last = sizes
        if len(sizes) > _MOST_UNEQUAL and last != equal[0]:
            whole, rest = self.split(rows, [sum(equal), last], axis=axis)
            return [*self.split(whole, equal, axis=axis), rest]
        outputs = [self._unique("split") for _ in sizes]
        lengths = self.constant(np.array(sizes, dtype=np.int64), "sizes")
        self._nodes.append(helper.make_node("Split", [rows, lengths], outputs, name=outputs[0], axis=axis))
        return outputs

    def concat(self, parts: Sequence[Value], *, axis: int = 1) -> Value:
        """Put groups of columns, or of another axis, side by side."""
        if len(parts) > _MOST_PARTS:
            middle = (len(parts) + 1) // 2
            parts = [self.concat(parts[:middle], axis=axis), self.concat(parts[middle:], axis=axis)]
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=axis)

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """Give `value` another shape; -1 stands for the remaining length."""
        name = "shape_" + "_".join(map(str, shape))
        return self.node("Reshape", value, self._shared(name, np.array(shape, dtype=np.int64)))

    def sum_columns(self, rows: Value, *, keep: bool = False, axis: int = 1) -> Value:
        """Sum over columns, [batch, dim] -> [batch], or [batch, 1] where the axis is kept; or over another axis."""
        over = self._shared("axis" if axis == 1 else f"axis_{axis}", np.array([axis], dtype=np.int64))
        return self.node("ReduceSum", rows, over, keepdims=int(keep))

    def finish(self, metadata: Mapping[str, str]) -> onnx.ModelProto:
        """Return the checked model: IR 8, every shape inferred, `metadata` in its metadata_props.

        Raises:
            BadInputError: if the constants exceed 2 GB.
        """
        nodes = _bias_apart(self._used()) if self.dtype == np.float64 else self._used()
        read = {operand for node in nodes for operand in node.input}  # runtimes warn of constants that nothing reads
        constants = [constant for name, constant in self._constants.items() if name in read]
        if sum(constant.ByteSize() for constant in constants) > sizes.FILE_BYTES - 2**20:
            raise BadInputError("Expected a graph of at most 2 GB, the limit of one ONNX file; this one needs more.")
        graph = helper.make_graph(nodes, self.name, self._inputs, self._outputs, constants, value_info=self._known)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self._opset)], ir_version=IR_VERSION, producer_name=PRODUCER
        )
        helper.set_model_props(model, dict(metadata))
        checker.check_model(model, full_check=True)
        return shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)

    def _used(self) -> list[onnx.NodeProto]:
        """Return the nodes without those whose outputs nothing reads."""
        wanted, kept = {output.name for output in self._outputs}, []
        for node in reversed(self._nodes):
            if wanted.intersection(node.output):
                kept.append(node)
                wanted.update(node.input)
        return kept[::-1]

    def _number(self, value: float) -> Value:
        return self._shared(f"number_{float(value)!r}", np.asarray(value, dtype=np.float64))

    def _shared(self, name: str, array: NDArray[np.generic]) -> Value:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(self._rounded(array, self.dtype), name)
        return name

    @staticmethod
    def _rounded(exact: NDArray[np.generic], wanted: np.dtype[Any]) -> NDArray[np.generic]:
        with np.errstate(over="ignore"):
            rounded = np.asarray(exact if exact.dtype == np.int64 else exact.astype(wanted), order="C")
        if not np.isfinite(rounded).all():
            raise NarrowDtypeError.of(
                f"Expected weights within the range of {wanted}; got up to {np.abs(exact).max():.1e}.",
                _WIDER[wanted.name],
            )
        return rounded

    def _unique(self, name: str) -> str:
        full = ".".join((*self._scope, name))
        count = self._counts[full] = self._counts.get(full, -1) + 1
        return f"{full}_{count}" if count else full


def _bias_apart(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Return the nodes with Gemm(x, W, b) as Gemm(x, W) + b, where the one operator behind it would be fused in."""
    readers = Counter(name for node in nodes for name in node.input)
    ahead = {node.input[0] for node in nodes if node.op_type in _FUSED_WITH_GEMM and readers[node.input[0]] == 1}
    found = []
    for node in nodes:
        scaled = any(attribute.name == "beta" for attribute in node.attribute)
        if node.op_type != "Gemm" or len(node.input) < 3 or node.output[0] not in ahead or scaled:
            found.append(node)
            continue
        output, addend = node.output[0], node.input[2]
        product = onnx.NodeProto()
        product.CopyFrom(node)
        product.name = product.output[0] = f"{output}.product"
        del product.input[2:]
        found += [product, helper.make_node("Add", [product.output[0], addend], [output], name=f"{output}.sum")]
    return found


def serialize(model: onnx.ModelProto) -> bytes:
    """Return the file's bytes, the same for the same model."""
    return model.SerializeToString(deterministic=True)


def operators(model: onnx.ModelProto) -> dict[str, int]:
    """Return how many nodes of each operator there are, by name."""
    names = [node.op_type for node in model.graph.node]
    return {name: names.count(name) for name in sorted(set(names))}


def describe(path: Path) -> dict[str, Any]:
    """Return what is in an ONNX file: operators, versions, tensors, metadata.

    Raises:
        BadInputError: if the file is no ONNX graph.
    """
    data = path.read_bytes()
    try:
        model = onnx.load_model_from_string(data)
        checker.check_model(model)
        return _described(model, len(data))
    except (DecodeError, checker.ValidationError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise BadInputError(f"Expected an ONNX graph in {path}; it is not: {brief(error, 200)}.") from None


def _described(model: onnx.ModelProto, size: int) -> dict[str, Any]:
    return {
        "bytes": size,
        "nodes": len(model.graph.node),
        "operators": operators(model),
        "opset": max(entry.version for entry in model.opset_import),
        "ir_version": model.ir_version,
        "inputs": [_tensor(value) for value in model.graph.input],
        "outputs": [_tensor(value) for value in model.graph.output],
        "constants": sum(prod(tensor.dims) for tensor in model.graph.initializer),
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
    }


def _tensor(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    shape = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
    return {"name": value.name, "shape": shape, "dtype": str(helper.tensor_dtype_to_np_dtype(tensor.elem_type))}
