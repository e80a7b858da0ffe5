"""BBox mosaic: four single objects, each varied by itself, side by side and never cropped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from yolo.data.augment.geometry import Floats, Matrix, area, clip, moved_hull, scaling, translation, warping
from yolo.data.augment.tiles import Tile
from yolo.data.batch import Sample
from yolo.data.options import BBoxMosaicOptions

# Share of a quadrant's side that stays free around an object before its random scale.
MARGIN = 0.15

# Share of a neighbour that the crop around an object must show for it to keep its label.
MIN_SHOWN = 0.5


def quadrants(size: tuple[int, int]) -> list[Floats]:
    """The four parts, xyxy in whole pixels, of a picture of `size` (h, w): row by row."""
    (height, width), (y, x) = size, (size[0] // 2, size[1] // 2)
    parts = ((0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height))
    return [np.array(part, np.float64) for part in parts]


def cut_out(rng: np.random.Generator, part: Sample) -> Floats:
    """The box xyxy of a random object of `part`, in its pixels; the whole image when it has none."""
    whole = _whole(part)
    if not len(part.boxes):
        return whole
    box = clip(part.boxes[None, rng.integers(len(part.boxes))].astype(np.float64), whole)[0]
    return np.asarray(box) if (box[2:] - box[:2]).min() >= 1 else whole


def shown_enough(part: Sample, window: Floats) -> Sample:
    """`part` with only those objects that its `window` (xyxy) shows wholly or at least half of."""
    boxes = clip(part.boxes.astype(np.float64), _whole(part))
    keep = area(clip(boxes, window)) >= MIN_SHOWN * area(boxes)
    return replace(part, boxes=part.boxes[keep], classes=part.classes[keep])


def place(rng: np.random.Generator, options: BBoxMosaicOptions, window: Floats, quadrant: Floats) -> Tile:
    """The part `window` of an image, turned and scaled at random, somewhere inside `quadrant` (both xyxy).

    The hull of the turned crop is what must fit: random scale and shift act only as far as the quadrant leaves room.
    """
    draws = rng.uniform(-1, 1, 10)
    width, height = (window[2:] - window[:2]).tolist()
    turned = warping(draws[:5].tolist(), options, (height, width)) @ _to_origin(window)
    box = moved_hull(turned, window[None])[0]
    extent, room = box[2:] - box[:2], quadrant[2:] - quadrant[:2]
    factor = min((1 - MARGIN) * (1 + draws[5] * options.scale), 1) * (room / extent).min()
    free = (room - factor * extent).clip(0) / 2
    offset = draws[6:8] * options.jitter * free + draws[8:] * options.translate * room
    x, y = ((quadrant[:2] + quadrant[2:]) / 2 + offset.clip(-free, free)).tolist()
    return Tile(translation(x, y) @ scaling(factor, factor) @ _to_origin(box) @ turned, window)


def _whole(part: Sample) -> Floats:
    height, width = part.image.shape[:2]
    return np.array([0, 0, width, height], np.float64)


def _to_origin(box: Floats) -> Matrix:
    x, y = ((box[:2] + box[2:]) / 2).tolist()
    return translation(-x, -y)
