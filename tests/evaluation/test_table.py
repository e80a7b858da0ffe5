from __future__ import annotations

import pytest

from yolo.evaluation.table import print_metrics


def test_six_decimals(capsys: pytest.CaptureFixture[str]) -> None:
    print_metrics("a title", {"mAP": 1 / 3, "f1": 1.0})
    output = capsys.readouterr().out
    assert "a title" in output
    assert "0.333333" in output
    assert "1.000000" in output
