"""The embedded dataset: pictures of textured shapes, drawn on demand from (seed, split, index); no file is stored.

A scene is planned first (which shape lies where and what of it stays visible) and painted second, from separate random
streams, so that reading the labels of a split does not need to paint its images.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo.data.annotations import AnnotatedImage, AnnotatedSet
from yolo.data.formats.shapes_paint import paint
from yolo.data.loaders import Image, ImageLoader
from yolo.data.options import Split
from yolo.data.randomness import PAINT, SCENE, generator
from yolo.errors import UserError

CLASS_NAMES = ("circle", "square", "triangle", "cross", "ring")

_SPLITS = {"train": 0, "val": 1}
_VIRTUAL_PATH = re.compile(r"shapes/(train|val)/(\d{6})\.png")
_MIN_VISIBLE = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One object: its class and how much of each pixel it covers."""

    number: int
    coverage: NDArray[np.uint8]
    """[h, w] in 0..255, antialiased."""
    origin: tuple[int, int]
    """Row and column of the picture where `coverage` begins."""

    @property
    def region(self) -> tuple[slice, slice]:
        """Where `coverage` lies in the picture."""
        (top, left), (height, width) = self.origin, self.coverage.shape
        return slice(top, top + height), slice(left, left + width)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Shapes from back to front and their boxes [N, 4] (xyxy pixels) around what is visible of each."""

    size: tuple[int, int]
    shapes: list[Shape]
    boxes: NDArray[np.float32]


def read_shapes(count: int, size: int, seed: int, split: Split) -> AnnotatedSet:
    """The first `count` images of a split, about `size` pixels a side, under paths that only ShapesLoader knows."""
    records = []
    for index in range(count):
        scene = plan_scene(seed, split, index, size)
        boxes = scene.boxes
        records.append(
            AnnotatedImage(
                path=Path("shapes", split, f"{index:06d}.png"),
                image_id=index + 1,
                size=scene.size,
                boxes=boxes,
                classes=np.array([shape.number for shape in scene.shapes], np.int64),
                crowd=np.zeros(len(boxes), np.bool_),
                areas=(boxes[:, 2:] - boxes[:, :2]).prod(1).astype(np.float64),
            )
        )
    return AnnotatedSet(records, CLASS_NAMES, tuple(range(len(CLASS_NAMES))))


class ShapesLoader(ImageLoader):
    """Draws the image that a virtual path such as shapes/train/000017.png stands for.

    Args:
        size: Typical side in pixels.
        seed: Which dataset.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed

    def __call__(self, path: Path) -> Image:  # noqa: D102 (the base says it)
        match = _VIRTUAL_PATH.fullmatch(path.as_posix())
        if match is None:
            raise UserError(f"{path}: no image of the embedded dataset, expected a path like shapes/train/000017.png")
        split: Split = "train" if match[1] == "train" else "val"
        index = int(match[2])
        scene = plan_scene(self.seed, split, index, self.size)
        layers = [(shape.region, shape.coverage) for shape in scene.shapes]
        return paint(generator(self.seed, PAINT, _SPLITS[split], index), scene.size, layers)


def plan_scene(seed: int, split: Split, index: int, size: int) -> Scene:
    """Place two to six shapes; those in front leave at least 70% of each other one visible."""
    rng = generator(seed, SCENE, _SPLITS[split], index)
    height, width = (size * np.exp(rng.uniform(-0.12, 0.12, 2))).astype(int).tolist()
    wanted = int(rng.integers(2, 7))
    owner = np.full((height, width), -1, np.int8)
    shapes: list[Shape] = []
    total: list[int] = []
    seen = np.zeros(0, np.int64)
    for _ in range(3 * wanted):
        if len(shapes) == wanted:
            break
        shape = _random_shape(rng, height, width)
        solid = shape.coverage >= 128
        covered = owner[shape.region][solid]
        left = seen - np.bincount(covered[covered >= 0], minlength=len(shapes))
        if (left < _MIN_VISIBLE * np.array(total)).any():
            continue
        owner[shape.region][solid] = len(shapes)
        shapes.append(shape)
        total.append(int(solid.sum()))
        seen = np.append(left, total[-1])
    return Scene((height, width), shapes, np.array([_bounds(owner == i) for i in range(len(shapes))], np.float32))


def _bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return x, y, x + width, y + height


def _random_shape(rng: np.random.Generator, height: int, width: int) -> Shape:
    """A shape of random class, size, angle and place, all inside the picture."""
    number = int(rng.integers(len(CLASS_NAMES)))
    radius = min(height, width) * math.exp(rng.uniform(math.log(0.1), math.log(0.26)))
    angle = math.radians(rng.uniform(-15, 15))
    x, y = rng.uniform(radius + 1, [width - radius - 1, height - radius - 1]).tolist()
    left, top, right, bottom = (round(v) for v in (x - radius - 1, y - radius - 1, x + radius + 1, y + radius + 1))
    coverage = np.zeros((bottom - top, right - left), np.uint8)
    # Pixel centres are whole numbers for OpenCV; 1/16 pixel is its `shift=4`.
    contours = [
        np.round((contour * radius + (x - left - 0.5, y - top - 0.5)) * 16).astype(np.int32)
        for contour in _contours(CLASS_NAMES[number], angle)
    ]
    cv2.fillPoly(coverage, contours, (255,), cv2.LINE_AA, shift=4)
    return Shape(number, coverage, (top, left))


def _contours(name: str, angle: float) -> list[NDArray[np.float64]]:
    """Contours [K, 2] of a shape in the unit circle; a second one is a hole."""

    def polygon(corners: int, radius: float = 1.0, start: float = 0.0) -> NDArray[np.float64]:
        turn = angle + start + 2 * math.pi * np.arange(corners) / corners
        return radius * np.stack([np.cos(turn), np.sin(turn)], 1)

    if name == "ring":
        return [polygon(48), polygon(48, 0.55)]
    if name == "cross":
        arm = np.array([[1, -0.3], [1, 0.3], [0.3, 0.3], [0.3, 1], [-0.3, 1], [-0.3, 0.3]]) / math.hypot(1, 0.3)
        c, s = math.cos(angle), math.sin(angle)
        return [np.concatenate([arm, -arm]) @ np.array([[c, s], [-s, c]])]
    corners, start = {"circle": (48, 0.0), "square": (4, math.pi / 4), "triangle": (3, -math.pi / 2)}[name]
    return [polygon(corners, start=start)]
