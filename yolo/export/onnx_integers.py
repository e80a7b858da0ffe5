"""Quantised ONNX graphs that onnxruntime computes in integers, rounded as in TFLite files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from yolo.errors import UserError

if TYPE_CHECKING:
    import onnx

QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
LARGEST_BIAS = 2**30
"""In steps: sums of products come on top, in 32 bits."""


def compute_in_integers(graph: onnx.GraphProto) -> None:
    """Rewrite a graph with quantise and dequantise operators in place, such that onnxruntime merges them with others.

    Of int8 activations that more than one operator takes it merges none: what computes them does so in float, which
    rounds some the other way and takes longer than a network that was never quantised.

    Raises:
        UserError: a bias does not fit.
    """
    whole_biases(graph)
    unsigned(graph)
    del graph.value_info[:]  # of tensors that were int8


def whole_biases(graph: onnx.GraphProto) -> None:
    """Write the constant biases of quantised convolutions as int32, in steps of the products.

    onnxruntime (1.31) would do so itself, rounded otherwise, and make another number of one that does not fit.
    """
    from onnx import helper, numpy_helper

    constants = {entry.name: entry for entry in graph.initializer}
    scales = {
        node.output[0]: numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[1] in constants
    }
    nodes = []
    for node in graph.node:
        quantised = node.op_type == "Conv" and all(name in scales for name in node.input[:2])
        if quantised and len(node.input) == 3 and node.input[2] in constants:
            scale = scales[node.input[0]] * scales[node.input[1]]
            steps = whole_steps(numpy_helper.to_array(constants[node.input[2]]), scale)
            name = f"{node.output[0]}_bias"
            values = (steps, scale.astype(np.float32), np.zeros_like(steps))
            tensors = [numpy_helper.from_array(array, f"{name}_{n}") for n, array in enumerate(values)]
            graph.initializer.extend(tensors)
            nodes.append(helper.make_node("DequantizeLinear", [each.name for each in tensors], [name], axis=0))
            node.input[2] = name
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused(graph)


def whole_steps(bias: NDArray[np.float32], scale: NDArray[np.float64]) -> NDArray[np.int32]:
    """[out] numbers in steps of `scale` [out], rounded as in TFLite files. UserError when one does not fit."""
    import torch

    from yolo.quantization.integers import half_away

    steps = half_away(torch.from_numpy(bias.astype(np.float64) / scale)).numpy()
    if np.abs(steps).max() >= LARGEST_BIAS:
        channel = int(np.abs(steps).argmax())
        raise UserError(f"INT8 has no room for the bias {bias[channel]:.4g} of a channel with next to no weights")
    return steps.astype(np.int32)


def unsigned(graph: onnx.GraphProto) -> None:
    """Write int8 as uint8, all numbers 128 larger and their zero points, too.

    Weights as well: on x86 CPUs without 8-bit dot products onnxruntime adds two products of uint8 and int8 in 16 bits,
    which they may not fit.
    """
    from onnx import TensorProto, numpy_helper

    names = {name for node in graph.node if node.op_type in QUANTISERS for name in node.input}
    for entry in graph.initializer:
        if entry.data_type == TensorProto.INT8 and entry.name in names:
            shifted = numpy_helper.to_array(entry).astype(np.int16) + 128
            entry.CopyFrom(numpy_helper.from_array(shifted.astype(np.uint8), entry.name))


def drop_unused(graph: onnx.GraphProto) -> None:
    """Take out constants that no operator takes."""
    used = {name for node in graph.node for name in node.input}
    kept = [entry for entry in graph.initializer if entry.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
