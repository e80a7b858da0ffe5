from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from yolo.export.accuracy import Accuracy, FileFigures
from yolo.latency import Latency

LATENCY = Latency.of(np.array([0.010, 0.020, 0.030]), 1)
FIGURES = FileFigures(0.6152, 0.89, 0.76, 0.94, 0.83, 0.86, 0.435, LATENCY, LATENCY, 7_520_000)


def accuracy(ap: float, max_drop: float | None = 0.01) -> Accuracy:
    return Accuracy(FIGURES, replace(FIGURES, ap=ap, size=2_000_000, best_confidence=0.41), 87, 0.25, 2, 30, max_drop)


@pytest.mark.parametrize("ap", [0.6053, 0.6152, 0.7])
def test_what_passes(ap: float) -> None:
    assert accuracy(ap).failures == []


def test_a_larger_fall_names_all_four_numbers() -> None:
    (failure,) = accuracy(0.6051).failures
    for words in ("0.615200 (checkpoint)", "0.605100 (file)", "by 0.010100", "--max-drop allows 0.01"):
        assert words in failure
    assert len(accuracy(float("nan")).failures) == 1
    assert accuracy(0.0, max_drop=None).failures == []


def test_a_checkpoint_that_finds_nothing_is_no_measure() -> None:
    nothing = replace(FIGURES, ap=0.0)
    (failure,) = Accuracy(nothing, nothing, 87, 0.25, 2, 30, 0.01).failures
    assert "--max-drop tells nothing" in failure


def test_one_table_and_plain_values() -> None:
    printed = io.StringIO()
    accuracy(0.61).show(Console(file=printed, width=80))
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in printed.getvalue().splitlines()]
    assert ["AP50-95", "0.615200", "0.610000", "-0.005200"] in rows
    assert ["its confidence", "0.435", "0.410", "-0.025"] in rows
    assert ["image to detections p50 ms", "20.00", "20.00", "+0.00"] in rows
    assert ["size MB", "7.52", "2.00", "-5.52"] in rows
    text = " ".join(printed.getvalue().split())
    assert text.startswith("on 87 validation images; latency of one image at a time, 30 runs in turn on 2 threads")
    document = json.loads(json.dumps(accuracy(0.6).to_dict(), allow_nan=False))
    assert document["drop"] == pytest.approx(0.0152)
    assert document["file"]["latency"]["p50"] == pytest.approx(20)
    assert len(document["failures"]) == 1
