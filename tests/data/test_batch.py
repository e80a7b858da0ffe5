from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from yolo.data.annotations import AnnotatedImage
from yolo.data.batch import Sample, collate


def sample(seed: int, objects: int) -> Sample:
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(0, 10, (objects, 4)).astype(np.float32)
    classes = rng.integers(0, 90, objects)
    record = AnnotatedImage(
        Path(f"{seed}.jpg"), seed, (4, 6), boxes, classes, np.zeros(objects, bool), np.zeros(objects)
    )
    return Sample(rng.integers(0, 256, (4, 6, 3), np.uint8), boxes, classes, record)


def test_batch_contract() -> None:
    samples = [sample(1, 2), sample(2, 0), sample(3, 1)]
    batch = collate(samples)
    assert batch.images.dtype == torch.uint8
    assert batch.images.shape == (3, 3, 4, 6)
    assert batch.targets.dtype == torch.float32
    for i, (image, original) in enumerate(zip(batch.images, samples, strict=True)):
        assert np.array_equal(image.numpy(), original.image.transpose(2, 0, 1))
        rows = batch.targets[batch.targets[:, 0] == i]
        assert np.array_equal(rows[:, 1].numpy(), original.classes)
        assert np.array_equal(rows[:, 2:].numpy(), original.boxes)
    assert batch.targets[:, 0].tolist() == [0, 0, 2]
    assert [record.image_id for record in batch.records] == [1, 2, 3]
    assert len(batch) == 3


def test_images_are_stored_channels_last() -> None:
    assert collate([sample(1, 0), sample(2, 0)]).images.is_contiguous(memory_format=torch.channels_last)


def test_a_batch_without_objects_has_an_empty_table() -> None:
    assert collate([sample(1, 0)]).targets.shape == (0, 6)


def test_to_moves_tensors_and_keeps_records() -> None:
    batch = collate([sample(1, 2)])
    moved = batch.to("meta")
    assert moved.images.is_meta
    assert moved.targets.is_meta
    assert moved.records is batch.records
    assert not batch.images.is_meta


def test_gains_of_the_colours_travel_with_the_images() -> None:
    samples = [sample(1, 2), sample(2, 0)]
    for gains, each in zip(([1, 0.5, 1.25], [0.75, 1, 2]), samples, strict=True):
        each.colour_gains = np.array(gains)
    batch = collate(samples)
    assert batch.colour_gains is not None
    assert batch.colour_gains.dtype == torch.float32
    assert batch.colour_gains.tolist() == [[1, 0.5, 1.25], [0.75, 1, 2]]
    moved = batch.to("meta").colour_gains
    assert moved is not None
    assert moved.is_meta
    assert collate([sample(1, 2)]).to("cpu").colour_gains is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_pin_memory() -> None:
    batch = collate([sample(1, 2)]).pin_memory()
    assert batch.images.is_pinned()
    assert batch.targets.is_pinned()
