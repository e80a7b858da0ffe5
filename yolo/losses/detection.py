"""The training loss: assignment, classification, box and distribution terms over all branches of the detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from yolo.boxes.anchors import Anchors, make_anchors
from yolo.boxes.decode import (
    boxes_to_distances,
    count_classes,
    distances_to_boxes,
    expected_distances,
    flatten_maps,
)
from yolo.boxes.iou import BoxIoUKind, box_iou
from yolo.losses.assigner import Assigner, Assignment, Candidates
from yolo.losses.classification import bce_sum, quality_focal_sum, varifocal_sum
from yolo.losses.dfl import distribution_focal_loss
from yolo.losses.simota import SimOTAAssigner
from yolo.losses.task_aligned import TaskAlignedAssigner

ReduceSum = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LossOptions:
    """Weights and constants of the training loss."""

    box_loss_weight: float = 7.5
    """Weight of the box loss (1 - overlap)."""
    cls_loss_weight: float = 0.5
    """Weight of the classification loss."""
    dfl_loss_weight: float = 1.5
    """Weight of the distribution focal loss of the box sides."""
    auxiliary_loss_weight: float = 0.25
    """Weight of the auxiliary branch's whole loss; the main branch has 1."""
    cls_pos_weight: float = 1.0
    """Weight of positives in the `bce` classification loss; above 1 trades precision for recall."""
    box_loss_type: BoxIoUKind = "ciou"
    """Overlap whose complement is the box loss."""
    cls_loss_type: Literal["bce", "varifocal", "vfl", "quality_focal", "qfl"] = "bce"
    """Classification loss: binary cross entropy with soft targets, varifocal (`vfl`) or quality focal (`qfl`)."""
    cls_vfl_alpha: float = 0.75
    """Varifocal only: weight of negatives."""
    cls_vfl_gamma: float = 2.0
    """Varifocal only: exponent of a negative's probability in its weight."""
    cls_qfl_beta: float = 2.0
    """Quality focal only: exponent of the error in its weight."""
    assigner: Literal["task_aligned", "simota"] = "task_aligned"
    """Which anchors learn which object: task-aligned (each object gets at least one) or SimOTA (may get none)."""
    assigner_topk: int = 13
    """Task-aligned only: anchors that each labelled object can claim."""
    assigner_alpha: float = 0.5
    """Task-aligned only: exponent of the class probability in the metric."""
    assigner_beta: float = 6.0
    """Task-aligned only: exponent of the overlap in the metric."""
    assigner_radius: float = 2.5
    """SimOTA only: largest distance of an anchor from the centre of the object, in strides."""
    assigner_lambda: float = 3.0
    """SimOTA only: weight of the overlap in the cost; the class has 1."""
    assigner_topq: int = 10
    """SimOTA only: the sum of that many best overlaps is the number of anchors an object gets."""


@dataclass(frozen=True)
class LossResult:
    """What the loss of one batch consists of."""

    total: Tensor
    """Scalar to call backward on: the weighted terms of all branches, times the batch size."""
    parts: dict[str, Tensor]
    """The main branch's weighted terms "box", "cls" and "dfl" for logs: detached, not multiplied by the batch size."""

    def plus(self, name: str, term: Tensor, images: int) -> LossResult:
        """With another weighted term, a mean over images, for a batch of so many."""
        return LossResult(self.total + images * term, {**self.parts, name: term.detach()})


def build_assigner(options: LossOptions) -> Assigner:
    """The assigner of `options`."""
    if options.assigner == "simota":
        return SimOTAAssigner(options.assigner_radius, options.assigner_lambda, options.assigner_topq)
    return TaskAlignedAssigner(options.assigner_topk, options.assigner_alpha, options.assigner_beta)


class DetectionLoss:
    """Loss of a detector's raw maps against the labelled boxes of a batch.

    Each branch has its own assignment. Terms are divided by the sum of the positives' soft scores, at least 1.
    Everything is computed in float32, whatever the precision of the maps.
    """

    def __init__(self, options: LossOptions | None = None) -> None:
        self.options = options or LossOptions()
        self.assigner = build_assigner(self.options)

    def __call__(
        self,
        branches: Sequence[Sequence[Tensor]],
        targets: Tensor,
        strides: Sequence[int],
        bins: Tensor,
        *,
        reduce_sum: ReduceSum | None = None,
        num_processes: int = 1,
    ) -> LossResult:
        """The loss of one batch.

        Args:
            branches: raw maps per branch, main first; each map `[B, 4*R + C, H, W]`.
            targets: (image index, class, x1, y1, x2, y2) in pixels of the network input, float32 `[M, 6]`; M may be 0.
            strides: pixels per cell of each level.
            bins: distance in strides each bin stands for, 0 ... R - 1, `[R]`.
            reduce_sum: adds a tensor up over the processes that train together. None: this process trains alone.
            num_processes: how many those are. The sum of their totals and the mean of their parts are those of one
                process with all their images.

        Raises:
            ValueError: a target whose image index or class does not exist, or targets of another shape.
        """
        main = branches[0]
        batch_size = main[0].shape[0]
        _check_targets(targets, batch_size, count_classes(main, bins))
        anchors = make_anchors([(level.shape[2], level.shape[3]) for level in main], strides, main[0].device)
        candidates = self.assigner.find_candidates(anchors, targets)
        image_size = main[0].shape[2] * strides[0], main[0].shape[3] * strides[0]
        sums, scores = zip(*(self._branch(m, anchors, candidates, bins, image_size) for m in branches), strict=True)
        norm = torch.stack(scores)  # [branches]
        if reduce_sum is not None:
            norm = reduce_sum(norm)
        # What has to be at least 1 is the divisor of all processes' images; each divides by its share of that.
        terms = torch.stack(sums) / (norm.clamp(min=1) / num_processes)[:, None]
        total = terms[0].sum()
        for auxiliary in terms[1:]:
            total = total + self.options.auxiliary_loss_weight * auxiliary.sum()
        box, cls, dfl = terms[0].detach().unbind()
        return LossResult(total * batch_size, {"box": box, "cls": cls, "dfl": dfl})

    def _branch(
        self,
        maps: Sequence[Tensor],
        anchors: Anchors,
        candidates: Candidates,
        bins: Tensor,
        image_size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Weighted sums of the box, classification and distribution terms of one branch, `[3]`, and of its scores."""
        box_logits, class_logits = flatten_maps(maps, count_classes(maps, bins))
        with torch.no_grad():
            boxes = _boxes(box_logits, anchors, bins)
        found = self.assigner(class_logits, boxes, candidates)

        # Without positives these are sums over nothing: zeros that still reach every parameter, as DDP demands.
        positive = Anchors(anchors.points[found.anchors], anchors.strides[found.anchors])
        logits = box_logits[found.images, found.anchors]
        wanted = candidates.targets[found.targets, 2:]
        overlap = box_iou(_boxes(logits, positive, bins), wanted, self.options.box_loss_type, image_size=image_size)
        sides = boxes_to_distances(positive.points, wanted) / positive.strides[:, None]
        distribution = distribution_focal_loss(logits.unflatten(-1, (4, -1)), sides).mean(dim=-1)

        terms = [
            self.options.box_loss_weight * ((1 - overlap) * found.scores).sum(),
            self.options.cls_loss_weight * self._class_sum(class_logits, candidates.targets, found),
            self.options.dfl_loss_weight * (distribution * found.scores).sum(),
        ]
        return torch.stack(terms), found.scores.sum()

    def _class_sum(self, class_logits: Tensor, targets: Tensor, found: Assignment) -> Tensor:
        """Classification loss summed over all anchors and classes, a scalar."""
        positives = found.images, found.anchors, targets[found.targets, 1].long()
        if self.options.cls_loss_type == "bce":
            return bce_sum(class_logits, positives, found.scores, self.options.cls_pos_weight)
        if self.options.cls_loss_type in ("quality_focal", "qfl"):
            return quality_focal_sum(class_logits, positives, found.scores, self.options.cls_qfl_beta)
        alpha, gamma = self.options.cls_vfl_alpha, self.options.cls_vfl_gamma
        return varifocal_sum(class_logits, positives, found.scores, alpha, gamma)


def _boxes(box_logits: Tensor, anchors: Anchors, bins: Tensor) -> Tensor:
    """Predicted boxes xyxy in pixels, `[..., 4]`, from logits `[..., 4*R]` of the given anchors."""
    return distances_to_boxes(anchors.points, expected_distances(box_logits, bins) * anchors.strides[:, None])


def _check_targets(targets: Tensor, num_images: int, num_classes: int) -> None:
    """Refuse targets that would index another image's or class's predictions."""
    if targets.ndim != 2 or targets.shape[1] != 6:
        raise ValueError(f"expected targets of shape [M, 6] (image, class, x1, y1, x2, y2), got {list(targets.shape)}")
    for column, (name, limit) in enumerate((("image index", num_images), ("class", num_classes))):
        values = targets[:, column]
        wrong = values[~((values >= 0) & (values < limit))]  # NaN is wrong too
        if len(wrong):
            raise ValueError(f"target {name} {wrong[0].item():g} is out of range: expected 0 to {limit - 1}")
