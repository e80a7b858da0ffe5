from __future__ import annotations

from yolo.evaluation.coco import SUMMARY_KEYS, TIDE_KINDS
from yolo.evaluation.words import QUALITY, TIDE_WORDS, figure


def test_what_is_not_defined_is_a_dash() -> None:
    assert [figure(-1.0), figure(float("nan")), figure(0.0), figure(0.5, 6)] == ["-", "-", "0.0000", "0.500000"]
    assert [figure(value, 3, "–") for value in (0.12345, 1.0, -1.0)] == ["0.123", "1.000", "–"]


def test_everything_has_its_words() -> None:
    assert tuple(TIDE_WORDS) == TIDE_KINDS
    assert set(QUALITY.values()) < set(SUMMARY_KEYS)
