from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest
import torch

from tests.evaluation.test_evaluator import record
from tests.report.small_report import content
from yolo.evaluation.evaluator import Evaluator
from yolo.report import gallery
from yolo.report.content import ReportContent
from yolo.report.gallery import lowest_confidence, make_gallery, worst_rows
from yolo.report.write import render


def wide(detections: list[list[float]], confidence: float = 0.25) -> ReportContent:
    """One object in an image of 2000 x 100 pixels."""
    image = record(1, [[100, 20, 300, 60]], [0])
    object.__setattr__(image, "size", (100, 2000))
    evaluator = Evaluator([1], ["cat"], confidence)
    evaluator.update([image], [torch.tensor(detections, dtype=torch.float64).reshape(-1, 6)])
    return content(metrics=evaluator.compute(), pixels=lambda r: np.full((*r.size, 3), 90, np.uint8))


def test_pictures_and_boxes_are_made_smaller_together() -> None:
    (picture,) = make_gallery(wide([[100, 20, 300, 60, 0.9, 0], [500, 0, 600, 50, 0.1, 0]]), 0.05)
    data = np.frombuffer(base64.b64decode(picture.source.partition(",")[2]), np.uint8)
    assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape[:2] == (picture.height, picture.width) == (24, 480)
    (found,) = picture.objects
    assert (found.x, found.y, found.width, found.height) == (24, 4.8, 48, 9.6)
    assert (found.style, found.score) == ("found", "0.9")
    assert [(p.style, p.text, p.shown) for p in picture.predictions] == [
        ("true", "cat 0.90", True),
        ("false", "cat 0.10", False),
    ]
    assert [picture.count(style) for style in ("true", "false", "missed")] == [1, 0, 0]


def test_pictures_are_those_with_most_errors() -> None:
    shown = content(most_images=3)
    errors = shown.metrics.analysis.image_errors.sum(axis=1)
    pictures = make_gallery(shown, 0.05)
    assert [p.count("false") + p.count("missed") for p in pictures] == sorted(errors.tolist(), reverse=True)[:3]
    assert len(worst_rows(shown)) == 3


def test_predictions_that_are_never_shown_are_left_out() -> None:
    assert lowest_confidence(content()) == 0.05
    assert lowest_confidence(wide([], confidence=0.01)) == 0.01
    crowded = wide([[n, 0, n + 20, 50, 0.1 + n / 1000, 0] for n in range(400)])
    lowest = lowest_confidence(crowded)
    assert lowest == pytest.approx(0.2, abs=0.0101)
    assert 290 <= len(make_gallery(crowded, lowest)[0].predictions) <= 300


def test_the_budget_ends_the_gallery_but_leaves_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "BUDGET", 30_000)
    pictures = make_gallery(content(), 0.05)
    assert 1 <= len(pictures) < 12
    assert 15_000 < len(render(content())) - len(render(content(pixels=None))) < 33_000
    monkeypatch.setattr(gallery, "BUDGET", 10)
    assert len(make_gallery(content(), 0.05)) == 1


def test_small_images_are_not_blown_up() -> None:
    assert make_gallery(content(), 0.05)[0].width == 100


def test_no_pixels_no_pictures() -> None:
    assert make_gallery(content(pixels=None), 0.05) == []
