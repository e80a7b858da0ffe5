from __future__ import annotations

import numpy as np

from yolo.data.augment.canvas import Canvas
from yolo.data.augment.mix import mixup, random_rectangle


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
