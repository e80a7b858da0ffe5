"""TFLite's rules for INT8, stated on an exported graph for torchao.

Activations are int8 with one scale and zero point a tensor, weights int8 with a scale for each output channel and zero
point 0, biases int32: https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec. Operators
that move values without computing have one range for input and output; a sigmoid's output has the range 0..1.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    QuantizationSpecBase,
    Quantizer,
    SharedQuantizationSpec,
)
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from yolo.quantization.fake_quantize import FixedFakeQuantize, PerChannelFakeQuantize, RangeFakeQuantize

aten = torch.ops.aten

CONVOLUTIONS = {aten.conv2d.default}
COMPUTING = CONVOLUTIONS | {aten.add.Tensor, aten.mul.Tensor, aten.sub.Tensor, aten.hardswish.default}
"""Operators whose output has a range of its own."""
SIGMOID = aten.sigmoid.default
FUSED = {aten.relu.default, aten.relu_.default, aten.relu6.default, aten.hardtanh.default, aten.clamp.default}
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


class TFLiteQuantizer(Quantizer):
    """Annotates the tensors of a graph.

    Args:
        shared_outputs: numbers of outputs that get one range, as those that are concatenated behind the graph must.
        keep_float: names of parts of the network, or patterns such as `*.head.*`, that are not quantised.
    """

    def __init__(self, shared_outputs: Iterable[Iterable[int]] = (), keep_float: Iterable[str] = ()) -> None:
        super().__init__()
        self.shared_outputs = [list(numbers) for numbers in shared_outputs]
        self.keep_float = list(keep_float)
        self.left_in_float: list[str] = []
        """Operators of the last graph for which there is no rule."""
        self.kept: dict[str, int] = {}
        """How many operators of the last graph each pattern keeps in float."""

    def annotate(self, model: GraphModule) -> GraphModule:
        """Say of every tensor how it is quantised; see torchao's `Quantizer`."""
        self.left_in_float, self.kept = [], dict.fromkeys(self.keep_float, 0)
        tensors = [node for node in model.graph.nodes if _makes_a_tensor(node)]
        quantised = {node for node in tensors if self._is_quantised(node)}
        nodes = [node for node in tensors if node in quantised or _goes_into(node, quantised)]
        roots = self._groups(model, nodes)
        for node in nodes:
            inputs = _weights(node) if node in quantised else {}
            output = None if _is_fused_into_its_user(node) else self._output(node, roots[node])
            node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(inputs, output, _annotated=True)
        return model

    def validate(self, model: GraphModule) -> None:
        """Nothing is asked of a graph: what has no rule stays in float."""

    def _is_quantised(self, node: Node) -> bool:
        """Whether no pattern keeps the node in float and there is a rule for it; counts and notes those left out."""
        names = [part_name(name) for name, _ in (node.meta.get("nn_module_stack") or {}).values()]
        matching = [p for p in self.keep_float if any(fnmatchcase(name, p) for name in names)]
        for pattern in matching:
            self.kept[pattern] += 1
        if not matching and not _is_known(node):
            self.left_in_float.append(str(node.target))
        return not matching and _is_known(node)

    def _output(self, node: Node, root: Node) -> QuantizationSpecBase | None:
        if node is not root:
            return SharedQuantizationSpec(root)
        if node.op == "placeholder":  # pixels of 0..255 divided by 255, each a level of its own
            return _activation(FixedFakeQuantize.with_args(step=1 / 255, zero=LEVELS[0]))
        if node.target == SIGMOID:
            return _activation(FixedFakeQuantize.with_args(step=1 / 256, zero=LEVELS[0]))
        return _activation(RangeFakeQuantize)

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
        pairs = [(node, source) for node in nodes if _moves(node) for source in _sources(node) if source in order]
        for numbers in self.shared_outputs:
            pairs += itertools.pairwise([outputs[number] for number in numbers if outputs[number] in order])
        for one, other in pairs:
            first, second = sorted((find(one), find(other)), key=order.__getitem__)
            parents[second] = first
        return {node: find(node) for node in nodes}


def _activation(find: Any) -> QuantizationSpec:
    return QuantizationSpec(torch.int8, find, *LEVELS, torch.per_tensor_affine)


def _weights(node: Node) -> dict[Node, QuantizationSpecBase | None]:
    if node.target not in CONVOLUTIONS:
        return {}
    weight = node.args[1]
    assert isinstance(weight, Node)
    spec = QuantizationSpec(torch.int8, PerChannelFakeQuantize, -127, 127, torch.per_channel_symmetric, ch_axis=0)
    return {weight: spec}


NETWORK = "model.network."
"""Where an exported graph has the network of an `ExportableModel`."""


def part_name(path: str) -> str:
    """Of a part by its path in the graph: its name in the network."""
    return path.removeprefix(NETWORK)


def _makes_a_tensor(node: Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor) and node.op in ("placeholder", "call_function")


def _goes_into(node: Node, quantised: set[Node]) -> bool:
    """Whether a float tensor is taken by a quantised operator, as it is or in a list of chunks."""
    if _makes_a_tensor(node) and not node.meta["val"].is_floating_point():
        return False
    return any(user in quantised or (not _makes_a_tensor(user) and _goes_into(user, quantised)) for user in node.users)


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
