"""Task-aligned assigner: which anchors learn which target, and how strongly.

Feng et al., TOOD: Task-aligned One-stage Object Detection, arXiv 2108.07755. An anchor suits a target by

    metric = class probability ** alpha * overlap ** beta
    overlap = max(CIoU of its predicted box with the target, 0.01)        (the paper has no floor: see OVERLAP_FLOOR)

and every target takes its `topk` best anchors among those whose centre lies inside it. Three rules complete this, so
that no target is lost: a target without an anchor inside takes the nearest one; an anchor wanted by several targets
goes to the one it overlaps most; a target that lost all its anchors this way takes one that nobody needs.

Targets of the whole batch form one flat list. Metrics are computed as logarithms: they neither underflow nor need a
guard against division by zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from yolo.boxes.iou import box_iou

OVERLAP_FLOOR = 0.01
"""Least overlap that counts. A target that no prediction overlaps must still pull its anchors: with a floor of zero its
metric, and with it the weight of its losses, would be zero."""

_TABLE_LIMIT = 2**24
"""Most elements of a targets x anchors table (128 MiB of int64); longer target lists are worked through in parts."""
_CHOICES = 32
"""Most starved targets that can be served in one round when all of them want the same anchors."""
_INDEX_BITS = 30
_INDEX_MASK = 2**_INDEX_BITS - 1


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


def find_candidates(points: Tensor, targets: Tensor) -> Candidates:
    """The anchors that each target may claim: those strictly inside its box, else the nearest one.

    Args:
        points: anchor centres in pixels, `[A, 2]`.
        targets: (image index, class, x1, y1, x2, y2) in pixels, float32 `[M, 6]`; boxes have area.
    """
    parts = torch.arange(len(targets), device=points.device).split(_rows_per_table(len(points)))
    return Candidates(points, targets, [(rows, *_inside_or_nearest(points, targets[rows, 2:])) for rows in parts])


class TaskAlignedAssigner:
    """Assigns anchors to targets.

    Args:
        topk: anchors per target.
        alpha: exponent of the class probability.
        beta: exponent of the overlap.
    """

    def __init__(self, topk: int = 13, alpha: float = 0.5, beta: float = 6.0) -> None:
        self.topk = topk
        self.alpha = alpha
        self.beta = beta

    @torch.no_grad()
    def __call__(self, class_logits: Tensor, boxes: Tensor, candidates: Candidates) -> Assignment:
        """Assign the anchors of a batch.

        Every target gets at least one anchor as long as its image has at least as many anchors as targets. The result
        is deterministic: equally good anchors rank by index, equal claims go to the lower target.

        Args:
            class_logits: float32 `[B, A, C]`.
            boxes: predicted boxes xyxy in pixels, float32 `[B, A, 4]`.
            candidates: from `find_candidates`.
        """
        batch = _Batch(class_logits.detach(), boxes.detach(), candidates, self.alpha, self.beta)
        owner = self._claim(batch, candidates)
        _feed_starved(batch, owner)

        site = (owner >= 0).nonzero().squeeze(1)
        target = owner[site]
        anchor = site % batch.num_anchors
        metric, overlap = batch.quality(target, anchor)
        best_metric = metric.new_full((batch.num_targets,), -torch.inf).scatter_reduce_(0, target, metric, "amax")
        best_overlap = overlap.new_zeros(batch.num_targets).scatter_reduce_(0, target, overlap, "amax")
        scores = (metric - best_metric[target]).exp() * best_overlap[target]
        return Assignment(site // batch.num_anchors, anchor, target, scores)

    def _claim(self, batch: _Batch, candidates: Candidates) -> Tensor:
        """Target that owns each anchor of each image after every target claimed its best ones, or -1, `[B * A]`."""
        claims = batch.per_anchor(-1)
        for rows, row, anchor in candidates.parts:
            target = rows[row]
            metric, overlap = batch.quality(target, anchor)
            table = claims.new_full((len(rows), batch.num_anchors), -1)
            # A target's pairs come in the order of anchors, so of equally good anchors the lower ranks higher.
            table[row, anchor] = _rank_key(metric, torch.arange(len(row), device=row.device))
            best = table.topk(min(self.topk, batch.num_anchors), sorted=False).values
            pair = _rank_index(best[best >= 0])
            target, anchor = target[pair], anchor[pair]
            claims.scatter_reduce_(0, batch.site(target, anchor), _rank_key(overlap[pair], target), "amax")
        return torch.where(claims < 0, claims, _rank_index(claims))


class _Batch:
    """Predictions and targets of a batch, addressed by pairs (target row, anchor)."""

    def __init__(self, class_logits: Tensor, boxes: Tensor, candidates: Candidates, alpha: float, beta: float) -> None:
        self.num_images, self.num_anchors, self.num_classes = class_logits.shape
        self.num_targets = len(candidates.targets)
        self.points = candidates.points
        self.images, self.classes = candidates.targets[:, :2].T.long()
        # Coordinates apart, `[4, N]`: pairs gathered from them lie contiguous, which CIoU computes faster.
        self.targets = candidates.targets[:, 2:].T.contiguous()
        self.boxes = boxes.flatten(0, 1).T.contiguous()
        self.logits = class_logits.flatten()
        self.overlap_floor = boxes.new_tensor(OVERLAP_FLOOR)
        self.logit_floor = boxes.new_tensor(-1e4)
        self.alpha = alpha
        self.beta = beta

    def per_anchor(self, value: int) -> Tensor:
        """An int64 for each anchor of each image, `[B * A]`."""
        return torch.full((self.boxes.shape[1],), value, device=self.boxes.device)

    def site(self, target: Tensor, anchor: Tensor) -> Tensor:
        """Position of the pairs' anchors among all anchors of the batch, `[N]`."""
        return self.images[target] * self.num_anchors + anchor

    def quality(self, target: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithm of the metric, and overlap, of pairs, float32 `[N]` each.

        Predictions that are not finite count as worthless: assigning goes on, and the loss shows the divergence.
        """
        site = self.site(target, anchor)
        boxes, wanted = self.boxes.index_select(1, site), self.targets.index_select(1, target)
        logit = self.logits.index_select(0, site * self.num_classes + self.classes[target])
        # fmax rather than clamp: it takes the bound where a prediction is NaN.
        overlap = box_iou(boxes.T, wanted.T, "ciou").fmax(self.overlap_floor)
        return self.alpha * F.logsigmoid(logit.fmax(self.logit_floor)) + self.beta * overlap.log(), overlap


def _feed_starved(batch: _Batch, owner: Tensor) -> None:
    """Give each target without an anchor its best one among those that are free or that their owner can spare.

    Writes to `owner` (`[B * A]`, target or -1). Works in rounds in which every starved target proposes. A round in
    which something can be taken serves at least one target (the first that proposes its first choice, or the one that
    beats it there), and none that has an anchor loses its last, so the number of starved targets falls strictly until
    it is zero or the anchors of their images have run out.
    """
    held = torch.bincount(owner[owner >= 0], minlength=batch.num_targets)
    starved = (held == 0).nonzero().squeeze(1)
    if not len(starved):
        return
    for rows in starved.split(_rows_per_table(batch.num_anchors)):
        wishes = _wishes(batch, rows)
        while len(rows):
            spare = (owner < 0) | (held[owner] > 1)
            winner, site = _propose(batch, rows, wishes, spare)
            giver = owner[site]
            # A target that has h anchors can give h - 1 of them; later proposals wait for the next round.
            allowed = (giver < 0) | (_occurrence(giver) < held[giver] - 1)
            winner, site, giver = winner[allowed], site[allowed], giver[allowed]
            if not len(winner):
                break
            owner[site] = rows[winner]
            held[rows[winner]] = 1
            held -= torch.bincount(giver[giver >= 0], minlength=len(held))
            hungry = held[rows] == 0
            rows, wishes = rows[hungry], wishes[hungry]


def _wishes(batch: _Batch, rows: Tensor) -> Tensor:
    """How much each target wants each anchor: candidates by metric, then the others by distance, `[len(rows), A]`."""
    boxes = batch.targets[:, rows].T
    wishes = _rank_key(-_squared_distance(batch.points, boxes), torch.arange(batch.num_anchors, device=rows.device))
    row, anchor = _inside_or_nearest(batch.points, boxes)
    metric, _ = batch.quality(rows[row], anchor)
    wishes[row, anchor] = _rank_key(metric, anchor) + 2**62
    return wishes


def _propose(batch: _Batch, rows: Tensor, wishes: Tensor, spare: Tensor) -> tuple[Tensor, Tensor]:
    """One anchor for as many starved targets as agree: positions in `rows` and sites in `[B * A]`, no site twice.

    Targets whose first choice is the same propose their first, second, third ... choice in turn, so that a pile of
    equal targets is served in few rounds. Where two proposals still meet, the lower target wins.
    """
    images = batch.images[rows]
    open_wishes = wishes.masked_fill(~spare.view(batch.num_images, -1)[images], -1)
    best = open_wishes.topk(min(_CHOICES, batch.num_anchors))
    first = images * batch.num_anchors + best.indices[:, 0]
    turn = _occurrence(first).clamp(max=best.values.shape[1] - 1)[:, None]
    winner = (best.values.gather(1, turn).squeeze(1) >= 0).nonzero().squeeze(1)
    site = (images * batch.num_anchors + best.indices.gather(1, turn).squeeze(1))[winner]
    unique = _occurrence(site) == 0
    return winner[unique], site[unique]


def _inside_or_nearest(points: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of a box (xyxy `[m, 4]`) and each anchor strictly inside it, else its nearest one: positions `[N]` each."""
    x, y = points.T
    x1, y1, x2, y2 = boxes.T[:, :, None]
    row, anchor = ((x > x1) & (x < x2) & (y > y1) & (y < y2)).nonzero(as_tuple=True)
    hollow = (torch.bincount(row, minlength=len(boxes)) == 0).nonzero().squeeze(1)
    nearest = _squared_distance(points, boxes[hollow]).argmin(dim=1)
    return torch.cat([row, hollow]), torch.cat([anchor, nearest])


def _squared_distance(points: Tensor, boxes: Tensor) -> Tensor:
    """Squared pixels between the centres of boxes xyxy `[m, 4]` and anchors `[A, 2]`, `[m, A]`."""
    x, y = points.T
    x1, y1, x2, y2 = boxes.T[:, :, None]
    return (x - (x1 + x2) / 2).square() + (y - (y1 + y2) / 2).square()


def _rows_per_table(num_anchors: int) -> int:
    return max(_TABLE_LIMIT // num_anchors, 1)


def _rank_key(value: Tensor, index: Tensor) -> Tensor:
    """Distinct integers in [0, 2**62) that sort by float32 `value`, equal values by falling `index`.

    Makes the best of equals the one with the lowest index on every device.
    """
    bits = value.view(torch.int32).long()
    ordered = torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)  # IEEE 754: sign and magnitude
    return ((ordered + 2**31) << _INDEX_BITS) + (_INDEX_MASK - index)


def _rank_index(key: Tensor) -> Tensor:
    """The index in a key from `_rank_key`."""
    return _INDEX_MASK - (key & _INDEX_MASK)


def _occurrence(values: Tensor) -> Tensor:
    """How many earlier elements of an int64 list `[N]` equal each element, `[N]`."""
    order = values.argsort(stable=True)
    ascending = values[order]
    counts = torch.empty_like(values)
    counts[order] = torch.arange(len(values), device=values.device) - torch.searchsorted(ascending, ascending)
    return counts
