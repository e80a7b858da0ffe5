"""Boxes as NumPy arrays, in COCO's terms: what evaluations are counted with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

AREA_BOUNDS = (32**2, 96**2)
"""Square pixels that part COCO's small, medium and large objects."""


def overlap(boxes: Floats, others: Floats, crowd: NDArray[np.bool_] | None = None) -> Floats:
    """IoU, element by element over the broadcast shape; pairwise values come from `overlap(a[:, None], b[None])`.

    By the arithmetic of pycocotools on x, y, width, height, so that rounding at a threshold is its own as well.

    Args:
        boxes: xyxy `[..., 4]`.
        others: xyxy `[..., 4]`, broadcastable with `boxes`.
        crowd: `[...]`, which of the others are crowds; of these the part of the box inside it.

    Returns:
        `[...]`, 0 for two boxes without area.
    """
    size, other_size = boxes[..., 2:] - boxes[..., :2], others[..., 2:] - others[..., :2]
    ends = np.minimum(boxes[..., :2] + size, others[..., :2] + other_size)
    sides = (ends - np.maximum(boxes[..., :2], others[..., :2])).clip(0)
    common = sides[..., 0] * sides[..., 1]
    area, other_area = size[..., 0] * size[..., 1], other_size[..., 0] * other_size[..., 1]
    union = area + other_area - common
    if crowd is not None:
        union = np.where(crowd, area, union)
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def xyxy_to_corner_size(boxes: Floats) -> Floats:
    """[N, 4] xyxy -> COCO's [N, 4] x, y, width, height."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def corner_size_to_xyxy(boxes: Floats) -> Floats:
    """COCO's [N, 4] x, y, width, height -> xyxy."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
