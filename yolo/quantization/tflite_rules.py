"""TFLite's rules for INT8, stated on an exported graph for torchao.

Activations are int8 with one scale and zero point a tensor, weights int8 with a scale for each output channel and zero
point 0, biases int32: https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec. Operators
that move values without computing have one range for input and output; a sigmoid's output has the range 0..1.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantizer import (
    FixedQParamsQuantizationSpec,
    QuantizationAnnotation,
    QuantizationSpec,
    QuantizationSpecBase,
    Quantizer,
    SharedQuantizationSpec,
)
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

aten = torch.ops.aten

CONVOLUTIONS = {aten.conv2d.default}
COMPUTING = CONVOLUTIONS | {aten.add.Tensor, aten.mul.Tensor, aten.sub.Tensor}
"""Operators whose output has a range of its own."""
SIGMOID = aten.sigmoid.default
FUSED = {aten.relu.default, aten.relu_.default, aten.hardtanh.default, aten.clamp.default}
"""Activations that TFLite computes inside the operator before them."""
MOVING = {
    aten.cat.default,
    aten.chunk.default,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.slice.Tensor,
    aten.reshape.default,
    aten.view.default,
    aten.permute.default,
    aten.transpose.int,
    aten.contiguous.default,
    aten.clone.default,
    aten.max_pool2d.default,
    aten.avg_pool2d.default,
    aten.upsample_nearest2d.vec,
}
"""Operators whose output has the range of their inputs."""
LEVELS = (-128, 127)


@dataclass(frozen=True)
class Observers:
    """What finds the ranges: constructors of torchao's observers or fake quantisers."""

    activation: Any
    weight: Any


class TFLiteQuantizer(Quantizer):
    """Annotates the tensors of a graph.

    Args:
        observers: what finds their ranges.
        shared_outputs: numbers of outputs that get one range, as those that are concatenated behind the graph must.
    """

    def __init__(self, observers: Observers, shared_outputs: Iterable[Iterable[int]] = ()) -> None:
        super().__init__()
        self.observers = observers
        self.shared_outputs = [list(numbers) for numbers in shared_outputs]
        self.left_in_float: list[str] = []
        """Operators of the last graph for which there is no rule."""

    def annotate(self, model: GraphModule) -> GraphModule:
        """Say of every tensor how it is quantised; see torchao's `Quantizer`."""
        nodes = [node for node in model.graph.nodes if _makes_a_tensor(node)]
        roots = self._groups(model, nodes)
        self.left_in_float = []
        for node in nodes:
            if _is_known(node):
                self._annotate(node, roots[node])
            else:
                self.left_in_float.append(str(node.target))
        return model

    def validate(self, model: GraphModule) -> None:
        """Nothing is asked of a graph: what has no rule stays in float."""

    def _annotate(self, node: Node, root: Node) -> None:
        inputs: dict[Node, QuantizationSpecBase | None] = {}
        if node.target in CONVOLUTIONS:
            weight = node.args[1]
            assert isinstance(weight, Node)
            inputs[weight] = QuantizationSpec(
                torch.int8, self.observers.weight, -127, 127, torch.per_channel_symmetric, ch_axis=0
            )
        output = None if _is_fused_into_its_user(node) else self._output(node, root)
        node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(inputs, output, _annotated=True)

    def _output(self, node: Node, root: Node) -> QuantizationSpecBase | None:
        if node is not root:
            return SharedQuantizationSpec(root)
        low, high = LEVELS
        if node.op == "placeholder":  # pixels of 0..255 divided by 255, each a level of its own
            return FixedQParamsQuantizationSpec(torch.int8, 1 / 255, low, low, high, torch.per_tensor_affine)
        if node.target == SIGMOID:
            return FixedQParamsQuantizationSpec(torch.int8, 1 / 256, low, low, high, torch.per_tensor_affine)
        return QuantizationSpec(torch.int8, self.observers.activation, low, high, torch.per_tensor_affine)

    def _groups(self, model: GraphModule, nodes: list[Node]) -> dict[Node, Node]:
        """Of every tensor the first of those it shares its range with."""
        parents = {node: node for node in nodes}

        def find(node: Node) -> Node:
            while parents[node] is not node:
                node = parents[node]
            return node

        order = {node: number for number, node in enumerate(nodes)}
        (end,) = (node for node in model.graph.nodes if node.op == "output")
        outputs = end.args[0]
        pairs = [(node, source) for node in nodes if _moves(node) for source in _sources(node)]
        for numbers in self.shared_outputs:
            pairs += itertools.pairwise([outputs[number] for number in numbers])
        for one, other in pairs:
            first, second = sorted((find(one), find(other)), key=order.__getitem__)
            parents[second] = first
        return {node: find(node) for node in nodes}


def _makes_a_tensor(node: Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor) and node.op in ("placeholder", "call_function")


def _moves(node: Node) -> bool:
    return node.target in MOVING or _takes_an_item(node)


def _takes_an_item(node: Node) -> bool:
    return getattr(node.target, "__name__", "") == "getitem"


def _is_known(node: Node) -> bool:
    return node.op == "placeholder" or node.target in COMPUTING | FUSED | {SIGMOID} or _moves(node)


def _sources(node: Node) -> list[Node]:
    """The tensors that a moving operator moves, those behind a list of chunks included."""
    found = []
    for source in node.all_input_nodes:
        found += [source] if _makes_a_tensor(source) else _sources(source)
    return found


def _is_fused_into_its_user(node: Node) -> bool:
    users = list(node.users)
    return node.target in COMPUTING and len(users) == 1 and users[0].target in FUSED
