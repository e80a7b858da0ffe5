from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from yolo.data.annotations import AnnotatedImage


def image(crowd: list[bool]) -> AnnotatedImage:
    count = len(crowd)
    boxes = np.arange(4 * count, dtype=np.float32).reshape(count, 4)
    areas = np.ones(count)
    return AnnotatedImage(Path("a.jpg"), 1, (10, 20), boxes, np.arange(count), np.array(crowd, bool), areas)


def test_objects_leaves_crowds_out() -> None:
    boxes, classes = image([False, True, False]).objects
    assert boxes.tolist() == [[0, 1, 2, 3], [8, 9, 10, 11]]
    assert classes.tolist() == [0, 2]


def test_objects_of_an_image_without_crowds_and_without_objects() -> None:
    assert image([False, False]).objects[1].tolist() == [0, 1]
    assert image([]).objects[0].shape == (0, 4)


def test_survives_pickling_for_spawned_workers() -> None:
    copy = pickle.loads(pickle.dumps(image([True, False])))
    assert copy.path == Path("a.jpg")
    assert copy.size == (10, 20)
    assert copy.crowd.tolist() == [True, False]
