from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tests.evaluation.test_coco import detections, ground_truth
from yolo.evaluation.coco import CocoEvaluation
from yolo.evaluation.operating_point import confidence_curves
from yolo.evaluation.plots import _precision_recall, save_curves

BOX, OTHER = [0, 0, 50, 50], [100, 100, 160, 160]


def test_four_pictures_that_show_something(tmp_path: Path) -> None:
    evaluation = CocoEvaluation(
        ground_truth([1], [1, 1], [0, 1], [BOX, OTHER]), detections([1, 1], [0, 0], [BOX, OTHER], [0.9, 0.4]), [1, 2]
    )
    files = save_curves(evaluation, ["cat", "dog"], tmp_path / "metrics" / "epoch_1")
    assert sorted(file.name for file in files) == ["F1_curve.png", "PR_curve.png", "P_curve.png", "R_curve.png"]
    pictures = [cv2.imread(str(file)) for file in files]
    for picture in pictures:  # a coloured line for each of two classes; axes and mean are grey
        colours = {tuple(c) for c in picture.reshape(-1, 3).tolist() if max(c) - min(c) > 100}
        assert len(colours) >= 2
    assert len({picture.tobytes() for picture in pictures}) == 4


def test_lines_are_the_curves() -> None:
    evaluation = CocoEvaluation(
        ground_truth([1], [1, 1], [0, 0], [BOX, OTHER]), detections([1, 1], [0, 0], [BOX, BOX], [0.9, 0.4]), [1]
    )
    curves = confidence_curves(evaluation, [0.0, 0.5, 0.95])
    (line,) = _precision_recall(["cat"], curves).axes[0].lines
    np.testing.assert_array_equal(line.get_xdata(), [0.5, 0.5, np.nan])  # above 0.9 there is no detection left
    np.testing.assert_array_equal(line.get_ydata(), [0.5, 1.0, np.nan])


def test_hundreds_of_classes_get_no_legend_of_their_own(tmp_path: Path) -> None:
    many = list(range(300))
    boxes = [[i, i, i + 30, i + 30] for i in many]
    evaluation = CocoEvaluation(
        ground_truth([1], [1] * 300, many, boxes), detections([1] * 300, many, boxes, [0.5] * 300), range(1, 301)
    )
    assert len(save_curves(evaluation, [f"class {i}" for i in many], tmp_path)) == 4


def test_nothing_is_drawn_without_ground_truth(tmp_path: Path) -> None:
    evaluation = CocoEvaluation(ground_truth([1], [], [], []), detections([1], [0], [BOX], [0.5]), [1])
    assert save_curves(evaluation, ["cat"], tmp_path) == []
    assert list(tmp_path.iterdir()) == []
