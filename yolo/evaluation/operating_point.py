"""Precision, recall and F1 at one confidence: what a user of the detector meets, where AP averages over all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo.evaluation.coco import CocoEvaluation


@dataclass(frozen=True)
class OperatingPoint:
    """Figures at one confidence threshold and IoU 0.5, averaged over the classes present in the ground truth."""

    confidence: float
    precision: float
    recall: float
    f1: float


def operating_point(evaluation: CocoEvaluation, confidence: float) -> OperatingPoint:
    """Precision, recall and F1 of detections scoring at least `confidence`.

    Each class in the ground truth counts once; a class that was never detected has precision 0. F1 is the mean of the
    classes' F1 values. All three are 0 when there is no ground truth.
    """
    counts = evaluation.class_counts
    verdict, classes = evaluation.matches, evaluation.detections.classes
    confident = evaluation.detections.scores >= confidence
    true = np.bincount(classes[confident & (verdict == 1)], minlength=len(counts))
    false = np.bincount(classes[confident & (verdict == 0)], minlength=len(counts))
    present = counts > 0
    if not present.any():
        return OperatingPoint(confidence, 0.0, 0.0, 0.0)
    true, false, counts = true[present], false[present], counts[present]
    precision = true / np.maximum(true + false, 1)
    recall = true / counts
    f1 = 2 * true / (true + false + counts)
    return OperatingPoint(confidence, float(precision.mean()), float(recall.mean()), float(f1.mean()))
