"""Precision, recall, F1, confusions and errors by plain loops: slow and obvious."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from yolo.evaluation.coco import CocoEvaluation


def iou(one: np.ndarray, other: np.ndarray, *, crowd: bool = False) -> float:
    """Overlap of two boxes; with a crowd COCO divides by the detection `one` alone."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0.0) * max(height, 0.0)
    area = (one[2] - one[0]) * (one[3] - one[1])
    return common / (area if crowd else area + (other[2] - other[0]) * (other[3] - other[1]) - common)


@dataclass
class Counts:
    """What one threshold counts."""

    true: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    false: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    ious: list[float] = field(default_factory=list)
    per_image: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    image_false: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    image_missed: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    calibration: list[tuple[float, bool]] = field(default_factory=list)
    counted: list[int] = field(default_factory=list)


def count(evaluation: CocoEvaluation, confidence: float) -> Counts:
    """COCO's greedy matching at IoU 0.5, image by image and class by class."""
    truth, found, result = evaluation.ground_truth, evaluation.detections, Counts()
    for image in (int(entry["id"]) for entry in truth.images):
        for label in range(len(evaluation.class_counts)):
            objects = [int(o) for o in np.flatnonzero((truth.image_ids == image) & (truth.classes == label))]
            rows = [int(d) for d in np.flatnonzero((found.image_ids == image) & (found.classes == label))]
            rows = sorted(rows, key=lambda d: -found.scores[d])[:100]
            taken: set[int] = set()
            for row in (d for d in rows if found.scores[d] >= confidence):
                best, overlap = None, 0.5
                for o in (o for o in objects if not truth.crowd[o] and o not in taken):
                    value = iou(found.boxes[row], truth.boxes[o])
                    if value >= overlap:
                        best, overlap = o, value
                if best is not None:
                    taken.add(best)
                    result.true[label] += 1
                    result.ious.append(overlap)
                elif any(iou(found.boxes[row], truth.boxes[o], crowd=True) >= 0.5 for o in objects if truth.crowd[o]):
                    continue
                else:
                    result.false[label] += 1
                    result.image_false[image] += 1
                result.counted.append(row)
                result.calibration.append((float(found.scores[row]), best is not None))
                result.per_image[image] += 1
            result.image_missed[image] += sum(1 for o in objects if not truth.crowd[o] and o not in taken)
    return result


def figures(evaluation: CocoEvaluation, confidence: float) -> dict[int, tuple[float, float, float]]:
    """Precision, recall and F1 of every class in the ground truth."""
    counts = count(evaluation, confidence)
    result = {}
    for label in sorted(set(evaluation.ground_truth.classes[~evaluation.ground_truth.crowd].tolist())):
        objects = int((evaluation.ground_truth.classes[~evaluation.ground_truth.crowd] == label).sum())
        true, false = counts.true[label], counts.false[label]
        precision = true / (true + false) if true + false else 0.0
        recall = true / objects
        result[label] = (precision, recall, 2 * true / (true + false + objects))
    return result


def confusion(evaluation: CocoEvaluation, confidence: float) -> np.ndarray:
    """Pairs whatever their class: detections from the best score down, each takes the free object it overlaps most."""
    truth, found, classes = evaluation.ground_truth, evaluation.detections, len(evaluation.class_counts)
    counted = count(evaluation, confidence).counted
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    for image in (int(entry["id"]) for entry in truth.images):
        objects = [int(o) for o in np.flatnonzero((truth.image_ids == image) & ~truth.crowd)]
        rows = sorted((d for d in counted if found.image_ids[d] == image), key=lambda d: -found.scores[d])
        free = set(objects)
        for row in rows:
            overlaps = {o: iou(found.boxes[row], truth.boxes[o]) for o in free}
            best = max(overlaps, key=lambda o: overlaps[o], default=None)
            if best is None or overlaps[best] < 0.5:
                matrix[classes, found.classes[row]] += 1
            else:
                matrix[truth.classes[best], found.classes[row]] += 1
                free.discard(best)
        for o in free:
            matrix[truth.classes[o], classes] += 1
    return matrix
