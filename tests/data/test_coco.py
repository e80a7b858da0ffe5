from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yolo.data.annotations import AnnotatedSet
from yolo.data.encrypted_loader import EncryptedImageLoader
from yolo.data.formats.coco import read_coco
from yolo.data.options import BadLabelPolicy
from yolo.errors import UserError

MakeDataset = Callable[..., Path]


def read(path: Path, policy: BadLabelPolicy = "error", split_file: Path | None = None) -> AnnotatedSet:
    return read_coco(path.parent / "images", path, split_file, policy)


def test_reads_images_boxes_classes_crowds_and_areas(coco: MakeDataset) -> None:
    found = read(coco())
    assert found.class_names == ("dog", "cat")
    assert found.category_ids == (4, 90)
    assert found.skipped == {}
    b, a = found.images
    assert (b.path.name, b.image_id, b.size) == ("b.jpg", 7, (40, 60))
    assert b.boxes.tolist() == [[30, 10, 70, 15]], "kept as in the file, also where it sticks out"
    assert b.areas.tolist() == [200], "width * height without `area`"
    assert (a.path.name, a.image_id, a.size) == ("a.jpg", 3, (30, 50))
    assert a.boxes.tolist() == [[1.5, 2, 11.5, 22], [0, 0, 5, 5]]
    assert a.classes.tolist() == [1, 0]
    assert a.crowd.tolist() == [False, True]
    assert a.areas.tolist() == [123.5, 25]
    assert a.boxes.dtype == "float32"
    assert a.classes.dtype == "int64"


def test_an_image_without_annotations_is_background(coco: MakeDataset) -> None:
    found = read(coco(annotations=[]))
    assert [image.boxes.shape for image in found.images] == [(0, 4), (0, 4)]


def test_split_file_chooses_images(coco: MakeDataset, tmp_path: Path) -> None:
    split = tmp_path / "split.txt"
    split.write_text("a\n")
    assert [image.image_id for image in read(coco(), split_file=split).images] == [3]


def annotation(**changes: Any) -> dict[str, Any]:
    return {"id": 9, "image_id": 3, "category_id": 4, "bbox": [1, 2, 3, 4], **changes}


CAT = {"id": 4, "name": "cat"}
IMAGE = {"id": 3, "file_name": "a.jpg", "width": 50, "height": 30}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"images": []}, "ann.json: lists no images, expected at least one"),
        ({"images": None}, "ann.json: no list 'images', expected"),
        ({"annotations": {}}, "ann.json: no list 'annotations', expected"),
        ({"annotations": [3]}, "ann.json: 'annotations' holds something else than objects"),
        ({"images": [IMAGE, {**IMAGE, "file_name": "b.jpg"}]}, "two images have the id 3: a.jpg and b.jpg"),
        ({"images": [{**IMAGE, "id": "3"}]}, "expected a whole number `id` (0 to 2^53) and a `file_name`"),
        ({"images": [{**IMAGE, "id": 2**53 + 1}]}, "expected a whole number `id` (0 to 2^53)"),
        ({"images": [{**IMAGE, "id": -1}]}, "expected a whole number `id` (0 to 2^53)"),
        ({"images": [{**IMAGE, "file_name": "\udc80.jpg"}]}, "'\\udc80.jpg', "),
        ({"categories": [{**CAT, "name": "\ud800"}]}, "expected a whole number `id` (0 to 2^53) and a `name`"),
        ({"images": [{**IMAGE, "width": 2**31}]}, "has width 2147483648 and height 30, expected pixels"),
        ({"images": [{**IMAGE, "width": 0}]}, "image 3 (a.jpg) has width 0 and height 30, expected pixels"),
        ({"images": [{**IMAGE, "file_name": "no.jpg"}], "annotations": []}, "images/no.jpg: no such image file, but"),
        ({"images": [{**IMAGE, "file_name": "d/a.jpg"}], "annotations": []}, "images/d/a.jpg: no such image file, but"),
        ({"categories": [CAT, {**CAT, "name": "dog"}]}, "two categories have the id 4: 'cat' and 'dog'"),
        ({"categories": []}, "ann.json: no categories, expected at least one"),
        ({"categories": [{"id": 1}]}, "category {'id': 1}, expected a whole number `id` (0 to 2^53) and a `name`"),
        ({"annotations": [annotation(image_id=8)]}, "annotation 9 belongs to image 8, which the file does not list"),
        ({"annotations": [annotation(category_id=5)]}, "annotation 9 has category 5, which is none of the 2 that"),
    ],
)
def test_a_broken_file_is_a_sentence(coco: MakeDataset, changes: dict[str, Any], expected: str) -> None:
    path = coco(**changes)
    for policy in ("error", "skip"):
        with pytest.raises(UserError, match=re.escape(expected)) as caught:
            read(path, policy)
        assert str(path) in str(caught.value)


BAD_LABELS = [
    ({"bbox": [1, 2, 3, -1]}, "has bbox [1, 2, 3, -1], expected a positive width", "malformed boxes"),
    ({"bbox": [1, 2, 3]}, "has bbox [1, 2, 3], expected four numbers [x, y, width, height]", "malformed boxes"),
    ({"bbox": [1, 2, 3, "4"]}, "expected four numbers [x, y, width, height]", "malformed boxes"),
    ({"bbox": [1, 2, 3, float("nan")]}, "expected four numbers [x, y, width, height]", "malformed boxes"),
    ({"bbox": [50, 2, 3, 4]}, "bbox [50, 2, 3, 4], outside the image of 50 x 30 pixels", "boxes outside the image"),
    ({"area": "big"}, "has area big, expected a number of square pixels", "malformed areas"),
]


@pytest.mark.parametrize(("changes", "expected", "reason"), BAD_LABELS)
def test_a_bad_label_stops_or_is_counted(
    coco: MakeDataset, changes: dict[str, Any], expected: str, reason: str
) -> None:
    path = coco(annotations=[annotation(**changes), annotation(id=10)])
    with pytest.raises(UserError, match=re.escape(expected)) as caught:
        read(path)
    assert f"{path}: annotation 9 has" in str(caught.value)
    found = read(path, "skip")
    assert found.skipped == {reason: 1}
    assert sum(len(image.boxes) for image in found.images) == 1


@pytest.mark.parametrize("box", [[1, 2, 0, 4], [1, 2, 3, 0]])
def test_a_box_without_area_is_left_out_and_counted(coco: MakeDataset, box: list[int]) -> None:
    path = coco(annotations=[annotation(bbox=box), annotation(id=10)])
    found = read(path, "error")
    assert found.skipped == {"boxes without area": 1}
    assert sum(len(image.boxes) for image in found.images) == 1


def test_broken_json_names_line_and_column(coco: MakeDataset) -> None:
    path = coco()
    path.write_text('{"images": [],\n "annotations": [}')
    with pytest.raises(UserError, match=re.escape(f"{path}:2: broken JSON, Expecting value at column 18")):
        read(path)


def test_missing_files(coco: MakeDataset) -> None:
    path = coco()
    with pytest.raises(UserError, match=r"no\.json: no such file, expected COCO annotations"):
        read(path.with_name("no.json"))
    with pytest.raises(UserError, match="nowhere: no such image folder"):
        read_coco(path.parent / "nowhere", path, None, "error")


def test_real_datasets_load_with_defaults(test_data: Path) -> None:
    cells = read_coco(test_data / "bccd/images/train", test_data / "bccd/annotations/train.json", None, "error")
    assert (len(cells.images), sum(len(image.boxes) for image in cells.images)) == (205, 2804)
    assert cells.class_names == ("RBC", "WBC", "Platelets")
    coco128 = read_coco(test_data / "coco128/images/train", test_data / "coco128/annotations/train.json", None, "error")
    assert (len(coco128.images), len(coco128.class_names)) == (128, 80)
    assert sum(len(image.boxes) for image in coco128.images) == 939
    assert sum(int(image.crowd.sum()) for image in coco128.images) == 10


def test_encrypted_images(coco: MakeDataset, tmp_path: Path) -> None:
    path = coco()
    images = path.parent / "images"

    def read_encrypted(split: str | None = None) -> list[Path]:
        split_file = tmp_path / "split.txt" if split else None
        if split_file:
            split_file.write_text(split or "")
        found = read_coco(images, path, split_file, "error", EncryptedImageLoader.suffixes)
        return [image.path.relative_to(images) for image in found.images]

    (images / "a.jpg.enc").touch()
    assert read_encrypted() == [Path("b.jpg"), Path("a.jpg")], "the plain one first"
    (images / "a.jpg").unlink()
    (images / "b.jpg").rename(images / "b.enc")
    assert read_encrypted() == [Path("b.enc"), Path("a.jpg.enc")]
    for split in ("a", "a.jpg", "a.jpg.enc"):
        assert read_encrypted(split) == [Path("a.jpg.enc")]
    for split in ("b", "b.jpg", "b.enc"):
        assert read_encrypted(split) == [Path("b.enc")]
    with pytest.raises(UserError, match=r"b\.jpg: no such image file.*; 1 encrypted .*EncryptedImageLoader$"):
        read(path)


@pytest.mark.parametrize("crowd", ["no", "0", None, 2, 1.0, [1]])
def test_a_crowd_flag_that_is_none(coco: MakeDataset, crowd: object) -> None:
    path = coco(annotations=[annotation(iscrowd=crowd)])
    with pytest.raises(UserError, match=re.escape(f"annotation 9 has iscrowd {crowd!r}, expected 0 or 1")):
        read(path)
    assert read(path, "skip").skipped == {"malformed crowd flags": 1}


@pytest.mark.parametrize("crowd", [0, 1, False, True])
def test_crowd_flags(coco: MakeDataset, crowd: int) -> None:
    image = read(coco(annotations=[annotation(iscrowd=crowd)])).images[1]
    assert image.crowd.tolist() == [bool(crowd)]
