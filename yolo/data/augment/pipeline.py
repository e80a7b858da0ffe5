"""The one augmentation pipeline: training, visualisation and benchmarks all call this object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from yolo.boxes.letterbox import LetterboxMode
from yolo.data.augment.bbox_mosaic import cut_out, place, quadrants
from yolo.data.augment.canvas import Canvas, blank
from yolo.data.augment.colour import Recolour, random_gains, recolouring
from yolo.data.augment.geometry import Matrix, mirroring, random_transform, translation
from yolo.data.augment.layouts import mosaic4, mosaic9, single
from yolo.data.augment.mix import cover, mixup, random_rectangle
from yolo.data.augment.tiles import Tile
from yolo.data.batch import Sample
from yolo.data.options import AugmentOptions
from yolo.data.randomness import AUGMENT, generator
from yolo.data.sampler import TrainingItem


class SampleSource(Protocol):
    """Where the pipeline gets its images from."""

    def read(self, index: int) -> Sample:
        """Image `index`, not to be written to, and its objects."""


@dataclass(frozen=True)
class AugmentPipeline:
    """Makes one training sample of `size` (h, w); what it draws depends on the seed and the item alone."""

    options: AugmentOptions
    size: tuple[int, int]
    seed: int
    letterbox: LetterboxMode = "center"

    def __call__(self, source: SampleSource, item: TrainingItem, *, mosaic: bool = True) -> Sample:
        """The sample `item`; `mosaic=False` rules out all compositions of several images."""
        options = self.options
        rng = generator(self.seed, AUGMENT, item.epoch, item.index)
        left_right, up_down, objects, several, blend, cut = rng.random(6).tolist()
        is_bbox_mosaic = mosaic and objects < options.bbox_mosaic.prob
        gains = np.ones(3) if is_bbox_mosaic else random_gains(rng, options)
        draft = _Draft(
            self,
            rng,
            source,
            item.pool,
            mirroring(left_right < options.flip_lr, up_down < options.flip_ud, self.size),
            None if options.colour == "device" else recolouring(gains, options.colour),
        )
        own = source.read(item.index)
        if is_bbox_mosaic:
            canvas = draft.bbox_mosaic(own)
        elif mosaic and several < options.mosaic_prob:
            canvas = draft.mosaic(own)
            if blend < options.mixup_prob:
                mixup(canvas, draft.mosaic(draft.partner()), rng.beta(options.mixup_alpha, options.mixup_alpha))
        else:
            canvas = draft.single(own)
            if mosaic and cut < options.cutmix_prob:
                draft.cutmix(canvas, draft.partner())
        left_over = gains if options.colour == "device" else None
        return Sample(canvas.image, canvas.boxes, canvas.classes, own.record, left_over)


@dataclass(frozen=True)
class _Draft:
    """What the pictures that one sample is made of have in common."""

    pipeline: AugmentPipeline
    rng: np.random.Generator
    source: SampleSource
    pool: Sequence[int]
    mirror: Matrix
    recolour: Recolour | None

    @property
    def options(self) -> AugmentOptions:
        return self.pipeline.options

    @property
    def size(self) -> tuple[int, int]:
        return self.pipeline.size

    def partner(self) -> Sample:
        """A random image of the pool."""
        return self.source.read(self.pool[int(self.rng.integers(len(self.pool)))])

    def single(self, part: Sample) -> Canvas:
        """One image, letterboxed and transformed."""
        canvas = Canvas(blank(self.size))
        canvas.draw(part, self._transformed([self._letterboxed(part)], self.size)[0], self.recolour)
        return canvas

    def mosaic(self, first: Sample) -> Canvas:
        """`first` and partners in a mosaic of four or nine, transformed."""
        nine = self.rng.random() < self.options.mosaic_9_prob
        parts = [first, *(self.partner() for _ in range(8 if nine else 3))]
        shapes = [_size(part) for part in parts]
        tiles = (mosaic9 if nine else mosaic4)(self.rng, shapes, self.size)
        canvas = Canvas(blank(self.size))
        for part, tile in zip(parts, self._transformed(tiles, (2 * self.size[0], 2 * self.size[1])), strict=True):
            canvas.draw(part, tile, self.recolour)
        return canvas

    def cutmix(self, canvas: Canvas, part: Sample) -> None:
        """Put a rectangle of `part`, letterboxed and transformed by itself, on `canvas`."""
        left, top, right, bottom = rectangle = random_rectangle(self.rng, self.size)
        cover(canvas, rectangle)
        tile = self._transformed([self._letterboxed(part)], self.size)[0]
        patch = Canvas(blank((bottom - top, right - left)))
        patch.draw(part, Tile(translation(-left, -top) @ tile.matrix, tile.window), self.recolour)
        canvas.image[top:bottom, left:right] = patch.image
        canvas.add(patch.boxes + np.array([left, top, left, top], np.float32), patch.classes)

    def bbox_mosaic(self, first: Sample) -> Canvas:
        """An object of `first` and three of partners, each varied by itself: no common transform, no common colour."""
        options = self.options.bbox_mosaic
        canvas = Canvas(blank(self.size))
        for number, quadrant in enumerate(quadrants(self.size)):
            part = self.partner() if number else first
            tile = place(self.rng, options, cut_out(self.rng, part), quadrant)
            # On the device only whole pictures can be recoloured.
            how = "fast" if self.options.colour == "fast" else "exact"
            recolour = recolouring(random_gains(self.rng, options), how)  # type: ignore[arg-type]
            canvas.draw(part, Tile(self.mirror @ tile.matrix, tile.window), recolour)
        return canvas

    def _letterboxed(self, part: Sample) -> Tile:
        return single(_size(part), self.size, self.pipeline.letterbox)

    def _transformed(self, tiles: Sequence[Tile], canvas: tuple[int, int]) -> list[Tile]:
        """Tiles on a canvas (h, w), each taken through the same random transform into the picture."""
        transform = self.mirror @ random_transform(self.rng, self.options, canvas, self.size)
        return [Tile(transform @ tile.matrix, tile.window) for tile in tiles]


def _size(part: Sample) -> tuple[int, int]:
    height, width = part.image.shape[:2]
    return height, width
