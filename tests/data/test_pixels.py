from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from yolo.data.annotations import AnnotatedImage
from yolo.data.loaders import Image, ImageLoader
from yolo.data.pixels import BufferedPixels, LoadedPixels, RecordPixels
from yolo.errors import UserError


class Counting:
    """Images of 12 bytes each, whose value is their number; remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, index: int) -> Image:
        self.asked.append(index)
        return np.full((2, 2, 3), index, np.uint8)


def ask(pixels: BufferedPixels, *indices: int) -> None:
    for index in indices:
        assert (pixels(index) == index).all()


def test_the_images_used_last_are_kept() -> None:
    source = Counting()
    pixels = BufferedPixels(source, 3 * 12)
    ask(pixels, 0, 1, 2, 0, 2, 1, 0)
    assert source.asked == [0, 1, 2]
    ask(pixels, 3, 1, 0, 2)  # 3 takes the place of 2, and 2 that of 3
    assert source.asked == [0, 1, 2, 3, 2]
    ask(pixels, 1, 0, 3)
    assert source.asked == [0, 1, 2, 3, 2, 3]


@pytest.mark.parametrize("capacity", [0, 11])
def test_an_image_larger_than_the_buffer_is_not_kept(capacity: int) -> None:
    source = Counting()
    ask(BufferedPixels(source, capacity), 0, 0, 1)
    assert source.asked == [0, 0, 1]


def test_memory_is_bounded() -> None:
    pixels = BufferedPixels(Counting(), 50)
    ask(pixels, *range(100))
    assert sum(image.nbytes for image in pixels._images.values()) == pixels._bytes == 48


def test_what_is_kept_does_not_keep_more() -> None:
    whole = np.zeros((1000, 1000, 3), np.uint8)
    pixels = BufferedPixels(lambda index: whole[index : index + 2, :2], 50)
    for index in range(3):
        kept = pixels(index)
        assert kept.shape == (2, 2, 3)
        assert not np.shares_memory(kept, whole)
        assert pixels(index) is kept


def test_a_copy_for_a_worker_starts_empty() -> None:
    pixels = BufferedPixels(Counting(), 100)
    ask(pixels, 0, 1)
    copy = pickle.loads(pickle.dumps(pixels))
    ask(copy, 0)
    assert copy.source.asked == [0, 1, 0]
    assert copy._bytes == 12


class Blank(ImageLoader):
    def __call__(self, path: Path) -> Image:
        return np.zeros((20, 30, 3), np.uint8)


def test_records_find_their_pixels_whatever_their_order() -> None:
    nothing = np.zeros(0, np.int64)
    boxes = np.zeros((0, 4), np.float32)
    records = [
        AnnotatedImage(Path(f"{i}.jpg"), i, (2, 2), boxes, nothing, nothing.astype(bool), nothing.astype(float))
        for i in (7, 3, 5)
    ]
    pixels = RecordPixels(records, Counting())
    copy = pickle.loads(pickle.dumps(records[1]))
    assert [int(pixels(record)[0, 0, 0]) for record in (records[2], copy, records[0])] == [2, 1, 0]


def test_files_must_have_the_size_of_their_annotations() -> None:
    def record(size: tuple[int, int]) -> AnnotatedImage:
        none = np.zeros(0)
        return AnnotatedImage(Path("a.jpg"), 1, size, none.reshape(0, 4), none.astype(int), none.astype(bool), none)

    pixels = LoadedPixels([record((20, 30)), record((30, 20))], Blank())
    assert pixels(0).shape == (20, 30, 3)
    with pytest.raises(UserError, match=r"a\.jpg: the image is 30 x 20 pixels .* annotations are for 20 x 30"):
        pixels(1)
