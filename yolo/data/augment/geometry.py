"""Planar geometry in continuous pixel coordinates: pixel i covers [i, i + 1], so its centre is at i + 0.5.

Matrices are float64 [3, 3] and act on column vectors (x, y, 1). Boxes are xyxy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from yolo.data.options import AugmentOptions, BBoxMosaicOptions

Matrix = NDArray[np.float64]
Floats = NDArray[np.float64]

MIN_AREA = 4.0
MIN_SIDE = 2.0
MIN_VISIBLE = 0.1

# The homogeneous coordinate w of anything drawn stays above this: the horizon (w = 0) never enters a picture.
_MIN_DEPTH = 0.1


def translation(x: float, y: float) -> Matrix:
    """Shift by (x, y) pixels."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def scaling(x: float, y: float) -> Matrix:
    """Scale about the origin."""
    return np.array([[x, 0, 0], [0, y, 0], [0, 0, 1]], np.float64)


def rotation(degrees: float) -> Matrix:
    """Rotate about the origin, counter-clockwise as seen on screen (y points down)."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], np.float64)


def shearing(x_degrees: float, y_degrees: float) -> Matrix:
    """Shear along both axes."""
    x, y = math.tan(math.radians(x_degrees)), math.tan(math.radians(y_degrees))
    return np.array([[1, x, 0], [y, 1, 0], [0, 0, 1]], np.float64)


def tilt(x: float, y: float) -> Matrix:
    """Perspective: w = 1 + x * X + y * Y."""
    return np.array([[1, 0, 0], [0, 1, 0], [x, y, 1]], np.float64)


def mirroring(left_right: bool, up_down: bool, size: tuple[int, int]) -> Matrix:
    """Flip a picture of `size` (h, w)."""
    x, y = (-1 if left_right else 1), (-1 if up_down else 1)
    return np.array([[x, 0, size[1] if left_right else 0], [0, y, size[0] if up_down else 0], [0, 0, 1]], np.float64)


def warping(draws: Sequence[float], options: AugmentOptions | BBoxMosaicOptions, extent: tuple[float, float]) -> Matrix:
    """Perspective, rotation, shear of something of `extent` (h, w) around the origin.

    `draws`: five numbers in -1..1 (two for perspective, the angle, two for shear).
    """
    px, py, angle, shear_x, shear_y = draws
    strength = min(options.perspective, (1 - _MIN_DEPTH) / (extent[0] / 2 + extent[1] / 2))
    matrix: Matrix = (
        shearing(shear_x * options.shear, shear_y * options.shear)
        @ rotation(angle * options.degrees)
        @ tilt(px * strength, py * strength)
    )
    return matrix


def random_transform(
    rng: np.random.Generator, options: AugmentOptions, canvas: tuple[int, int], size: tuple[int, int]
) -> Matrix:
    """Canvas (h, w) to output (h, w): centre, perspective, rotation, scale, shear, translation.

    The number of draws does not depend on the options, so that turning one off leaves the others' values alone.
    """
    px, py, angle, zoom, shear_x, shear_y, shift_x, shift_y = rng.uniform(-1, 1, 8).tolist()
    factor = 1 + zoom * options.scale
    matrix: Matrix = (
        translation((0.5 + shift_x * options.translate) * size[1], (0.5 + shift_y * options.translate) * size[0])
        @ scaling(factor, factor)
        @ warping((px, py, angle, shear_x, shear_y), options, canvas)
        @ translation(-canvas[1] / 2, -canvas[0] / 2)
    )
    return matrix


def is_upright(matrix: Matrix) -> bool:
    """Whether the matrix only scales and shifts, so that boxes stay boxes."""
    return not (matrix[0, 1] or matrix[1, 0] or matrix[2, 0] or matrix[2, 1])


def project(matrix: Matrix, points: Floats) -> Floats:
    """Map points [..., 2]. Points behind the horizon go far away in their direction instead of through infinity."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(moved[..., :2] / np.maximum(moved[..., 2:], _MIN_DEPTH / 2))


def corners(boxes: Floats) -> Floats:
    """Boxes [N, 4] to their corners [N, 4, 2], going around."""
    return np.asarray(boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2))


def hull(points: Floats) -> Floats:
    """The axis-aligned boxes [N, 4] around point sets [N, K, 2]."""
    return np.concatenate([points.min(1), points.max(1)], axis=1)


def moved_hull(matrix: Matrix, boxes: Floats) -> Floats:
    """The boxes [N, 4] around boxes [N, 4] taken through a matrix."""
    if not is_upright(matrix):
        return hull(project(matrix, corners(boxes)))
    (scale_x, _, shift_x), (_, scale_y, shift_y), _ = matrix.tolist()
    moved = boxes * (scale_x, scale_y, scale_x, scale_y) + (shift_x, shift_y, shift_x, shift_y)
    left, top = (0 if scale_x > 0 else 2), (1 if scale_y > 0 else 3)
    return np.asarray(moved[:, [left, top, 2 - left, 4 - top]])


def clip(boxes: Floats, window: Floats) -> Floats:
    """Cut boxes [N, 4] to the window [4]; one that lies outside gets no or negative extent."""
    return np.concatenate([np.maximum(boxes[:, :2], window[:2]), np.minimum(boxes[:, 2:], window[2:])], axis=1)


def area(boxes: Floats) -> Floats:
    """Areas [N]; 0 for boxes without extent."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1))


# The end of each edge of a quad; `np.roll` takes many times as long.
_NEXT = [1, 2, 3, 0]


def _extent_in_strip(quads: Floats, axis: int, low: float, high: float) -> tuple[Floats, Floats]:
    """Least and largest coordinate along `axis` of convex quads [N, 4, 2] within the strip low..high of the other axis.

    Looks at each edge's part inside the strip. Quads outside the strip get (inf, -inf).
    """
    u, v = quads[..., axis], quads[..., 1 - axis]
    u_next, v_next = u[:, _NEXT], v[:, _NEXT]
    inside = (np.maximum(v, v_next) >= low) & (np.minimum(v, v_next) <= high)
    rise = v_next - v
    slope = np.divide(u_next - u, rise, out=np.zeros_like(rise), where=rise != 0)
    start = u + (v.clip(low, high) - v) * slope
    end = u_next + (v_next.clip(low, high) - v_next) * slope
    least = np.where(inside, np.minimum(start, end), np.inf).min(1)
    most = np.where(inside, np.maximum(start, end), -np.inf).max(1)
    return least, most


def visible_hull(quads: Floats, window: Floats) -> Floats:
    """Tight boxes [N, 4] around the part of convex quads [N, 4, 2] that lies inside a window [4].

    Tighter than cutting the hull: of a turned object that leaves the window, only the part still seen counts.
    """
    boxes = hull(quads)
    cut = ((boxes[:, :2] < window[:2]) | (boxes[:, 2:] > window[2:])).any(1)
    if cut.any():
        x1, y1, x2, y2 = window.tolist()
        left, right = _extent_in_strip(quads[cut], 0, y1, y2)
        top, bottom = _extent_in_strip(quads[cut], 1, x1, x2)
        boxes[cut] = clip(np.stack([left, top, right, bottom], 1), window)
    return boxes


def visible_area(quads: Floats, window: Floats) -> Floats:
    """Areas [N] of the part of convex quads [N, 4, 2] that lies inside a window [4].

    An outline keeps the area it has inside when all its points are moved to the nearest one of the window, as long as
    it has a point wherever it crosses the line through a border.
    """
    borders = window.reshape(2, 2)
    step = (quads[:, _NEXT] - quads)[:, :, None]  # [N, 4, 1, 2]
    away = borders - quads[:, :, None]  # [N, 4, 2, 2]
    crossings = np.divide(away, step, out=np.zeros_like(away), where=step != 0).clip(0, 1)
    along = np.sort(np.concatenate([np.zeros_like(away[..., :1, 0]), crossings.reshape(-1, 4, 4)], 2))  # [N, 4, 5]
    points = (quads[:, :, None] + along[..., None] * step).clip(*borders).reshape(-1, 20, 2)
    (x, y), (x_next, y_next) = (np.moveaxis(p, 2, 0) for p in (points, np.roll(points, -1, 1)))
    return np.asarray(np.abs(((x_next - x) * (y_next + y)).sum(1)) / 2)


def move_boxes(
    boxes: NDArray[np.float32], matrix: Matrix, window: Floats, size: tuple[int, int], hidden: Floats | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Take boxes [N, 4] of a source image into a picture of `size` (h, w).

    Args:
        boxes: xyxy in source pixels.
        matrix: source to picture.
        window: xyxy in source pixels: the part of the source that is drawn.
        size: height and width of the picture.
        hidden: xyxy in the picture: what will be drawn over.

    Returns:
        The boxes [N, 4] around what is visible of each object, and which of them [N] to keep: area, shorter side, and
        the visible share of the box after the transform (before cutting) must all be large enough; and so must be the
        share of the visible part that `hidden` leaves.
    """
    exact = boxes.astype(np.float64)
    seen = clip(exact, window)
    picture = np.array([0, 0, size[1], size[0]], np.float64)
    # Boxes [N, 4] where boxes stay boxes, which is faster; else quads [N, 4, 2].
    shapes = moved_hull(matrix, seen) if is_upright(matrix) else project(matrix, corners(seen))
    moved = _shown(shapes, picture)
    keep = (seen[:, 2:] > seen[:, :2]).all(1) & _is_large(moved)
    keep &= area(moved) >= MIN_VISIBLE * area(moved_hull(matrix, exact))
    if hidden is not None:
        moved = _uncovered(shapes, hidden, picture)
        whole = _shown_area(shapes, picture)
        keep &= _is_large(moved) & (whole - _shown_area(shapes, hidden) >= MIN_VISIBLE * whole)
    return moved.astype(np.float32), keep


def _shown(shapes: Floats, window: Floats) -> Floats:
    return clip(shapes, window) if shapes.ndim == 2 else visible_hull(shapes, window)


def _shown_area(shapes: Floats, window: Floats) -> Floats:
    return area(clip(shapes, window)) if shapes.ndim == 2 else visible_area(shapes, window)


def _is_large(boxes: Floats) -> NDArray[np.bool_]:
    return np.asarray((area(boxes) >= MIN_AREA) & ((boxes[:, 2:] - boxes[:, :2]).min(1) >= MIN_SIDE))


def _uncovered(shapes: Floats, hidden: Floats, picture: Floats) -> Floats:
    """The boxes [N, 4] around what a rectangle [4] inside a picture [4] leaves of shapes.

    That is what lies left of, right of, above or below it; a part no wider or higher than a pixel is nothing.
    """
    strips = np.tile(picture, (4, 1))
    strips[range(4), [2, 0, 3, 1]] = hidden[[0, 2, 1, 3]]
    parts = np.stack([_shown(shapes, strip) for strip in strips])  # [4, N, 4]
    counts = (parts[..., 2:] - parts[..., :2]).min(2, keepdims=True) > 1
    low, high = np.where(counts, parts[..., :2], np.inf).min(0), np.where(counts, parts[..., 2:], -np.inf).max(0)
    return np.concatenate([low, high], 1)
