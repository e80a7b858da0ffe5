"""Boxes and pixels of every augmentation against `augment_reference`, and against each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.data import reference
from tests.data.augment_reference import Placed, Reference
from tests.data.rectangles import BOXES, NESTED, POOL, SIZES, TINY, Rectangles, item, pixels_of
from yolo.data.augment.pipeline import AugmentPipeline
from yolo.data.options import AugmentOptions, BBoxMosaicOptions
from yolo.data.randomness import generator

FLIPS = {"flip_lr": 0.5, "flip_ud": 0.5}
PLAIN = AugmentOptions(hsv_h=0, hsv_s=0, hsv_v=0, mixup_prob=0, **FLIPS)
TURNED = replace(PLAIN, degrees=45, shear=10, scale=0.5)
TILTED = replace(PLAIN, degrees=10, perspective=0.002, scale=0.5)
UPRIGHT_OBJECTS = BBoxMosaicOptions(prob=1, scale=0.5, translate=0.3, jitter=1)
TURNED_OBJECTS = BBoxMosaicOptions(prob=1, degrees=180, translate=0.1, scale=0.5, shear=10, jitter=0.7)
TILTED_OBJECTS = BBoxMosaicOptions(prob=1, degrees=20, scale=0.15, shear=2, perspective=0.004, jitter=0.3)

SIZES_OUT = [(160, 160), (96, 224), (224, 97)]
CASES = {
    "mosaic": PLAIN,
    "mosaic turned": TURNED,
    "mosaic tilted": TILTED,
    "nine": replace(PLAIN, mosaic_9_prob=1),
    "nine turned": replace(TURNED, mosaic_9_prob=1),
    "single": replace(PLAIN, mosaic_prob=0),
    "single turned": replace(TURNED, mosaic_prob=0),
    "single tilted": replace(TILTED, mosaic_prob=0),
    "mixup": replace(PLAIN, mixup_prob=1, mosaic_9_prob=0.5),
    "mixup turned": replace(TURNED, mixup_prob=1),
    "cutmix": replace(PLAIN, mosaic_prob=0, cutmix_prob=1),
    "cutmix turned": replace(TURNED, mosaic_prob=0, cutmix_prob=1),
    "cutmix tilted": replace(TILTED, mosaic_prob=0, cutmix_prob=1),
    "bbox mosaic": replace(PLAIN, bbox_mosaic=UPRIGHT_OBJECTS),
    "bbox mosaic turned": replace(PLAIN, bbox_mosaic=TURNED_OBJECTS),
    "bbox mosaic tilted": replace(PLAIN, bbox_mosaic=TILTED_OBJECTS),
    "everything": replace(
        TILTED,
        mosaic_prob=0.5,
        mosaic_9_prob=0.5,
        mixup_prob=0.5,
        cutmix_prob=0.5,
        bbox_mosaic=replace(TILTED_OBJECTS, prob=0.3),
    ),
}
# For each of the three sizes. Not every draw has an object whose pixels can be compared.
DRAWS, PIXEL_DRAWS = 40, 100


def objects_of(layout: np.ndarray) -> list[list[list[float]]]:
    return [Rectangles(boxes=layout).boxes(index).tolist() for index in POOL]


def hidden_share(placed: Placed, box: list[float]) -> float:
    """How much of an object, as far as the picture would show it, is under a rectangle of another picture."""
    if placed.hidden is None or placed.visible(box) is None:
        return 0.0
    return 1 - placed.left(box)[1]


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES_OUT, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_boxes_against_one_homography_per_object(name: str, size: tuple[int, int]) -> None:
    run = AugmentPipeline(CASES[name], size, seed=1)
    compared = visible = 0
    for draw in range(DRAWS):
        layout = (BOXES, NESTED)[draw % 2]
        objects = objects_of(layout)
        asked = item(draw, draw % len(SIZES))
        source = Rectangles(boxes=layout)
        sample = run(source, asked)
        images = Reference(CASES[name], size, 1, SIZES, objects)(asked)
        assert source.picks == [placed.index for placed in images]
        labels = dict(zip(sample.classes.tolist(), sample.boxes.tolist(), strict=True))
        assert list(labels) == sorted(labels), "objects keep their order"
        for slot, placed in enumerate(images):
            for k, box in enumerate(objects[placed.index]):
                label = labels.pop(10 * slot + k, None)
                check_label(label, box, placed)
                compared += label is not None
                if fully_visible(placed, box):
                    visible += 1
                    assert label is not None, "a fully visible object lost its label"
        assert not labels
    assert compared > DRAWS
    assert visible > DRAWS / 2


def fully_visible(placed: Placed, box: list[float]) -> bool:
    whole, seen = reference.whole_box(box, placed.matrix), placed.visible(box)
    if seen is None or hidden_share(placed, box) or min(whole[2] - whole[0], whole[3] - whole[1]) < 3:
        return False
    return max(abs(a - b) for a, b in zip(whole, seen, strict=True)) < 1e-6


def check_label(label: list[float] | None, box: list[float], placed: Placed) -> None:
    expected = placed.visible(box)
    if placed.hidden:
        expected = placed.left(box)[0]
    if label is not None:
        assert expected is not None
        if placed.hidden:
            check_uncovered(label, box, placed)
        else:
            np.testing.assert_allclose(label, expected, atol=1.0)
    elif expected is not None:
        # Whole-pixel rounding may take up to a pixel from each side.
        share = reference.area(expected) / reference.area(reference.whole_box(box, placed.matrix))
        side = min(expected[2] - expected[0], expected[3] - expected[1])
        assert side < 4 or share < 0.25 or hidden_share(placed, box) > 0.8, "a visible object lost its label"


def check_uncovered(label: list[float], box: list[float], placed: Placed) -> None:
    """Between what is left, and what is left by a larger rectangle: less than a pixel at its side is nothing."""
    assert hidden_share(placed, box) < 0.93
    outer, inner = placed.left(box)[0], placed.left(box, slack=2)[0]
    assert outer is not None
    assert (np.subtract(label, outer) * (1, 1, -1, -1) > -1.1).all(), "larger than what is seen"
    if inner is not None:
        assert (np.subtract(inner, label) * (1, 1, -1, -1) > -1.1).all(), "smaller than what is seen"


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES_OUT, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_pixels_of_an_object_lie_under_its_box(name: str, size: tuple[int, int]) -> None:
    """The rows and columns in which a white object is seen, against its box."""
    options = CASES[name]
    run = AugmentPipeline(options, size, seed=3)
    objects = objects_of(BOXES)
    expect = Reference(options, size, 3, SIZES, objects)
    rng = generator(0)
    compared = 0
    for draw in range(PIXEL_DRAWS):
        asked = item(draw, draw % len(SIZES))
        labels = run(Rectangles(), asked)
        large = (labels.boxes[:, 2:] - labels.boxes[:, :2]).min(1) >= 24
        images = expect(asked)
        # One object of each draw: each costs a draw of its own.
        for i in rng.permutation(np.flatnonzero(large))[:1].tolist():
            slot, k = divmod(int(labels.classes[i]), 10)
            placed, box = images[slot], labels.boxes[i].tolist()
            if not is_upright(placed) and (
                SIZES[placed.index] == TINY  # so blurred when enlarged that corners are round
                or min(box[2] - box[0], box[3] - box[1]) < 40  # so small that a sharp corner's last pixel counts
                or has_sliver(placed, objects[placed.index][k])
            ):
                continue
            rows, columns = np.nonzero(pixels_of(run, asked, int(labels.classes[i])))
            found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert reference.iou(found, box) > 0.9
            if is_upright(placed) and placed.hidden is None:
                assert max(abs(a - b) for a, b in zip(found, box, strict=True)) <= 0.6, "the nearest edge of a pixel"
            compared += 1
    assert compared > 10


def has_sliver(placed: Placed, box: list[float]) -> bool:
    """Whether a part beside the rectangle reaches far but is so thin that it may not count."""
    if placed.hidden is None:
        return False
    (all_of_it, _), (most, _) = placed.left(box), placed.left(box, slack=1.01)
    assert all_of_it is not None
    return most is None or max(abs(a - b) for a, b in zip(all_of_it, most, strict=True)) > 3


def is_upright(placed: Placed) -> bool:
    (_, a, _), (b, _, _), (c, d, _) = placed.matrix
    return max(abs(a), abs(b), abs(c), abs(d)) < 1e-12
