"""Drawing: one source image goes through one matrix straight into the final picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo.data.augment.colour import Image, Recolour
from yolo.data.augment.geometry import Floats, Matrix, clip, corners, is_upright, moved_hull, project, translation


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """Where a source image goes and how much of it may be seen."""

    matrix: Matrix
    """Source to destination, continuous pixel coordinates."""
    window: Floats
    """xyxy in source pixels: the visible part."""


def draw_tile(picture: Image, image: Image, tile: Tile, recolour: Recolour | None = None) -> Tile | None:
    """Draw the visible part of `image` [h, w, 3], recoloured, into `picture` [H, W, 3].

    Colours are changed before or after the scaling, wherever there are fewer pixels.

    Returns:
        The tile exactly as drawn (less than a pixel from the one asked for), or None when none of it falls inside.
    """
    return (_paste if is_upright(tile.matrix) else _warp)(picture, image, tile, recolour)


@dataclass(frozen=True, slots=True)
class _Span:
    """One axis of a resize: source pixels crop_start..crop_stop become start..stop, of which low..high are shown.

    In a flipped one, source pixels are counted from the far end.
    """

    crop_start: int
    crop_stop: int
    start: int
    stop: int
    low: int
    high: int
    flip: bool
    source: int

    @property
    def crop(self) -> slice:
        start, stop = self.crop_start, self.crop_stop
        return slice(self.source - stop, self.source - start) if self.flip else slice(start, stop)

    @property
    def shown(self) -> slice:
        """What is shown, in pixels of the resized crop before it is flipped."""
        start, stop = self.low - self.start, self.high - self.start
        length = self.stop - self.start
        return slice(length - stop, length - start) if self.flip else slice(start, stop)

    @property
    def drawn(self) -> tuple[float, float, float, float]:
        """Scale and shift as drawn, and the ends of what is shown in source pixels."""
        scale = (self.stop - self.start) / (self.crop_stop - self.crop_start)
        shift = self.start - self.crop_start * scale
        near, far = (self.low - shift) / scale, (self.high - shift) / scale
        if self.flip:
            return -scale, shift + scale * self.source, self.source - far, self.source - near
        return scale, shift, near, far


def _round(value: float) -> int:
    return math.floor(value + 0.5)


def _span(scale: float, shift: float, window: tuple[float, float], source: int, target: int) -> _Span | None:
    """Whole-pixel version of u -> scale * u + shift along one axis: every edge is off by at most half a pixel.

    An edge shared by two tiles rounds to the same pixel in both, so that tiles neither overlap nor leave a gap. The
    crop is one pixel wider than what is seen, so that interpolation at the picture's border finds its neighbours.
    """
    flip = scale < 0
    if flip:
        scale, shift, window = -scale, shift + scale * source, (source - window[1], source - window[0])
    low, high = (_round(scale * edge + shift) for edge in window)
    low, high = max(low, 0), min(high, target)
    if low >= high:
        return None
    crop_start = max(math.floor((low - shift) / scale) - 1, 0)
    crop_stop = min(math.ceil((high - shift) / scale) + 1, source)
    start, stop = (_round(scale * edge + shift) for edge in (crop_start, crop_stop))
    return _Span(crop_start, crop_stop, start, stop, low, high, flip, source)


def _paste(picture: Image, image: Image, tile: Tile, recolour: Recolour | None) -> Tile | None:
    """Resize into place: faster than a warp, and exact because size and offset are whole pixels."""
    (scale_x, _, shift_x), (_, scale_y, shift_y), _ = tile.matrix.tolist()
    x1, y1, x2, y2 = tile.window.tolist()
    x = _span(scale_x, shift_x, (x1, x2), image.shape[1], picture.shape[1])
    y = _span(scale_y, shift_y, (y1, y2), image.shape[0], picture.shape[0])
    if x is None or y is None:
        return None
    crop, view = image[y.crop, x.crop], picture[y.low : y.high, x.low : x.high]
    if recolour and crop.size < view.size:
        crop, recolour = recolour(crop, None), None
    resized = cv2.resize(crop, (x.stop - x.start, y.stop - y.start), interpolation=cv2.INTER_LINEAR)
    shown = cast(Image, resized)[y.shown, x.shown]
    _put(view, shown, (x.flip, y.flip), recolour)
    scale_x, shift_x, x1, x2 = x.drawn
    scale_y, shift_y, y1, y2 = y.drawn
    matrix = np.array([[scale_x, 0, shift_x], [0, scale_y, shift_y], [0, 0, 1]], np.float64)
    return Tile(matrix, np.array([x1, y1, x2, y2], np.float64))


# Flip left-right, flip up-down -> OpenCV's code.
_FLIPS = {(True, False): 1, (False, True): 0, (True, True): -1}


def _put(view: Image, part: Image, flip: tuple[bool, bool], recolour: Recolour | None) -> None:
    """Recolour and flip a part into its place: the last step writes there, so that nothing is copied."""
    if any(flip):
        cv2.flip(recolour(part, None) if recolour else part, _FLIPS[flip], view)
    elif recolour:
        recolour(part, view)
    else:
        view[...] = part


def _warp(picture: Image, image: Image, tile: Tile, recolour: Recolour | None) -> Tile | None:
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
    columns = np.arange(left, right, dtype=np.int32)
    mask = columns >= starts[:, None]
    mask &= columns < stops[:, None]
    shape = (right - left, bottom - top)
    window, is_affine = tile.window, not (tile.matrix[2, 0] or tile.matrix[2, 1])
    if is_affine:  # only what the picture shows of it, which is little where it is enlarged
        shown = np.array([[left, top, right, bottom]], np.float64)
        window = clip(moved_hull(np.asarray(np.linalg.inv(tile.matrix), np.float64), shown), window)[0]
    # The pixels around the window too, for the interpolation at its border.
    x1, y1, x2, y2 = (max(int(edge), 0) for edge in np.add(window, (-2, -2, 3, 3)).tolist())
    crop = image[y1:y2, x1:x2]
    if recolour and crop.size < 3 * shape[0] * shape[1]:
        crop, recolour = recolour(crop, None), None
    # A border of our own, since OpenCV takes twice as long to make one up at every pixel.
    crop = np.asarray(cv2.copyMakeBorder(crop, 1, 1, 1, 1, cv2.BORDER_REPLICATE), np.uint8)
    # OpenCV counts from pixel centres, we from pixel edges: half a pixel each way.
    matrix = translation(-left - 0.5, -top - 0.5) @ tile.matrix @ translation(x1 - 0.5, y1 - 0.5)
    if is_affine:
        patch = cv2.warpAffine(crop, matrix[:2], shape, flags=cv2.INTER_LINEAR)
    else:
        patch = cv2.warpPerspective(crop, matrix, shape, flags=cv2.INTER_LINEAR)
    cv2.copyTo(recolour(patch, None) if recolour else patch, mask.view(np.uint8), picture[top:bottom, left:right])  # type: ignore[arg-type]
    return tile


def _row_intervals(quad: Floats, top: int, bottom: int, width: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Pixels [start, stop) of rows top..bottom whose centres lie in a convex quad [4, 2]; 0 <= start, stop <= width.

    The interval is half open, so that a pixel on the border of two quads belongs to exactly one.
    """
    y = np.arange(top, bottom)[:, None] + 0.5
    (x1, y1), (x2, y2) = quad.T, quad[[1, 2, 3, 0]].T
    crosses = (np.minimum(y1, y2) <= y) & (y < np.maximum(y1, y2))
    rise = np.where(y1 == y2, 1.0, y2 - y1)
    x = x1 + (y - y1) * ((x2 - x1) / rise)
    starts = np.ceil(np.where(crosses, x, np.inf).min(1) - 0.5).clip(0, width)
    stops = np.ceil(np.where(crosses, x, -np.inf).max(1) - 0.5).clip(0, width)
    return starts.astype(np.int32), stops.astype(np.int32)
