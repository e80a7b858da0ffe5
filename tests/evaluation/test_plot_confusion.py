from __future__ import annotations

import numpy as np

from tests.evaluation.test_analysis import BOX, OTHER, scattered
from tests.evaluation.test_coco import detections, ground_truth
from tests.evaluation.test_confusion_view import many_classes
from yolo.evaluation.analysis import analyse
from yolo.evaluation.coco import CocoEvaluation
from yolo.evaluation.plot_confusion import draw_confusion, draw_reliability


def test_cells_hold_counts_and_the_colour_of_their_share() -> None:
    analysis = analyse(scattered(1), ["a", "b", "c", "d"], 0.25)
    axes = draw_confusion(analysis).axes[0]
    shown = {tuple(map(int, text.get_position())): int(text.get_text()) for text in axes.texts}
    matrix = analysis.confusion
    assert shown == {(c, r): int(n) for (r, c), n in np.ndenumerate(matrix) if n}
    rows = np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    np.testing.assert_allclose(axes.images[0].get_array(), matrix / rows)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c", "d", "background"]


def test_many_classes_are_cut_and_it_says_so() -> None:
    figure = draw_confusion(many_classes(confused=3))
    assert len(figure.axes[0].get_yticklabels()) == 31
    assert "29 classes with most errors; 21 others" in figure.get_suptitle()


def test_reliability_is_the_calibration() -> None:
    evaluation = CocoEvaluation(
        ground_truth([1], [1, 1], [0, 0], [BOX, OTHER]),
        detections([1, 1, 1], [0, 0, 0], [BOX, OTHER, [300, 300, 340, 340]], [0.92, 0.55, 0.51]),
        [1],
    )
    figure = draw_reliability(analyse(evaluation, ["cat"], 0.25))
    upper, lower = figure.axes
    assert [bar.get_height() for bar in upper.patches] == [0, 0, 0, 0, 0, 0.5, 0, 0, 0, 1]
    assert [bar.get_height() for bar in lower.patches] == [0, 0, 0, 0, 0, 2, 0, 0, 0, 1]
    assert "error 0.047" in figure.get_suptitle()  # (2 |0.53 - 0.5| + |0.92 - 1|) / 3


def test_reliability_without_detections_says_so() -> None:
    evaluation = CocoEvaluation(ground_truth([1], [1], [0], [BOX]), detections([], [], [], []), [1])
    assert "no detection" in draw_reliability(analyse(evaluation, ["cat"], 0.25)).get_suptitle()
