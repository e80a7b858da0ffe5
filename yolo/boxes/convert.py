"""Corner and centre forms of axis-aligned boxes."""

from __future__ import annotations

import torch
from torch import Tensor


def xyxy_to_xywh(boxes: Tensor) -> Tensor:
    """Corners (x1, y1, x2, y2) to (centre x, centre y, width, height), `[..., 4]` to `[..., 4]`, same unit."""
    top_left, bottom_right = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(top_left + bottom_right) / 2, bottom_right - top_left], dim=-1)


def xywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(centre x, centre y, width, height) to corners (x1, y1, x2, y2), `[..., 4]` to `[..., 4]`, same unit."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)
