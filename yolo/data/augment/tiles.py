"""Drawing: one source image goes through one matrix straight into the final picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo.data.augment.geometry import Floats, Matrix, corners, is_upright, project, translation

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """Where a source image goes and how much of it may be seen."""

    matrix: Matrix
    """Source to destination, continuous pixel coordinates."""
    window: Floats
    """xyxy in source pixels: the visible part."""


def draw_tile(picture: Image, image: Image, tile: Tile) -> Tile | None:
    """Draw the visible part of `image` [h, w, 3] into `picture` [H, W, 3].

    Returns:
        The tile exactly as drawn (less than a pixel from the one asked for), or None when none of it falls inside.
    """
    return _paste(picture, image, tile) if is_upright(tile.matrix) else _warp(picture, image, tile)


@dataclass(frozen=True, slots=True)
class _Span:
    """One axis of a resize: source pixels crop_start..crop_stop become start..stop, of which low..high are shown."""

    crop_start: int
    crop_stop: int
    start: int
    stop: int
    low: int
    high: int

    @property
    def scale(self) -> float:
        return (self.stop - self.start) / (self.crop_stop - self.crop_start)

    @property
    def shift(self) -> float:
        return self.start - self.crop_start * self.scale

    def to_source(self, position: float) -> float:
        return (position - self.shift) / self.scale


def _round(value: float) -> int:
    return math.floor(value + 0.5)


def _span(scale: float, shift: float, window: tuple[float, float], source: int, target: int) -> _Span | None:
    """Whole-pixel version of u -> scale * u + shift along one axis: every edge is off by at most half a pixel.

    An edge shared by two tiles rounds to the same pixel in both, so that tiles neither overlap nor leave a gap. The
    crop is one pixel wider than what is seen, so that interpolation at the picture's border finds its neighbours.
    """
    low, high = (_round(scale * edge + shift) for edge in window)
    low, high = max(low, 0), min(high, target)
    if low >= high:
        return None
    crop_start = max(math.floor((low - shift) / scale) - 1, 0)
    crop_stop = min(math.ceil((high - shift) / scale) + 1, source)
    start, stop = (_round(scale * edge + shift) for edge in (crop_start, crop_stop))
    return _Span(crop_start, crop_stop, start, stop, low, high)


def _paste(picture: Image, image: Image, tile: Tile) -> Tile | None:
    """Resize into place: faster than a warp, and exact because size and offset are whole pixels."""
    (scale_x, _, shift_x), (_, scale_y, shift_y), _ = tile.matrix.tolist()
    x1, y1, x2, y2 = tile.window.tolist()
    x = _span(scale_x, shift_x, (x1, x2), image.shape[1], picture.shape[1])
    y = _span(scale_y, shift_y, (y1, y2), image.shape[0], picture.shape[0])
    if x is None or y is None:
        return None
    crop = image[y.crop_start : y.crop_stop, x.crop_start : x.crop_stop]
    resized = cv2.resize(crop, (x.stop - x.start, y.stop - y.start), interpolation=cv2.INTER_LINEAR)
    shown = resized[y.low - y.start : y.high - y.start, x.low - x.start : x.high - x.start]
    picture[y.low : y.high, x.low : x.high] = shown
    window = [x.to_source(x.low), y.to_source(y.low), x.to_source(x.high), y.to_source(y.high)]
    matrix = np.array([[x.scale, 0, x.shift], [0, y.scale, y.shift], [0, 0, 1]], np.float64)
    return Tile(matrix, np.array(window, np.float64))


def _warp(picture: Image, image: Image, tile: Tile) -> Tile | None:
    """Warp into the bounding region of the visible part; a pixel is drawn when its centre lies in that part."""
    quad = project(tile.matrix, corners(tile.window[None]))[0]
    top, bottom = (math.ceil(edge - 0.5) for edge in (quad[:, 1].min(), quad[:, 1].max()))
    top, bottom = max(top, 0), min(bottom, picture.shape[0])
    if top >= bottom:
        return None
    starts, stops = _row_intervals(quad, top, bottom, picture.shape[1])
    left, right = int(starts.min()), int(stops.max())
    if left >= right:
        return None
    columns = np.arange(left, right)
    mask = ((columns >= starts[:, None]) & (columns < stops[:, None])).view(np.uint8)
    # OpenCV counts from pixel centres, we from pixel edges: half a pixel each way.
    matrix = translation(-left - 0.5, -top - 0.5) @ tile.matrix @ translation(0.5, 0.5)
    shape = (right - left, bottom - top)
    if matrix[2, 0] or matrix[2, 1]:
        patch = cv2.warpPerspective(image, matrix, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    else:
        patch = cv2.warpAffine(image, matrix[:2], shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cv2.copyTo(patch, mask, picture[top:bottom, left:right])
    return tile


def _row_intervals(quad: Floats, top: int, bottom: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels [start, stop) of rows top..bottom whose centres lie in a convex quad [4, 2]; 0 <= start, stop <= width.

    The interval is half open, so that a pixel on the border of two quads belongs to exactly one.
    """
    y = np.arange(top, bottom)[:, None] + 0.5
    (x1, y1), (x2, y2) = quad.T, np.roll(quad, -1, 0).T
    crosses = (np.minimum(y1, y2) <= y) & (y < np.maximum(y1, y2))
    rise = np.where(y1 == y2, 1.0, y2 - y1)
    x = x1 + (y - y1) * ((x2 - x1) / rise)
    starts = np.ceil(np.where(crosses, x, np.inf).min(1) - 0.5).clip(0, width)
    stops = np.ceil(np.where(crosses, x, -np.inf).max(1) - 0.5).clip(0, width)
    return starts.astype(np.int64), stops.astype(np.int64)
