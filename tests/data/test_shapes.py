from __future__ import annotations

import multiprocessing
import pickle
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from yolo.data.formats.shapes import CLASS_NAMES, ShapesLoader, plan_scene, read_shapes
from yolo.errors import UserError


def checksum(index: int) -> int:
    return zlib.crc32(ShapesLoader(160, 0)(Path(f"shapes/train/{index:06d}.png")).tobytes())


def test_records_fit_the_images() -> None:
    found = read_shapes(20, 160, 0, "val")
    assert found.class_names == CLASS_NAMES
    loader = ShapesLoader(160, 0)
    for number, record in enumerate(found.images):
        assert record.path == Path(f"shapes/val/{number:06d}.png")
        assert record.image_id == number + 1
        image = loader(record.path)
        assert image.dtype == np.uint8
        assert image.shape == (*record.size, 3)
        height, width = record.size
        assert (record.boxes >= 0).all()
        assert (record.boxes <= [width, height, width, height]).all()
        assert len(record.boxes) == len(record.classes) == len(record.crowd) == len(record.areas)
        np.testing.assert_allclose(record.areas, (record.boxes[:, 2:] - record.boxes[:, :2]).prod(1))


def test_sizes_and_aspects_vary_around_the_one_asked_for() -> None:
    sizes = np.array([image.size for image in read_shapes(100, 160, 0, "train").images])
    assert 0.86 * 160 < sizes.min() < 145
    assert 175 < sizes.max() < 1.14 * 160
    assert np.std(sizes[:, 0] / sizes[:, 1]) > 0.05


def test_all_classes_occur_about_equally() -> None:
    counts = np.bincount(np.concatenate([image.classes for image in read_shapes(200, 160, 0, "train").images]))
    assert len(counts) == len(CLASS_NAMES)
    assert counts.min() > 0.7 * counts.mean()


def test_boxes_are_tight_around_what_is_visible_and_enough_is() -> None:
    """Paints flat labels from back to front and looks at the pixels left of each shape."""
    overlaps = 0
    for index in range(60):
        scene = plan_scene(3, "train", index, 160)
        picture = np.full(scene.size, -1)
        for number, shape in enumerate(scene.shapes):
            solid = shape.coverage >= 128
            region = picture[shape.region]
            overlaps += int((region[solid] >= 0).any())
            region[solid] = number
        for number, (shape, box) in enumerate(zip(scene.shapes, scene.boxes, strict=True)):
            rows, columns = np.nonzero(picture == number)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert len(rows) >= 0.7 * (shape.coverage >= 128).sum()
    assert overlaps > 20


def test_shapes_stand_out_from_what_is_behind_them() -> None:
    """Across the middle of a box colours change more than grain alone would make them."""
    record = read_shapes(30, 160, 0, "train").images
    loader = ShapesLoader(160, 0)
    contrasts = []
    for image in record:
        pixels = loader(image.path).astype(float)
        x1, y1, x2, y2 = image.boxes[-1].astype(int)
        inside = pixels[(y1 + y2) // 2 - 2 : (y1 + y2) // 2 + 2, x1:x2].std((0, 1)).max()
        contrasts.append(inside)
    assert np.median(contrasts) > 15


def test_splits_seeds_and_indices_differ() -> None:
    images = {
        ShapesLoader(160, seed)(Path(f"shapes/{split}/{index:06d}.png")).tobytes()
        for seed in (0, 1)
        for split in ("train", "val")
        for index in (0, 1)
    }
    assert len(images) == 8


@pytest.mark.slow
def test_same_picture_in_another_process() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(checksum, [0, 17]) == [checksum(0), checksum(17)]


def test_more_images_do_not_change_the_first_ones() -> None:
    few, many = read_shapes(2, 160, 0, "train").images, read_shapes(5, 160, 0, "train").images
    assert [image.boxes.tolist() for image in few] == [image.boxes.tolist() for image in many[:2]]


def test_loader_refuses_other_paths() -> None:
    for path in ("shapes/test/000001.png", "photos/cat.jpg", "shapes/train/1.png"):
        with pytest.raises(UserError, match=re.escape(f"{path}: no image of the embedded dataset")):
            ShapesLoader(160, 0)(Path(path))


def test_loader_is_picklable() -> None:
    loader = pickle.loads(pickle.dumps(ShapesLoader(99, 5)))
    assert (loader.size, loader.seed) == (99, 5)
