"""Precision, recall and F1 at confidence thresholds: what a user of the detector meets, where AP averages over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from yolo.evaluation.coco import CocoEvaluation

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ConfidenceCurves:
    """Figures of K classes, those in the ground truth, at T confidence thresholds and IoU 0.5."""

    classes: NDArray[np.int64]
    """[K]"""
    thresholds: Floats
    """[T]; a detection counts when it scores at least this."""
    precision: Floats
    """[K, T], 0 for a class without a counted detection."""
    recall: Floats
    """[K, T]"""
    f1: Floats
    """[K, T]"""


@dataclass(frozen=True)
class OperatingPoint:
    """Figures at one confidence threshold and IoU 0.5, averaged over the classes present in the ground truth."""

    confidence: float
    precision: float
    recall: float
    f1: float


def confidence_curves(evaluation: CocoEvaluation, thresholds: ArrayLike) -> ConfidenceCurves:
    """Precision, recall and F1 of every class in the ground truth at each of `thresholds` [T]."""
    thresholds = np.asarray(thresholds, np.float64)
    found, counts = evaluation.detections, evaluation.class_counts
    classes = np.flatnonzero(counts)
    order, total = np.argsort(thresholds), len(thresholds)
    passed = np.searchsorted(thresholds[order], found.scores, side="right")  # how many thresholds each score reaches

    def count(verdict: int) -> NDArray[np.int64]:
        """Detections of this verdict that score at least each threshold, [K, T]."""
        kept = evaluation.matches == verdict
        cells = found.classes[kept] * (total + 1) + passed[kept]
        histogram = np.bincount(cells, minlength=len(counts) * (total + 1)).reshape(len(counts), total + 1)[classes]
        above = np.empty((len(classes), total), np.int64)
        above[:, order] = histogram[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
        return above

    true, false, objects = count(1), count(0), counts[classes, None]
    return ConfidenceCurves(
        classes=classes,
        thresholds=thresholds,
        precision=true / np.maximum(true + false, 1),
        recall=true / objects,
        f1=2 * true / (true + false + objects),
    )


def mean_point(curves: ConfidenceCurves, column: int) -> OperatingPoint:
    """The classes' mean at one of the curves' thresholds.

    Each class in the ground truth counts once; a class that was never detected has precision 0. F1 is the mean of the
    classes' F1 values. All three are 0 when there is no ground truth.
    """
    confidence = float(curves.thresholds[column])
    if not len(curves.classes):
        return OperatingPoint(confidence, 0.0, 0.0, 0.0)
    means = (float(values[:, column].mean()) for values in (curves.precision, curves.recall, curves.f1))
    return OperatingPoint(confidence, *means)


def operating_point(evaluation: CocoEvaluation, confidence: float) -> OperatingPoint:
    """Precision, recall and F1 of detections scoring at least `confidence`."""
    return mean_point(confidence_curves(evaluation, [confidence]), 0)
