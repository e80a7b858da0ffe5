from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_dataset import write_dataset
from yolo.data.annotations import AnnotatedSet
from yolo.data.label_places import label_places
from yolo.data.loaders import DefaultImageLoader
from yolo.data.options import DataOptions
from yolo.data.source import read_split


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_dataset(tmp_path)
    return tmp_path


def read(options: DataOptions) -> AnnotatedSet:
    return read_split(options, "val", DefaultImageLoader())


def test_line_of_a_yolo_label_past_blank_and_bad_ones(root: Path) -> None:
    file = root / "labels/val/2.txt"
    file.write_text("\n0 0.5 0.5 0.5 0.5\n0 7 7 1 1\n\n1 0.25 0.5 0.1 0.1\n")
    options = DataOptions(format="yolo", root=str(root), on_bad_label="skip")
    image = read(options).images[2]
    assert image.boxes.shape == (2, 4)
    place = label_places(options, "val")
    assert [place(image, row) for row in range(2)] == [(file, 2), (file, 5)]


def test_label_folder_of_the_options(root: Path) -> None:
    (root / "labels/test/0.txt").write_text("\n\n1 0.5 0.5 0.5 0.5\n")
    options = DataOptions(format="yolo", root=str(root), val_labels="labels/test")
    assert label_places(options, "val")(read(options).images[0], 0) == (root / "labels/test/0.txt", 3)


def test_id_of_a_coco_annotation_past_empty_ones_and_in_any_order(root: Path) -> None:
    path = root / "annotations/val.json"
    document = json.loads(path.read_text())
    document["annotations"] = [
        {"id": 50 + i, "image_id": i % 2 + 1, "category_id": 3, "bbox": [1 + i, 1, 0 if i == 2 else 9, 9]}
        for i in range(6)
    ]
    path.write_text(json.dumps(document))
    options = DataOptions(format="coco", root=str(root), val_images="images/val", val_ann="annotations/val.json")
    images = read(options).images
    place = label_places(options, "val")
    for image in images:
        for row, box in enumerate(image.boxes):
            file, number = place(image, row)
            assert file == path
            entry = next(e for e in document["annotations"] if e["id"] == number)
            assert entry["image_id"] == image.image_id
            np.testing.assert_allclose(box[:2], entry["bbox"][:2])
    assert sum(len(image.boxes) for image in images) == 5


def test_drawn_shapes_have_no_file() -> None:
    options = DataOptions(format="shapes", shapes_val=2)
    from yolo.data.formats.shapes import ShapesLoader

    image = read_split(options, "val", ShapesLoader(180, 0)).images[0]
    assert label_places(options, "val")(image, 0) == (None, 1)
