"""The one augmentation pipeline: training, visualisation and benchmarks all call this object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from yolo.boxes.letterbox import LetterboxMode
from yolo.data.augment.colour import apply_hsv, random_gains
from yolo.data.augment.geometry import move_boxes, random_transform
from yolo.data.augment.mosaic import mosaic4, single
from yolo.data.augment.tiles import Tile, draw_tile
from yolo.data.batch import Sample
from yolo.data.options import AugmentOptions
from yolo.data.randomness import AUGMENT, generator
from yolo.data.sampler import TrainingItem

PAD_VALUE = 114


class SampleSource(Protocol):
    """Where the pipeline gets its images from."""

    def read(self, index: int) -> Sample:
        """The original image `index` and its objects."""


@dataclass(frozen=True)
class AugmentPipeline:
    """Makes one training sample of `size` (h, w); what it draws depends on the seed and the item alone."""

    options: AugmentOptions
    size: tuple[int, int]
    seed: int
    letterbox: LetterboxMode = "center"

    def __call__(self, source: SampleSource, item: TrainingItem, *, mosaic: bool = True) -> Sample:
        """The sample `item`; `mosaic=False` rules out mosaics whatever their probability."""
        rng = generator(self.seed, AUGMENT, item.epoch, item.index)
        use_mosaic = rng.random() < self.options.mosaic_prob and mosaic
        partners = [item.pool[i] for i in rng.integers(len(item.pool), size=3)]
        picks = [item.index, *partners] if use_mosaic else [item.index]
        parts = [source.read(pick) for pick in picks]
        shapes = [part.image.shape[:2] for part in parts]
        if use_mosaic:
            tiles, canvas = mosaic4(rng, shapes, self.size), (2 * self.size[0], 2 * self.size[1])
        else:
            tiles, canvas = [single(shapes[0], self.size, self.letterbox)], self.size
        transform = random_transform(rng, self.options, canvas, self.size)
        sample = self._draw(parts, [Tile(transform @ tile.matrix, tile.window) for tile in tiles])
        sample.image = apply_hsv(sample.image, random_gains(rng, self.options))
        return self._flip(sample, rng)

    def _draw(self, parts: list[Sample], tiles: list[Tile]) -> Sample:
        """Draw every part into one picture; objects keep the order of the parts."""
        picture = np.full((*self.size, 3), PAD_VALUE, np.uint8)
        boxes, classes = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.int64)]
        for part, tile in zip(parts, tiles, strict=True):
            drawn = draw_tile(picture, part.image, tile)
            if drawn is not None and len(part.boxes):
                moved, keep = move_boxes(part.boxes, drawn.matrix, drawn.window, self.size)
                boxes.append(moved[keep])
                classes.append(part.classes[keep])
        return Sample(picture, np.concatenate(boxes), np.concatenate(classes), parts[0].record)

    def _flip(self, sample: Sample, rng: np.random.Generator) -> Sample:
        left_right, up_down = rng.random(2) < (self.options.flip_lr, self.options.flip_ud)
        height, width = self.size
        if left_right:
            sample.image = cv2.flip(sample.image, 1)  # type: ignore[assignment]
            sample.boxes[:, [0, 2]] = width - sample.boxes[:, [2, 0]]
        if up_down:
            sample.image = cv2.flip(sample.image, 0)  # type: ignore[assignment]
            sample.boxes[:, [1, 3]] = height - sample.boxes[:, [3, 1]]
        return sample
