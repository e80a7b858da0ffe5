"""How far a student's maps are from a teacher's: the loss of learning from a network with the same outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from yolo.boxes.decode import flatten_maps
from yolo.models.detection_model import DetectionModel, Maps


class Distillation:
    """A term of the loss that holds a network in training to a teacher with the same outputs.

    Args:
        teacher: raw maps of images [B, 3, H, W], the main branch first.
        num_classes: number of classes.
        weight: of the term.

    Attributes:
        wanted: what the teacher said last.
    """

    def __init__(self, teacher: Callable[[Tensor], Sequence[Maps]], num_classes: int, weight: float) -> None:
        self.teacher, self.num_classes, self.weight = teacher, num_classes, weight
        self.wanted: Maps = []

    @classmethod
    def from_network(cls, network: DetectionModel, weight: float) -> Distillation:
        """By a network, which is put into evaluation mode and follows the images from device to device."""
        network.eval().requires_grad_(False)
        return cls(lambda images: network.to(images.device)(images), network.num_classes, weight)

    def __call__(self, images: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """The weighted term for float images [B, 3, H, W] and the student's maps of them, scalar."""
        with torch.no_grad():
            self.wanted, *_ = self.teacher(images)
        return self.weight * map_distillation(maps, self.wanted, self.num_classes)


def map_distillation(student: Sequence[Tensor], teacher: Sequence[Tensor], num_classes: int) -> Tensor:
    """Kullback-Leibler divergence of the student's class probabilities and box distributions from the teacher's.

    Summed over anchors, classes and sides and divided by the sum of the teacher's best scores, which also weight an
    anchor's boxes: where the teacher sees nothing, its boxes mean nothing.

    Args:
        student: raw maps of the main branch, each `[B, 4 * R + C, H, W]`.
        teacher: the same of the teacher, without gradient.
        num_classes: C.

    Returns:
        Scalar, 0 where both agree.
    """
    (boxes, classes), (wanted_boxes, wanted_classes) = (flatten_maps(maps, num_classes) for maps in (student, teacher))
    scores = wanted_classes.sigmoid()  # [B, A, C]
    weights = scores.amax(2)  # [B, A]
    entropy = F.binary_cross_entropy_with_logits(wanted_classes, scores, reduction="sum")
    classification = F.binary_cross_entropy_with_logits(classes, scores, reduction="sum") - entropy
    wanted, found = (logits.unflatten(2, (4, -1)).log_softmax(3) for logits in (wanted_boxes, boxes))  # [B, A, 4, R]
    distribution = F.kl_div(found, wanted, reduction="none", log_target=True).sum((2, 3))  # [B, A]
    return (classification + (distribution * weights).sum()) / weights.sum().clamp(min=1)
