"""A detector that computes as its INT8 file will, and is trained with that simulated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from yolo.errors import UserError
from yolo.models.checkpoint import NetworkSpec
from yolo.models.detection_model import DetectionModel, Maps
from yolo.models.exportable import ExportableModel, RawOutputs
from yolo.quantization import QUANTIZED_NETWORK
from yolo.quantization.fake_quantize import RangeFakeQuantize, fake_quantizers, set_mode
from yolo.quantization.integers import Integers
from yolo.quantization.post_training import copied, exported_graph, with_fake_quantizers
from yolo.quantization.tflite_rules import NETWORK

Arithmetic = Literal["integers", "simulated", "float"]
"""As a TFLite file computes; the same in float, which has gradients and rounds a few numbers otherwise; unquantised."""


class QuantizedNetwork(DetectionModel):
    """A deployed network, normalisation fused, with a fake quantiser behind every tensor by TFLite's rules.

    Its graph is made for one image size. `calibrate` alone moves the ranges.

    Args:
        num_classes: number of classes.
        network: name or import path of the network in float.
        class_width: as in `NetworkSpec`.
        args: as in `NetworkSpec`.
        image_size: (height, width).
        keep_float: names or patterns of parts of the network that stay in float.
        base: a network in float to start from, of this kind; a new one when left out.
    """

    def __init__(
        self,
        num_classes: int,
        network: str,
        image_size: Sequence[int],
        class_width: int | None = None,
        args: dict[str, Any] | None = None,
        keep_float: Sequence[str] = (),
        base: DetectionModel | None = None,
    ) -> None:
        height, width = image_size
        if base is None:
            spec = NetworkSpec(network, class_width, dict(args or {}))
            if not spec.is_known:
                raise UserError(f"network {network!r} is code of your own, which must be named with --network")
            base = spec.build(num_classes)
        coarsest = max(base.strides)
        if not all(isinstance(side, int) and side > 0 and side % coarsest == 0 for side in (height, width)):
            raise UserError(f"a quantised network's image_size is {image_size}, expected two multiples of {coarsest}")
        super().__init__(num_classes, base.strides)
        self.fixed_size = (height, width)
        self.image_size = (height, width)
        names = {id(part): name for name, part in base.named_modules()}
        self._backbone = [names[id(part)] for part in base.backbone_modules()]
        exportable = ExportableModel(base.eval(), self.image_size, "raw")
        self.levels = exportable.levels
        graph = exported_graph(RawOutputs(exportable), torch.zeros(2, 3, height, width), any_batch=True)
        self.graph, self.left_in_float = with_fake_quantizers(graph, shared_ranges(len(self.levels)), keep_float)
        used = {str(node.target) for node in self.graph.graph.nodes if node.op == "get_attr" and node.users}
        for name, parameter in self.graph.named_parameters():
            parameter.requires_grad_(name in used)  # the bins, which are decoded with, are no part of the graph
        self.register_buffer("_bins", base.bins.detach().clone().float())
        self.arithmetic: Arithmetic = "integers"
        """In evaluation; training simulates them, or is in float."""

    @classmethod
    def started_from(cls, base: DetectionModel, args: dict[str, Any]) -> QuantizedNetwork:
        """Of a network in float, by the constructor's other arguments; its ranges wait for `calibrate`."""
        return cls(base.num_classes, base=base, **args)

    @staticmethod
    def spec(network: NetworkSpec, image_size: tuple[int, int], keep_float: Sequence[str] = ()) -> NetworkSpec:
        """How a checkpoint names the quantised form of a network."""
        args = {
            "network": network.name,
            "class_width": network.class_width,
            "args": network.args,
            "image_size": list(image_size),
            "keep_float": list(keep_float),
        }
        return NetworkSpec(QUANTIZED_NETWORK, None, args)

    @property
    def bins(self) -> Tensor:
        """[R] distance in strides that each bin stands for."""
        return self.get_buffer("_bins")

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        """float [B, 3, H, W] in 0..1 to the maps [B, 4 * R + C, h, w] of each level."""
        if self.arithmetic == "integers" and not self.training:
            logits = Integers(self.graph)(images)
        else:
            set_mode(self.graph, "off" if self.arithmetic == "float" else "quantise")
            logits = self.graph(images)
        return ([torch.cat(pair, 1) for pair in zip(logits[::2], logits[1::2], strict=True)],)

    def backbone_modules(self) -> list[nn.Module]:
        """Those of the network in float."""
        parts = dict(self.graph.named_modules())
        return [parts[NETWORK + name] for name in self._backbone if NETWORK + name in parts]

    @torch.no_grad()
    def calibrate(self, images: Iterable[Tensor]) -> None:
        """Start the ranges anew from all that images float [B, 3, H, W] in 0..1 make of the activations."""
        for module in fake_quantizers(self.graph).values():
            if isinstance(module, RangeFakeQuantize):
                module.reset()
        set_mode(self.graph, "calibrate")
        for batch in images:
            self.graph(batch.to(self.bins.device))

    def averaged_state(self) -> dict[str, Tensor]:
        """The weights: an average of scales beside zero points that are none would be no range."""
        return dict(self.named_parameters())

    @torch.no_grad()
    def with_scales(self) -> GraphModule:
        """A copy of the graph whose fake quantisers all know their scales: what files are made of."""
        graph = self.deploy().graph
        set_mode(graph, "quantise")
        graph(torch.zeros(1, 3, *self.image_size, device=self.bins.device))  # those of weights come with a pass
        return graph

    def deploy(self) -> QuantizedNetwork:
        """A copy in evaluation mode: it is fused already."""
        return copied(self).eval()

    def in_float(self) -> QuantizedNetwork:
        """A copy in evaluation mode that quantises nothing: the same weights in float."""
        network = self.deploy()
        network.arithmetic = "float"
        return network


def shared_ranges(levels: int) -> list[list[int]]:
    """Outputs with one range: the box logits of all levels, and the class logits, which are concatenated behind."""
    return [[2 * level for level in range(levels)], [2 * level + 1 for level in range(levels)]]
