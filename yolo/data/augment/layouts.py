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
    junction_x, junction_y = (rng.uniform(0.5, 1.5, 2) * (width, height)).tolist()
    tiles = []
    for corner, (h, w) in enumerate(sources):
        scale = min(height / h, width / w)
        x = junction_x - (0 if corner % 2 else w * scale)
        y = junction_y - (0 if corner >= 2 else h * scale)
        tiles.append(_tile(x, y, scale, (h, w), size))
    return tiles


def mosaic9(rng: np.random.Generator, sources: Sequence[tuple[int, int]], size: tuple[int, int]) -> list[Tile]:
    """Nine images (h, w) in 3 x 3 cells of `size` (h, w), seen through a canvas of twice `size` at a random place.

    Each is fitted into its cell, keeping its aspect, and lies as near to the middle cell as the cell allows; the first
    is in the middle and always in view, the others follow row by row.
    """
    height, width = size
    left, top = (rng.random(2) * (width, height)).tolist()
    cells = [(1, 1), *((row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1))]
    tiles = []
    for (row, column), (h, w) in zip(cells, sources, strict=True):
        scale = min(height / h, width / w)
        x = column * width + (1 - column / 2) * (width - w * scale) - left
        y = row * height + (1 - row / 2) * (height - h * scale) - top
        tiles.append(_tile(x, y, scale, (h, w), size))
    return tiles


def _tile(x: float, y: float, scale: float, source: tuple[int, int], size: tuple[int, int]) -> Tile:
    """An image (h, w) with its corner at (x, y) of a canvas of twice `size`, of which it shows what lies inside."""
    (h, w), (height, width) = source, size
    left, top = min(max(-x / scale, 0), w), min(max(-y / scale, 0), h)
    right, bottom = min(max((2 * width - x) / scale, 0), w), min(max((2 * height - y) / scale, 0), h)
    matrix = np.array([[scale, 0, x], [0, scale, y], [0, 0, 1]], np.float64)
    return Tile(matrix, np.array([left, top, right, bottom], np.float64))
