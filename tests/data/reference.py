"""Slow, obvious geometry that the tests compare with: one polygon at a time, in plain Python."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, float]
Matrix = Sequence[Sequence[float]]
Box = tuple[float, float, float, float]


def project(matrix: Matrix, point: Point) -> Point:
    x, y, w = (row[0] * point[0] + row[1] * point[1] + row[2] for row in matrix)
    return x / w, y / w


def rectangle(box: Sequence[float]) -> list[Point]:
    x1, y1, x2, y2 = box
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def cut(polygon: list[Point], axis: int, limit: float, sign: int) -> list[Point]:
    """The part of a convex polygon where sign * (coordinate - limit) >= 0."""
    result = []
    for here, there in zip(polygon, [*polygon[1:], *polygon[:1]], strict=True):
        a, b = sign * (here[axis] - limit), sign * (there[axis] - limit)
        if a >= 0:
            result.append(here)
        if a * b < 0:
            t = a / (a - b)
            result.append((here[0] + t * (there[0] - here[0]), here[1] + t * (there[1] - here[1])))
    return result


def cut_to(polygon: list[Point], window: Sequence[float]) -> list[Point]:
    for axis, limit, sign in ((0, window[0], 1), (1, window[1], 1), (0, window[2], -1), (1, window[3], -1)):
        polygon = cut(polygon, axis, limit, sign)
    return polygon


def hull(polygon: list[Point]) -> Box:
    xs, ys = [x for x, _ in polygon], [y for _, y in polygon]
    return min(xs), min(ys), max(xs), max(ys)


def area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def visible_box(box: Sequence[float], matrix: Matrix, window: Sequence[float], size: tuple[int, int]) -> Box | None:
    """The box around what a picture of `size` (h, w) shows of an object, whose source is seen inside `window` only."""
    polygon = cut_to(rectangle(box), window)
    polygon = cut_to([project(matrix, point) for point in polygon], (0, 0, size[1], size[0]))
    return hull(polygon) if len(polygon) > 2 else None


def whole_box(box: Sequence[float], matrix: Matrix) -> Box:
    """The box around an object, wherever it lies."""
    return hull([project(matrix, point) for point in rectangle(box)])


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (area(tuple(a)) + area(tuple(b)) - shared)  # type: ignore[arg-type]
