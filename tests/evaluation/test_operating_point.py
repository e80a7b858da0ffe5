from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.test_coco import detections, ground_truth
from yolo.evaluation.coco import CocoEvaluation
from yolo.evaluation.operating_point import confidence_curves, operating_point

BOX, OTHER = [0, 0, 50, 50], [100, 100, 160, 160]


def test_perfect_detector_scores_one_though_a_class_is_absent() -> None:
    truth = ground_truth([1], [1], [0], [BOX])
    point = operating_point(CocoEvaluation(truth, detections([1], [0], [BOX], [0.9]), [1, 2, 3]), 0.25)
    assert (point.precision, point.recall, point.f1) == (1, 1, 1)


def test_hand_computed_figures() -> None:
    # Class 0: one hit, one false alarm, one miss. Class 1: its only hit scores below the threshold.
    truth = ground_truth([1, 2], [1, 2, 2], [0, 0, 1], [BOX, OTHER, BOX])
    found = detections([1, 1, 2], [0, 0, 1], [BOX, OTHER, BOX], [0.9, 0.8, 0.1])
    evaluation = CocoEvaluation(truth, found, [1, 2])
    point = operating_point(evaluation, 0.25)
    assert point.precision == pytest.approx((1 / 2 + 0) / 2)
    assert point.recall == pytest.approx((1 / 2 + 0) / 2)
    assert point.f1 == pytest.approx((2 * 1 / (1 + 1 + 2) + 0) / 2)
    assert operating_point(evaluation, 0.05).recall == pytest.approx((1 / 2 + 1) / 2)


def test_detections_on_a_crowd_count_neither_way() -> None:
    truth = ground_truth([1], [1, 1], [0, 0], [BOX, OTHER], crowd=[False, True])
    found = detections([1, 1, 1], [0, 0, 0], [BOX, OTHER, OTHER], [0.9, 0.8, 0.7])
    point = operating_point(CocoEvaluation(truth, found, [1]), 0.25)
    assert (point.precision, point.recall) == (1, 1)


def test_no_ground_truth() -> None:
    evaluation = CocoEvaluation(ground_truth([1], [], [], []), detections([1], [0], [BOX], [0.5]), [1])
    assert operating_point(evaluation, 0.25).f1 == 0


def test_curves_hold_the_operating_point_at_each_threshold() -> None:
    rng = np.random.default_rng(0)
    images, count = rng.integers(1, 6, 60), 60
    corner = rng.uniform(0, 100, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 60, (count, 2))], axis=1)
    classes = rng.integers(0, 3, count)
    truth = ground_truth([1, 2, 3, 4, 5], images[:20], classes[:20], boxes[:20])
    found = detections(images, classes, boxes + rng.normal(0, 3, boxes.shape), rng.uniform(0, 1, count))
    evaluation = CocoEvaluation(truth, found, [1, 2, 3, 4])
    thresholds = [0.0, 0.05, 0.25, 0.5, 0.999]
    curves = confidence_curves(evaluation, thresholds)
    assert curves.classes.tolist() == sorted(set(classes[:20].tolist()))
    for column, threshold in enumerate(thresholds):
        # A slow, obvious count.
        for row, label in enumerate(curves.classes):
            kept = (found.classes == label) & (found.scores >= threshold)
            hits, alarms = (evaluation.matches[kept] == 1).sum(), (evaluation.matches[kept] == 0).sum()
            objects = (truth.classes == label).sum()
            assert curves.precision[row, column] == hits / max(hits + alarms, 1)
            assert curves.recall[row, column] == hits / objects
            assert curves.f1[row, column] == 2 * hits / (hits + alarms + objects)
        point = operating_point(evaluation, threshold)
        assert (point.precision, point.recall) == (curves.precision[:, column].mean(), curves.recall[:, column].mean())
