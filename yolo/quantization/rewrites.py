"""The same function in operators that XNNPACK, which runs TFLite files on CPUs, has.

What it lacks runs in LiteRT's slower kernels, and cuts the graph into pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from yolo.quantization.fake_quantize import PerChannelFakeQuantize

aten = torch.ops.aten


def rewrite_for_xnnpack(graph: GraphModule) -> GraphModule:
    """Both of the following, in a graph with fake quantisers."""
    return upsample_by_concatenation(average_by_convolution(graph))


@torch.no_grad()
def average_by_convolution(graph: GraphModule) -> GraphModule:
    """Make average pooling, which XNNPACK lacks in INT8, a convolution of each channel with a constant; in place.

    In a graph with fake quantisers the constant gets one, too, and the output keeps that of the pooling. Not before
    training: rknn-toolkit2 (2.5) dies of such convolutions.
    """
    return _replaced(graph, is_average_by_convolution, _average)


@torch.no_grad()
def upsample_by_concatenation(graph: GraphModule) -> GraphModule:
    """Make nearest upsampling by two concatenations of the map with itself, in TFLite's memory layout; in place.

    A fake quantiser behind the upsampling comes to stand behind each of the new operators: none changes a number.
    """
    return _replaced(graph, lambda node: node.target == aten.upsample_nearest2d.vec and _doubles(node), _upsample)


def _replaced(
    graph: GraphModule, which: Callable[[Node], bool], by: Callable[[GraphModule, Node], Node]
) -> GraphModule:
    for node in [node for node in graph.graph.nodes if which(node)]:
        with graph.graph.inserting_before(node):
            new = by(graph, node)
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        graph.graph.erase_node(node)
    graph.recompile()
    return graph


def is_average_by_convolution(node: Node) -> bool:
    """Whether a node is average pooling that a convolution can do.

    Of its arguments (input, kernel, stride, padding, ceil_mode, count_include_pad, divisor) the odd ones must be unset.
    """
    if node.target != aten.avg_pool2d.default:
        return False
    given = [*node.args[3:], *(0, False, True, None)[len(node.args[3:]) :]]
    padding, ceil_mode, count_include_pad, divisor = given
    return not ceil_mode and divisor is None and (bool(count_include_pad) or not any(_pair(padding)))


def _pair(value: Any) -> tuple[int, int]:
    values = value if isinstance(value, list | tuple) else [value]
    return int(values[0]), int(values[-1])


def average_weights(node: Node) -> tuple[Tensor, list[int], list[int]]:
    """Of a pooling the convolution's weights [channels, 1, h, w], one group a channel, its stride and its padding."""
    channels, kernel = node.meta["val"].shape[1], _pair(node.args[1])
    stride = _pair(node.args[2]) if len(node.args) > 2 and node.args[2] else kernel
    padding = _pair(node.args[3]) if len(node.args) > 3 else (0, 0)
    return torch.full((channels, 1, *kernel), 1 / (kernel[0] * kernel[1])), list(stride), list(padding)


def _average(graph: GraphModule, node: Node) -> Node:
    weights, stride, padding = average_weights(node)
    name = f"average_{node.name}"
    graph.register_buffer(name, weights)
    weight = graph.graph.get_attr(name)
    if _quantizer(node) is not None:
        quantizer = PerChannelFakeQuantize.for_constants()
        quantizer(weights)
        graph.add_submodule(f"{name}_range", quantizer)
        weight = graph.graph.call_module(f"{name}_range", (weight,))
    return graph.graph.call_function(
        aten.conv2d.default, (node.args[0], weight, None, stride, padding, [1, 1], len(weights))
    )


def _quantizer(node: Node) -> str | None:
    """Name of the fake quantiser behind a node."""
    return next((str(user.target) for user in node.users if user.op == "call_module"), None)


def _doubles(node: Node) -> bool:
    factors: Any = node.args[2] if len(node.args) > 2 else None
    return tuple(factors or ()) == (2.0, 2.0)


def _upsample(graph: GraphModule, node: Node) -> Node:
    _, channels, height, width = node.meta["val"].shape
    quantizer = _quantizer(node)

    def call(target: Any, *arguments: Any) -> Node:
        new = graph.graph.call_function(target, arguments)
        return new if quantizer is None else graph.graph.call_module(quantizer, (new,))

    rows = call(aten.permute.default, node.args[0], [0, 2, 3, 1])  # [B, H / 2, W / 2, C]
    twice = call(aten.cat.default, [rows, rows], 3)  # [B, H / 2, W / 2, 2 C]: each pixel twice
    line = call(aten.reshape.default, twice, [-1, height // 2, 1, width * channels])
    lines = call(aten.cat.default, [line, line], 3)  # each row twice
    large = call(aten.reshape.default, lines, [-1, height, width, channels])
    return graph.graph.call_function(aten.permute.default, (large, [0, 3, 1, 2]))
