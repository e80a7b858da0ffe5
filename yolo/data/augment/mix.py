"""MixUp and CutMix: two pictures become one, and keep the labels of both as far as they are seen."""

from __future__ import annotations

import math

import cv2
import numpy as np

from yolo.data.augment.canvas import Canvas

Rectangle = tuple[int, int, int, int]
"""xyxy in whole pixels."""


def mixup(first: Canvas, second: Canvas, share: float) -> None:
    """Blend `second` into `first`, which keeps `share` of its brightness; all objects stay."""
    cv2.addWeighted(first.image, share, second.image, 1 - share, 0, first.image)
    first.add(second.boxes, second.classes)


def random_rectangle(rng: np.random.Generator, size: tuple[int, int]) -> Rectangle:
    """A rectangle inside a picture of `size` (h, w), of its shape and of any share of its area."""
    side = math.sqrt(rng.random())
    height, width = (min(max(round(side * length), 1), length) for length in size)
    top, left = (int(rng.integers(length - part + 1)) for length, part in zip(size, (height, width), strict=True))
    return left, top, left + width, top + height
