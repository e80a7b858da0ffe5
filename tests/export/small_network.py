"""A network small enough to convert often, with every operator that the INT8 rules and XNNPACK's rewrites are about."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from yolo.models.blocks import AConv, Conv
from yolo.models.detection_model import DetectionModel, Maps
from yolo.models.head import DetectHead


class SmallNetwork(DetectionModel):
    """Two levels; convolutions with SiLU and in groups, sums, concatenations, chunks, pools, upsampling."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, strides=(8, 16))
        self.stem = Conv(3, 8, 3, stride=4)
        self.down = AConv(8, 16)
        self.deeper = Conv(8, 8, 3)
        self.coarse = AConv(16, 8)
        self.head = DetectHead((24, 24), self.strides, num_classes, class_width=8, reg_max=4)

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        fine = self.down(self.stem(images))  # [B, 16, H/8, W/8]
        one, other = fine.chunk(2, 1)
        coarse = self.coarse(fine)  # [B, 8, H/16, W/16]
        pooled = F.max_pool2d(coarse, 5, 1, 2)
        large = F.interpolate(pooled, scale_factor=2.0, mode="nearest")
        fine = torch.cat((one + self.deeper(one), other, large), 1)
        return (self.head([fine, torch.cat((coarse, pooled, F.avg_pool2d(large, 2)), 1)]),)
