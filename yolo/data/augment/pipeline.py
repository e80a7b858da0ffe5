"""The one augmentation pipeline: training, visualisation and benchmarks all call this object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from yolo.boxes.letterbox import LetterboxMode
from yolo.data.augment.bbox_mosaic import cut_out, place, quadrants, shown_enough
from yolo.data.augment.canvas import Canvas, blank
from yolo.data.augment.colour import Recolour, random_gains, recolouring
from yolo.data.augment.geometry import Matrix, mirroring, random_transform, translation
from yolo.data.augment.layouts import mosaic4, mosaic9, single
from yolo.data.augment.mix import mixup, random_rectangle
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
        flip_lr, flip_ud, bbox_mosaic, any_mosaic, mixed, cut = rng.random(6).tolist()
        is_bbox_mosaic = mosaic and bbox_mosaic < options.bbox_mosaic.prob
        is_mosaic = mosaic and any_mosaic < options.mosaic_prob
        is_mixup, is_cutmix = mixed < options.mixup_prob, mosaic and cut < options.cutmix_prob
        gains = np.ones(3) if is_bbox_mosaic else random_gains(rng, options)
        # The device sees whole pictures only, and a blend of two is not two recoloured pictures blended.
        is_for_device = options.colour == "device" and not (is_mosaic and is_mixup)
        draft = _Draft(
            self,
            rng,
            source,
            item.pool,
            mirroring(flip_lr < options.flip_lr, flip_ud < options.flip_ud, self.size),
            None if is_for_device else recolouring(gains, _on_cpu(options)),
        )
        own = source.read(item.index)
        if is_bbox_mosaic:
            canvas = draft.bbox_mosaic(own)
        elif is_mosaic:
            canvas = draft.mosaic(own)
            if is_mixup:
                mixup(canvas, draft.mosaic(draft.partner()), rng.beta(options.mixup_alpha, options.mixup_alpha))
        else:
            canvas = draft.cutmix(own) if is_cutmix else draft.single(own)
        left_over = (gains if is_for_device else np.ones(3)) if options.colour == "device" else None
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
        canvas = Canvas(blank(self.size, self.recolour))
        canvas.draw(part, self._in_place(part), self.recolour)
        return canvas

    def mosaic(self, first: Sample) -> Canvas:
        """`first` and partners in a mosaic of four or nine, transformed."""
        nine = self.rng.random() < self.options.mosaic_9_prob
        parts = [first, *(self.partner() for _ in range(8 if nine else 3))]
        shapes = [_size(part) for part in parts]
        tiles = (mosaic9 if nine else mosaic4)(self.rng, shapes, self.size)
        canvas = Canvas(blank(self.size, self.recolour))
        for part, tile in zip(parts, self._transformed(tiles, (2 * self.size[0], 2 * self.size[1])), strict=True):
            canvas.draw(part, tile, self.recolour)
        return canvas

    def cutmix(self, first: Sample) -> Canvas:
        """`first` and on it a rectangle of a partner, each letterboxed and transformed by itself."""
        below, part = self._in_place(first), self.partner()
        left, top, right, bottom = rectangle = random_rectangle(self.rng, self.size)
        tile = self._in_place(part)
        canvas = Canvas(blank(self.size, self.recolour))
        patch = Canvas(blank((bottom - top, right - left), self.recolour))
        canvas.draw(first, below, self.recolour, hidden=np.array(rectangle, np.float64))
        patch.draw(part, Tile(translation(-left, -top) @ tile.matrix, tile.window), self.recolour)
        canvas.image[top:bottom, left:right] = patch.image
        canvas.add(patch.boxes + np.array([left, top, left, top], np.float32), patch.classes)
        return canvas

    def bbox_mosaic(self, first: Sample) -> Canvas:
        """An object of `first` and three of partners, each varied by itself: no common transform, no common colour."""
        options = self.options.bbox_mosaic
        canvas = Canvas(blank(self.size))
        for number, quadrant in enumerate(quadrants(self.size)):
            part = self.partner() if number else first
            tile = place(self.rng, options, cut_out(self.rng, part), quadrant)
            recolour = recolouring(random_gains(self.rng, options), _on_cpu(self.options))
            canvas.draw(shown_enough(part, tile.window), Tile(self.mirror @ tile.matrix, tile.window), recolour)
        return canvas

    def _in_place(self, part: Sample) -> Tile:
        """`part` letterboxed and transformed by itself."""
        return self._transformed([single(_size(part), self.size, self.pipeline.letterbox)], self.size)[0]

    def _transformed(self, tiles: Sequence[Tile], canvas: tuple[int, int]) -> list[Tile]:
        """Tiles on a canvas (h, w), each taken through the same random transform into the picture."""
        transform = self.mirror @ random_transform(self.rng, self.options, canvas, self.size)
        return [Tile(transform @ tile.matrix, tile.window) for tile in tiles]


def _on_cpu(options: AugmentOptions) -> Literal["exact", "fast"]:
    """How colours are changed where that cannot be left to the device."""
    return "fast" if options.colour == "fast" else "exact"


def _size(part: Sample) -> tuple[int, int]:
    height, width = part.image.shape[:2]
    return height, width
