from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from yolo.boxes.letterbox import Letterbox, LetterboxMode
from yolo.data.annotations import AnnotatedImage
from yolo.data.augment.pipeline import AugmentPipeline
from yolo.data.batch import Batch, collate
from yolo.data.dataset import DetectionDataset
from yolo.data.loaders import DefaultImageLoader, Image, ImageLoader
from yolo.data.options import AugmentOptions
from yolo.data.pixels import LoadedPixels
from yolo.data.sampler import EpochSampler, TrainingItem
from yolo.errors import UserError

STILL = AugmentOptions(hsv_h=0, hsv_s=0, hsv_v=0, scale=0, translate=0, flip_lr=0, mixup_prob=0)


class Flat(ImageLoader):
    """Images of one value, which is the name of the file."""

    def __call__(self, path: Path) -> Image:
        return np.full((20, 30, 3), int(path.stem), np.uint8)


def records(count: int, size: tuple[int, int] = (20, 30)) -> list[AnnotatedImage]:
    boxes = np.array([[3, 4, 13, 14], [0, 0, 30, 20]], np.float32)
    crowd = np.array([False, True])
    return [
        AnnotatedImage(Path(f"{200 + i}"), i, size, boxes, np.array([i, 0]), crowd, np.ones(2)) for i in range(count)
    ]


def flat(count: int, size: tuple[int, int], letterbox: LetterboxMode = "center", **options: Any) -> DetectionDataset:
    images = records(count)
    return DetectionDataset(images, LoadedPixels(images, Flat()), size, letterbox, **options)


def item(epoch: int, index: int, count: int) -> TrainingItem:
    return TrainingItem(epoch, index, tuple(range(count)))


@pytest.mark.parametrize("mode", ["center", "corner"])
def test_validation_items_are_letterboxed(mode: LetterboxMode) -> None:
    sample = flat(3, (60, 60), mode)[1]
    box = Letterbox((20, 30), (60, 60), mode)
    assert np.array_equal(sample.image, box.apply(np.full((20, 30, 3), 201, np.uint8)))
    top = 10 if mode == "center" else 0
    np.testing.assert_allclose(sample.boxes, [[6, 8 + top, 26, 28 + top]])
    assert sample.boxes.dtype == np.float32
    assert sample.classes.tolist() == [1], "the crowd is left out"
    assert sample.record.image_id == 1


def test_items_in_their_own_size() -> None:
    images = records(2)
    sample = DetectionDataset(images, LoadedPixels(images, Flat()), None)[1]
    assert sample.image.shape == (20, 30, 3)
    assert (sample.image == 201).all()
    assert sample.boxes.tolist() == [[3, 4, 13, 14]]


def test_training_items_go_through_the_pipeline() -> None:
    pipeline = AugmentPipeline(AugmentOptions(), (64, 96), 0)
    dataset = flat(5, (64, 96), pipeline=pipeline)
    expected = pipeline(dataset, item(3, 1, 5))
    assert np.array_equal(dataset[item(3, 1, 5)].image, expected.image)
    assert not np.array_equal(dataset[item(4, 1, 5)].image, expected.image)


def test_mosaics_end_at_the_epoch_given() -> None:
    dataset = flat(9, (64, 64), pipeline=AugmentPipeline(STILL, (64, 64), 0), mosaic_until=2)
    assert [values(dataset[item(epoch, 5, 9)].image) > {114, 205} for epoch in range(4)] == [True, True, False, False]


def values(image: np.ndarray | torch.Tensor) -> set[int]:
    return set(np.unique(np.asarray(image)).tolist())


def test_mosaics_end_inside_live_workers() -> None:
    pipeline = AugmentPipeline(STILL, (64, 64), 0)
    dataset = flat(8, (64, 64), pipeline=pipeline, mosaic_until=2)
    sampler = EpochSampler(8, 0)
    loader: DataLoader = DataLoader(
        dataset,
        sampler=sampler,
        batch_size=4,
        num_workers=2,
        collate_fn=collate,
        persistent_workers=True,
    )
    mixed = []
    workers = set()
    for epoch in range(4):
        sampler.set_epoch(epoch)
        batches: list[Batch] = list(loader)
        mixed.append(any(len(values(image)) > 2 for batch in batches for image in batch.images))
        workers.add(tuple(worker.pid for worker in loader._iterator._workers))  # type: ignore[union-attr]
    assert mixed == [True, True, False, False]
    assert len(workers) == 1, "the workers were started anew, so this test says nothing"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_tiny_datasets_make_mosaics(count: int) -> None:
    dataset = flat(count, (64, 64), pipeline=AugmentPipeline(STILL, (64, 64), 0))
    for epoch in range(10):
        assert values(dataset[item(epoch, 0, count)].image) <= {114, 200, 201, 202}


def test_an_epoch_without_a_pipeline_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no pipeline"):
        flat(1, (64, 64))[item(0, 0, 1)]


def test_an_image_of_another_size_than_its_annotations() -> None:
    turned = records(1, size=(30, 20))
    dataset = DetectionDataset(turned, LoadedPixels(turned, Flat()), (64, 64))
    expected = "200: the image is 30 x 20 pixels (width x height), but its annotations are for 20 x 30"
    with pytest.raises(UserError, match=re.escape(expected)):
        dataset[0]


def test_a_missing_image_is_named(write_image: Callable[..., Path]) -> None:
    path = write_image("a.jpg", (20, 30))
    record = AnnotatedImage(
        path, 1, (20, 30), np.zeros((0, 4), np.float32), np.zeros(0, int), np.zeros(0, bool), np.zeros(0)
    )
    dataset = DetectionDataset([record], LoadedPixels([record], DefaultImageLoader()), (64, 64))
    assert dataset[0].boxes.shape == (0, 4)
    path.unlink()
    with pytest.raises(UserError, match=re.escape(f"{path}: no such image file")):
        dataset[0]


class Shrunk:
    """Pixels at half the size of the records."""

    def __call__(self, index: int) -> Image:
        return np.full((10, 15, 3), 200 + index, np.uint8)


def test_boxes_follow_pixels_that_are_kept_smaller() -> None:
    sample = DetectionDataset(records(2), Shrunk(), (60, 60)).read(1)
    assert sample.image.shape == (10, 15, 3)
    np.testing.assert_allclose(sample.boxes, [[1.5, 2, 6.5, 7]])
    np.testing.assert_allclose(DetectionDataset(records(2), Shrunk(), (60, 60))[1].boxes, [[6, 18, 26, 38]])
