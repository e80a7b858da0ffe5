"""COCO's averages over weighted images: what the bootstrap needs a thousand times.

An image drawn n times into a bootstrap sample counts n times, detections and annotations. hotcoco's own bootstrap
(`hotcoco.compare`, 1.3) counts it once, so that a sample holds 63% of the images and the intervals come out a quarter
too narrow; the test beside this file shows both. Matching is per image, hence done once; only the sums over images
change with the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo.evaluation.coco import IOU_THRESHOLDS, CocoEvaluation, threshold_verdicts

Floats = NDArray[np.float64]

_RECALLS = np.linspace(0.0, 1.0, 101)
_CHUNK = 8_000_000
"""Numbers in one array of weights by detections: 32 MB."""


@dataclass(frozen=True)
class _ClassColumns:
    """Of one class: its detections from the highest score down, and its objects."""

    images: NDArray[np.int64]
    """[D] position of each detection's image."""
    verdicts: NDArray[np.int8]
    """[10, D]"""
    objects: Floats
    """[I] objects that count, per image."""


@dataclass(frozen=True)
class Averages:
    """AP and AR of C classes at ten IoU thresholds in S samples; NaN where a sample has no object of the class."""

    precision: Floats
    """[S, C, 10] average precision."""
    recall: Floats
    """[S, C, 10] recall of all detections."""

    @property
    def class_ap(self) -> Floats:
        """AP50-95 of every class, [S, C]."""
        return np.asarray(self.precision.mean(2), np.float64)

    def ap(self, threshold: int | None = None) -> Floats:
        """Mean over classes [S], at one of the ten thresholds or over all."""
        values = self.class_ap if threshold is None else self.precision[:, :, threshold]
        return _mean_present(values)

    def ar(self) -> Floats:
        """Mean recall over classes and thresholds [S]."""
        return _mean_present(self.recall.mean(2))


class Resampled:
    """The averages of one evaluation over its images, each of them counting as often as it was drawn.

    Args:
        evaluation: what was evaluated.
        area: a key of AREA_RANGES.
    """

    def __init__(self, evaluation: CocoEvaluation, area: str = "all") -> None:
        truth, found = evaluation.ground_truth, evaluation.detections
        judged = threshold_verdicts(evaluation, area)
        position = {image["id"]: i for i, image in enumerate(truth.images)}
        detected_in = np.array([position[i] for i in found.image_ids.tolist()], np.int64)
        annotated_in = np.array([position[i] for i in truth.image_ids.tolist()], np.int64)
        self._classes = []
        for number in range(len(evaluation.class_ap)):
            rows = np.flatnonzero(found.classes == number)
            rows = rows[np.argsort(-found.scores[rows], kind="stable")]
            counted = judged.counted & (truth.classes == number)
            objects = np.bincount(annotated_in[counted], minlength=len(position)).astype(np.float64)
            self._classes.append(_ClassColumns(detected_in[rows], judged.of_detections[:, rows], objects))

    def averages(self, weights: Floats) -> Averages:
        """Of S samples, `weights` [S, I] of the images in the order of the ground truth."""
        shape = (len(weights), len(self._classes), len(IOU_THRESHOLDS))
        result = Averages(np.full(shape, np.nan), np.full(shape, np.nan))
        # A row per image, so that sums over detections run along whole rows; float32 counts exactly up to 2^24.
        by_image = np.ascontiguousarray(weights.T, np.float32)
        for number, columns in enumerate(self._classes):
            if not columns.objects.any():
                continue
            step = max(_CHUNK // max(len(columns.images), 1), 1)
            for start in range(0, len(weights), step):
                part = slice(start, start + step)
                result.precision[part, number], result.recall[part, number] = _class_averages(
                    columns, by_image[:, part]
                )
        return result


def _class_averages(columns: _ClassColumns, weights: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """AP and recall [S, 10] of one class, from weights [I, S]."""
    objects = columns.objects @ weights  # [S]
    present = objects > 0
    divisor = np.where(present, objects, 1.0)
    drawn = weights[columns.images]  # [D, S]
    precision = np.zeros((weights.shape[1], len(columns.verdicts)))
    recall = precision.copy()
    for number, verdict in enumerate(columns.verdicts):
        kept = np.flatnonzero(verdict >= 0)
        hits = np.flatnonzero(verdict[kept] == 1)
        if not len(hits):
            continue
        true = np.cumsum(drawn[kept[hits]], axis=0, dtype=np.float64)  # [P, S], at every true positive
        seen = _sums_up_to(drawn, kept, hits)
        reached = true / divisor
        # Precision falls only at false positives, so that its best value from some recall on is at a true positive.
        best = np.maximum.accumulate((true / np.maximum(seen, 1))[::-1], axis=0)[::-1]
        gained = np.diff(_recalls_reached(reached), axis=0, prepend=0)
        precision[:, number] = (gained * best).sum(0) / len(_RECALLS)
        recall[:, number] = reached[-1]
    precision[~present] = recall[~present] = np.nan
    return precision, recall


def _sums_up_to(drawn: NDArray[np.float32], kept: NDArray[np.int64], hits: NDArray[np.int64]) -> Floats:
    """Of the rows `kept` of drawn [D, S], the sums from the first up to and with each of the places `hits`: [P, S]."""
    rows = drawn if len(kept) == len(drawn) else drawn[kept]
    starts = np.concatenate([[0], hits[:-1] + 1])
    return np.cumsum(np.add.reduceat(rows[: hits[-1] + 1], starts, axis=0), axis=0, dtype=np.float64)


def _recalls_reached(recall: Floats) -> NDArray[np.int64]:
    """How many of the 101 recalls are not above each value: searchsorted, but for evenly spaced ones."""
    place = np.minimum((recall * 100 + 1e-9).astype(np.int64), 100)
    return np.asarray(place + (_RECALLS[place] <= recall), np.int64)


def _mean_present(values: Floats) -> Floats:
    """Mean over the second axis [S, C], NaN left out; NaN where there is nothing else."""
    present = ~np.isnan(values)
    count = present.sum(1)
    return np.where(count > 0, np.where(present, values, 0.0).sum(1) / np.maximum(count, 1), np.nan)


def draw_weights(images: int, samples: int, seed: int) -> Floats:
    """How often each image is in each bootstrap sample, [samples, images]; every row sums to `images`."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, np.full(images, 1 / images), size=samples).astype(np.float64)
