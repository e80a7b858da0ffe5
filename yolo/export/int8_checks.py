"""What of a quantised graph arrived in its .tflite file: weights, their scales, biases, and all ranges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import GraphModule, Node

RELATIVE = 1e-6
"""Scales are equal within this part of them: the file's are float32."""
MIDDLES = 0.01
"""Part of a convolution's weights that may lie in the middle between two numbers, where rounding may go either way."""
PER_TENSOR = "quantized_decomposed.quantize_per_tensor.default"
PER_CHANNEL = "quantized_decomposed.quantize_per_channel.default"
NUMBERS = {0: np.float32, 2: np.int32, 4: np.int64, 9: np.int8}
"""numpy's types by those of schema.fbs that a convolution's constants have."""
INT8_TENSOR = 9


@dataclass(frozen=True)
class Convolution:
    """The constants of one."""

    name: str
    weights: NDArray[np.int8]
    """[out, kernel height, kernel width, in]."""
    scales: NDArray[np.float32]
    """[out]."""
    bias: NDArray[np.float64] | None
    """[out]."""
    step: NDArray[np.float64]
    """[out] what 1 of the bias stands for: the input's scale times the weights'."""


Range = tuple[float, int]
"""Scale and zero point."""


def check_int8(graph: GraphModule, path: Path) -> list[str]:
    """The checks that a file fails, a sentence each.

    Args:
        graph: with quantise operators, by `quantize_after_training`.
        path: the file made of it.
    """
    from yolo.runtime.tflite_file import read_model

    model = read_model(path)
    found = defaultdict(list)
    for convolution in file_convolutions(model):
        found[convolution.weights.shape].append(convolution)
    failures = []
    for convolution in graph_convolutions(graph):
        failures += _differences(convolution, found[convolution.weights.shape])
    return failures + _range_failures(graph_ranges(graph), file_ranges(model))


def _differences(wanted: Convolution, candidates: list[Convolution]) -> list[str]:
    """Against the one with the same weights; a few in the middle between two numbers may be either."""
    numbers = wanted.weights.astype(np.int16)
    found = min(candidates, key=lambda other: np.abs(other.weights - numbers).sum(), default=None)
    errors = None if found is None else np.abs(found.weights - numbers)
    if found is None or errors is None or errors.max() > 1 or errors.sum() > max(1, MIDDLES * errors.size):
        return [f"INT8 weights: those of {wanted.name} are not in the file"]
    failures = []
    if not np.allclose(found.scales, wanted.scales, rtol=RELATIVE, atol=0):
        failures.append(f"INT8 scales: the weights of {wanted.name} have others in the file")
    expected = np.zeros(len(wanted.scales)) if wanted.bias is None else wanted.bias
    stored = np.zeros(len(wanted.scales)) if found.bias is None else found.bias
    error = np.abs(stored - expected) - RELATIVE * np.abs(expected)  # a bias of many steps is rounded as float32, too
    steps = error / wanted.step
    if not steps.max() <= 1:
        channel = int(steps.argmax())
        failures.append(
            f"INT8 biases: that of channel {channel} of {wanted.name} is {stored[channel]:.6g} in the file, "
            f"{expected[channel]:.6g} in the network, {steps[channel]:.3g} steps away (1 is allowed)"
        )
    return failures


def _range_failures(wanted: list[Range], found: list[Range]) -> list[str]:
    def missing(these: list[Range], those: list[Range]) -> list[Range]:
        scales, zeros = np.array([scale for scale, _ in those]), np.array([zero for _, zero in those])
        return [
            (scale, zero)
            for scale, zero in these
            if not np.any((np.abs(scales - scale) <= RELATIVE * scale) & (zeros == zero))
        ]

    failures = []
    for title, lost, total in (
        ("of the network's tensors are not in the file", missing(wanted, found), len(wanted)),
        ("of the file's tensors are not the network's", missing(found, wanted), len(found)),
    ):
        if lost:
            scale, zero = lost[0]
            failures.append(
                f"INT8 ranges: {len(lost)} of {total} {title}, the first with scale {scale:.6g} and zero point {zero}"
            )
    return failures


def graph_ranges(graph: GraphModule) -> list[Range]:
    """Of every quantised tensor in turn."""
    return [(float(node.args[1]), int(node.args[2])) for node in graph.graph.nodes if str(node.target) == PER_TENSOR]


def graph_convolutions(graph: GraphModule) -> Iterator[Convolution]:
    """Of every quantised convolution."""
    for node in graph.graph.nodes:
        quantised = _quantised_weights(node)
        if quantised is None:
            continue
        source = node.args[0].args[0]  # images or activations, dequantised from what a quantise operator gave
        quantise: Any = quantised.target
        weights = quantise(*(_value(graph, argument) for argument in quantised.args)).numpy()
        scales = np.asarray(_value(graph, quantised.args[1]), np.float32)
        bias = _value(graph, node.args[2]) if len(node.args) > 2 else None
        step = float(source.args[1]) * scales.astype(np.float64)
        yield Convolution(node.name, weights.transpose(0, 2, 3, 1), scales, _float64(bias), step)


def _quantised_weights(node: Node) -> Node | None:
    """The node that quantises a convolution's weights."""
    if node.target != torch.ops.aten.conv2d.default:
        return None
    dequantised = node.args[1]
    quantised = dequantised.args[0] if isinstance(dequantised, Node) and dequantised.args else None
    return quantised if isinstance(quantised, Node) and str(quantised.target) == PER_CHANNEL else None


def _value(graph: GraphModule, argument: Any) -> Any:
    """A constant of the graph, or the argument itself."""
    if not (isinstance(argument, Node) and argument.op == "get_attr"):
        return argument
    holder: Any = graph
    for name in str(argument.target).split("."):
        holder = getattr(holder, name)
    return holder.detach()


def _float64(values: Any) -> NDArray[np.float64] | None:
    return None if values is None else np.asarray(values, np.float64)


def file_ranges(model: Any) -> list[Range]:
    """Of every int8 tensor that is computed."""
    (graph,) = model.subgraphs
    return [
        (float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0]))
        for tensor in graph.tensors
        if tensor.type == INT8_TENSOR and model.buffers[tensor.buffer].data is None
    ]


def file_convolutions(model: Any) -> Iterator[Convolution]:
    """Of every INT8 convolution in a file."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    (graph,) = model.subgraphs
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code not in (BuiltinOperator.CONV_2D, BuiltinOperator.DEPTHWISE_CONV_2D):
            continue
        source, weight, *rest = (graph.tensors[index] for index in operator.inputs if index >= 0)
        if weight.type != INT8_TENSOR:
            continue
        weights = _constant(model, weight)
        if code == BuiltinOperator.DEPTHWISE_CONV_2D:  # [1, height, width, out]
            weights = weights.transpose(3, 1, 2, 0)
        scales = np.asarray(weight.quantization.scale, np.float32)
        step = float(source.quantization.scale[0]) * scales.astype(np.float64)
        bias = None
        if rest:
            bias = _constant(model, rest[0]).astype(np.float64) * np.asarray(rest[0].quantization.scale, np.float64)
        yield Convolution("", weights, scales, bias, step)


def _constant(model: Any, tensor: Any) -> NDArray[Any]:
    content = np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes()
    return np.frombuffer(content, NUMBERS[tensor.type]).reshape(tensor.shape)
