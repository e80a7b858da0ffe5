"""Non-maximum suppression: the one used by validation, prediction and the check of exported files."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from yolo.boxes.convert import xywh_to_xyxy
from yolo.boxes.iou import box_iou
from yolo.errors import require_ranges

_BLOCK = 180
"""Boxes per step. A block's pairs stay below 32768 elements, from where torch spreads an operation over threads: on
busy cores waiting for those costs far more than the work."""


@dataclass(frozen=True)
class NMSOptions:
    """What counts as a detection."""

    confidence: float = 0.25
    """Lowest score of a detection, exclusive."""
    iou: float = 0.65
    """Overlap with a better detection of the same class above which a detection is dropped."""
    max_detections: int = 300
    """Most detections per image; the best stay."""
    multi_label: bool = True
    """Let one anchor give a detection for each class over the confidence, not only for its best class."""
    class_agnostic: bool = False
    """Let detections of different classes suppress each other."""

    def __post_init__(self) -> None:
        unit, whole = (0, 1), (1, float("inf"))
        require_ranges(self, {"confidence": unit, "iou": unit, "max_detections": whole}, "")


def nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, max_detections: int, groups: Tensor | None = None
) -> Tensor:
    """Greedy non-maximum suppression, with the result of the textbook loop over all boxes.

    Works through the boxes from the best down in blocks and stops as soon as `max_detections` are kept, so that the
    cost follows the number of kept boxes instead of the square of all. No candidate is left out beforehand.

    Args:
        boxes: xyxy `[N, 4]`.
        scores: `[N]`; boxes of equal score are taken in the order given.
        iou_threshold: a box is dropped when its IoU with a kept one exceeds this.
        max_detections: most boxes to keep.
        groups: int `[N]`; only boxes of the same group (class) suppress each other. None: one group.

    Returns:
        Indices of the kept boxes, best first, int64 `[K]`.
    """
    order = scores.argsort(descending=True, stable=True)
    kept = order[:0]
    for block in order.split(_BLOCK):
        if len(kept) >= max_detections:
            break
        survivors = block[~_suppressed(boxes, kept, block, iou_threshold, groups).any(dim=0)]
        beats = _suppressed(boxes, survivors, survivors, iou_threshold, groups).triu_(diagonal=1)
        kept = torch.cat([kept, survivors[_greedy(beats)]])
    return kept[:max_detections]


def _suppressed(boxes: Tensor, by: Tensor, which: Tensor, iou_threshold: float, groups: Tensor | None) -> Tensor:
    """Whether box `by[i]` would drop box `which[j]`, bool `[len(by), len(which)]`."""
    overlapping = box_iou(boxes[by, None], boxes[None, which]) > iou_threshold
    return overlapping if groups is None else overlapping & (groups[by, None] == groups[None, which])


def _greedy(beats: Tensor) -> Tensor:
    """Which boxes of a block the greedy loop keeps, bool `[n]`; `beats[i, j]` (i < j): box i, if kept, drops box j.

    Iterates "kept unless a kept box drops it" from "all kept". After step k the answer is right for every box that
    ends a chain of at most k drops, so it settles on the loop's answer, within a few steps on real detections.
    """
    kept = torch.ones(len(beats), dtype=torch.bool, device=beats.device)
    while True:
        update = ~(beats & kept[:, None]).any(dim=0)
        if torch.equal(update, kept):
            return kept
        kept = update


def non_max_suppression(decoded: Tensor, options: NMSOptions) -> list[Tensor]:
    """Detections of a batch.

    Args:
        decoded: `[B, 4 + C, A]` from `decode_maps`: boxes xywh in pixels, then class probabilities.
        options: thresholds.

    Returns:
        Per image float `[K, 6]`: x1, y1, x2, y2 (pixels of the network input, not clipped), score, class; best first.
    """
    return [suppress(image, options)[0] for image in decoded.detach()]


def suppress(decoded: Tensor, options: NMSOptions) -> tuple[Tensor, Tensor]:
    """Detections of one image, and which anchors they come from.

    Args:
        decoded: `[4 + C, A]`: boxes xywh in any pixels, then class probabilities.
        options: thresholds.

    Returns:
        float `[K, 6]`: x1, y1, x2, y2, score, class, best first; and int64 `[K]`, the column of each in `decoded`.
    """
    class_scores = decoded[4:]
    if options.multi_label:
        classes, anchors = (class_scores > options.confidence).nonzero(as_tuple=True)
        scores = class_scores[classes, anchors]
    else:
        scores, classes = class_scores.max(dim=0)
        anchors = (scores > options.confidence).nonzero().squeeze(1)
        scores, classes = scores[anchors], classes[anchors]
    boxes = xywh_to_xyxy(decoded[:4, anchors].T)
    groups = None if options.class_agnostic else classes
    kept = nms(boxes, scores, options.iou, options.max_detections, groups)
    rows = torch.cat([boxes[kept], scores[kept, None], classes[kept, None].to(boxes.dtype)], dim=1)
    return rows, anchors[kept]
