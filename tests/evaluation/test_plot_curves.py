from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.test_analysis import BOX, OTHER, scattered
from tests.evaluation.test_coco import detections, ground_truth
from yolo.evaluation.analysis import analyse
from yolo.evaluation.coco import CocoEvaluation
from yolo.evaluation.plot_curves import draw_against_confidence, draw_precision_recall, shown_name


def texts(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_precision_over_recall_ends_with_the_last_detection() -> None:
    evaluation = CocoEvaluation(
        ground_truth([1], [1, 1], [0, 0], [BOX, OTHER]), detections([1, 1], [0, 0], [BOX, BOX], [0.9, 0.4]), [1]
    )
    figure = draw_precision_recall(analyse(evaluation, ["cat"], 0.25))
    line = figure.axes[0].lines[0]
    precision = np.array([0.5] * 401 + [1.0] * 500 + [np.nan] * 100)
    np.testing.assert_array_equal(line.get_ydata(), precision)
    np.testing.assert_array_equal(line.get_xdata(), np.where(np.isnan(precision), np.nan, 0.5))
    assert texts(figure)[0].startswith("cat, AP50 0.5")


@pytest.mark.parametrize("label", ["precision", "recall", "F1"])
def test_lines_and_marks_are_the_analysis(label) -> None:
    analysis = analyse(scattered(0), ["a", "b", "c", "d"], 0.25)
    figure = draw_against_confidence(analysis, label)
    lines = figure.axes[0].lines
    values = getattr(analysis.curves, label.lower())
    for row, curve in enumerate(values):
        np.testing.assert_array_equal(lines[row].get_ydata(), curve)
    np.testing.assert_array_equal(lines[len(values)].get_ydata(), values.mean(axis=0))
    styles = {(line.get_color(), line.get_linestyle()) for line in lines[: len(values)]}
    assert len(styles) == len(values)
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in lines if line.get_marker() != "None"]
    assert marks == [(p.confidence, getattr(p, label.lower())) for p in (analysis.point, analysis.best)]
    assert any(text.startswith("operating confidence 0.250") for text in texts(figure))


def test_hundreds_of_classes_share_one_entry_of_the_legend() -> None:
    many = list(range(300))
    boxes = [[i, i, i + 30, i + 30] for i in many]
    evaluation = CocoEvaluation(
        ground_truth([1], [1] * 300, many, boxes), detections([1] * 300, many, boxes, [0.5] * 300), range(1, 301)
    )
    analysis = analyse(evaluation, list(map(str, many)), 0.25)
    assert len(texts(draw_precision_recall(analysis))) == 3
    assert len(texts(draw_against_confidence(analysis, "F1"))) == 4


def test_names_are_shown_as_they_are_or_without_their_middle() -> None:
    assert shown_name("a$b") == r"a\$b"
    assert shown_name("_a") == " _a"
    assert shown_name("one two three four 17", 10) == "one …ur 17"
    assert shown_name("x" * 40) == "x" * 40
    assert len(shown_name("x" * 41)) == 40
