"""Anchor points: the centres of the cells of every feature map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Anchors(NamedTuple):
    """All anchor points of one image size."""

    points: Tensor
    """Centres (x, y) in pixels of the network input, `[A, 2]`."""
    strides: Tensor
    """Pixels between neighbours on the anchor's level, `[A]`."""


def make_anchors(
    sizes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Anchors:
    """Anchor points of feature maps of the given sizes (height, width): levels in the order given, each row by row."""
    if len(sizes) != len(strides):
        raise ValueError(f"expected one stride per feature map, got {len(strides)} strides for {len(sizes)} maps")
    points, repeated = [], []
    for (height, width), stride in zip(sizes, strides, strict=True):
        y = (torch.arange(height, device=device, dtype=dtype) + 0.5) * stride
        x = (torch.arange(width, device=device, dtype=dtype) + 0.5) * stride
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        points.append(torch.stack([grid_x, grid_y], dim=-1).reshape(-1, 2))
        repeated.append(torch.full((height * width,), stride, device=device, dtype=dtype))
    return Anchors(torch.cat(points), torch.cat(repeated))
