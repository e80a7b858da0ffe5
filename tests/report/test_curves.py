from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.evaluation.test_evaluator import record
from tests.report.small_report import NAMES, ROWS, metrics
from yolo.evaluation.evaluator import Evaluator
from yolo.report.curves import confidence_charts, reliability_chart, training_charts, values_at


def test_curves_of_few_classes_have_names_and_of_many_none() -> None:
    charts = confidence_charts(metrics().analysis)
    assert [chart.key for chart in charts] == ["precision", "recall", "f1", "pr"]
    assert [line.name for line in charts[0].lines] == [*NAMES[:4], "mean of the classes"]
    assert [line.name for line in charts[3].lines] == list(NAMES[:4])
    many = confidence_charts(metrics(120, [str(n) for n in range(300)]).analysis)
    assert {line.name for line in many[0].lines} == {"", "mean of the classes"}
    assert len(many[0].lines) == 201


def test_lines_and_marks_lie_where_the_analysis_says() -> None:
    analysis = metrics().analysis
    chart = confidence_charts(analysis)[2]
    assert chart.marks[0].x == pytest.approx(float(chart.across(0.25)), abs=0.06)
    assert chart.marks[1].y == pytest.approx(float(chart.up(analysis.best.f1)), abs=0.06)
    points = np.array([pair.split(",") for pair in chart.lines[0].points.split()], float)
    heights = np.interp(chart.across(analysis.curves.thresholds[::50]), points[:, 0], points[:, 1])
    assert np.abs(heights - chart.up(analysis.curves.f1[0, ::50])).mean() < 1
    assert f"{analysis.point.f1:.3f} at confidence 0.250" in chart.text


def test_no_curves_without_ground_truth() -> None:
    evaluator = Evaluator([1])
    evaluator.update([record(1, [], [])], [torch.tensor([[0.0, 0, 9, 9, 0.5, 0]])])
    analysis = evaluator.compute().analysis
    assert confidence_charts(analysis) == []
    assert values_at(analysis)["rows"] == []


def test_values_are_read_at_hundredths() -> None:
    analysis = metrics().analysis
    found = values_at(analysis)
    assert found["start"] == 25
    assert [row["name"] for row in found["rows"]] == ["mean of the classes", *NAMES[:4]]
    assert found["rows"][1]["values"][2][25] == pytest.approx(analysis.curves.f1[0, 250], abs=1e-4)
    assert len(found["rows"][0]["values"][0]) == 101


def test_reliability_skips_empty_bins() -> None:
    analysis = metrics().analysis
    chart = reliability_chart(analysis)
    assert len(chart.marks) == int((analysis.calibration.counts > 0).sum())


def test_training_counts_epochs_from_one_and_skips_empty_cells() -> None:
    charts = {chart.key: chart for chart in training_charts(ROWS)}
    assert list(charts) == ["training-quality", "training-losses", "training-rate"]
    assert charts["training-quality"].text == "Epochs 1 to 2; last values: mAP 0.3."
    assert charts["training-losses"].text.endswith("box 4.25.")
    assert charts["training-losses"].y_range == (0, 5.5)
    assert training_charts([]) == []
    assert training_charts([{"epoch": "0", "val/mAP": "nan"}]) == []
    (single,) = training_charts([{"epoch": 4, "train/lr": 0.1}])
    assert single.x_range == (5, 6)
