"""What the quantisation of each part of a network alone does to its answers."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.fx import Node

from yolo.models.detection_model import DetectionModel, Maps
from yolo.quantization.fake_quantize import FakeQuantize
from yolo.quantization.network import QuantizedNetwork
from yolo.quantization.tflite_rules import part_name

PIXELS = "images"
"""The part that the pixels of the input are."""
BETWEEN = "(between)"
"""The part that operators of the network are that are in none of its modules."""
DEPTH = 2


@dataclass
class Noise:
    """Sums of squares over images."""

    signal: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Of the box and the class logits in float."""
    noise: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Of what quantisation adds to them."""

    def add(self, logits: list[Tensor], reference: list[Tensor]) -> None:
        """Of one run: box and class logits of each level in turn."""
        for number, (found, wanted) in enumerate(zip(logits, reference, strict=True)):
            self.signal[number % 2] += float(wanted.double().square().sum())
            self.noise[number % 2] += float((found - wanted).double().square().sum())

    @property
    def decibels(self) -> tuple[float, float]:
        """Ratio of signal to quantisation noise of the box and the class logits, in dB; inf without noise."""
        boxes, classes = (_decibels(*pair) for pair in zip(self.signal, self.noise, strict=True))
        return boxes, classes


def _decibels(signal: float, noise: float) -> float:
    return 10 * math.log10(signal / noise) if signal and noise else math.inf


class PartlyQuantized(DetectionModel):
    """A copy of a quantised network in which each part is quantised or not.

    A fake quantiser that several tensors share, having one range, is here one for each of them, with that range.

    Args:
        network: calibrated or trained.
        depth: components of the names of parts; a number behind them belongs to the name (`head.box.0`).

    Attributes:
        parts: fake quantisers of each part, in the order in which they compute.
    """

    def __init__(self, network: QuantizedNetwork, depth: int = DEPTH) -> None:
        super().__init__(network.num_classes, network.strides)
        self.fixed_size = network.fixed_size
        self.register_buffer("_bins", network.bins.detach().clone())
        self.graph = network.deploy().graph
        stacks = {node: names for node in self.graph.graph.nodes if (names := _stack(node))}
        wholes = {name.rpartition(".")[0] for names in stacks.values() for name in names}
        self.parts: dict[str, list[FakeQuantize]] = defaultdict(list)
        for number, node in enumerate(list(self.graph.graph.nodes)):
            shared = self.graph.get_submodule(node.target) if node.op == "call_module" else None
            if isinstance(shared, FakeQuantize):
                own = copy.copy(shared)
                node.target = f"fake_quantizer_{number}"
                self.graph.add_submodule(node.target, own)
                self.parts[_part(node, stacks, wholes, depth)].append(own)
        self.graph.recompile()
        self.quantise(())

    @property
    def bins(self) -> Tensor:
        """[R] distance in strides that each bin stands for."""
        return self.get_buffer("_bins")

    def quantise(self, parts: Collection[str]) -> None:
        """Quantise these parts and no others."""
        for name, modules in self.parts.items():
            for module in modules:
                module.mode = "quantise" if name in parts else "off"

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        """As `QuantizedNetwork`."""
        logits = self.graph(images)
        return ([torch.cat(pair, 1) for pair in zip(logits[::2], logits[1::2], strict=True)],)


@torch.inference_mode()
def measure_noise(network: PartlyQuantized, images: Iterable[Tensor]) -> dict[str, Noise]:
    """Of each part alone, worst first, on float images [1, 3, H, W] in 0..1; the whole is under the name ``*``."""
    found = {name: Noise() for name in (*network.parts, "*")}
    for image in images:
        network.quantise(())
        reference = network.graph(image)
        for name, noise in found.items():
            network.quantise(network.parts if name == "*" else [name])
            noise.add(network.graph(image), reference)
    network.quantise(())
    return dict(sorted(found.items(), key=lambda item: min(item[1].decibels)))


def _stack(node: Node) -> list[str]:
    """Names of the parts that a node is in, from the whole to the smallest."""
    paths = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    return [name for path in paths if (name := part_name(path)) != path]


def _part(node: Node, stacks: dict[Node, list[str]], wholes: set[str], depth: int) -> str:
    """The part of what a fake quantiser rounds: the output of an operator, or weights or an input of one."""
    source = node.args[0]
    assert isinstance(source, Node)
    if source.op == "placeholder":
        return PIXELS
    if source.op == "get_attr":  # weights, of the operator that takes them
        source = next(iter(node.users))
    names = stacks.get(source)
    if names is None:
        return BETWEEN
    whole = next((name for name in reversed(names) if name in wholes), names[-1])  # of a convolution, its block
    components = whole.split(".")
    numbered = len(components) > depth and components[depth].isdigit()
    return ".".join(components[: depth + numbered])
