from __future__ import annotations

import numpy as np
import pytest

from yolo.data.augment.canvas import Canvas
from yolo.data.augment.mix import cover, mixup, random_rectangle, uncovered

HIDDEN = (20, 20, 60, 60)


@pytest.mark.parametrize(
    ("box", "left"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10)),  # elsewhere
        ((60, 20, 90, 60), (60, 20, 90, 60)),  # touches
        ((25, 25, 55, 55), None),  # hidden
        ((20, 20, 60, 60), None),
        ((10, 30, 50, 50), (10, 30, 20, 50)),  # its right end
        ((30, 30, 90, 50), (60, 30, 90, 50)),  # its left end
        ((30, 0, 50, 40), (30, 0, 50, 20)),  # its lower end
        ((20, 50, 60, 80), (20, 60, 60, 80)),  # its upper end
        ((10, 30, 90, 50), (10, 30, 90, 50)),  # its middle
        ((0, 0, 40, 40), (0, 0, 40, 40)),  # a corner
        ((40, 30, 90, 90), (40, 30, 90, 90)),
        ((21, 30, 64.0, 50), None),  # 4 of 43 are left
        ((21, 30, 65.0, 50), (60, 30, 65, 50)),  # 5 of 44
        ((30, 19.5, 90, 50), (60, 19.5, 90, 50)),  # half a pixel above is nothing
        ((30, 17, 90, 50), (30, 17, 90, 50)),  # 3 pixels are something
        ((30, 50, 50, 61.5), None),  # 1.5 pixels of height are too few
        ((0, 0, 100, 100), (0, 0, 100, 100)),  # around it
    ],
)
def test_what_a_rectangle_leaves(box: tuple[float, ...], left: tuple[float, ...] | None) -> None:
    boxes, keep = uncovered(np.array([box], np.float32), HIDDEN)
    assert keep.tolist() == [left is not None]
    if left:
        assert boxes.tolist() == [list(left)]
    assert boxes.dtype == np.float32


def test_cover_removes_objects_with_their_classes() -> None:
    canvas = Canvas(np.zeros((100, 100, 3), np.uint8))
    cover(canvas, HIDDEN)
    assert canvas.boxes.shape == (0, 4)
    canvas.add(np.array([[25, 25, 50, 50], [10, 30, 50, 50], [70, 70, 90, 90]], np.float32), np.array([3, 4, 5]))
    cover(canvas, HIDDEN)
    assert canvas.classes.tolist() == [4, 5]
    assert canvas.boxes.tolist() == [[10, 30, 20, 50], [70, 70, 90, 90]]


def test_mixup() -> None:
    first, second = (Canvas(np.full((4, 6, 3), value, np.uint8)) for value in (100, 200))
    first.add(np.array([[0, 0, 2, 2]], np.float32), np.array([1]))
    second.add(np.array([[1, 1, 4, 4]], np.float32), np.array([0]))
    mixup(first, second, 0.75)
    assert (first.image == 125).all()
    assert first.classes.tolist() == [1, 0]
    assert first.boxes.tolist() == [[0, 0, 2, 2], [1, 1, 4, 4]]


def test_rectangles_lie_inside_and_have_uniform_areas() -> None:
    rng = np.random.default_rng(0)
    height, width = 90, 200
    shares, places = [], []
    for _ in range(2000):
        x1, y1, x2, y2 = random_rectangle(rng, (height, width))
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        shares.append((x2 - x1) * (y2 - y1) / (height * width))
        if shares[-1] < 0.2:
            places.append(((x1 + x2) / 2 / width, (y1 + y2) / 2 / height))
    np.testing.assert_allclose(np.histogram(shares, 5, (0, 1))[0] / 2000, 0.2, atol=0.04)
    np.testing.assert_allclose(np.mean(places, axis=0), 0.5, atol=0.05)
