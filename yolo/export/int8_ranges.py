"""Ranges of activations in a quantised graph and in its .tflite file, as sets and by the operators that have them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.fx import GraphModule, Node

RELATIVE = 1e-6
"""Scales are equal within this part of them: the file's are float32."""
QUANTIZE = "quantized_decomposed.quantize_per_tensor.default"
DEQUANTIZE = "quantized_decomposed.dequantize_per_tensor.default"
INT8_TENSOR = 9
"""Of schema.fbs, which is int8."""
COMPUTING = {
    torch.ops.aten.sigmoid.default: "LOGISTIC",
    torch.ops.aten.mul.Tensor: "MUL",
    torch.ops.aten.add.Tensor: "ADD",
    torch.ops.aten.sub.Tensor: "SUB",
    torch.ops.aten.hardswish.default: "HARD_SWISH",
}
"""Operators with a range of their own, but convolutions, which weights tell apart."""
MOVING = {
    "AVERAGE_POOL_2D", "CONCATENATION", "EXPAND_DIMS", "MAX_POOL_2D", "PAD", "PADV2", "RESHAPE",
    "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE", "UNPACK",
}  # fmt: skip
"""Those of a file that give the range they take."""

Range = tuple[float, int]
"""Scale and zero point."""
Step = tuple[str, tuple[int, ...]]
"""An operator, and by their place in a list of ranges those that it takes, in order of that, and the one it gives."""


def range_failures(graph: GraphModule, model: Any) -> list[str]:
    """The checks that a file fails, a sentence each.

    Args:
        graph: with quantise operators.
        model: tables of the file made of it.
    """
    wanted, found = graph_ranges(graph), file_ranges(model)
    failures = []
    for title, lost, total in (
        ("of the network's tensors are not in the file", _missing(wanted, found), len(wanted)),
        ("of the file's tensors are not the network's", _missing(found, wanted), len(found)),
    ):
        if lost:
            scale, zero = lost[0]
            failures.append(
                f"INT8 ranges: {len(lost)} of {total} {title}, the first with scale {scale:.6g} and zero point {zero}"
            )
    return failures or _step_failures(graph, model, wanted)


def alike(one: Range, other: Range) -> bool:
    """Whether they are the same, as far as float32 tells."""
    return one[1] == other[1] and abs(one[0] - other[0]) <= RELATIVE * one[0]


def _missing(these: list[Range], those: list[Range]) -> list[Range]:
    return [one for one in these if not any(alike(one, other) for other in set(those))]


def _step_failures(graph: GraphModule, model: Any, known: list[Range]) -> list[str]:
    """Of ranges that are all there, those in the wrong place; the order and number of operators do not matter."""

    def place(one: Range) -> int:
        return next(number for number, other in enumerate(known) if alike(one, other))

    moved = [name for name, taken, given in _file_operators(model)
             if name in MOVING and any(not alike(one, given) for one in taken)]  # fmt: skip
    wanted, found = _steps(_graph_operators(graph), place), _steps(_file_operators(model), place)
    failures = []
    if moved:
        failures.append(f"INT8 ranges: {len(moved)} operators that move numbers change them, the first {moved[0]}")
    for title, lost in (("the network in the file", wanted - found), ("the file in the network", found - wanted)):
        if lost:
            name, places = min(lost)
            ranges = ", ".join(f"({known[at][0]:.6g}, {known[at][1]})" for at in places)
            failures.append(
                f"INT8 ranges: {len(lost)} operators of {title} have others, the first {name}, by scale and zero point "
                f"of inputs and output {ranges}"
            )
    return failures


def _steps(operators: Iterable[tuple[str, list[Range], Range]], place: Callable[[Range], int]) -> set[Step]:
    return {
        (name, (*sorted(map(place, taken)), place(given)))
        for name, taken, given in operators
        if name in COMPUTING.values()
    }


def graph_ranges(graph: GraphModule) -> list[Range]:
    """Of every quantised tensor in turn."""
    return [_range(node) for node in graph.graph.nodes if str(node.target) == QUANTIZE]


def _range(node: Node) -> Range:
    scale, zero = node.args[1:3]
    return float(scale), int(zero)  # type: ignore[arg-type]


def taken_range(argument: Any) -> Range | None:
    """Of an operator's argument in the graph; None unless it is an INT8 tensor."""
    return _range(argument) if isinstance(argument, Node) and str(argument.target) == DEQUANTIZE else None


def given_range(node: Node) -> Range | None:
    """Of an operator's result in the graph, behind an activation that is part of it in the file; None without one."""
    for maker in (node, *node.users):
        for user in maker.users:
            if str(user.target) == QUANTIZE:
                return _range(user)
    return None


def _graph_operators(graph: GraphModule) -> Iterable[tuple[str, list[Range], Range]]:
    """Computing INT8 operators with what they take and give; those with a float input compute in float."""
    for node in graph.graph.nodes:
        given = given_range(node) if node.target in COMPUTING else None
        taken = [taken_range(argument) for argument in node.args if isinstance(argument, Node)]
        if given is not None and None not in taken:
            yield COMPUTING[node.target], [one for one in taken if one is not None], given


def file_ranges(model: Any) -> list[Range]:
    """Of every int8 tensor that is computed."""
    (graph,) = model.subgraphs
    return [one for tensor in graph.tensors if (one := tensor_range(model, tensor)) is not None]


def tensor_range(model: Any, tensor: Any) -> Range | None:
    """Of a file's tensor; None unless it is int8 and computed."""
    if tensor.type != INT8_TENSOR or model.buffers[tensor.buffer].data is not None:
        return None
    return float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])


def _file_operators(model: Any) -> Iterable[tuple[str, list[Range], Range]]:
    """INT8 operators with what they take and give, one for each output."""
    from yolo.runtime.tflite_file import operator_name

    (graph,) = model.subgraphs
    for operator in graph.operators:
        name = operator_name(model, operator)
        taken = [tensor_range(model, graph.tensors[index]) for index in operator.inputs if index >= 0]
        for index in operator.outputs:
            given = tensor_range(model, graph.tensors[index])
            if given is not None:
                yield name, [one for one in taken if one is not None], given
