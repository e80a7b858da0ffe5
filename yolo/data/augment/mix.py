"""MixUp and CutMix: two pictures become one, and keep the labels of both as far as they are seen."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo.data.augment.canvas import Canvas
from yolo.data.augment.geometry import MIN_AREA, MIN_SIDE, MIN_VISIBLE

Rectangle = tuple[int, int, int, int]
"""xyxy in whole pixels."""


def mixup(first: Canvas, second: Canvas, share: float) -> None:
    """Blend `second` into `first`, which keeps `share` of its brightness; all objects stay."""
    cv2.addWeighted(first.image, share, second.image, 1 - share, 0, first.image)
    first.add(second.boxes, second.classes)


def random_rectangle(rng: np.random.Generator, size: tuple[int, int]) -> Rectangle:
    """A rectangle inside a picture of `size` (h, w), of its shape and of 1 - Beta(1, 1) of its area."""
    side = math.sqrt(1 - rng.beta(1, 1))
    height, width = (min(max(round(side * length), 1), length) for length in size)
    top, left = (int(rng.integers(length - part + 1)) for length, part in zip(size, (height, width), strict=True))
    return left, top, left + width, top + height


def cover(canvas: Canvas, rectangle: Rectangle) -> None:
    """Remove the objects that `rectangle` hides and cut those of which it hides one end."""
    boxes, keep = uncovered(canvas.boxes, rectangle)
    canvas.boxes, canvas.classes = boxes[keep], canvas.classes[keep]


def uncovered(boxes: NDArray[np.float32], rectangle: Rectangle) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """What a rectangle leaves of boxes [N, 4]; a strip of a pixel or less at one side is nothing.

    Returns:
        The boxes [N, 4] around what is left: smaller only where the rectangle goes through the whole box along one
        axis. And which [N] to keep: those with enough of their area left.
    """
    hidden = np.array(rectangle, np.float32)
    shared = np.concatenate([np.maximum(boxes[:, :2], hidden[:2]), np.minimum(boxes[:, 2:], hidden[2:])], 1)
    extent = (shared[:, 2:] - shared[:, :2]).clip(0)
    sides = boxes[:, 2:] - boxes[:, :2]
    meets, through = (extent > 0).all(1), extent >= sides - 1
    left = boxes.copy()
    for axis in (0, 1):
        low, high = boxes[:, axis], boxes[:, axis + 2]
        cut = meets & through[:, 1 - axis]
        left[:, axis] = np.where(cut & (hidden[axis] <= low + 1), shared[:, axis + 2], low)
        left[:, axis + 2] = np.where(cut & (hidden[axis + 2] >= high - 1), shared[:, axis], high)
    rest = left[:, 2:] - left[:, :2]
    areas = sides.prod(1)
    keep = (areas - extent.prod(1) >= MIN_VISIBLE * areas) & (rest.min(1) >= MIN_SIDE) & (rest.prod(1) >= MIN_AREA)
    return left, keep
