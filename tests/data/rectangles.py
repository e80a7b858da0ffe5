"""Sources of black images with rectangles in them, whose every object can be told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from yolo.data.annotations import AnnotatedImage
from yolo.data.augment.pipeline import AugmentPipeline
from yolo.data.batch import Sample
from yolo.data.sampler import TrainingItem

SIZES = [(100, 150), (64, 48), (300, 200), (20, 20), (480, 640)]
TINY = (20, 20)
POOL = tuple(range(len(SIZES)))

# Boxes in hundredths of the image, apart from each other and from the border.
BOXES = np.array([[5, 5, 40, 45], [50, 10, 95, 40], [10, 55, 30, 95], [40, 50, 90, 90]], np.float32)
# One inside another, and one that overlaps it.
NESTED = np.array([[10, 10, 80, 70], [20, 25, 45, 55], [60, 40, 95, 90]], np.float32)


class Rectangles:
    """Black images with some rectangles each; object k of the n-th image read has class 10 * n + k.

    With `only`, the object of that class is painted white and all others are left black.
    """

    def __init__(self, only: int | None = None, boxes: np.ndarray = BOXES) -> None:
        self.only = only
        self.layout = boxes
        self.picks: list[int] = []

    def boxes(self, index: int) -> np.ndarray:
        height, width = SIZES[index]
        return np.round(self.layout / 100 * (width, height, width, height)).astype(np.float32).reshape(-1, 4)

    def read(self, index: int) -> Sample:
        height, width = SIZES[index]
        boxes = self.boxes(index)
        classes = 10 * len(self.picks) + np.arange(len(boxes))
        image = np.zeros((height, width, 3), np.uint8)
        for number, (x1, y1, x2, y2) in zip(classes, boxes.astype(int), strict=True):
            if number == self.only:
                image[y1:y2, x1:x2] = 255
        self.picks.append(index)
        for array in (image, boxes, classes):
            array.setflags(write=False)  # a cache may own them
        empty = np.zeros(0)
        record = AnnotatedImage(Path(f"{index}"), index, (height, width), boxes, classes, empty.astype(bool), empty)
        return Sample(image, boxes, classes, record)


def item(epoch: int, index: int) -> TrainingItem:
    """A sample whose partners may be any of the images."""
    return TrainingItem(epoch, index, POOL)


def pixels_of(run: AugmentPipeline, asked: TrainingItem, number: int, boxes: np.ndarray = BOXES) -> np.ndarray:
    """Where [h, w] the object of class `number` is seen in a sample: at least half as strong as at its strongest."""
    seen = run(Rectangles(only=number, boxes=boxes), asked).image.astype(int).sum(2)
    change = np.abs(seen - run(Rectangles(boxes=boxes), asked).image.astype(int).sum(2))
    return np.asarray((change >= change.max() / 2) & (change > 0))
