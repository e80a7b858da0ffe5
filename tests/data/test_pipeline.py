from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.rectangles import SIZES, Rectangles, item
from yolo.boxes.letterbox import Letterbox
from yolo.data.annotations import AnnotatedImage
from yolo.data.augment.canvas import PAD_VALUE
from yolo.data.augment.pipeline import AugmentPipeline
from yolo.data.batch import Sample
from yolo.data.options import AugmentOptions, BBoxMosaicOptions
from yolo.data.sampler import TrainingItem

PLAIN = AugmentOptions(hsv_h=0, hsv_s=0, hsv_v=0, flip_lr=0, mixup_prob=0)
STILL = replace(PLAIN, mosaic_prob=0, scale=0, translate=0)
EVERYTHING = AugmentOptions(
    mosaic_prob=0.7,
    mosaic_9_prob=0.3,
    mixup_prob=0.5,
    cutmix_prob=0.5,
    bbox_mosaic=BBoxMosaicOptions(prob=0.2, degrees=20, scale=0.2, shear=2, hsv_v=0.4, hsv_s=0.4, jitter=0.5),
    degrees=5,
    flip_ud=0.5,
)


class Photos:
    """Random pictures with an object each, read-only, as a cache may own them."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.samples = []
        for index, (height, width) in enumerate(SIZES):
            image = rng.integers(0, 256, (height, width, 3), np.uint8)
            boxes = np.array([[2, 3, width / 2, height - 1]], np.float32)
            for array in (image, boxes):
                array.setflags(write=False)
            record = AnnotatedImage(
                Path(f"{index}"), index, (height, width), boxes, np.array([index]), np.zeros(1, bool), np.ones(1)
            )
            self.samples.append(Sample(image, boxes, record.classes, record))

    def read(self, index: int) -> Sample:
        return self.samples[index]


PHOTOS = Photos()


def content(sample: Sample) -> bytes:
    gains = b"" if sample.colour_gains is None else sample.colour_gains.tobytes()
    return sample.image.tobytes() + sample.boxes.tobytes() + sample.classes.tobytes() + gains


@pytest.mark.parametrize("colour", ["exact", "fast", "device"])
def test_a_sample_follows_from_seed_and_item_alone(colour: str) -> None:
    def draw(seed: int, epoch: int, index: int) -> bytes:
        run = AugmentPipeline(replace(EVERYTHING, colour=colour), (64, 96), seed)  # type: ignore[arg-type]
        return content(run(PHOTOS, item(epoch, index)))

    keys = [(s, e, i) for s in (0, 1) for e in range(8) for i in range(3)]
    first = [draw(*key) for key in keys]
    np.random.default_rng(0).random()
    assert [draw(*key) for key in reversed(keys)] == first[::-1]
    assert len(set(first)) == len(first)


def test_partners_come_from_the_pool() -> None:
    for pool in ((3,), (1, 4)):
        seen = set()
        for epoch in range(40):
            source = Rectangles()
            AugmentPipeline(EVERYTHING, (32, 32), 0)(source, TrainingItem(epoch, 0, pool))
            assert source.picks[0] == 0
            seen |= set(source.picks[1:])
        assert seen == set(pool)


def test_all_variation_off_is_the_letterbox_of_validation() -> None:
    for index, size in enumerate(SIZES):
        for mode in ("center", "corner"):
            sample = AugmentPipeline(STILL, (96, 128), 0, mode)(Rectangles(only=0), item(0, index))
            original = Rectangles(only=0).read(index)
            box = Letterbox(size, (96, 128), mode)
            assert np.array_equal(sample.image, box.apply(original.image))
            np.testing.assert_allclose(sample.boxes, box.to_target(original.boxes), atol=1e-4)
            assert sample.record.image_id == index


@pytest.mark.parametrize(("left_right", "up_down"), [(1, 0), (0, 1), (1, 1)])
def test_flips(left_right: int, up_down: int) -> None:
    plain = AugmentPipeline(STILL, (64, 96), 0)(PHOTOS, item(0, 0))
    options = replace(STILL, flip_lr=left_right, flip_ud=up_down)
    flipped = AugmentPipeline(options, (64, 96), 0)(PHOTOS, item(0, 0))
    image, (x1, y1, x2, y2) = plain.image, plain.boxes[0]
    if left_right:
        image, x1, x2 = image[:, ::-1], 96 - x2, 96 - x1
    if up_down:
        image, y1, y2 = image[::-1], 64 - y2, 64 - y1
    assert np.array_equal(flipped.image, image)
    np.testing.assert_allclose(flipped.boxes[0], [x1, y1, x2, y2], atol=1e-4)
    assert flipped.image.flags.c_contiguous


@pytest.mark.parametrize("degrees", [0, 30])
def test_a_flipped_mosaic_is_the_mosaic_flipped(degrees: float) -> None:
    options = replace(PLAIN, degrees=degrees)
    for epoch in range(20):
        plain = AugmentPipeline(options, (64, 96), 0)(PHOTOS, item(epoch, 0))
        flipped = AugmentPipeline(replace(options, flip_lr=1), (64, 96), 0)(PHOTOS, item(epoch, 0))
        difference = np.abs(flipped.image[:, ::-1].astype(int) - plain.image)
        assert difference.mean() < 0.5, "beyond pixels whose centres lie just on an edge, and rounding"
        assert flipped.classes.tolist() == plain.classes.tolist()
        np.testing.assert_allclose(
            flipped.boxes[:, [2, 1, 0, 3]] * (-1, 1, -1, 1), plain.boxes - (96, 0, 96, 0), atol=1e-3
        )


def reads(options: AugmentOptions, mosaic: bool = True) -> list[int]:
    """How many images each of 60 samples is made of."""
    counts = []
    for epoch in range(60):
        source = Rectangles()
        AugmentPipeline(options, (32, 32), 0)(source, item(epoch, 0), mosaic=mosaic)
        counts.append(len(source.picks))
    return counts


def test_the_order_of_decisions() -> None:
    objects = BBoxMosaicOptions(prob=1)
    assert set(reads(PLAIN)) == {4}
    assert set(reads(replace(PLAIN, mosaic_9_prob=1))) == {9}
    assert set(reads(replace(PLAIN, mosaic_prob=0))) == {1}
    assert set(reads(replace(PLAIN, mixup_prob=1))) == {8}
    assert set(reads(replace(PLAIN, mixup_prob=1, mosaic_9_prob=1))) == {18}
    assert set(reads(replace(PLAIN, cutmix_prob=1))) == {4}, "CutMix is for single images"
    assert set(reads(replace(PLAIN, mosaic_prob=0, mixup_prob=1, cutmix_prob=1))) == {2}, "MixUp is for mosaics"
    # Four objects, whatever else may come.
    assert set(reads(replace(PLAIN, bbox_mosaic=objects, mosaic_9_prob=1, mixup_prob=1, cutmix_prob=1))) == {4}


def test_probabilities() -> None:
    assert 18 < reads(replace(PLAIN, mosaic_prob=0.5)).count(4) < 42
    assert 18 < reads(replace(PLAIN, mosaic_9_prob=0.5)).count(9) < 42
    assert 18 < reads(replace(PLAIN, mixup_prob=0.5)).count(8) < 42
    assert 18 < reads(replace(PLAIN, mosaic_prob=0, cutmix_prob=0.5)).count(2) < 42
    half = replace(PLAIN, mosaic_prob=0, bbox_mosaic=BBoxMosaicOptions(prob=0.5))
    assert 18 < reads(half).count(4) < 42


def test_without_mosaic_there_are_no_compositions() -> None:
    for objects in (BBoxMosaicOptions(prob=1), BBoxMosaicOptions()):
        options = replace(PLAIN, bbox_mosaic=objects, cutmix_prob=1, mixup_prob=1)
        assert set(reads(options, mosaic=False)) == {1}
        assert set(reads(replace(options, mosaic_prob=0), mosaic=False)) == {1}


def test_mixup_blends_two_mosaics_of_their_own() -> None:
    """With all images of one value, only the blend of padding and picture has a third one."""
    run = AugmentPipeline(replace(PLAIN, mixup_prob=1, mixup_alpha=1), (64, 64), 0)
    shares = []
    for epoch in range(60):
        values, counts = np.unique(run(Rectangles(), item(epoch, 0)).image, return_counts=True)
        assert values.max() <= PAD_VALUE
        shares += [value / PAD_VALUE for value in values[counts > 300] if 0 < value < PAD_VALUE]
    assert min(shares) < 0.2, "Beta(1, 1) is uniform"
    assert max(shares) > 0.8
    narrow = AugmentPipeline(replace(PLAIN, mixup_prob=1, mixup_alpha=1000), (64, 64), 0)
    for epoch in range(20):
        values, counts = np.unique(narrow(Rectangles(), item(epoch, 0)).image, return_counts=True)
        assert {value for value in values[counts > 300].tolist() if 0 < value < PAD_VALUE} <= set(range(50, 65))


@pytest.mark.parametrize("colour", ["exact", "fast"])
def test_padding_changes_its_brightness_with_the_images(colour: str) -> None:
    class Plain(Photos):
        def __init__(self) -> None:
            super().__init__()
            for sample in self.samples:
                sample.image = np.full_like(sample.image, 57)

    plain = Plain()
    options = AugmentOptions(hsv_v=0.5, mixup_prob=0, colour=colour)  # type: ignore[arg-type]
    brightest = set()
    for epoch in range(20):
        found = np.unique(AugmentPipeline(options, (64, 64), 0)(plain, item(epoch, 0)).image).tolist()
        if len(found) == 2:  # both images and padding are seen
            assert found[1] == pytest.approx(2 * found[0], abs=2)
            brightest.add(found[1])
    assert len(brightest) > 4


def test_gains_travel_to_the_device_and_are_not_applied() -> None:
    options = replace(EVERYTHING, bbox_mosaic=BBoxMosaicOptions(), mixup_prob=0)
    on_device = AugmentPipeline(replace(options, colour="device"), (64, 96), 0)
    plain = AugmentPipeline(replace(options, hsv_h=0, hsv_s=0, hsv_v=0), (64, 96), 0)
    gains = []
    for epoch in range(40):
        sample = on_device(PHOTOS, item(epoch, 0))
        without = plain(PHOTOS, item(epoch, 0))
        assert np.array_equal(sample.image, without.image)
        assert without.colour_gains is None
        assert sample.colour_gains is not None
        gains.append(sample.colour_gains)
    assert (np.ptp(gains, axis=0) > (0.02, 1.2, 0.7)).all()


def test_objects_of_a_bbox_mosaic_are_coloured_at_once() -> None:
    objects = BBoxMosaicOptions(prob=1, hsv_v=0.9)
    run = AugmentPipeline(AugmentOptions(bbox_mosaic=objects, colour="device"), (64, 96), 0)
    sample = run(PHOTOS, item(0, 0))
    assert sample.colour_gains is not None
    assert sample.colour_gains.tolist() == [1, 1, 1]
    plain = AugmentPipeline(AugmentOptions(bbox_mosaic=replace(objects, hsv_v=0), colour="device"), (64, 96), 0)
    assert not np.array_equal(sample.image, plain(PHOTOS, item(0, 0)).image)


def test_blended_mosaics_are_coloured_before_the_blend() -> None:
    options = replace(EVERYTHING, bbox_mosaic=BBoxMosaicOptions(), mosaic_prob=1, mixup_prob=1)
    runs = [AugmentPipeline(replace(options, colour=how), (64, 96), 0) for how in ("device", "exact")]  # type: ignore[arg-type]
    for epoch in range(10):
        on_device, exact = (run(PHOTOS, item(epoch, 0)) for run in runs)
        assert np.array_equal(on_device.image, exact.image)
        assert on_device.colour_gains is not None
        assert on_device.colour_gains.tolist() == [1, 1, 1]


@pytest.mark.parametrize("options", [EVERYTHING, replace(EVERYTHING, perspective=0.001, shear=5, degrees=20)])
def test_output_is_uint8_and_boxes_stay_inside(options: AugmentOptions) -> None:
    for epoch in range(100):
        sample = AugmentPipeline(options, (96, 160), 0)(Rectangles(only=0), item(epoch, 0))
        assert sample.image.dtype == np.uint8
        assert sample.image.shape == (96, 160, 3)
        assert sample.boxes.dtype == np.float32
        assert sample.classes.dtype == np.int64
        assert (sample.boxes >= 0).all()
        assert (sample.boxes <= [160, 96, 160, 96]).all()
        assert ((sample.boxes[:, 2:] - sample.boxes[:, :2]) >= 1.99).all()
        assert len(sample.classes) == len(sample.boxes)


def test_a_pool_of_one_image_is_enough() -> None:
    for epoch in range(30):
        sample = AugmentPipeline(EVERYTHING, (32, 32), 0)(PHOTOS, TrainingItem(epoch, 2, (2,)))
        assert set(sample.classes.tolist()) <= {2}
