"""Intersection over union of axis-aligned boxes and its generalised, distance and complete forms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

BoxIoUKind = Literal["iou", "giou", "diou", "ciou", "siou", "mpdiou"]


def box_iou(
    a: Tensor, b: Tensor, kind: BoxIoUKind = "iou", eps: float = 1e-7, image_size: tuple[int, int] | None = None
) -> Tensor:
    """Overlap of boxes, element by element over the broadcast shape.

    Pairwise values come from `box_iou(a[:, None], b[None])`. Computed in float32 at least, because areas in pixels
    exceed what half precision holds.

    GIoU: arXiv 1902.09630. DIoU and CIoU: arXiv 1911.08287. SIoU: arXiv 2205.12740. MPDIoU: arXiv 2307.07662.

    Args:
        a: boxes xyxy `[..., 4]`, x2 >= x1 and y2 >= y1.
        b: boxes xyxy `[..., 4]`, broadcastable with `a`.
        kind: "iou" in [0, 1]; "giou" and "diou" in (-1, 1]; "ciou" additionally falls with a differing aspect ratio,
            "siou" with angle, distance and shape, "mpdiou" with the distances of equal corners.
        eps: lower bound of every denominator; boxes without area overlap nothing.
        image_size: (height, width) in pixels, what "mpdiou" measures distances by.

    Returns:
        `[...]`; exactly 1 for two identical boxes with area.

    Raises:
        ValueError: an unknown kind, or "mpdiou" without image_size.
    """
    if kind not in get_args(BoxIoUKind):
        raise ValueError(f"kind must be one of {', '.join(get_args(BoxIoUKind))}, got {kind!r}")
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    ax1, ay1, ax2, ay2 = a.to(dtype).unbind(-1)
    bx1, by1, bx2, by2 = b.to(dtype).unbind(-1)
    aw, ah, bw, bh = ax2 - ax1, ay2 - ay1, bx2 - bx1, by2 - by1

    inter_w = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    inter_h = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    inter = inter_w * inter_h
    union = aw * ah + bw * bh - inter
    iou = inter / union.clamp(min=eps)
    if kind == "iou":
        return iou

    if kind == "mpdiou":
        return iou - _mpdiou_cost((ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2), image_size)

    hull_w = torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)
    hull_h = torch.maximum(ay2, by2) - torch.minimum(ay1, by1)
    if kind == "giou":
        hull = (hull_w * hull_h).clamp(min=eps)
        return iou - (hull - union) / hull

    twice_x, twice_y = ax1 + ax2 - bx1 - bx2, ay1 + ay2 - by1 - by2  # the shift of the centres, times two
    if kind == "siou":
        return iou - _siou_cost((twice_x / 2, twice_y / 2), (hull_w, hull_h), (aw, ah), (bw, bh), eps)

    distance = (twice_x.square() + twice_y.square()) / 4
    diou = iou - distance / (hull_w.square() + hull_h.square()).clamp(min=eps)
    return diou if kind == "diou" else diou - _ciou_cost(iou, (aw, ah), (bw, bh), eps)


Pair = tuple[Tensor, Tensor]


def _mpdiou_cost(a: Sequence[Tensor], b: Sequence[Tensor], image_size: tuple[int, int] | None) -> Tensor:
    """MPDIoU's squared distances of equal corners, x1, y1, x2, y2 each, by the image's squared diagonal."""
    if image_size is None:
        raise ValueError("mpdiou measures corner distances by the image: image_size must be given")
    corners = (a[0] - b[0]).square() + (a[1] - b[1]).square() + (a[2] - b[2]).square() + (a[3] - b[3]).square()
    return corners / (image_size[0] ** 2 + image_size[1] ** 2)


def _ciou_cost(iou: Tensor, a: Pair, b: Pair, eps: float) -> Tensor:
    """CIoU's weighted cost of differing aspect ratios, from width and height of the boxes."""
    angle = torch.atan(a[0] / a[1].clamp(min=eps)) - torch.atan(b[0] / b[1].clamp(min=eps))
    aspect = angle.square() * (4 / math.pi**2)
    with torch.no_grad():  # the paper's trade-off weight is a constant to the gradient
        weight = aspect / (1 - iou + aspect).clamp(min=eps)
    return weight * aspect


def _siou_cost(shift: Pair, hull: Pair, a: Pair, b: Pair, eps: float) -> Tensor:
    """Half of SIoU's distance and shape cost, from centre shift, hull and box extents (x and y, width and height).

    distance = sum(1 - exp(-(2 - angle) (shift / hull)^2)) with angle = sin(2 alpha), alpha the slope of the shift;
    shape = sum((1 - exp(-|a - b| / max(a, b)))^4).
    """
    x, y = shift
    angle = 2 * (x * y).abs() / (x.square() + y.square()).clamp(min=eps)

    def distance(extent: Tensor, hull_extent: Tensor) -> Tensor:
        return 1 - torch.exp((angle - 2) * (extent / hull_extent.clamp(min=eps)).square())

    def shape(one: Tensor, other: Tensor) -> Tensor:
        return (1 - torch.exp(-(one - other).abs() / torch.maximum(one, other).clamp(min=eps))) ** 4

    return (distance(x, hull[0]) + distance(y, hull[1]) + shape(a[0], b[0]) + shape(a[1], b[1])) / 2
