"""A detector of plain convolutions: quick to train, and quick to convert, which takes its time with every operator."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolo.models.blocks import Conv
from yolo.models.detection_model import DetectionModel, Maps
from yolo.models.head import DetectHead

PLAIN = f"{__name__}.PlainNetwork"


class PlainNetwork(DetectionModel):
    """Two levels, the fine one with the coarse one beside it."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, strides=(8, 16))
        self.fine = nn.Sequential(Conv(3, 16, 3, 2), Conv(16, 32, 3, 2), Conv(32, 48, 3, 2), Conv(48, 48, 3))
        self.coarse = nn.Sequential(Conv(48, 64, 3, 2), Conv(64, 64, 3), Conv(64, 64, 3))
        self.both = Conv(112, 48, 3)
        self.head = DetectHead((48, 64), self.strides, num_classes, class_width=48)

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        fine = self.fine(images)  # [B, 48, H/8, W/8]
        coarse = self.coarse(fine)  # [B, 64, H/16, W/16]
        large = F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        return (self.head([self.both(torch.cat((fine, large), 1)), coarse]),)
