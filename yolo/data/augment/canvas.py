"""A picture in the making."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from yolo.data.augment.colour import Image, Recolour
from yolo.data.augment.geometry import Floats, move_boxes
from yolo.data.augment.tiles import Tile, draw_tile
from yolo.data.batch import Sample

PAD_VALUE = 114


class Canvas:
    """The pixels [h, w, 3] and the objects drawn so far, in the order of drawing.

    Args:
        image: What to draw on: usually `blank(size)`, or a part of another canvas.
    """

    def __init__(self, image: Image) -> None:
        self.image = image
        self.boxes = np.zeros((0, 4), np.float32)
        self.classes = np.zeros(0, np.int64)

    def draw(self, part: Sample, tile: Tile, recolour: Recolour | None, hidden: Floats | None = None) -> None:
        """Draw what `tile` shows of `part`; its objects that are visible enough come with it.

        What lies under `hidden`, xyxy in pixels of this canvas, counts as not visible: something will be drawn there.
        """
        drawn = draw_tile(self.image, part.image, tile, recolour)
        if drawn is not None and len(part.boxes):
            height, width = self.image.shape[:2]
            boxes, keep = move_boxes(part.boxes, drawn.matrix, drawn.window, (height, width), hidden)
            self.add(boxes[keep], part.classes[keep])

    def add(self, boxes: NDArray[np.float32], classes: NDArray[np.int64]) -> None:
        """Add objects, their boxes in pixels of this canvas."""
        self.boxes = np.concatenate([self.boxes, boxes])
        self.classes = np.concatenate([self.classes, classes])


def blank(size: tuple[int, int], recolour: Recolour | None = None) -> Image:
    """A picture (h, w) of padding, which changes its brightness with that of the images."""
    value = PAD_VALUE
    if recolour:
        value = int(recolour(np.full((1, 1, 3), PAD_VALUE, np.uint8), None).max())  # grey stays grey
    return np.full((*size, 3), value, np.uint8)
