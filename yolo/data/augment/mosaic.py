"""Layouts: where source images lie on a virtual canvas before the random transform. Nothing is drawn here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from yolo.boxes.letterbox import Letterbox, LetterboxMode
from yolo.data.augment.geometry import scaling, translation
from yolo.data.augment.tiles import Tile


def single(source: tuple[int, int], size: tuple[int, int], mode: LetterboxMode) -> Tile:
    """One image (h, w) letterboxed into a canvas of `size` (h, w), exactly as validation does it."""
    box = Letterbox(source, size, mode)
    (top, left), (height, width) = box.offset, box.size
    matrix = translation(left, top) @ scaling(width / source[1], height / source[0])
    return Tile(matrix, np.array([0, 0, source[1], source[0]], np.float64))


def mosaic4(rng: np.random.Generator, sources: Sequence[tuple[int, int]], size: tuple[int, int]) -> list[Tile]:
    """Four images (h, w) around a random junction of a canvas of twice `size` (h, w).

    Each is fitted into `size`, keeping its aspect, and touches the junction with one corner: first top left, then top
    right, bottom left, bottom right. What leaves the canvas is not visible, so tiles never overlap.
    """
    height, width = size
    junction_x, junction_y = rng.uniform(0.5, 1.5, 2) * (width, height)
    tiles = []
    for corner, (h, w) in enumerate(sources):
        scale = min(height / h, width / w)
        x = junction_x - (0 if corner % 2 else w * scale)
        y = junction_y - (0 if corner >= 2 else h * scale)
        canvas = np.array([-x, -y, 2 * width - x, 2 * height - y]) / scale
        tiles.append(Tile(translation(x, y) @ scaling(scale, scale), np.clip(canvas, 0, [w, h, w, h])))
    return tiles
