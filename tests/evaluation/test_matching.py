from __future__ import annotations

import numpy as np
import pytest

from yolo.evaluation.coco import CocoEvaluation, Detections, GroundTruth
from yolo.evaluation.matching import match


def random_case(seed: int, images: int = 6, classes: int = 3, objects: int = 40, found: int = 300) -> tuple:
    """Few cells, so that objects crowd; coordinates and scores are coarse, so that there are ties."""
    rng = np.random.default_rng(seed)

    def boxes(count: int) -> np.ndarray:
        corners = rng.integers(0, 12, (count, 2)) * 4.0
        return np.concatenate([corners, corners + rng.integers(1, 7, (count, 2)) * 4.0], 1)

    truth_boxes = boxes(objects)
    sides = truth_boxes[:, 2:] - truth_boxes[:, :2]
    ids = rng.permutation(np.arange(1, images + 1) * 7)
    records = [{"id": int(i), "height": 100, "width": 100} for i in ids]
    truth = GroundTruth(
        records, rng.choice(ids[1:], objects), rng.integers(0, classes, objects), truth_boxes, sides.prod(1),
        rng.random(objects) < 0.2,
    )  # fmt: skip
    detections = Detections(
        rng.choice(ids, found), rng.integers(0, classes + 1, found), boxes(found), rng.integers(1, 30, found) / 30
    )
    return truth, detections, range(1, classes + 2)


def by_hotcoco(evaluation: CocoEvaluation) -> tuple[np.ndarray, np.ndarray]:
    """The verdicts of its diagnostics."""
    said = evaluation._eval.image_diagnostics(iou_thr=0.5, score_thr=2.0)
    verdict = np.full(len(evaluation.detections.scores), -1, np.int64)
    for number, status in said["dt_status"].items():
        verdict[number - 1] = status == "tp"
    matched = np.full(len(verdict), -1, np.int64)
    for number, partner in said["dt_match"].items():
        matched[number - 1] = partner - 1
    return verdict, np.where(verdict == 1, matched, -1)


@pytest.mark.parametrize("seed", range(40))
def test_the_verdicts_of_hotcoco(seed: int) -> None:
    crowded = {"images": 2, "classes": 1, "found": 500} if seed % 4 == 0 else {}
    truth, detections, ids = random_case(seed, **crowded)
    evaluation = CocoEvaluation(truth, detections, ids)
    verdict, matched = match(truth, detections)
    expected = by_hotcoco(evaluation)
    np.testing.assert_array_equal(verdict, expected[0])
    np.testing.assert_array_equal(matched, expected[1])


def plain_match(truth: GroundTruth, found: Detections, threshold: float) -> np.ndarray:
    """One detection after the other, as pycocotools' loop reads."""
    verdict = np.zeros(len(found.scores), np.int64)
    taken, seen = set(), {}
    for row in sorted(range(len(found.scores)), key=lambda i: -found.scores[i]):
        cell = (found.image_ids[row], found.classes[row])
        seen[cell] = seen.get(cell, 0) + 1
        if seen[cell] > 100:
            verdict[row] = -1
            continue
        best: tuple[float, int] | None = None
        crowd_best = 0.0
        for place in range(len(truth.classes)):
            if (truth.image_ids[place], truth.classes[place]) != cell:
                continue
            a, b = found.boxes[row], truth.boxes[place]
            sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
            common = max(sides[0], 0) * max(sides[1], 0)
            area, other = (a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()
            if truth.crowd[place]:
                crowd_best = max(crowd_best, common / area)
            elif place not in taken:
                overlap = common / (area + other - common)
                if overlap >= threshold and (best is None or overlap >= best[0]):
                    best = (overlap, place)
        if best is not None:
            verdict[row] = 1
            taken.add(best[1])
        elif crowd_best >= threshold:
            verdict[row] = -1
    return verdict


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.75, 1.0])
def test_a_plain_loop_at_any_threshold(threshold: float) -> None:
    truth, detections, _ = random_case(1)
    np.testing.assert_array_equal(match(truth, detections, threshold)[0], plain_match(truth, detections, threshold))


def test_nothing_to_match() -> None:
    truth, found, _ = random_case(0)
    no_objects = GroundTruth(truth.images, *(column[:0] for column in (
        truth.image_ids, truth.classes, truth.boxes, truth.areas, truth.crowd)))  # fmt: skip
    none = Detections(*(column[:0] for column in (found.image_ids, found.classes, found.boxes, found.scores)))
    assert not match(no_objects, found)[0].any()
    assert len(match(truth, none)[0]) == 0
    assert len(match(no_objects, none)[0]) == 0
