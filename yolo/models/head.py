"""The anchor-free, decoupled detection head of YOLOv9: box distributions and class logits for each level."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo.models.blocks import Conv

BIAS_IMAGE_SIZE = 640  # the class prior is set for this image size, whatever size is trained


def default_class_width(first_channels: int, num_classes: int) -> int:
    """Channels of the class branch: at least the finest level's, else one per class up to 100.

    Gives the published sizes of all five models; for the smallest with 80 classes that is 80, not 128.
    """
    return max(first_channels, min(num_classes, 100))


class DetectHead(nn.Module):
    """Feature maps [B, channels[i], H_i, W_i] to raw maps [B, 4 * reg_max + num_classes, H_i, W_i].

    A raw map holds, for the left, top, right and bottom distance in turn, the logits of a distribution over
    `reg_max` bins (in units of the level's stride; Generalized Focal Loss, arXiv 2006.04388), then the class logits.

    Args:
        channels: channels of each level, finest first.
        strides: pixels per cell of each level; they only set the class bias.
        num_classes: number of classes.
        class_width: channels inside the class branch; None takes `default_class_width`.
        reg_max: bins of each side's distribution.

    Attributes:
        bins: [reg_max] frozen parameter 0, 1, ..., reg_max - 1; the expectation over it is a distance.

    Raises:
        ValueError: when num_classes or class_width is below 1.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        class_width: int | None = None,
        reg_max: int = 16,
    ) -> None:
        super().__init__()
        if class_width is None:
            class_width = default_class_width(channels[0], num_classes)
        if num_classes < 1 or class_width < 1:
            raise ValueError(f"num_classes and class_width must be at least 1, found {num_classes} and {class_width}")
        box_width = 4 * math.ceil(max(channels[0] // 4, 4 * reg_max, 16) / 4)  # a multiple of the 4 groups
        # start as if an image held 5 objects, spread evenly over classes and cells
        priors = [math.log(5 / num_classes / (BIAS_IMAGE_SIZE / stride) ** 2) for stride in strides]
        self.box = nn.ModuleList(branch(c, box_width, 4 * reg_max, 4, bias=1.0) for c in channels)
        self.cls = nn.ModuleList(
            branch(c, class_width, num_classes, 1, bias=prior) for c, prior in zip(channels, priors, strict=True)
        )
        self.bins = nn.Parameter(torch.arange(reg_max, dtype=torch.float32), requires_grad=False)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """One raw map per level, in the order of the features."""
        return [
            torch.cat((box(x), cls(x)), 1)  # [B, 4*reg_max, H, W], [B, num_classes, H, W]
            for x, box, cls in zip(features, self.box, self.cls, strict=True)
        ]


def branch(in_channels: int, width: int, out_channels: int, groups: int, bias: float) -> nn.Sequential:
    """[B, in, H, W] -> [B, out, H, W], in groups after the first convolution; every output starts at about `bias`."""
    last = nn.Conv2d(width, out_channels, 1, groups=groups)
    assert last.bias is not None
    nn.init.constant_(last.bias, bias)
    return nn.Sequential(Conv(in_channels, width, 3), Conv(width, width, 3, groups=groups), last)
