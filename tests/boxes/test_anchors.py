from __future__ import annotations

import pytest
import torch

from yolo.boxes.anchors import make_anchors


def test_points_are_cell_centres_row_by_row_level_by_level() -> None:
    anchors = make_anchors([(2, 3), (1, 2)], (8, 16))
    expected = [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12], [8, 8], [24, 8]]
    assert anchors.points.tolist() == expected
    assert anchors.strides.tolist() == [8] * 6 + [16] * 2


def test_count_at_640() -> None:
    points, strides = make_anchors([(80, 80), (40, 40), (20, 20)], (8, 16, 32), dtype=torch.float64)
    assert points.shape == (8400, 2)
    assert strides.shape == (8400,)
    assert points.dtype == strides.dtype == torch.float64


def test_stride_count_must_match() -> None:
    with pytest.raises(ValueError, match="2 strides for 1 maps"):
        make_anchors([(2, 2)], (8, 16))
