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

from yolo.export.int8_ranges import (
    INT8_TENSOR,
    RELATIVE,
    Range,
    alike,
    given_range,
    range_failures,
    taken_range,
    tensor_range,
)

MIDDLES = 0.01
"""Part of a convolution's weights that may lie in the middle between two numbers, where rounding may go either way."""
PER_CHANNEL = "quantized_decomposed.quantize_per_channel.default"
NUMBERS = {0: np.float32, 2: np.int32, 4: np.int64, 9: np.int8}
"""numpy's types by those of schema.fbs that a convolution's constants have."""


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
    taken: Range | None
    """Of its input; None where that is float."""
    given: Range | None
    """Of its output."""


def check_int8(graph: GraphModule, path: Path) -> list[str]:
    """The checks that a file fails, a sentence each.

    Args:
        graph: with quantise operators, by `quantized_graph`.
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
    return failures + range_failures(graph, model)


def _differences(wanted: Convolution, candidates: list[Convolution]) -> list[str]:
    """Against the one with the same weights; a few in the middle between two numbers may be either."""
    numbers = wanted.weights.astype(np.int16)
    found = min(
        candidates, key=lambda o: (np.abs(o.weights - numbers).sum(), not _same_ranges(wanted, o)), default=None
    )
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
    if not _same_ranges(wanted, found):
        failures.append(f"INT8 ranges: {wanted.name} has others in the file")
    return failures


def _same_ranges(wanted: Convolution, found: Convolution) -> bool:
    """Of input and output, where the network's are INT8."""
    pairs = ((wanted.taken, found.taken), (wanted.given, found.given))
    return all(one is None or (other is not None and alike(one, other)) for one, other in pairs)


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
        ranges = taken_range(node.args[0]), given_range(node)
        yield Convolution(node.name, weights.transpose(0, 2, 3, 1), scales, _float64(bias), step, *ranges)


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


def file_convolutions(model: Any) -> Iterator[Convolution]:
    """Of every INT8 convolution in a file."""
    from yolo.runtime.tflite_file import operator_name

    (graph,) = model.subgraphs
    for operator in graph.operators:
        name = operator_name(model, operator)
        if name not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            continue
        source, weight, *rest = (graph.tensors[index] for index in operator.inputs if index >= 0)
        if weight.type != INT8_TENSOR:
            continue
        weights = _constant(model, weight)
        if name == "DEPTHWISE_CONV_2D":  # [1, height, width, out]
            weights = weights.transpose(3, 1, 2, 0)
        scales = np.asarray(weight.quantization.scale, np.float32)
        step = float(source.quantization.scale[0]) * scales.astype(np.float64)
        bias = None
        if rest:
            bias = _constant(model, rest[0]).astype(np.float64) * np.asarray(rest[0].quantization.scale, np.float64)
        ranges = (tensor_range(model, tensor) for tensor in (source, graph.tensors[operator.outputs[0]]))
        yield Convolution("", weights, scales, bias, step, *ranges)


def _constant(model: Any, tensor: Any) -> NDArray[Any]:
    content = np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes()
    return np.frombuffer(content, NUMBERS[tensor.type]).reshape(tensor.shape)
