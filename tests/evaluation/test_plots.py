from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import pytest

from tests.evaluation.test_analysis import BOX, OTHER
from tests.evaluation.test_coco import detections, ground_truth
from yolo.evaluation.analysis import analyse
from yolo.evaluation.coco import CocoEvaluation
from yolo.evaluation.plots import save_plots

NAMES = ["F1_curve.png", "PR_curve.png", "P_curve.png", "R_curve.png", "confusion_matrix.png", "reliability.png"]


@pytest.mark.slow
def test_all_pictures_show_something(tmp_path: Path) -> None:
    evaluation = CocoEvaluation(
        ground_truth([1], [1, 1], [0, 1], [BOX, OTHER]), detections([1, 1], [0, 0], [BOX, OTHER], [0.9, 0.4]), [1, 2]
    )
    analysis = analyse(evaluation, ["cat", "dog"], 0.25)
    files = save_plots(analysis, tmp_path / "metrics" / "epoch_1", evaluation.ground_truth)
    assert sorted(file.name for file in files) == sorted([*NAMES, "labels.png"])
    assert sorted(file.name for file in files[0].parent.iterdir()) == sorted([*NAMES, "labels.png"])
    pictures = [cv2.imread(str(file)) for file in files]
    for picture in pictures:
        assert any(max(c) - min(c) > 100 for c in picture.reshape(-1, 3).tolist())  # something that is coloured
    assert len({picture.tobytes() for picture in pictures}) == 7


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1, 300])
def test_any_number_of_classes(classes: int, tmp_path: Path) -> None:
    many = list(range(classes))
    boxes = [[i, i, i + 30, i + 30] for i in many]
    evaluation = CocoEvaluation(
        ground_truth([1], [1] * classes, many, boxes),
        detections([1] * classes, many, boxes, [0.5] * classes),
        range(1, classes + 1),
    )
    assert len(save_plots(analyse(evaluation, [f"class {i}" for i in many], 0.25), tmp_path)) == 6


@pytest.mark.slow
def test_names_that_matplotlib_would_take_for_formulas(tmp_path: Path) -> None:
    evaluation = CocoEvaluation(ground_truth([1], [1], [0], [BOX]), detections([1], [0], [BOX], [0.5]), [1, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert save_plots(analyse(evaluation, ["$\\frac", "_b$ 細胞"], 0.25), tmp_path, evaluation.ground_truth)


def test_no_detections(tmp_path: Path) -> None:
    evaluation = CocoEvaluation(ground_truth([1], [1], [0], [BOX]), detections([], [], [], []), [1])
    assert len(save_plots(analyse(evaluation, ["cat"], 0.25), tmp_path)) == 6


def test_nothing_is_drawn_without_ground_truth(tmp_path: Path) -> None:
    evaluation = CocoEvaluation(ground_truth([1], [], [], []), detections([1], [0], [BOX], [0.5]), [1])
    assert save_plots(analyse(evaluation, ["cat"], 0.25), tmp_path, evaluation.ground_truth) == []
    assert list(tmp_path.iterdir()) == []
