from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data import reference
from tests.data.rectangles import NESTED, Rectangles, item
from yolo.data.annotations import AnnotatedImage
from yolo.data.augment.bbox_mosaic import MARGIN, cut_out, place, quadrants, shown_enough
from yolo.data.augment.pipeline import AugmentPipeline
from yolo.data.batch import Sample
from yolo.data.options import AugmentOptions, BBoxMosaicOptions

WILD = BBoxMosaicOptions(
    prob=1, degrees=360, translate=1, scale=0.9, shear=40, perspective=0.01, hsv_h=0.5, hsv_s=0.5, hsv_v=0.5, jitter=1
)
DOCUMENTS = BBoxMosaicOptions(prob=1, degrees=20, translate=0.05, scale=0.15, shear=2, hsv_v=0.3, jitter=0.3)
UPRIGHT = BBoxMosaicOptions(prob=1, translate=0.5, scale=0.9, jitter=1)


@pytest.mark.parametrize("options", [WILD, DOCUMENTS, UPRIGHT], ids=["wild", "documents", "upright"])
def test_every_object_lies_inside_its_quadrant(options: BBoxMosaicOptions) -> None:
    """1000 draws of four objects."""
    rng = np.random.default_rng(0)
    reached = np.full(2, np.inf)
    for _ in range(1000):
        size = tuple(rng.integers(33, 300, 2).tolist())
        for quadrant in quadrants(size):
            low = rng.uniform(0, 500, 2)
            window = np.concatenate([low, low + np.exp(rng.uniform(0.1, 6, 2))])
            tile = place(rng, options, window, quadrant)
            x1, y1, x2, y2 = reference.whole_box(window.tolist(), tile.matrix.tolist())
            room = np.array([x1 - quadrant[0], y1 - quadrant[1], quadrant[2] - x2, quadrant[3] - y2])
            assert room.min() > -1e-6
            reached = np.minimum(reached, (room[0] + room[2], room[1] + room[3]))
            assert tile.window.tolist() == window.tolist()
    if options is not DOCUMENTS:
        assert (reached < 0.1).all(), "the quadrant is never filled"


@pytest.mark.slow
@pytest.mark.parametrize("options", [WILD, DOCUMENTS, UPRIGHT], ids=["wild", "documents", "upright"])
def test_objects_are_whole_and_their_corners_inside_their_boxes(options: BBoxMosaicOptions) -> None:
    """1000 draws: four objects each, every one inside its quadrant, and no pixel of it outside its box."""
    run = AugmentPipeline(AugmentOptions(bbox_mosaic=options, flip_ud=0.5), (128, 192), 0)
    for draw in range(1000):
        sample = run(Corners(), item(draw, 0))
        assert len(sample.boxes) == 4
        for box, quadrant in zip(sample.boxes, flipped_into(sample.boxes, (128, 192)), strict=True):
            assert (box[:2] >= quadrant[:2] - 1e-3).all()
            assert (box[2:] <= quadrant[2:] + 1e-3).all()
        seen = (sample.image != 114).any(2)
        covered = np.zeros_like(seen)
        for x1, y1, x2, y2 in sample.boxes:
            covered[int(np.floor(y1)) : int(np.ceil(y2)), int(np.floor(x1)) : int(np.ceil(x2))] = True
        assert not (seen & ~covered).any(), "pixels of an object outside its box"


def flipped_into(boxes: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
    """The quadrant in which the centre of each box lies; each has one."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    found = [
        next(q for q in quadrants(size) if (q[:2] <= centre).all() and (centre <= q[2:]).all()) for centre in centres
    ]
    assert len({tuple(q.tolist()) for q in found}) == 4
    return found


class Corners:
    """One image with one object, red in its corners."""

    def read(self, index: int) -> Sample:
        image = np.full((300, 400, 3), 30, np.uint8)
        boxes, classes = np.array([[50, 40, 210, 140]], np.float32), np.array([0])
        image[40:140, 50:210] = (200, 40, 40)
        record = AnnotatedImage(Path("one"), 1, (300, 400), boxes, classes, np.zeros(1, bool), np.zeros(1))
        return Sample(image, boxes, classes, record)


def test_the_margin_and_the_centre_without_any_variation() -> None:
    quadrant = np.array([100, 0, 200, 50.0])
    tile = place(np.random.default_rng(0), BBoxMosaicOptions(), np.array([10, 10, 60, 30.0]), quadrant)
    x1, y1, x2, y2 = reference.whole_box((10, 10, 60, 30), tile.matrix.tolist())
    assert (x2 - x1) / 100 == pytest.approx(1 - MARGIN)
    assert (x2 - x1) / (y2 - y1) == pytest.approx(2.5)
    assert (x1 + x2, y1 + y2) == pytest.approx((300, 50))


def test_each_option_varies_the_objects() -> None:
    window, quadrant = np.array([0, 0, 50, 30.0]), np.array([0, 0, 100, 100.0])

    def matrices(options: BBoxMosaicOptions) -> np.ndarray:
        return np.array([place(np.random.default_rng(seed), options, window, quadrant).matrix for seed in range(50)])

    still = matrices(BBoxMosaicOptions())
    assert (still == still[0]).all()
    for name in ("degrees", "translate", "scale", "shear", "perspective", "jitter"):
        moved = matrices(replace(BBoxMosaicOptions(), **{name: getattr(WILD, name)}))
        assert (np.ptp(moved, axis=0) > 1e-6).any(), name
    shifted = matrices(BBoxMosaicOptions(translate=0.1))[:, 0, 2] - still[0, 0, 2]
    assert np.abs(shifted).max() <= 7.5 + 1e-9, "no farther than the free room on this axis"
    down = matrices(BBoxMosaicOptions(translate=0.1))[:, 1, 2] - still[0, 1, 2]
    assert 9 < np.abs(down).max() <= 10


def test_other_objects_inside_the_crop_keep_their_labels() -> None:
    labels = set()
    for draw in range(50):
        run = AugmentPipeline(AugmentOptions(bbox_mosaic=DOCUMENTS), (128, 128), 0)
        labels |= {int(number) % 10 for number in run(Rectangles(boxes=NESTED), item(draw, 0)).classes}
        classes = run(Rectangles(boxes=NESTED), item(draw, 0)).classes
        for slot in range(4):
            mine = {int(number) % 10 for number in classes if number // 10 == slot}
            # 1 lies inside 0; of 2, less than half does.
            assert mine in ({0, 1}, {1}, {2})
    assert labels == {0, 1, 2}


def test_neighbours_need_half_of_what_the_image_has_of_them() -> None:
    part = Rectangles().read(0)
    part.boxes = np.array([[20, 20, 60, 60], [50, 20, 70, 60], [50, 20, 69, 60], [50, 20, 71, 60]], np.float32)
    part.classes = np.arange(4)
    shown = shown_enough(part, np.array([20, 20, 60, 60.0]))
    assert shown.classes.tolist() == [0, 1, 2]
    assert shown.boxes.tolist() == part.boxes[:3].tolist()
    assert shown.image is part.image
    part.boxes = np.array([[140, 90, 190, 120]], np.float32)
    part.classes = np.arange(1)
    assert len(shown_enough(part, np.array([140, 90, 150, 100.0])).boxes) == 1, "the chosen object, half outside"


def test_a_random_object_and_the_whole_image_when_there_is_none() -> None:
    rng = np.random.default_rng(0)
    part = Rectangles().read(0)
    found = {tuple(cut_out(rng, part).tolist()) for _ in range(50)}
    assert found == {tuple(box) for box in part.boxes.tolist()}
    part.boxes = part.boxes[:0]
    assert cut_out(rng, part).tolist() == [0, 0, 150, 100]
    part.boxes = np.array([[140, 90, 160, 120]], np.float32)
    assert cut_out(rng, part).tolist() == [140, 90, 150, 100]
    part.boxes = np.array([[149.5, 90, 160, 120]], np.float32)
    assert cut_out(rng, part).tolist() == [0, 0, 150, 100]


def test_images_without_objects_are_shown_whole() -> None:
    run = AugmentPipeline(AugmentOptions(bbox_mosaic=BBoxMosaicOptions(prob=1)), (128, 128), 0)
    sample = run(Rectangles(boxes=np.zeros((0, 4), np.float32)), item(0, 0))
    assert len(sample.boxes) == 0
    for x, y in ((32, 32), (96, 32), (32, 96), (96, 96)):
        assert sample.image[y, x].tolist() == [0, 0, 0]


@pytest.mark.parametrize("size", [(100, 60), (101, 61), (2, 2)])
def test_quadrants_cover_the_picture_once(size: tuple[int, int]) -> None:
    count = np.zeros(size, int)
    for x1, y1, x2, y2 in np.array(quadrants(size)).astype(int):
        count[y1:y2, x1:x2] += 1
    assert (count == 1).all()
