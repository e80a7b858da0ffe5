from __future__ import annotations

import numpy as np
import torch
from pycocotools import mask

from yolo.boxes.arrays import corner_size_to_xyxy, overlap, xyxy_to_corner_size
from yolo.boxes.iou import box_iou

RNG = np.random.default_rng(0)
CORNERS = RNG.uniform(0, 100, (40, 2))
BOXES = np.concatenate([CORNERS, CORNERS + RNG.uniform(0, 60, (40, 2))], 1)


def test_pairwise_as_pycocotools_to_the_bit() -> None:
    crowd = np.arange(20) % 3 == 0
    sizes = xyxy_to_corner_size(BOXES)
    expected = mask.iou(sizes[:20], sizes[20:], crowd.astype(np.uint8))
    # It is given corners, and the sizes as they come of them.
    np.testing.assert_array_equal(overlap(BOXES[:20, None], BOXES[None, 20:], crowd[None]), expected)
    assert (expected > 0).sum() > 50


def test_paired_as_the_one_of_tensors() -> None:
    np.testing.assert_allclose(
        overlap(BOXES[:20], BOXES[20:]), box_iou(torch.tensor(BOXES[:20]), torch.tensor(BOXES[20:])), atol=1e-12
    )


def test_without_area_or_without_boxes() -> None:
    a = np.array([[0, 0, 10, 10], [5, 5, 15, 15], [20, 20, 20, 20]], float)
    np.testing.assert_allclose(
        overlap(a[:, None], a[None]), [[1, 25 / 175, 0], [25 / 175, 1, 0], [0, 0, 0]], atol=1e-12
    )
    assert overlap(a[:0, None], a[None]).shape == (0, 3)


def test_corner_and_size() -> None:
    np.testing.assert_array_equal(xyxy_to_corner_size(np.array([[1.0, 2, 4, 8]])), [[1, 2, 3, 6]])
    np.testing.assert_allclose(corner_size_to_xyxy(xyxy_to_corner_size(BOXES)), BOXES)
