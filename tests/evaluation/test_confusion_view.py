from __future__ import annotations

import numpy as np

from tests.evaluation.test_analysis import BOX, OTHER, scattered
from tests.evaluation.test_coco import detections, ground_truth
from yolo.evaluation.analysis import Analysis, analyse
from yolo.evaluation.coco import CocoEvaluation
from yolo.evaluation.confusion_view import confusion_view


def many_classes(confused: int) -> Analysis:
    """50 classes, one object of each; objects of class 7 to 6 + `confused` are taken for class 0."""
    classes = list(range(50))
    boxes = [[x, x, x + 10, x + 12] for x in range(0, 500, 10)]
    found = [0 if 7 <= c < 7 + confused else c for c in classes]
    evaluation = CocoEvaluation(
        ground_truth(range(50), classes, classes, boxes), detections(classes, found, boxes, [0.9] * 50), range(50)
    )
    return analyse(evaluation, [f"c{c}" for c in classes], 0.25)


def test_few_classes_are_all_shown() -> None:
    analysis = analyse(scattered(0), ["a", "b", "c", "d"], 0.25)
    view = confusion_view(analysis, 4)
    assert view.names == ("a", "b", "c", "d", "background")
    assert view.note == ""
    np.testing.assert_array_equal(view.counts, analysis.confusion)
    for row, counts in enumerate(analysis.confusion.tolist()):
        assert view.shares[row].tolist() == [count / max(sum(counts), 1) for count in counts]


def test_the_confused_classes_are_shown_when_there_are_many() -> None:
    analysis = many_classes(confused=2)
    view = confusion_view(analysis, 4)
    assert view.names == ("c0", "c7", "c8", "47 others", "background")
    assert view.counts.tolist() == [[1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 47, 0], [0] * 5]
    assert view.note == "the 3 classes with most errors; 47 others in one row and column"
    assert view.counts.sum() == analysis.confusion.sum()


def test_mix_ups_among_the_others_are_not_taken_for_hits() -> None:
    view = confusion_view(many_classes(confused=9), 4)
    assert view.names[0] == "c0"
    hidden = 9 - 2
    assert view.counts[0].tolist() == [1, 0, 0, 0, 0]
    assert view.counts[3, 0] == hidden  # they went to a class that is shown
    classes = [0, 1, 2, 3]
    boxes = [BOX, OTHER, [200, 0, 240, 50], [300, 0, 350, 60]]
    found = CocoEvaluation(
        ground_truth([1], [1] * 4, classes, boxes), detections([1] * 4, [0, 1, 3, 2], boxes, [0.9] * 4), range(4)
    )
    assert "2 confusions among them" in confusion_view(analyse(found, "abcd", 0.25), 1).note
