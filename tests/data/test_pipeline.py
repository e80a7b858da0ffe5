from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data import reference
from yolo.boxes.letterbox import Letterbox
from yolo.data.annotations import AnnotatedImage
from yolo.data.augment.pipeline import AugmentPipeline
from yolo.data.augment.tiles import Tile, draw_tile
from yolo.data.batch import Sample
from yolo.data.options import AugmentOptions

PLAIN = AugmentOptions(hsv_h=0, hsv_s=0, hsv_v=0, flip_lr=0)
STILL = replace(PLAIN, mosaic_prob=0, scale=0, translate=0)
SIZES = [(100, 150), (64, 48), (300, 200), (20, 20), (480, 640)]
TINY = (20, 20)
# Boxes in hundredths of the image, apart from each other and from the border.
BOXES = np.array([[5, 5, 40, 45], [50, 10, 95, 40], [10, 55, 30, 95], [40, 50, 90, 90]], np.float32)


class Rectangles:
    """Black images with four rectangles each; object k of the n-th image read has class 10 * n + k.

    With `only`, the object of that class is painted white and all others are left black.
    """

    def __init__(self, only: int | None = None) -> None:
        self.only = only
        self.picks: list[int] = []

    def __len__(self) -> int:
        return len(SIZES)

    def read(self, index: int) -> Sample:
        height, width = SIZES[index]
        boxes = np.round(BOXES / 100 * (width, height, width, height)).astype(np.float32)
        classes = 10 * len(self.picks) + np.arange(len(boxes))
        image = np.zeros((height, width, 3), np.uint8)
        for number, (x1, y1, x2, y2) in zip(classes, boxes.astype(int), strict=True):
            if number == self.only:
                image[y1:y2, x1:x2] = 255
        self.picks.append(index)
        for array in (image, boxes, classes):
            array.setflags(write=False)  # a cache may own them
        empty = np.zeros(0)
        record = AnnotatedImage(Path(f"{index}"), index, (height, width), boxes, classes, empty.astype(bool), empty)
        return Sample(image, boxes, classes, record)


CASES = {
    "default": (PLAIN, (160, 160)),
    "wide": (replace(PLAIN, flip_lr=0.5, flip_ud=0.5), (96, 200)),
    "tall": (replace(PLAIN, flip_lr=0.5), (224, 96)),
    "turned": (replace(PLAIN, degrees=45, flip_ud=0.5), (160, 160)),
    "turned wide": (replace(PLAIN, degrees=180, shear=10, scale=0.5), (96, 200)),
    "perspective": (replace(PLAIN, degrees=10, perspective=0.002, scale=0.5), (160, 120)),
    "single": (replace(PLAIN, mosaic_prob=0), (160, 120)),
    "single turned": (replace(PLAIN, mosaic_prob=0, degrees=30, shear=5, perspective=0.001), (120, 160)),
}


@pytest.mark.parametrize("name", CASES)
def test_pixels_of_an_object_lie_under_its_box(name: str) -> None:
    options, size = CASES[name]
    upright = not (options.degrees or options.perspective)
    run = AugmentPipeline(options, size, seed=3)
    compared = 0
    for draw in range(25):
        index = draw % len(SIZES)
        labels = run(Rectangles(), draw, index)
        for number, box in zip(labels.classes.tolist(), labels.boxes.tolist(), strict=True):
            source = Rectangles(only=number)
            sample = run(source, draw, index)
            assert np.array_equal(sample.boxes, labels.boxes)
            # 114 is the padding; halfway between black and white is the edge of the object.
            rows, columns = np.nonzero(sample.image[..., 0] >= 128)
            found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            error = max(abs(a - b) for a, b in zip(found, box, strict=True))
            if upright:
                assert error <= 0.51, "the edge of the box and the nearest edge of a pixel"
            elif SIZES[source.picks[number // 10]] == TINY:
                continue  # so blurred when enlarged that corners are round
            elif min(box[:2]) > 0 and box[2] < size[1] and box[3] < size[0]:
                assert error < 1.2
            if min(box[2] - box[0], box[3] - box[1]) >= 24:
                assert reference.iou(found, box) > 0.9
                compared += 1
    assert compared > 40


def spy(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tile, tuple[int, ...]]]:
    """Collects the tiles as asked for, before drawing rounds them, and the sizes of their images."""
    tiles: list[tuple[Tile, tuple[int, ...]]] = []

    def draw_and_note(picture: np.ndarray, image: np.ndarray, tile: Tile) -> Tile | None:
        tiles.append((tile, image.shape[:2]))
        return draw_tile(picture, image, tile)

    monkeypatch.setattr("yolo.data.augment.pipeline.draw_tile", draw_and_note)
    return tiles


@pytest.mark.parametrize("name", CASES)
def test_boxes_against_one_homography_per_object(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options, size = CASES[name]
    options = replace(options, flip_lr=0, flip_ud=0)
    tiles = spy(monkeypatch)
    compared = 0
    for draw in range(300):
        tiles.clear()
        source = Rectangles()
        sample = AugmentPipeline(options, size, seed=1)(source, draw, draw % len(SIZES))
        labels = dict(zip(sample.classes.tolist(), sample.boxes.tolist(), strict=True))
        assert list(labels) == sorted(labels), "objects keep their order"
        for slot, (tile, (height, width)) in enumerate(tiles):
            for k, box in enumerate(np.round(BOXES / 100 * (width, height, width, height)).tolist()):
                matrix = tile.matrix.tolist()
                expected = reference.visible_box(box, matrix, tile.window.tolist(), size)
                whole = reference.whole_box(box, matrix)
                label = labels.pop(10 * slot + k, None)
                if label is not None:
                    assert expected is not None
                    np.testing.assert_allclose(label, expected, atol=1.0)
                    compared += 1
                    continue
                if expected is None:
                    continue
                side = min(expected[2] - expected[0], expected[3] - expected[1])
                # Whole-pixel rounding may take up to a pixel from each side.
                assert side < 4 or reference.area(expected) < 0.25 * reference.area(whole), (
                    "a visible object lost its label"
                )
        assert not labels
    assert compared > 500


@pytest.mark.parametrize("size", [(160, 160), (96, 224)])
def test_no_fully_visible_object_loses_its_label(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = spy(monkeypatch)
    visible = 0
    for draw in range(500):
        tiles.clear()
        box = [20.0, 10.0, 80.0, 70.0]
        sample = AugmentPipeline(PLAIN, size, seed=2)(OneObject(box), draw, 0)
        for slot, (tile, _) in enumerate(tiles):
            x1, y1, x2, y2 = reference.whole_box(box, tile.matrix.tolist())
            wx1, wy1, wx2, wy2 = tile.window.tolist()
            inside_window = wx1 <= box[0] and wy1 <= box[1] and wx2 >= box[2] and wy2 >= box[3]
            if inside_window and x1 >= 0 and y1 >= 0 and x2 <= size[1] and y2 <= size[0] and min(x2 - x1, y2 - y1) > 3:
                visible += 1
                assert slot in sample.classes
    assert visible > 250


class OneObject:
    """A single image of 100 x 100 with one object, whose class is the number of the read."""

    def __init__(self, box: list[float]) -> None:
        self.box = box
        self.reads = 0

    def __len__(self) -> int:
        return 1

    def read(self, index: int) -> Sample:
        boxes, classes = np.array([self.box], np.float32), np.array([self.reads])
        self.reads += 1
        record = AnnotatedImage(Path("one"), 1, (100, 100), boxes, classes, np.zeros(1, bool), np.zeros(1))
        return Sample(np.full((100, 100, 3), 200, np.uint8), boxes, classes, record)


def test_draws_depend_on_seed_epoch_and_index_alone() -> None:
    def draw(seed: int, epoch: int, index: int) -> bytes:
        sample = AugmentPipeline(AugmentOptions(), (64, 64), seed)(Rectangles(only=0), epoch, index)
        return sample.image.tobytes() + sample.boxes.tobytes() + sample.classes.tobytes()

    first = draw(0, 1, 2)
    np.random.default_rng(0).random()
    draw(0, 7, 3)
    assert draw(0, 1, 2) == first
    assert len({draw(s, e, i) for s in (0, 1) for e in (0, 1) for i in (0, 1)}) == 8


def test_all_variation_off_is_the_letterbox_of_validation() -> None:
    for index, size in enumerate(SIZES):
        for mode in ("center", "corner"):
            source = Rectangles(only=0)
            sample = AugmentPipeline(STILL, (96, 128), 0, mode)(source, 0, index)
            original = Rectangles(only=0).read(index)
            box = Letterbox(size, (96, 128), mode)
            assert np.array_equal(sample.image, box.apply(original.image))
            np.testing.assert_allclose(sample.boxes, box.to_target(original.boxes), atol=1e-4)
            assert sample.record.image_id == index


def test_flips() -> None:
    plain = AugmentPipeline(STILL, (64, 96), 0)(Rectangles(only=1), 0, 0)
    flipped = AugmentPipeline(replace(STILL, flip_lr=1, flip_ud=1), (64, 96), 0)(Rectangles(only=1), 0, 0)
    assert np.array_equal(flipped.image, plain.image[::-1, ::-1])
    np.testing.assert_allclose(flipped.boxes, (np.array([96, 64, 96, 64]) - plain.boxes)[:, [2, 3, 0, 1]], atol=1e-4)
    assert flipped.image.flags.c_contiguous


def test_probabilities() -> None:
    def reads(options: AugmentOptions, mosaic: bool = True) -> list[int]:
        counts = []
        for epoch in range(60):
            source = Rectangles()
            AugmentPipeline(options, (32, 32), 0)(source, epoch, 0, mosaic=mosaic)
            counts.append(len(source.picks))
        return counts

    assert set(reads(replace(PLAIN, mosaic_prob=1.0))) == {4}
    assert set(reads(replace(PLAIN, mosaic_prob=0.0))) == {1}
    assert set(reads(replace(PLAIN, mosaic_prob=1.0), mosaic=False)) == {1}
    assert 18 < reads(replace(PLAIN, mosaic_prob=0.5)).count(4) < 42


def test_a_mosaic_shows_the_image_asked_for_and_three_others() -> None:
    others: set[int] = set()
    for epoch in range(40):
        source = Rectangles()
        assert AugmentPipeline(PLAIN, (32, 32), 0)(source, epoch, 2).record.image_id == 2
        assert source.picks[0] == 2
        others.update(source.picks[1:])
    assert others == set(range(len(SIZES)))


def test_output_is_uint8_and_boxes_stay_inside() -> None:
    options = AugmentOptions(degrees=20, shear=5, perspective=0.001, flip_ud=0.5)
    for epoch in range(50):
        sample = AugmentPipeline(options, (96, 160), 0)(Rectangles(only=0), epoch, 0)
        assert sample.image.dtype == np.uint8
        assert sample.image.shape == (96, 160, 3)
        assert sample.boxes.dtype == np.float32
        assert (sample.boxes >= 0).all()
        assert (sample.boxes <= [160, 96, 160, 96]).all()
        assert ((sample.boxes[:, 2:] - sample.boxes[:, :2]) >= 1.99).all()
        assert len(sample.classes) == len(sample.boxes)
