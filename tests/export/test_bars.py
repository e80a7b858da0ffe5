from __future__ import annotations

from dataclasses import replace

import pytest

from yolo.export.bars import BARS, WIDEST, Bars, bars_for
from yolo.export.stages import Stage


def test_noise_of_the_network_itself_widens_the_bars() -> None:
    def noise(boxes: float, scores: float = 0.0, missed: int = 0) -> Stage:
        return Stage("noise", boxes, 0.0, 0.0, scores, 0.0, 100, missed)

    assert bars_for("fp32", noise(1e-3, 1e-5)) == BARS["fp32"]
    assert bars_for("fp32", noise(0.1, 1e-3, 2)) == Bars(
        *(pytest.approx(value) for value in (0.3, 3e-3, 0.6, 3e-3, 0.06))
    )
    assert bars_for("fp32", noise(50, 0.5, 90)) == WIDEST
    assert bars_for("fp32", noise(float("nan"), float("nan"))) == BARS["fp32"]
    assert bars_for("fp16", noise(50)).boxes == BARS["fp16"].boxes
    assert bars_for("fp32", replace(noise(0), detections=0)) == BARS["fp32"]
