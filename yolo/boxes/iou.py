"""Intersection over union of axis-aligned boxes and its generalised, distance and complete forms."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

BoxIoUKind = Literal["iou", "giou", "diou", "ciou"]


def box_iou(a: Tensor, b: Tensor, kind: BoxIoUKind = "iou", eps: float = 1e-7) -> Tensor:
    """Overlap of boxes, element by element over the broadcast shape.

    Pairwise values come from `box_iou(a[:, None], b[None])`. Computed in float32 at least, because areas in pixels
    exceed what half precision holds.

    GIoU: Rezatofighi et al., arXiv 1902.09630. DIoU and CIoU: Zheng et al., arXiv 1911.08287.

    Args:
        a: boxes xyxy `[..., 4]`, x2 >= x1 and y2 >= y1.
        b: boxes xyxy `[..., 4]`, broadcastable with `a`.
        kind: "iou" in [0, 1]; "giou" and "diou" in (-1, 1]; "ciou" additionally falls with a differing aspect ratio.
        eps: lower bound of every denominator; boxes without area overlap nothing.

    Returns:
        `[...]`; exactly 1 for two identical boxes with area.
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

    hull_w = torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)
    hull_h = torch.maximum(ay2, by2) - torch.minimum(ay1, by1)
    if kind == "giou":
        hull = (hull_w * hull_h).clamp(min=eps)
        return iou - (hull - union) / hull

    distance = ((ax1 + ax2 - bx1 - bx2).square() + (ay1 + ay2 - by1 - by2).square()) / 4
    diou = iou - distance / (hull_w.square() + hull_h.square()).clamp(min=eps)
    if kind == "diou":
        return diou

    angle = torch.atan(aw / ah.clamp(min=eps)) - torch.atan(bw / bh.clamp(min=eps))
    aspect = angle.square() * (4 / math.pi**2)
    with torch.no_grad():  # the paper's trade-off weight is a constant to the gradient
        weight = aspect / (1 - iou + aspect).clamp(min=eps)
    return diou - weight * aspect
