"""LU-Nets of leaky ReLU and classifiers, shared by the tests of what goes to verifiers."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lunet_export.layers import Chain
from lunet_export.preprocessing import Logit
from tests.networks import network

CLASSES = 3


def piecewise_linear(
    dim: int, blocks: int, *, alpha: float = 0.1, preprocessing: Logit | None = None, seed: int = 0
) -> Chain:
    """A random LU-Net of leaky ReLU."""
    return network(dim, blocks, alpha=alpha, preprocessing=preprocessing, seed=seed, activation="leaky-relu")


#: D and number of blocks; every one with every slope.
SIZES = [(1, 1), (1, 3), (2, 2), (2, 4), (4, 1), (4, 4), (16, 2), (16, 3), (64, 2), (64, 4)]
SLOPES = (0.01, 0.1, 0.5, 0.9)


def _model(nodes, shape, constants, *, opset, ir_version, output="logits", source="rows", width=CLASSES):
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", width])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    onnx.checker.check_model(model, full_check=True)
    return model


def dense(dim: int, *, hidden: int = 5, seed: int = 3, opset: int = 13) -> onnx.ModelProto:
    """Gemm, Relu, Gemm on rows [N, D]."""
    rng = np.random.default_rng(seed)
    constants = {
        "w1": rng.standard_normal((dim, hidden)) / np.sqrt(dim),
        "b1": rng.standard_normal(hidden),
        "w2": rng.standard_normal((hidden, CLASSES)),
        "b2": rng.standard_normal(CLASSES),
    }
    nodes = [
        helper.make_node("Gemm", ["rows", "w1", "b1"], ["a"]),
        helper.make_node("Relu", ["a"], ["h"]),
        helper.make_node("Gemm", ["h", "w2", "b2"], ["logits"]),
    ]
    return _model(nodes, ["N", dim], constants, opset=opset, ir_version=7)


def of_images(side: int, *, seed: int = 3) -> onnx.ModelProto:
    """Conv, Relu, Flatten, Gemm on images [N, 1, side, side], of an older opset."""
    rng = np.random.default_rng(seed)
    constants = {
        "kernel": rng.standard_normal((2, 1, 2, 2)),
        "w": rng.standard_normal((2 * (side - 1) ** 2, CLASSES)),
        "b": rng.standard_normal(CLASSES),
    }
    nodes = [
        helper.make_node("Conv", ["rows", "kernel"], ["a"]),
        helper.make_node("Relu", ["a"], ["h"]),
        helper.make_node("Flatten", ["h"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"]),
    ]
    return _model(nodes, ["N", 1, side, side], constants, opset=11, ir_version=6)


def clashing(dim: int, *, seed: int = 3) -> onnx.ModelProto:
    """Names of the generator's own, a fixed batch, and an operator that is younger than opset 13."""
    rng = np.random.default_rng(seed)
    constants = {
        "block1.weight": rng.standard_normal((dim, CLASSES)),
        "block1.bias": rng.standard_normal(CLASSES),
    }
    nodes = [
        helper.make_node("MatMul", ["z", "block1.weight"], ["block1.gemm"], name="block1.gemm"),
        helper.make_node("Add", ["block1.gemm", "block1.bias"], ["block2.gemm"], name="block2.gemm"),
        helper.make_node("LeakyRelu", ["block2.gemm"], ["x"], name="x", alpha=0.2),
    ]
    return _model(nodes, [1, dim], constants, opset=18, ir_version=8, output="x", source="z")


#: For 16 dimensions; the shape that each takes, and the opset that the merged graph has.
CLASSIFIERS = {
    "dense": (lambda: dense(16), [1, 16], 13),
    "dense, older": (lambda: dense(16, opset=7), [1, 16], 7),
    "images": (lambda: of_images(4), [1, 1, 4, 4], 11),
    "clashing names": (lambda: clashing(16), [1, 16], 18),
}
