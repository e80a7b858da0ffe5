"""The one model that every format is made from: deployed, of static shapes, in operators that converters keep."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from yolo.boxes.anchors import Anchors, make_anchors
from yolo.boxes.decode import decode_logits
from yolo.errors import UserError
from yolo.forms import Form
from yolo.models.detection_model import DetectionModel
from yolo.models.gelan import GELAN
from yolo.models.head import DetectHead


class ExportableModel(nn.Module):
    """Images of one size to the outputs of one form, by the network's own decode.

    Box and class logits leave the head apart and meet only in the output, if at all: an INT8 file gives what is
    concatenated one scale, and boxes of hundreds of pixels would leave scores a single level.

    Args:
        model: trained network; a copy of it is deployed.
        image_size: (height, width), whole cells of the coarsest level.
        form: what comes out; see `yolo.forms.Form`.

    Attributes:
        levels: (height, width) in cells of each level.
    """

    def __init__(self, model: DetectionModel, image_size: tuple[int, int], form: Form) -> None:
        super().__init__()
        self.network = model.deploy()
        self.image_size, self.form = image_size, form
        self.classes, self.strides = model.num_classes, model.strides
        if type(self.network) is GELAN:  # a network of a user's own may do something with its head's maps
            self.network.head = HeadApart(self.network.head)  # type: ignore[assignment]
        replace_silu(self.network)
        self.register_buffer("bins", model.bins.detach().clone().float())
        with torch.no_grad():
            logits = self.logits(torch.zeros(1, 3, *image_size, device=model.bins.device))
        self.levels = tuple((boxes.shape[2], boxes.shape[3]) for boxes, _ in logits)
        anchors = make_anchors(self.levels, self.strides, model.bins.device)
        self.register_buffer("points", anchors.points)
        self.register_buffer("steps", anchors.strides)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """float [B, 3, H, W] in 0..1 to the outputs of the form, in the order of `ExportRecord.outputs`."""
        return self.outputs([logits for pair in self.logits(images) for logits in pair])

    def outputs(self, logits: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Box and class logits of each level in turn to the outputs of the form."""
        if self.form == "raw":
            return tuple(logits)
        levels = zip(logits[::2], logits[1::2], strict=True)
        box_logits, class_logits = (
            torch.cat([rows(logits, size) for logits, size in zip(kind, self.levels, strict=True)], 1).float()
            for kind in zip(*levels, strict=True)
        )  # [B, A, 4 * R], [B, A, C]
        anchors = Anchors(self.get_buffer("points"), self.get_buffer("steps"))
        boxes, scores = decode_logits(box_logits, class_logits, anchors, self.get_buffer("bins"))
        if self.form == "split":
            return boxes.transpose(1, 2), scores.transpose(1, 2)
        return (torch.cat([boxes, scores], 2).transpose(1, 2),)

    def logits(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Of each level the box logits [B, 4 * R, h, w] and the class logits [B, C, h, w]."""
        maps, *_ = self.network(images)
        widths = 4 * self.get_buffer("bins").numel(), self.classes
        return [level.split(widths, 1) if isinstance(level, Tensor) else level for level in maps]

    def half_precision(self) -> ExportableModel:
        """The same network in float16, in place; the decode stays float32."""
        self.network.half()
        return self


class RawOutputs(nn.Module):
    """The network of an exportable model, whatever its form: box and class logits of each level in turn."""

    def __init__(self, model: ExportableModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """float [B, 3, H, W] to 2 x levels maps [B, K, h, w]."""
        return tuple(logits for pair in self.model.logits(images) for logits in pair)


class WithOutputs(nn.Module):
    """What gives the logits of an exportable model, and behind it the outputs of the model's form."""

    def __init__(self, body: Callable[[Tensor], Sequence[Tensor]], model: ExportableModel) -> None:
        super().__init__()
        self.body, self.model = body, model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """As `ExportableModel`."""
        return self.model.outputs(self.body(images))


class HeadApart(nn.Module):
    """A detection head that gives its two branches apart: of each level [B, 4 * R, h, w] and [B, C, h, w]."""

    def __init__(self, head: DetectHead) -> None:
        super().__init__()
        self.box, self.cls, self.bins = head.box, head.cls, head.bins

    def forward(self, features: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """One pair per feature map."""
        return [(box(x), cls(x)) for x, box, cls in zip(features, self.box, self.cls, strict=True)]


class SiLU(nn.Module):
    """x * sigmoid(x) in two operators, which every converter and quantiser knows."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x * torch.sigmoid(x)


def replace_silu(module: nn.Module, make: Callable[[], nn.Module] = SiLU) -> int:
    """Put what `make` gives in the place of every torch.nn.SiLU below the module; how many there were."""
    count = 0
    for name, child in module.named_children():
        if isinstance(child, nn.SiLU):
            setattr(module, name, make())
            count += 1
        else:
            count += replace_silu(child, make)
    return count


def with_hardswish(model: DetectionModel) -> DetectionModel:
    """A copy with HardSwish in the place of SiLU: another function, near the first. UserError when it has no SiLU."""
    changed = copy.deepcopy(model)
    if not replace_silu(changed, nn.Hardswish):
        raise UserError("--hardswish: the network has no torch.nn.SiLU, which it would replace")
    return changed


def rows(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, K, h, w] of known h and w -> [B, h * w, K], the batch alone free; no copy in the memory layout of TFLite."""
    return logits.permute(0, 2, 3, 1).reshape(-1, size[0] * size[1], logits.shape[1])
