from __future__ import annotations

from pathlib import Path

import numpy as np

from yolo.data.annotations import AnnotatedImage
from yolo.data.check.statistics import ClassCount, Spread, measure
from yolo.data.check.survey import Survey


def image(size: tuple[int, int], classes: list[int], areas: list[float], crowd: list[bool]) -> AnnotatedImage:
    boxes = np.zeros((len(classes), 4), np.float32)
    return AnnotatedImage(
        Path("a"), 1, size, boxes, np.array(classes, np.int64), np.array(crowd, np.bool_), np.array(areas, np.float64)
    )


def test_numbers_by_hand() -> None:
    images = [
        image((100, 200), [0, 0, 2], [1023, 1024, 9215], [False, False, False]),
        image((100, 50), [0, 1], [9216, 5], [False, True]),
        image((300, 300), [], [], []),
    ]
    numbers = measure(Survey("train", 4, images, ("a", "b", "c"), (0, 1, 2)))
    assert (numbers.images, numbers.objects, numbers.crowds, numbers.background_images) == (4, 4, 1, 1)
    assert (numbers.small, numbers.medium, numbers.large) == (1, 2, 1)
    assert numbers.classes == {"a": ClassCount(3, 2), "b": ClassCount(0, 0), "c": ClassCount(1, 1)}
    assert (numbers.width, numbers.height) == (Spread(50, 200, 300), Spread(100, 100, 300))
    assert (numbers.aspect, numbers.objects_per_image) == (Spread(0.5, 1, 2), Spread(0, 1, 3))


def test_nothing() -> None:
    numbers = measure(Survey("val", 1, [], ("a",), (0,)))
    assert (numbers.objects, numbers.width, numbers.classes) == (0, Spread(0, 0, 0), {"a": ClassCount(0, 0)})
