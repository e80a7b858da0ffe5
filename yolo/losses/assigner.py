"""What every assigner shares: its face to the loss, and ways to work on the targets of a whole batch at once.

Targets of the whole batch form one flat list. What an assigner considers are pairs (row in that list, anchor); pairs of
different images never meet, because an anchor of the batch is a site (image, anchor).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from yolo.boxes.anchors import Anchors
from yolo.boxes.iou import BoxIoUKind, box_iou

OVERLAP_FLOOR = 0.01
"""Least overlap that counts in a score. A target that no prediction overlaps must still pull its anchors: with a floor
of zero the weight of its losses would be zero."""

TABLE_LIMIT = 2**24
"""Most elements of a targets x anchors table (128 MiB of int64); longer target lists are worked through in parts."""
_INDEX_BITS = 30
_INDEX_MASK = 2**_INDEX_BITS - 1

Pairs = tuple[Tensor, Tensor]
"""Position in a list of boxes, and anchor, of each pair, int64 `[N]` each."""


@dataclass(frozen=True)
class Assignment:
    """Positive anchors, sorted by (image, anchor); an anchor has one target at most."""

    images: Tensor
    """Image of each positive, int64 `[P]`."""
    anchors: Tensor
    """Anchor of each positive, int64 `[P]`."""
    targets: Tensor
    """Row of each positive in the target list, int64 `[P]`."""
    scores: Tensor
    """Soft class target of each positive in [0, 1], also the weight of its box losses, float32 `[P]`."""


@dataclass(frozen=True)
class Candidates:
    """What assignment knows before any prediction: found once per batch, shared by the detector's branches."""

    points: Tensor
    """Anchor centres (x, y) in pixels, `[A, 2]`."""
    targets: Tensor
    """(image index, class, x1, y1, x2, y2) in pixels, float32 `[M, 6]`."""
    parts: list[tuple[Tensor, Tensor, Tensor]]
    """Per part of the target list: its rows `[m]`, then pairs of a position in those rows and an anchor, `[N]` each."""


class Assigner(Protocol):
    """Decides which anchors learn which target, and how strongly."""

    def find_candidates(self, anchors: Anchors, targets: Tensor) -> Candidates:
        """The anchors that each target may claim.

        Args:
            anchors: of the batch's input size.
            targets: (image index, class, x1, y1, x2, y2) in pixels, float32 `[M, 6]`; boxes have area.
        """
        ...

    def __call__(self, class_logits: Tensor, boxes: Tensor, candidates: Candidates) -> Assignment:
        """Assign the anchors of a batch. Deterministic: of equals the lower index comes first.

        Args:
            class_logits: float32 `[B, A, C]`.
            boxes: predicted boxes xyxy in pixels, float32 `[B, A, 4]`.
            candidates: from `find_candidates`.
        """
        ...


class Predictions:
    """Predictions and targets of a batch, addressed by pairs (target row, anchor).

    Args:
        class_logits: `[B, A, C]`.
        boxes: predicted boxes xyxy in pixels, `[B, A, 4]`.
        candidates: what assignment knows already.
        alpha: exponent of the class probability in the metric.
        beta: exponent of the overlap in the metric.
        overlap: how boxes are compared.
        floor: least overlap.
    """

    def __init__(
        self,
        class_logits: Tensor,
        boxes: Tensor,
        candidates: Candidates,
        alpha: float,
        beta: float,
        overlap: BoxIoUKind,
        floor: float,
    ) -> None:
        self.num_images, self.num_anchors, self.num_classes = class_logits.shape
        self.num_targets = len(candidates.targets)
        self.points = candidates.points
        self.images, self.classes = candidates.targets[:, :2].T.long()
        # Coordinates apart, `[4, N]`: pairs gathered from them lie contiguous, which IoU computes faster.
        self.targets = candidates.targets[:, 2:].T.contiguous()
        self.boxes = boxes.detach().flatten(0, 1).T.contiguous()
        self.logits = class_logits.detach().flatten()
        self.overlap_floor = boxes.new_tensor(floor)
        self.logit_floor = boxes.new_tensor(-1e4)
        self.alpha = alpha
        self.beta = beta
        self.overlap: BoxIoUKind = overlap

    def site(self, target: Tensor, anchor: Tensor) -> Tensor:
        """Position of the pairs' anchors among all anchors of the batch, `[N]`."""
        return self.images[target] * self.num_anchors + anchor

    def quality(self, target: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithm of probability ** alpha * overlap ** beta, and overlap, of pairs, float32 `[N]` each.

        Predictions that are not finite count as worthless: assigning goes on, and the loss shows the divergence.
        """
        site = self.site(target, anchor)
        boxes, wanted = self.boxes.index_select(1, site), self.targets.index_select(1, target)
        logit = self.logits.index_select(0, site * self.num_classes + self.classes[target])
        # fmax rather than clamp: it takes the bound where a prediction is NaN.
        overlap = box_iou(boxes.T, wanted.T, self.overlap).fmax(self.overlap_floor)
        return self.alpha * F.logsigmoid(logit.fmax(self.logit_floor)) + self.beta * overlap.log(), overlap

    def no_claims(self) -> Tensor:
        """Nobody's claim to each anchor of each image, int64 `[B * A]`; keys of `rank_key` are higher."""
        return torch.full((self.boxes.shape[1],), -1, device=self.boxes.device)

    def claim(self, claims: Tensor, target: Tensor, anchor: Tensor, strength: Tensor) -> None:
        """Enter pairs into `claims`: the strongest claim to an anchor stays, of equal ones the lower target's."""
        claims.scatter_reduce_(0, self.site(target, anchor), rank_key(strength, target), "amax")

    def positives(self, owner: Tensor) -> Pairs:
        """Sites that have an owner, and their targets, `[P]` each."""
        site = (owner >= 0).nonzero().squeeze(1)
        return site, owner[site]


def owners(claims: Tensor) -> Tensor:
    """Target whose claim to each anchor is the strongest, or -1, `[B * A]`."""
    return torch.where(claims < 0, claims, rank_index(claims))


def find_pairs(points: Tensor, targets: Tensor, pairs: Callable[[Tensor], Pairs]) -> Candidates:
    """Candidates in parts whose tables are not too large; `pairs` finds those of boxes xyxy `[m, 4]`."""
    parts = torch.arange(len(targets), device=points.device).split(rows_per_table(len(points)))
    return Candidates(points, targets, [(rows, *pairs(targets[rows, 2:])) for rows in parts])


def is_inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Whether each anchor `[A, 2]` lies strictly inside each box xyxy `[m, 4]`, bool `[m, A]`."""
    x, y = points.T
    x1, y1, x2, y2 = boxes.T[:, :, None]
    return (x > x1) & (x < x2) & (y > y1) & (y < y2)


def rows_per_table(num_anchors: int) -> int:
    """How many targets to work on at once."""
    return max(TABLE_LIMIT // num_anchors, 1)


def rank_key(value: Tensor, index: Tensor) -> Tensor:
    """Distinct integers in [0, 2**62) that sort by float32 `value`, equal values by falling `index`.

    Makes the best of equals the one with the lowest index on every device.
    """
    bits = value.view(torch.int32).long()
    ordered = torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)  # IEEE 754: sign and magnitude
    return ((ordered + 2**31) << _INDEX_BITS) + (_INDEX_MASK - index)


def rank_index(key: Tensor) -> Tensor:
    """The index in a key from `rank_key`."""
    return _INDEX_MASK - (key & _INDEX_MASK)


def occurrence(values: Tensor) -> Tensor:
    """How many earlier elements of an int64 list `[N]` equal each element, `[N]`."""
    order = values.argsort(stable=True)
    ascending = values[order]
    counts = torch.empty_like(values)
    counts[order] = torch.arange(len(values), device=values.device) - torch.searchsorted(ascending, ascending)
    return counts
