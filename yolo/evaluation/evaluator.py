"""Collects detections while images stream by, merges them over processes and evaluates them once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from yolo.data.annotations import AnnotatedImage
from yolo.evaluation.analysis import Analysis, analyse
from yolo.evaluation.coco import CocoEvaluation, Detections, GroundTruth
from yolo.evaluation.operating_point import OperatingPoint, operating_point

if TYPE_CHECKING:
    from torch import Tensor

METRIC_NAMES = ("mAP", "mAP50", "mAP75", "AR100", "precision", "recall", "f1")


@dataclass(frozen=True)
class Metrics:
    """The numbers of one evaluation."""

    evaluation: CocoEvaluation
    records: tuple[AnnotatedImage, ...]
    """The evaluated images, in the order of the evaluation."""
    class_names: tuple[str, ...]
    confidence: float
    """Operating confidence."""

    @cached_property
    def point(self) -> OperatingPoint:
        """Precision, recall and F1 at the operating confidence."""
        return operating_point(self.evaluation, self.confidence)

    @cached_property
    def analysis(self) -> Analysis:
        """Everything that dashboard, plots and reports show."""
        return analyse(self.evaluation, self.class_names, self.confidence)

    def as_dict(self) -> dict[str, float]:
        """Flat names and values as they are logged; -1 where the ground truth does not define one."""
        summary = self.evaluation.summary
        averages = (summary[key] for key in ("AP", "AP50", "AP75", "AR100"))
        return dict(zip(METRIC_NAMES, (*averages, self.point.precision, self.point.recall, self.point.f1), strict=True))


class Evaluator:
    """One pass over a validation set: `update` per batch, `compute` at its end.

    Args:
        category_ids: COCO category id of every class.
        class_names: name of every class; numbers when None.
        confidence: threshold of precision, recall and F1.
    """

    def __init__(
        self, category_ids: Sequence[int], class_names: Sequence[str] | None = None, confidence: float = 0.25
    ) -> None:
        self.category_ids = tuple(category_ids)
        self.class_names = tuple(class_names or map(str, range(len(self.category_ids))))
        self.confidence = confidence
        self._records: list[AnnotatedImage] = []
        self._detections: list[np.ndarray] = []

    def update(self, records: Sequence[AnnotatedImage], detections: Sequence[Tensor]) -> None:
        """Add images with their detections [K, 6] (x1, y1, x2, y2 in original pixels, score, class)."""
        if len(records) != len(detections):
            raise ValueError(f"expected one tensor of detections per image, got {len(detections)} for {len(records)}")
        self._records.extend(records)
        self._detections.extend(rows.detach().cpu().double().numpy() for rows in detections)

    def compute(self) -> Metrics:
        """Evaluate everything collected by all processes. Every rank gets the same numbers.

        Raises:
            ValueError: when no image was collected.
        """
        records, detections = _gather(self._records, self._detections)
        if not records:
            raise ValueError("nothing to evaluate: no image was collected")
        evaluation = CocoEvaluation(ground_truth(records), _columns(records, detections), self.category_ids)
        return Metrics(evaluation, tuple(records), self.class_names, self.confidence)


def _gather(
    records: list[AnnotatedImage], detections: list[np.ndarray]
) -> tuple[list[AnnotatedImage], list[np.ndarray]]:
    """Concatenate what the ranks collected, in order of image id so that the result does not depend on the ranks."""
    from yolo.ranks import gather_objects

    shards = gather_objects(list(zip(records, detections, strict=True)))
    pairs = [pair for shard in shards for pair in shard]
    pairs.sort(key=lambda pair: pair[0].image_id)
    return [record for record, _ in pairs], [rows for _, rows in pairs]


def ground_truth(records: Sequence[AnnotatedImage]) -> GroundTruth:
    """The annotations of images, in their order, as columns."""
    repeats = [len(record.classes) for record in records]
    return GroundTruth(
        images=[{"id": r.image_id, "height": r.size[0], "width": r.size[1]} for r in records],
        image_ids=np.repeat(np.array([r.image_id for r in records], np.int64), repeats),
        classes=np.concatenate([r.classes for r in records]),
        boxes=np.concatenate([r.boxes for r in records]).astype(np.float64),
        areas=np.concatenate([r.areas for r in records]).astype(np.float64),
        crowd=np.concatenate([r.crowd for r in records]),
    )


def _columns(records: list[AnnotatedImage], detections: list[np.ndarray]) -> Detections:
    rows = np.concatenate(detections)
    repeats = [len(d) for d in detections]
    return Detections(
        image_ids=np.repeat(np.array([r.image_id for r in records], np.int64), repeats),
        classes=rows[:, 5].astype(np.int64),
        boxes=rows[:, :4],
        scores=rows[:, 4],
    )
