"""What the augmentation should do with an object, the slow way: all its matrices, one after the other, in plain Python.

Knows in which order the pipeline draws its random numbers, and nothing else of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.data import reference
from yolo.data.options import AugmentOptions
from yolo.data.randomness import AUGMENT, generator
from yolo.data.sampler import TrainingItem

STEPS = 500
Matrix = list[list[float]]
Box = reference.Box


@dataclass(frozen=True)
class Placed:
    """One source image in the picture."""

    index: int
    matrix: Matrix
    """Source to picture."""
    window: Sequence[float]
    """What is seen of the source, in its pixels."""
    region: Sequence[float]
    """Where in the picture it is drawn."""
    hidden: Sequence[float] | None = None
    """What is drawn over it."""

    least: float = 0.0
    """The share of an object, as far as the image has it, that must be in the window for it to have a label."""

    def visible(self, box: Sequence[float]) -> Box | None:
        """The box around what the picture would show of an object, were nothing drawn over it."""
        outline = self._outline(box)
        return reference.hull(outline) if outline else None

    def left(self, box: Sequence[float], slack: float = 0.0) -> tuple[Box | None, float]:
        """The box around what the picture shows of an object beside the hidden rectangle, and its share of the object.

        By walking around the object: the extremes of what is left are on its outline. `slack`: how many pixels the
        rectangle is larger on each side.
        """
        assert self.hidden is not None
        outline = self._outline(box)
        x1, y1, x2, y2 = (edge + sign * slack for edge, sign in zip(self.hidden, (-1, -1, 1, 1), strict=True))
        left = [
            (x, y)
            for (x_here, y_here), (x_next, y_next) in zip(outline, [*outline[1:], *outline[:1]], strict=True)
            for x, y in zip(linspace(x_here, x_next), linspace(y_here, y_next), strict=True)
            if not (x1 < x < x2 and y1 < y < y2)
        ]
        under = shoelace(reference.cut_to(outline, (x1, y1, x2, y2)))
        return (reference.hull(left), 1 - under / shoelace(outline)) if left else (None, 0.0)

    def _outline(self, box: Sequence[float]) -> list[reference.Point]:
        polygon = reference.cut_to(reference.rectangle(box), self.window)
        if len(polygon) < 3 or shoelace(polygon) < self.least * shoelace(reference.rectangle(box)):
            return []
        polygon = reference.cut_to([reference.project(self.matrix, point) for point in polygon], self.region)
        return polygon if len(polygon) > 2 else []


def linspace(start: float, stop: float) -> list[float]:
    return [start + (stop - start) * step / STEPS for step in range(STEPS)]


def shoelace(polygon: list[reference.Point]) -> float:
    """The area of a polygon."""
    pairs = zip(polygon, [*polygon[1:], *polygon[:1]], strict=True)
    return abs(sum(x * y_next - x_next * y for (x, y), (x_next, y_next) in pairs)) / 2


def chain(*matrices: Matrix) -> Matrix:
    """The matrix that does the given ones in this order."""
    result = [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]
    for matrix in matrices:
        result = [[sum(matrix[i][k] * result[k][j] for k in range(3)) for j in range(3)] for i in range(3)]
    return result


def shift(x: float, y: float) -> Matrix:
    return [[1, 0, x], [0, 1, y], [0, 0, 1]]


def zoom(x: float, y: float) -> Matrix:
    return [[x, 0, 0], [0, y, 0], [0, 0, 1]]


def bend(draws: Sequence[float], options: object, width: float, height: float) -> Matrix:
    """Perspective, then rotation, then shear, around the origin."""
    degrees, shear, strength = (getattr(options, name) for name in ("degrees", "shear", "perspective"))
    strength = min(strength, 0.9 / (width / 2 + height / 2))
    angle = math.radians(draws[2] * degrees)
    return chain(
        [[1, 0, 0], [0, 1, 0], [draws[0] * strength, draws[1] * strength, 1]],
        [[math.cos(angle), math.sin(angle), 0], [-math.sin(angle), math.cos(angle), 0], [0, 0, 1]],
        [[1, math.tan(math.radians(draws[3] * shear)), 0], [math.tan(math.radians(draws[4] * shear)), 1, 0], [0, 0, 1]],
    )


class Reference:
    """Draws as the pipeline does; images are known by their sizes (h, w) alone, objects by their number."""

    def __init__(
        self,
        options: AugmentOptions,
        size: tuple[int, int],
        seed: int,
        sizes: Sequence[tuple[int, int]],
        objects: Sequence[Sequence[Sequence[float]]],
    ) -> None:
        self.options, self.seed, self.sizes, self.objects = options, seed, sizes, objects
        self.height, self.width = size

    def __call__(self, item: TrainingItem) -> list[Placed]:
        """The source images of a sample, in the order of reading."""
        self.rng = generator(self.seed, AUGMENT, item.epoch, item.index)
        self.pool = item.pool
        options = self.options
        left_right, up_down, bbox, mosaic, mix, cut = self.rng.random(6)
        self.mirror = chain(
            chain(zoom(-1, 1), shift(self.width, 0)) if left_right < options.flip_lr else chain(),
            chain(zoom(1, -1), shift(0, self.height)) if up_down < options.flip_ud else chain(),
        )
        if bbox < options.bbox_mosaic.prob:
            return list(self.bbox_mosaic(item.index))
        self.rng.uniform(-1, 1, 3)
        if mosaic < options.mosaic_prob:
            first = self.mosaic(item.index)
            return first + self.mosaic(self.partner()) if mix < options.mixup_prob else first
        first = [self.single(item.index)]
        return self.cutmix(first[0]) if cut < options.cutmix_prob else first

    def partner(self) -> int:
        return self.pool[self.rng.integers(len(self.pool))]

    @property
    def picture(self) -> Box:
        return (0, 0, self.width, self.height)

    def whole(self, index: int) -> Box:
        return (0, 0, self.sizes[index][1], self.sizes[index][0])

    def transform(self, width: float, height: float) -> Matrix:
        draws = self.rng.uniform(-1, 1, 8).tolist()
        options = self.options
        factor = 1 + draws[3] * options.scale
        return chain(
            shift(-width / 2, -height / 2),
            bend([*draws[:3], *draws[4:6]], options, width, height),
            zoom(factor, factor),
            shift(
                (0.5 + draws[6] * options.translate) * self.width, (0.5 + draws[7] * options.translate) * self.height
            ),
            self.mirror,
        )

    def single(self, index: int) -> Placed:
        h, w = self.sizes[index]
        scale = min(self.height / h, self.width / w)
        new_h, new_w = max(round(h * scale), 1), max(round(w * scale), 1)
        letterbox = chain(zoom(new_w / w, new_h / h), shift((self.width - new_w) // 2, (self.height - new_h) // 2))
        matrix = chain(letterbox, self.transform(self.width, self.height))
        return Placed(index, matrix, self.whole(index), self.picture)

    def mosaic(self, first: int) -> list[Placed]:
        nine = self.rng.random() < self.options.mosaic_9_prob
        picks = [first, *(self.partner() for _ in range(8 if nine else 3))]
        draws = self.rng.random(2).tolist() if nine else self.rng.uniform(0.5, 1.5, 2).tolist()
        transform = self.transform(2 * self.width, 2 * self.height)
        placed = []
        for slot, index in enumerate(picks):
            h, w = self.sizes[index]
            scale = min(self.height / h, self.width / w)
            x, y = (self.in_nine if nine else self.in_four)(slot, w * scale, h * scale, draws)
            inside = [-x, -y, 2 * self.width - x, 2 * self.height - y]
            x1, y1, x2, y2 = (value / scale for value in inside)
            window = (max(x1, 0), max(y1, 0), min(x2, w), min(y2, h))
            matrix = chain(zoom(scale, scale), shift(x, y), transform)
            placed.append(Placed(index, matrix, window, self.picture))
        return placed

    def in_four(self, slot: int, width: float, height: float, junction: Sequence[float]) -> tuple[float, float]:
        x, y = junction[0] * self.width, junction[1] * self.height
        return (x if slot in (1, 3) else x - width), (y if slot in (2, 3) else y - height)

    def in_nine(self, slot: int, width: float, height: float, offset: Sequence[float]) -> tuple[float, float]:
        row, column = [(1, 1), (0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)][slot]
        across = {0: self.width - width, 1: 1.5 * self.width - width / 2, 2: 2 * self.width}[column]
        down = {0: self.height - height, 1: 1.5 * self.height - height / 2, 2: 2 * self.height}[row]
        return across - offset[0] * self.width, down - offset[1] * self.height

    def cutmix(self, first: Placed) -> list[Placed]:
        index = self.partner()
        side = math.sqrt(self.rng.random())
        height, width = (min(max(round(side * length), 1), length) for length in (self.height, self.width))
        top = int(self.rng.integers(self.height - height + 1))
        left = int(self.rng.integers(self.width - width + 1))
        rectangle = (left, top, left + width, top + height)
        second = self.single(index)
        return [
            Placed(first.index, first.matrix, first.window, first.region, rectangle),
            Placed(index, second.matrix, second.window, rectangle),
        ]

    def bbox_mosaic(self, first: int) -> Iterator[Placed]:
        options = self.options.bbox_mosaic
        for slot in range(4):
            index = self.partner() if slot else first
            objects = self.objects[index]
            x1, y1, x2, y2 = objects[self.rng.integers(len(objects))] if len(objects) else self.whole(index)
            draws = self.rng.uniform(-1, 1, 10).tolist()
            self.rng.uniform(-1, 1, 3)
            turned = chain(shift(-(x1 + x2) / 2, -(y1 + y2) / 2), bend(draws[:5], options, x2 - x1, y2 - y1))
            hx1, hy1, hx2, hy2 = reference.whole_box((x1, y1, x2, y2), turned)
            left, top = (0, self.width // 2)[slot % 2], (0, self.height // 2)[slot // 2]
            right, bottom = (self.width // 2, self.width)[slot % 2], (self.height // 2, self.height)[slot // 2]
            fit = min((right - left) / (hx2 - hx1), (bottom - top) / (hy2 - hy1))
            scale = fit * min(0.85 * (1 + draws[5] * options.scale), 1)
            centre = []
            for axis, (low, high, extent) in enumerate(((left, right, hx2 - hx1), (top, bottom, hy2 - hy1))):
                free = max(high - low - scale * extent, 0) / 2
                offset = draws[6 + axis] * options.jitter * free + draws[8 + axis] * options.translate * (high - low)
                centre.append((low + high) / 2 + min(max(offset, -free), free))
            matrix = chain(
                turned,
                shift(-(hx1 + hx2) / 2, -(hy1 + hy2) / 2),
                zoom(scale, scale),
                shift(*centre),
                self.mirror,
            )
            yield Placed(index, matrix, (x1, y1, x2, y2), self.picture, least=0.5)
