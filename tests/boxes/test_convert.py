from __future__ import annotations

import torch

from yolo.boxes.convert import xywh_to_xyxy, xyxy_to_xywh


def test_hand_computed_box() -> None:
    corners = torch.tensor([10.0, 20.0, 30.0, 80.0])
    centre = torch.tensor([20.0, 50.0, 20.0, 60.0])
    assert torch.equal(xyxy_to_xywh(corners), centre)
    assert torch.equal(xywh_to_xyxy(centre), corners)


def test_round_trip_keeps_shape_and_values() -> None:
    boxes = torch.rand(2, 3, 5, 4, dtype=torch.float64) * 100
    assert torch.allclose(xywh_to_xyxy(xyxy_to_xywh(boxes)), boxes)
    assert xyxy_to_xywh(torch.empty(0, 4)).shape == (0, 4)
