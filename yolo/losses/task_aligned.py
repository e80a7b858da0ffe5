"""Task-aligned assigner: which anchors learn which target, and how strongly.

Feng et al., TOOD: Task-aligned One-stage Object Detection, arXiv 2108.07755. An anchor suits a target by

    metric = class probability ** alpha * overlap ** beta
    overlap = max(CIoU of its predicted box with the target, 0.01)        (the paper has no floor: see OVERLAP_FLOOR)

and every target takes its `topk` best anchors among those whose centre lies inside it. Three rules complete this, so
that no target is lost: a target without an anchor inside takes the nearest one; an anchor wanted by several targets
goes to the one it overlaps most; a target that lost all its anchors this way takes one that nobody needs.

Metrics are computed as logarithms: they neither underflow nor need a guard against division by zero.
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
    rank_index,
    rank_key,
    rows_per_table,
)

_CHOICES = 32
"""Most starved targets that can be served in one round when all of them want the same anchors."""


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

    def find_candidates(self, anchors: Anchors, targets: Tensor) -> Candidates:
        """The anchors strictly inside each box, else the nearest one; see `Assigner`."""
        return find_pairs(anchors.points, targets, lambda boxes: _inside_or_nearest(anchors.points, boxes))

    @torch.no_grad()
    def __call__(self, class_logits: Tensor, boxes: Tensor, candidates: Candidates) -> Assignment:
        """Assign the anchors of a batch; see `Assigner`.

        Every target gets at least one anchor as long as its image has at least as many anchors as targets.
        """
        batch = Predictions(class_logits, boxes, candidates, self.alpha, self.beta, "ciou", OVERLAP_FLOOR)
        owner = self._claim(batch, candidates)
        _feed_starved(batch, owner)

        site, target = batch.positives(owner)
        anchor = site % batch.num_anchors
        metric, overlap = batch.quality(target, anchor)
        best_metric = metric.new_full((batch.num_targets,), -torch.inf).scatter_reduce_(0, target, metric, "amax")
        best_overlap = overlap.new_zeros(batch.num_targets).scatter_reduce_(0, target, overlap, "amax")
        scores = (metric - best_metric[target]).exp() * best_overlap[target]
        return Assignment(site // batch.num_anchors, anchor, target, scores)

    def _claim(self, batch: Predictions, candidates: Candidates) -> Tensor:
        """Target that owns each anchor of each image after every target claimed its best ones, or -1, `[B * A]`."""
        claims = batch.no_claims()
        for rows, row, anchor in candidates.parts:
            target = rows[row]
            metric, overlap = batch.quality(target, anchor)
            table = claims.new_full((len(rows), batch.num_anchors), -1)
            # A target's pairs come in the order of anchors, so of equally good anchors the lower ranks higher.
            table[row, anchor] = rank_key(metric, torch.arange(len(row), device=row.device))
            best = table.topk(min(self.topk, batch.num_anchors), sorted=False).values
            pair = rank_index(best[best >= 0])
            batch.claim(claims, target[pair], anchor[pair], overlap[pair])
        return owners(claims)


def _feed_starved(batch: Predictions, owner: Tensor) -> None:
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
    for rows in starved.split(rows_per_table(batch.num_anchors)):
        wishes = _wishes(batch, rows)
        while len(rows):
            spare = (owner < 0) | (held[owner] > 1)
            winner, site = _propose(batch, rows, wishes, spare)
            giver = owner[site]
            # A target that has h anchors can give h - 1 of them; later proposals wait for the next round.
            allowed = (giver < 0) | (occurrence(giver) < held[giver] - 1)
            winner, site, giver = winner[allowed], site[allowed], giver[allowed]
            if not len(winner):
                break
            owner[site] = rows[winner]
            held[rows[winner]] = 1
            held -= torch.bincount(giver[giver >= 0], minlength=len(held))
            hungry = held[rows] == 0
            rows, wishes = rows[hungry], wishes[hungry]


def _wishes(batch: Predictions, rows: Tensor) -> Tensor:
    """How much each target wants each anchor: candidates by metric, then the others by distance, `[len(rows), A]`."""
    boxes = batch.targets[:, rows].T
    wishes = rank_key(-_squared_distance(batch.points, boxes), torch.arange(batch.num_anchors, device=rows.device))
    row, anchor = _inside_or_nearest(batch.points, boxes)
    metric, _ = batch.quality(rows[row], anchor)
    wishes[row, anchor] = rank_key(metric, anchor) + 2**62
    return wishes


def _propose(batch: Predictions, rows: Tensor, wishes: Tensor, spare: Tensor) -> tuple[Tensor, Tensor]:
    """One anchor for as many starved targets as agree: positions in `rows` and sites in `[B * A]`, no site twice.

    Targets whose first choice is the same propose their first, second, third ... choice in turn, so that a pile of
    equal targets is served in few rounds. Where two proposals still meet, the lower target wins.
    """
    images = batch.images[rows]
    open_wishes = wishes.masked_fill(~spare.view(batch.num_images, -1)[images], -1)
    best = open_wishes.topk(min(_CHOICES, batch.num_anchors))
    first = images * batch.num_anchors + best.indices[:, 0]
    turn = occurrence(first).clamp(max=best.values.shape[1] - 1)[:, None]
    winner = (best.values.gather(1, turn).squeeze(1) >= 0).nonzero().squeeze(1)
    site = (images * batch.num_anchors + best.indices.gather(1, turn).squeeze(1))[winner]
    unique = occurrence(site) == 0
    return winner[unique], site[unique]


def _inside_or_nearest(points: Tensor, boxes: Tensor) -> Pairs:
    """Pairs of a box (xyxy `[m, 4]`) and each anchor strictly inside it, else its nearest one: positions `[N]` each."""
    row, anchor = is_inside(points, boxes).nonzero(as_tuple=True)
    hollow = (torch.bincount(row, minlength=len(boxes)) == 0).nonzero().squeeze(1)
    nearest = _squared_distance(points, boxes[hollow]).argmin(dim=1)
    return torch.cat([row, hollow]), torch.cat([anchor, nearest])


def _squared_distance(points: Tensor, boxes: Tensor) -> Tensor:
    """Squared pixels between the centres of boxes xyxy `[m, 4]` and anchors `[A, 2]`, `[m, A]`."""
    x, y = points.T
    x1, y1, x2, y2 = boxes.T[:, :, None]
    return (x - (x1 + x2) / 2).square() + (y - (y1 + y2) / 2).square()
