"""SimOTA: as many anchors per target as its predictions are good, the cheapest ones.

Ge et al., YOLOX, arXiv 2107.08430. Candidates of a target are the anchors whose centre lies strictly inside its box and
within `radius` strides, along both axes, of the box's centre. Each pair of a target and a candidate has

    cost = -ln(class probability) - iou_weight * ln(IoU of the predicted box with the target)

A target takes its k cheapest candidates, where k is the sum of its `topq` largest IoUs, rounded, between 1 and `topq`.
An anchor taken by several targets goes to the one it costs least. A target without candidates gets no anchor.
"""

from __future__ import annotations

import torch
from torch import Tensor

from yolo.boxes.anchors import Anchors
from yolo.losses.assigner import (
    OVERLAP_FLOOR,
    Assignment,
    Candidates,
    Pairs,
    Predictions,
    find_pairs,
    is_inside,
    occurrence,
    owners,
)

_IOU_FLOOR = 1e-8
"""Keeps the logarithm of an IoU of zero finite, so that the class decides between predictions that overlap nothing."""


class SimOTAAssigner:
    """Assigns anchors to targets; a score is the IoU of the prediction with its target, at least `OVERLAP_FLOOR`.

    Args:
        radius: distance of candidates from the centre of the box, in strides.
        iou_weight: weight of the IoU in the cost; the class has 1.
        topq: how many of the largest IoUs say how many anchors a target gets.
    """

    def __init__(self, radius: float = 2.5, iou_weight: float = 3.0, topq: int = 10) -> None:
        self.radius = radius
        self.iou_weight = iou_weight
        self.topq = topq

    def find_candidates(self, anchors: Anchors, targets: Tensor) -> Candidates:
        """The anchors in the middle of each box; see `Assigner`."""
        return find_pairs(anchors.points, targets, lambda boxes: self._inside_and_near(anchors, boxes))

    @torch.no_grad()
    def __call__(self, class_logits: Tensor, boxes: Tensor, candidates: Candidates) -> Assignment:
        """Assign the anchors of a batch; see `Assigner`."""
        batch = Predictions(class_logits, boxes, candidates, 1.0, self.iou_weight, "iou", _IOU_FLOOR)
        claims = batch.no_claims()
        for rows, row, anchor in candidates.parts:
            target = rows[row]
            value, iou = batch.quality(target, anchor)  # value: minus the cost
            taken = _place(value, row) < self._count(iou, row, len(rows))[row]
            batch.claim(claims, target[taken], anchor[taken], value[taken])
        site, target = batch.positives(owners(claims))
        anchor = site % batch.num_anchors
        scores = batch.quality(target, anchor)[1].clamp(OVERLAP_FLOOR, 1)
        return Assignment(site // batch.num_anchors, anchor, target, scores)

    def _inside_and_near(self, anchors: Anchors, boxes: Tensor) -> Pairs:
        x, y = anchors.points.T
        x1, y1, x2, y2 = boxes.T[:, :, None]
        away = torch.maximum((x - (x1 + x2) / 2).abs(), (y - (y1 + y2) / 2).abs())
        near = is_inside(anchors.points, boxes) & (away <= self.radius * anchors.strides)
        row, anchor = near.nonzero(as_tuple=True)
        return row, anchor

    def _count(self, iou: Tensor, row: Tensor, num_rows: int) -> Tensor:
        """How many anchors each row takes, float32 `[num_rows]`; `row` ascends."""
        place = _place(iou, row)
        counted = place < self.topq
        table = iou.new_zeros(num_rows, self.topq)  # its sums have an order, those of index_add on a GPU have none
        table[row[counted], place[counted]] = iou[counted]
        return table.sum(dim=1).round().clamp(1, self.topq)


def _place(value: Tensor, row: Tensor) -> Tensor:
    """Place of each value among those of its row, 0 for the largest, equal ones in order; `row` ascends. `[N]`."""
    order = value.argsort(descending=True, stable=True)
    order = order[row[order].argsort(stable=True)]
    place = torch.empty_like(row)
    place[order] = occurrence(row[order])
    return place
