from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.label_audit import plant, score
from tests.evaluation.test_coco import detections, ground_truth
from yolo.data.annotations import AnnotatedImage
from yolo.evaluation.coco import CocoEvaluation
from yolo.evaluation.evaluator import ground_truth as truth_of
from yolo.evaluation.label_audit import KINDS, audit

BOX = [100, 100, 200, 200]


def one(labels, found, crowd=None) -> list:
    """The audit of one image: labels (class, box), detections (class, box, score)."""
    truth = ground_truth([1], [1] * len(labels), [c for c, _ in labels], [b for _, b in labels], crowd)
    dets = detections([1] * len(found), [c for c, *_ in found], [b for _, b, _ in found], [s for *_, s in found])
    return audit(CocoEvaluation(truth, dets, [1, 2, 3]))


def test_a_sound_label_is_not_found() -> None:
    assert one([(0, BOX)], [(0, BOX, 0.9)]) == []


def test_wrong_class() -> None:
    (entry,) = one([(0, BOX)], [(1, BOX, 0.9), (0, BOX, 0.2)])
    assert (entry.kind, entry.label_class, entry.detected_class, entry.label) == ("wrong-class", 0, 1, 0)
    assert (entry.certainty, entry.score, entry.iou) == pytest.approx((0.7, 0.9, 1.0))
    assert one([(0, BOX)], [(1, BOX, 0.5), (0, BOX, 0.6)]) == []


def test_missing_is_found_once() -> None:
    found = one([(0, BOX)], [(0, BOX, 0.9), (1, [300, 100, 360, 180], 0.8), (2, [302, 100, 362, 180], 0.6)])
    (entry,) = found
    assert (entry.kind, entry.label, entry.detected_class, entry.certainty) == ("missing", None, 1, 0.8)
    assert entry.box.tolist() == [300, 100, 360, 180]


def test_nothing_is_missing_in_a_crowd() -> None:
    assert one([(0, [0, 0, 400, 400])], [(0, BOX, 0.9)], crowd=[True]) == []


def test_duplicate_is_the_label_that_the_detector_supports_less() -> None:
    near = [103, 100, 203, 200]
    (entry,) = one([(0, near), (0, BOX)], [(0, BOX, 0.9)])
    assert (entry.kind, entry.label, entry.other) == ("duplicate", 0, 1)
    assert entry.certainty == pytest.approx(97 / 103)
    (entry,) = one([(0, BOX), (1, BOX)], [(1, BOX, 0.9)])
    assert (entry.kind, entry.label, entry.other, entry.other_class) == ("duplicate", 0, 1, 1)
    assert entry.other_box is not None
    assert entry.other_box.tolist() == BOX
    assert (entry.detected_class, entry.detected_box) == (None, None)
    # Classes that lie in each other are none.
    assert one([(0, BOX), (1, [110, 110, 200, 200])], [(0, BOX, 0.9), (1, [110, 110, 200, 200], 0.9)]) == []


def test_misplaced() -> None:
    (entry,) = one([(0, [160, 100, 260, 200])], [(0, BOX, 0.9)])
    assert (entry.kind, entry.label, entry.certainty) == ("misplaced", 0, 0.9)
    assert entry.iou == pytest.approx(0.25)


def test_spurious() -> None:
    (entry,) = one([(0, BOX), (0, [300, 300, 350, 350])], [(0, BOX, 0.9), (1, [300, 300, 340, 350], 0.2)])
    assert (entry.kind, entry.label, entry.detected_class) == ("spurious", 1, None)
    assert entry.certainty == pytest.approx(0.8 * 0.5)  # it sees one of two objects of this class
    assert one([(0, BOX), (1, [300, 300, 350, 350])], [(0, BOX, 0.9)]) == []  # and none of that one
    # What accounts for another label does not account for this one.
    (entry,) = one([(0, BOX), (0, [130, 100, 230, 200])], [(0, BOX, 0.9)])
    assert (entry.kind, entry.label) == ("spurious", 1)


def test_rows_are_those_of_the_image() -> None:
    truth = ground_truth([7, 9], [7, 9, 9], [0, 0, 0], [BOX, BOX, [300, 300, 350, 350]], crowd=[0, 1, 0])
    found = audit(CocoEvaluation(truth, detections([7], [0], [BOX], [0.9]), [1, 2]))
    assert [(entry.kind, entry.image, entry.label) for entry in found] == [("spurious", 1, 1)]


def test_finds_planted_errors() -> None:
    """A detector that is nearly right, on a grid of objects that do not touch."""
    rng = np.random.default_rng(0)
    places = np.array([(x, y) for y in range(5) for x in range(5)]) * 120 + 20
    records, found = [], []
    for number in range(40):
        corner = places[rng.permutation(25)[:8]] + rng.uniform(0, 10, (8, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(40, 80, (8, 2))], 1)
        classes = rng.integers(0, 3, 8)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        records.append(
            AnnotatedImage(
                Path(f"{number}.jpg"),
                number + 1,
                (640, 640),
                boxes.astype(np.float32),
                classes,
                np.zeros(8, bool),
                areas,
            )
        )
        seen = boxes + rng.normal(0, 2, boxes.shape)
        found += [(number + 1, c, box, rng.uniform(0.7, 0.95)) for c, box in zip(classes, seen, strict=True)]
        found.append((number + 1, 0, np.array([600, 600, 630, 630]), rng.uniform(0, 0.3)))
    changed, planted = plant(records, 3, 0.2, seed=1)
    dets = detections(*(list(column) for column in zip(*found, strict=True)))
    assert audit(CocoEvaluation(truth_of(records), dets, [1, 2, 3])) == []
    scores = score(audit(CocoEvaluation(truth_of(changed), dets, [1, 2, 3])), planted)
    assert all(scores[kind].planted >= 12 for kind in KINDS)
    for kind in KINDS:
        # A label put somewhere at random may lie on an object, and one moved far enough is missing and spurious.
        bar = 0.7 if kind in ("spurious", "misplaced") else 1.0
        assert scores[kind].recall >= bar, (kind, scores[kind])
        assert scores[kind].precision >= bar, (kind, scores[kind])


def test_hotcoco_finds_no_other_candidates() -> None:
    """Its `missing_annotation` (nothing overlaps by 0.1) and `wrong_label` are among these."""
    labels = [(0, BOX), (1, [300, 300, 400, 400])]
    found = [
        (1, BOX, 0.9),
        (1, [302, 300, 400, 400], 0.8),
        (2, [500, 10, 560, 60], 0.7),
        (0, [190, 190, 290, 290], 0.6),
    ]
    truth = ground_truth([1], [1] * 2, [c for c, _ in labels], [b for _, b in labels])
    dets = detections([1] * 4, [c for c, *_ in found], [b for _, b, _ in found], [s for *_, s in found])
    evaluation = CocoEvaluation(truth, dets, [1, 2, 3])
    theirs = evaluation._eval.image_diagnostics(iou_thr=0.5, score_thr=0.3)["label_errors"]
    names = {"missing_annotation": "missing", "wrong_label": "wrong-class"}
    ours = {(entry.kind, entry.score) for entry in audit(evaluation)}
    assert {(names[entry["type"]], entry["dt_score"]) for entry in theirs} <= ours
    assert {entry["type"] for entry in theirs} == set(names)
