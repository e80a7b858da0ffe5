"""What an evaluation says, as plain numbers: the one source of dashboard, plots, metrics.json and report.

Everything about counted detections is at IoU 0.5 and follows COCO's matching; what COCO ignores (crowds, detections
past the hundredth of an image and class) is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo.boxes.arrays import overlap
from yolo.evaluation.coco import CocoEvaluation
from yolo.evaluation.operating_point import ConfidenceCurves, OperatingPoint, confidence_curves, mean_point

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

THRESHOLDS = np.arange(1001) / 1000
"""Confidences of the curves."""
SWEEP = tuple(number / 10 for number in range(1, 10))
BINS = 10


@dataclass(frozen=True)
class ClassFigures:
    """One class. AP is NaN, precision and recall 0, for a class without ground truth."""

    name: str
    objects: int
    """In the ground truth, crowds left out."""
    ap: float
    """AP50-95."""
    ap50: float
    precision: float
    """At the operating confidence."""
    recall: float
    f1: float


@dataclass(frozen=True)
class ErrorHealth:
    """Counts at the operating confidence over all images."""

    true_positives: int
    false_positives: int
    false_negatives: int
    detections_mean: float
    """Detections per image."""
    detections_p95: float
    mean_iou: float
    """Of true positives with their objects; NaN without any."""


@dataclass(frozen=True)
class Calibration:
    """Whether scores are probabilities: detections at or above the operating confidence, by score in ten equal bins."""

    error: float
    """Expected calibration error: the bins' gaps between mean score and precision, weighted by detections; NaN without
    detections."""
    edges: Floats
    """[11] from 0 to 1; a score on an edge belongs to the bin above."""
    counts: Ints
    """[10] detections."""
    scores: Floats
    """[10] mean score, NaN in an empty bin."""
    precision: Floats
    """[10] share of true positives, NaN in an empty bin."""


@dataclass(frozen=True)
class Analysis:
    """The numbers of one evaluation of I images and C classes."""

    class_names: tuple[str, ...]
    confidence: float
    """Operating confidence."""
    images: int
    objects: int
    """In the ground truth, crowds left out."""
    summary: dict[str, float]
    """pycocotools' twelve numbers; -1 where the ground truth does not define one."""
    point: OperatingPoint
    """At the operating confidence."""
    best: OperatingPoint
    """Where the mean F1 is highest."""
    sweep: tuple[OperatingPoint, ...]
    """At confidences 0.1, 0.2, ... 0.9."""
    curves: ConfidenceCurves
    """At 1001 confidences, of the classes with ground truth."""
    classes: tuple[ClassFigures, ...]
    """All C."""
    errors: ErrorHealth
    confusion: Ints
    """[C + 1, C + 1], rows true and columns detected classes; the last ones are background."""
    tide: dict[str, float]
    """AP50 lost to each kind of error."""
    calibration: Calibration
    image_errors: Ints
    """[I, 2] false positives and false negatives of each image at the operating confidence, in evaluation order."""

    def confusions(self, most: int) -> list[tuple[str, str, int]]:
        """The most frequent mistakes of class: (detected, true, count), most frequent first."""
        mistaken = self.confusion[:-1, :-1].copy()
        np.fill_diagonal(mistaken, 0)
        order = np.argsort(-mistaken, axis=None, kind="stable")[:most]
        true, detected = np.unravel_index(order, mistaken.shape)
        pairs = zip(detected.tolist(), true.tolist(), strict=True)
        found = [(self.class_names[d], self.class_names[t], int(mistaken[t, d])) for d, t in pairs]
        return [entry for entry in found if entry[2]]

    def ranked_classes(self) -> list[ClassFigures]:
        """The classes with ground truth, best AP50-95 first."""
        return sorted((c for c in self.classes if c.objects), key=lambda c: (-c.ap, c.name))

    def worst_images(self) -> Ints:
        """Rows of the images that have an error, most errors first."""
        total = self.image_errors.sum(axis=1)
        order = np.argsort(-total, kind="stable")
        return order[total[order] > 0]


def analyse(evaluation: CocoEvaluation, class_names: Sequence[str], confidence: float) -> Analysis:
    """All numbers of an evaluation; `confidence` is what detections score at least at the operating point."""
    curves = confidence_curves(evaluation, THRESHOLDS)
    points = confidence_curves(evaluation, [confidence, *SWEEP])
    best = int(curves.f1.mean(axis=0).argmax()) if len(curves.classes) else 0
    return Analysis(
        class_names=tuple(class_names),
        confidence=confidence,
        images=len(evaluation.ground_truth.images),
        objects=int(evaluation.class_counts.sum()),
        summary=evaluation.summary,
        point=mean_point(points, 0),
        best=mean_point(curves, best),
        sweep=tuple(mean_point(points, column) for column in range(1, len(SWEEP) + 1)),
        curves=curves,
        classes=_classes(evaluation, class_names, points),
        errors=_error_health(evaluation, confidence),
        confusion=evaluation.confusion(confidence),
        tide=evaluation.tide(),
        calibration=_calibration(evaluation, confidence),
        image_errors=_image_errors(evaluation, confidence),
    )


def _classes(
    evaluation: CocoEvaluation, class_names: Sequence[str], points: ConfidenceCurves
) -> tuple[ClassFigures, ...]:
    """Figures of all classes; the first column of `points` is the operating point."""
    at = np.zeros((len(class_names), 3))
    at[points.classes] = np.stack([points.precision[:, 0], points.recall[:, 0], points.f1[:, 0]], axis=1)
    figures = zip(
        class_names,
        evaluation.class_counts.tolist(),
        evaluation.class_ap.tolist(),
        evaluation.class_ap50.tolist(),
        at.tolist(),
        strict=True,
    )
    return tuple(ClassFigures(name, objects, ap, ap50, *three) for name, objects, ap, ap50, three in figures)


def _error_health(evaluation: CocoEvaluation, confidence: float) -> ErrorHealth:
    found, counted = evaluation.detections, evaluation.detections.scores >= confidence
    true = counted & (evaluation.matches == 1)
    false = counted & (evaluation.matches == 0)
    per_image = np.bincount(_image_rows(evaluation, found.image_ids[true | false]), minlength=_images(evaluation))
    overlaps = overlap(found.boxes[true], evaluation.ground_truth.boxes[evaluation.matched[true]])
    return ErrorHealth(
        true_positives=int(true.sum()),
        false_positives=int(false.sum()),
        false_negatives=int(evaluation.class_counts.sum() - true.sum()),
        detections_mean=float(per_image.mean()),
        detections_p95=float(np.percentile(per_image, 95)),
        mean_iou=float(overlaps.mean()) if len(overlaps) else float("nan"),
    )


def _calibration(evaluation: CocoEvaluation, confidence: float) -> Calibration:
    scores = evaluation.detections.scores
    counted = (scores >= confidence) & (evaluation.matches >= 0)
    scores, true = scores[counted], evaluation.matches[counted] == 1
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):  # 0 / 0 is an empty bin's NaN
        mean_score = np.bincount(bins, scores, minlength=BINS) / counts
        precision = np.bincount(bins, true, minlength=BINS) / counts
    gaps = np.nan_to_num(np.abs(mean_score - precision))
    error = float((gaps * counts).sum() / counts.sum()) if counts.any() else float("nan")
    return Calibration(error, np.arange(BINS + 1) / BINS, counts, mean_score, precision)


def _image_errors(evaluation: CocoEvaluation, confidence: float) -> Ints:
    """[I, 2] false positives and false negatives of each image."""
    found, truth = evaluation.detections, evaluation.ground_truth
    counted = found.scores >= confidence
    false = found.image_ids[counted & (evaluation.matches == 0)]
    missed = ~truth.crowd
    missed[evaluation.matched[counted & (evaluation.matches == 1)]] = False
    rows = [_image_rows(evaluation, ids) for ids in (false, truth.image_ids[missed])]
    return np.stack([np.bincount(r, minlength=_images(evaluation)) for r in rows], axis=1)


def _images(evaluation: CocoEvaluation) -> int:
    return len(evaluation.ground_truth.images)


def _image_rows(evaluation: CocoEvaluation, image_ids: Ints) -> Ints:
    """Position of each image id in evaluation order."""
    ids = np.array([image["id"] for image in evaluation.ground_truth.images], np.int64)
    order = np.argsort(ids)
    return order[np.searchsorted(ids, image_ids, sorter=order)]
