from __future__ import annotations

from dataclasses import replace

import torch

from yolo.boxes.nms import NMSOptions
from yolo.export.bars import BARS
from yolo.export.stages import Conversion, Stage, count_missed


def test_missed_detections() -> None:
    options, bars = NMSOptions(confidence=0.25, max_detections=3), BARS["fp32"]
    rows = torch.tensor([[0, 0, 10, 10, 0.9, 0], [20, 0, 30, 10, 0.8, 1], [40, 0, 50, 10, 0.25005, 0.0]])
    assert count_missed(rows, rows, options, bars) == (2, 0)  # the last could fall below the threshold
    assert count_missed(rows, rows[:0], options, bars) == (2, 2)
    assert count_missed(rows[:0], rows, options, bars) == (0, 0)
    for column, change in ((0, 0.05), (4, 0.001), (5, 1.0)):
        other = rows.clone()
        other[0, column] += change
        assert count_missed(rows, other, options, bars) == (2, 1)
    full = replace(options, max_detections=2)
    assert count_missed(rows[:2], rows[:2], full, bars) == (1, 0)  # the last place may go to another


def test_a_file_that_says_nothing_finite_fails() -> None:
    stage = Stage("file", 1.0, 0.1, 0.1, 0.1, 0.01, 5, 0)
    assert Conversion(stage, stage).failures == []
    assert len(Conversion(replace(stage, scores_mean=float("nan")), stage).failures) == 1
    (failure,) = Conversion(replace(stage, boxes_best=0.4), stage).failures
    assert failure.startswith("file: best boxes differ by 0.4 pixels on average from the quantised network, which")
