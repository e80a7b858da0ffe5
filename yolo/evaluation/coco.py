"""COCO metrics: the one file that talks to hotcoco.

hotcoco gives pycocotools' twelve numbers bit for bit at a fraction of its time (`benchmarks/evaluation.py` prints the
ratio); pycocotools itself is the oracle in the tests. Its streaming evaluator keeps no matches, and precision, recall
and every later diagnosis need them, so detections are collected as columns and evaluated once.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import hotcoco
import numpy as np
from numpy.typing import NDArray

from yolo.boxes.arrays import AREA_BOUNDS, xyxy_to_corner_size
from yolo.evaluation.matching import match

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SUMMARY_KEYS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
TIDE_KINDS = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")


@dataclass(frozen=True)
class GroundTruth:
    """Columns of M annotations over a list of images, boxes in original-image pixels."""

    images: Sequence[Mapping[str, int]]
    """One {id, height, width} per image, images without annotations included."""
    image_ids: Ints
    """[M]"""
    classes: Ints
    """[M], 0-based."""
    boxes: Floats
    """[M, 4] xyxy."""
    areas: Floats
    """[M] square pixels, as the annotation file states them."""
    crowd: NDArray[np.bool_]
    """[M]"""


@dataclass(frozen=True)
class Detections:
    """Columns of N detections, boxes in original-image pixels."""

    image_ids: Ints
    """[N]"""
    classes: Ints
    """[N], 0-based."""
    boxes: Floats
    """[N, 4] xyxy."""
    scores: Floats
    """[N]"""


class CocoEvaluation:
    """COCO's evaluation of one set of detections.

    Args:
        ground_truth: annotations of the evaluated images.
        detections: detections of the same images; at most 100 per image and class count, as COCO rules.
        category_ids: COCO category id of every class.

    Raises:
        ValueError: when an image id occurs twice or a detection names an unknown image.
    """

    def __init__(self, ground_truth: GroundTruth, detections: Detections, category_ids: Sequence[int]) -> None:
        _check_image_ids(ground_truth, detections)
        self.ground_truth = ground_truth
        self.detections = detections
        self.category_ids = tuple(category_ids)
        ids = np.asarray(category_ids, np.int64)
        self._truth = _truth(ground_truth, ids)
        self._rows = _result_rows(detections, ids)
        self._eval = hotcoco.COCOeval(self._truth, self._truth.load_res(self._rows), "bbox")
        with contextlib.redirect_stdout(io.StringIO()):  # summarize() prints its table
            self._eval.evaluate()
            self._eval.accumulate()
            self._eval.summarize()

    @cached_property
    def summary(self) -> dict[str, float]:
        """pycocotools' twelve numbers by name (SUMMARY_KEYS); -1 where nothing in the ground truth defines one."""
        results = self._eval.get_results()
        return {key: float(results[key]) for key in SUMMARY_KEYS}

    @cached_property
    def class_ap(self) -> Floats:
        """AP50-95 of every class [C]; NaN for a class without ground truth."""
        return self._class_average(slice(None))

    @cached_property
    def class_ap50(self) -> Floats:
        """AP50 of every class [C]; NaN for a class without ground truth."""
        return self._class_average(slice(0, 1))

    def _class_average(self, ious: slice) -> Floats:
        """Mean precision of every class [C] over some of the ten IoU thresholds, at all areas and 100 detections."""
        accumulated = self._eval.eval
        assert accumulated is not None
        mean = accumulated["precision"][ious, :, :, 0, -1].mean(axis=(0, 1))  # of [IoUs, 101 recalls, C]
        return np.where(mean < 0, np.nan, mean)

    @cached_property
    def class_counts(self) -> Ints:
        """Ground-truth boxes of every class [C], crowds left out."""
        kept = self.ground_truth.classes[~self.ground_truth.crowd]
        return np.bincount(kept, minlength=len(self.class_ap))

    @cached_property
    def matches(self) -> Ints:
        """COCO's verdict on each detection [N] at IoU 0.5: 1 true positive, 0 false positive, -1 ignored.

        Ignored are matches with crowds and detections past the hundredth of their image and class. A verdict depends on
        higher-scored detections only, so thresholding the scores afterwards gives the verdicts at that threshold.
        """
        return self._pairs[0]

    @cached_property
    def matched(self) -> Ints:
        """The annotation (row of the ground truth) that each true positive [N] found; -1 for every other detection."""
        return self._pairs[1]

    @cached_property
    def _pairs(self) -> tuple[Ints, Ints]:
        return match(self.ground_truth, self.detections)

    def confusion(self, confidence: float) -> Ints:
        """Objects and detections that score at least `confidence`, paired at IoU 0.5 whatever their classes.

        Detections go from the best score down, of one score by class, each to the free object it overlaps most. What
        COCO ignores (crowds and what lies on them, detections past the hundredth of an image and class) is left out.

        Returns:
            [C + 1, C + 1], rows the true class and columns the detected one. The last column counts objects without a
            detection, the last row detections without an object.
        """
        rows = self._rows[(self.detections.scores >= confidence) & (self.matches >= 0)]
        evaluation = hotcoco.COCOeval(self._truth, self._truth.load_res(rows), "bbox")
        # Its own bound is 100 of all classes in an image; COCO's, of each class, holds already.
        matrix = evaluation.confusion_matrix(iou_thr=0.5, max_det=max(len(rows), 1))["matrix"]
        return matrix.astype(np.int64)

    def tide(self) -> dict[str, float]:
        """AP50 that each kind of error costs (TIDE, Bolya et al. 2020): the gain were all of its kind mended.

        Mended means: a detection of the wrong class (Cls) gets the right one, a badly placed one (Loc) the box of the
        object, unless that is found already: then it is left out. So are those of Both, second ones of an object (Dupe)
        and those where nothing is (Bkg). Objects without a detection (Miss) leave the ground truth. NaN without objects
        or without detections.
        """
        if not len(self.detections.scores) or self.ground_truth.crowd.all():
            return dict.fromkeys(TIDE_KINDS, float("nan"))
        gains = self._eval.tide_errors()["delta_ap"]
        return {kind: float(gains[kind]) for kind in TIDE_KINDS}


def dataset_health(ground_truth: GroundTruth, category_ids: Sequence[int]) -> list[tuple[str, Ints, str]]:
    """What hotcoco's health check sees in annotations.

    Returns:
        For each kind of fault hotcoco's name of it, the annotations that have it (rows of `ground_truth`; numbers of
        classes when the name ends in `_instance_category`), and hotcoco's sentence.
    """
    ids = np.asarray(category_ids, np.int64)
    report = _truth(ground_truth, ids).healthcheck()
    number = {int(category): position for position, category in enumerate(ids)}
    found = []
    for entry in (*report["errors"], *report["warnings"]):
        code, affected = entry["code"], entry["affected_ids"]
        of_classes = code.endswith("_instance_category")
        rows = [number[i] for i in affected] if of_classes else [i - 1 for i in affected]  # annotations count from 1
        found.append((code, np.array(rows, np.int64), entry["message"]))
    return found


def _truth(ground_truth: GroundTruth, category_ids: Ints) -> hotcoco.COCO:
    """hotcoco's index of annotations, whose ids are 1..M in the order of the rows."""
    return hotcoco.COCO.from_arrays(
        [dict(image) for image in ground_truth.images],
        [{"id": int(i), "name": str(i)} for i in category_ids],
        ground_truth.image_ids,
        category_ids[ground_truth.classes],
        xyxy_to_corner_size(ground_truth.boxes),
        area=ground_truth.areas,
        iscrowd=ground_truth.crowd.astype(np.int64),
    )


def _result_rows(detections: Detections, category_ids: Ints) -> Floats:
    """hotcoco's [N, 7] image id, x, y, width, height, score, category id.

    They become detections with the ids 1..N, so that matches can be read back by row. Filled in place: of half a
    million rows, putting copies together took as long as evaluating them.
    """
    rows = np.empty((len(detections.scores), 7))
    rows[:, 0] = detections.image_ids
    rows[:, 1:3] = detections.boxes[:, :2]
    np.subtract(detections.boxes[:, 2:], detections.boxes[:, :2], out=rows[:, 3:5])
    rows[:, 5] = detections.scores
    rows[:, 6] = category_ids[detections.classes]
    return rows


def _check_image_ids(ground_truth: GroundTruth, detections: Detections) -> None:
    ids = np.array([image["id"] for image in ground_truth.images], np.int64)
    unique, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"image id {unique[counts > 1][0]} was evaluated {counts.max()} times, each image counts once")
    unknown = detections.image_ids[~np.isin(detections.image_ids, unique)]
    if len(unknown):
        raise ValueError(f"detections name image id {unknown[0]}, which is not among the {len(ids)} evaluated images")


@dataclass(frozen=True)
class ThresholdVerdicts:
    """COCO's verdict on every detection at each of its ten IoU thresholds, for objects of one range of areas."""

    of_detections: NDArray[np.int8]
    """[10, N]: 1 true positive, 0 false positive, -1 ignored."""
    counted: NDArray[np.bool_]
    """[M], the annotations that count: no crowd, area in the range."""


AREA_RANGES = {
    "all": (0.0, 1e10),
    "small": (0.0, AREA_BOUNDS[0]),
    "medium": AREA_BOUNDS,
    "large": (AREA_BOUNDS[1], 1e10),
}
"""Bounds in square pixels, both inside, as COCO has them."""

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)


def threshold_verdicts(evaluation: CocoEvaluation, area: str = "all") -> ThresholdVerdicts:
    """What AP and AR are made of, so that they can be had for any choice of images without matching again.

    Args:
        evaluation: what was evaluated.
        area: a key of AREA_RANGES.
    """
    low, high = AREA_RANGES[area]
    done = evaluation._eval
    if area != "all":
        done = hotcoco.COCOeval(done.coco_gt, done.coco_dt, "bbox")
        # Diagnostics are those of the first range.
        done.params.areaRng, done.params.areaRngLbl = [[low, high]], ["all"]
        done.evaluate()
    table = np.full((len(IOU_THRESHOLDS), len(evaluation.detections.scores)), -1, np.int8)
    for row, threshold in zip(table, IOU_THRESHOLDS, strict=True):
        # No detection scores 2: the list of likely label errors, which is not needed here, stays empty.
        status: dict[int, str] = done.image_diagnostics(iou_thr=float(threshold), score_thr=2.0)["dt_status"]
        places = np.fromiter(status.keys(), np.int64, len(status)) - 1
        row[places] = np.fromiter((value == "tp" for value in status.values()), np.int8, len(status))
    truth = evaluation.ground_truth
    return ThresholdVerdicts(table, ~truth.crowd & (truth.areas >= low) & (truth.areas <= high))
