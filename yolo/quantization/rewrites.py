"""The same function in operators that XNNPACK, which runs TFLite files on CPUs, has.

What it lacks runs in LiteRT's slower kernels, and cuts the graph into pieces.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

aten = torch.ops.aten


@torch.no_grad()
def rewrite_for_xnnpack(graph: GraphModule, int8: bool) -> GraphModule:
    """The same function without operators that XNNPACK lacks; in place.

    Average pooling, which it lacks in INT8 alone, becomes a convolution of each channel with a constant; nearest
    upsampling by two becomes concatenations of the map with itself, row by row in the memory layout of TFLite.
    """
    for node in list(graph.graph.nodes):
        with graph.graph.inserting_before(node):
            if int8 and node.target == aten.avg_pool2d.default and _is_a_convolution(node):
                new = _convolution(graph, node)
            elif node.target == aten.upsample_nearest2d.vec and _factors(node) == (2.0, 2.0):
                new = _concatenations(graph, node)
            else:
                continue
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        graph.graph.erase_node(node)
    graph.recompile()
    return graph


def _is_a_convolution(node: Node) -> bool:
    """Of its arguments (input, kernel, stride, padding, ceil_mode, count_include_pad, divisor) the odd ones unset."""
    given = [*node.args[3:], *(0, False, True, None)[len(node.args[3:]) :]]
    padding, ceil_mode, count_include_pad, divisor = given
    return not ceil_mode and divisor is None and (bool(count_include_pad) or not any(_pair(padding)))


def _pair(value: Any) -> tuple[int, int]:
    values = value if isinstance(value, list | tuple) else [value]
    return int(values[0]), int(values[-1])


def _convolution(graph: GraphModule, node: Node) -> Node:
    source = node.args[0]
    assert isinstance(source, Node)
    channels, kernel = source.meta["val"].shape[1], _pair(node.args[1])
    stride = _pair(node.args[2]) if len(node.args) > 2 and node.args[2] else kernel
    padding = _pair(node.args[3]) if len(node.args) > 3 else (0, 0)
    name = f"average_{node.name}"
    graph.register_buffer(name, torch.full((channels, 1, *kernel), 1 / (kernel[0] * kernel[1])))
    weight = graph.graph.get_attr(name)
    weight.meta["val"] = graph.get_buffer(name)
    return graph.graph.call_function(
        aten.conv2d.default, (source, weight, None, list(stride), list(padding), [1, 1], channels)
    )


def _factors(node: Node) -> tuple[float, ...]:
    return tuple(node.args[2] or ()) if len(node.args) > 2 else ()  # type: ignore[arg-type]


def _concatenations(graph: GraphModule, node: Node) -> Node:
    source = node.args[0]
    assert isinstance(source, Node)
    value = source.meta["val"]
    _, channels, height, width = value.shape

    def call(target: object, *arguments: object) -> Node:
        nonlocal value
        new = graph.graph.call_function(target, arguments)  # type: ignore[arg-type]
        new.meta = dict(node.meta)  # the part of the network that it is in
        given = [[value, value]] if target is aten.cat.default else [value]
        value = new.meta["val"] = target(*given, *arguments[1:])  # type: ignore[operator]
        return new

    rows = call(aten.permute.default, source, [0, 2, 3, 1])  # [B, H, W, C]
    twice = call(aten.cat.default, [rows, rows], 3)  # [B, H, W, 2 C]: each pixel twice
    line = call(aten.reshape.default, twice, [-1, height, 1, 2 * width * channels])
    lines = call(aten.cat.default, [line, line], 3)  # each row twice
    large = call(aten.reshape.default, lines, [-1, 2 * height, 2 * width, channels])
    return call(aten.permute.default, large, [0, 3, 1, 2])
