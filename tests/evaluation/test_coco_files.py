from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo.errors import UserError
from yolo.evaluation.coco import CocoEvaluation
from yolo.evaluation.coco_files import read_annotations, read_detections

GT: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "b.jpg", "height": 50, "width": 60},
        {"id": 3, "file_name": "a.jpg", "height": 40, "width": 30},
    ],
    "categories": [{"id": 9, "name": "owl"}, {"id": 2, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 9, "bbox": [1, 2, 3, 4], "area": 5.5, "iscrowd": 1},
        {"id": 2, "image_id": 3, "category_id": 2, "bbox": [1.5, 2, 0, 4]},
        {"id": 3, "image_id": 7, "category_id": 2, "bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0},
    ],
}
FOUND = {"image_id": 7, "category_id": 9, "bbox": [1, 2, 3, 4], "score": 0.5}


def write(folder: Path, content: Any, name: str = "file.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_columns_in_the_order_of_images(tmp_path: Path) -> None:
    read = read_annotations(write(tmp_path, GT))
    truth = read.ground_truth
    assert (read.category_ids, read.class_names) == ((2, 9), ("cat", "owl"))
    assert [image["id"] for image in truth.images] == [3, 7]
    assert truth.image_ids.tolist() == [3, 7, 7]
    assert truth.classes.tolist() == [0, 1, 0]
    # Nothing is left out: a box without area counts for pycocotools too.
    np.testing.assert_array_equal(truth.boxes, [[1.5, 2, 1.5, 6], [1, 2, 4, 6], [10, 10, 30, 30]])
    assert truth.areas.tolist() == [0, 5.5, 400]
    assert truth.crowd.tolist() == [False, True, False]
    assert [(r.image_id, r.size, len(r.classes)) for r in read.records] == [(3, (40, 30), 1), (7, (50, 60), 2)]
    assert read.records[1].boxes.tolist() == [[1, 2, 4, 6], [10, 10, 30, 30]]


def test_detections(tmp_path: Path) -> None:
    annotations = read_annotations(write(tmp_path, GT))
    more = {"score": 1, "bbox": [0.25, 0, 8, 8], "category_id": 2, "image_id": 3, "segmentation": []}
    found = read_detections(write(tmp_path, [FOUND, more]), annotations)
    assert found.image_ids.tolist() == [7, 3]
    assert found.classes.tolist() == [1, 0]
    np.testing.assert_array_equal(found.boxes, [[1, 2, 4, 6], [0.25, 0, 8.25, 8]])
    assert found.scores.tolist() == [0.5, 1.0]
    assert len(read_detections(write(tmp_path, []), annotations).scores) == 0


def test_known_answers(test_data: Path) -> None:
    folder = test_data / "known_answers" / "coco128"
    expected = json.loads((folder / "expected.json").read_text())
    annotations = read_annotations(folder / "gt.json")
    found = read_detections(folder / "detections.json", annotations)
    summary = CocoEvaluation(annotations.ground_truth, found, annotations.category_ids).summary
    assert summary == pytest.approx(expected["stats"], abs=1e-9)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{]", r"file.json:1: broken JSON"),
        (GT, r"file.json: holds an object, as if it were an annotation file, expected a list of detections"),
        ("null", r"holds null, expected a list"),
        ([FOUND, 3], r"detection 2 is no object, expected image_id"),
        ([FOUND, FOUND | {"image_id": 8}], r"detection 2 has image_id 8, which the annotations do not list"),
        ([FOUND | {"image_id": "7"}], r"detection 1 has image_id '7', expected a whole number"),
        ([FOUND | {"image_id": True}], r"image_id True, expected a whole number"),
        ([FOUND | {"category_id": 1}], r"detection 1 has category_id 1, which the annotations do not list"),
        ([{"image_id": 7, "bbox": [1, 2, 3, 4], "score": 1}], r"detection 1 has no 'category_id'"),
        ([FOUND, {"image_id": 7, "category_id": 9, "bbox": [1, 2, 3, 4]}], r"detection 2 has no 'score'"),
        ([FOUND | {"score": float("nan")}], r"detection 1 has score nan, expected a number"),
        ([FOUND | {"score": "0.5"}], r"detection 1 has score '0.5', expected a number"),
        ([FOUND | {"bbox": [1, 2, float("nan"), 4]}], r"detection 1 has bbox \[1, 2, nan, 4\], expected four numbers"),
        ([FOUND, FOUND | {"bbox": [1, 2, 3]}], r"detection 2 has bbox \[1, 2, 3\], expected four numbers"),
        ([FOUND | {"score": 10**400}], r"detection 1 has score 1000+\.\.\., expected a number"),
        ([FOUND | {"image_id": 2**70}], r"image_id 1180591620717411303424, which the annotations do not list"),
        ([FOUND | {"bbox": [0, 0, 1e308, 1e308]}], r"bbox \[0, 0, 1e\+308, 1e\+308\], expected four numbers"),
        ([FOUND | {"bbox": [0, 0, 10**400, 1]}], r"bbox \[0, 0, 1000+\.\.\., expected four numbers"),
        ("[" * 100_000, r"file.json: broken JSON, nested too deeply"),
        (f"[{'9' * 5000}]", r"file.json: broken JSON, a number has thousands of digits"),
        ([FOUND | {"bbox": [1, 2, -3, 4]}], r"bbox \[1, 2, -3, 4\], expected four numbers"),
        ([FOUND | {"bbox": [1, 2, "3", 4]}], r"bbox \[1, 2, '3', 4\], expected four numbers"),
        ([{k: v for k, v in FOUND.items() if k != "bbox"}], r"detection 1 has no 'bbox'$"),
        (
            [{"image_id": 7, "category_id": 9, "score": 1, "segmentation": {"size": [1, 1]}}],
            r"detection 1 has no 'bbox', only segmentation: boxes are what is evaluated",
        ),
    ],
)
def test_wrong_detections(content: Any, message: str, tmp_path: Path) -> None:
    annotations = read_annotations(write(tmp_path, GT, "gt.json"))
    with pytest.raises(UserError, match=message):
        read_detections(write(tmp_path, content), annotations)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 8}, "annotation 2 has image_id 8, which the annotations do not list"),
        ({"category_id": None}, "annotation 2 has category_id None, expected a whole number"),
        ({"bbox": [0, 0, 1]}, "annotation 2 has bbox"),
        ({"area": "big"}, "annotation 2 has area 'big', expected a number"),
        ({"iscrowd": 2}, "annotation 2 has iscrowd 2, expected 0 or 1"),
    ],
)
def test_wrong_annotations(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    first, second, third = GT["annotations"]
    with pytest.raises(UserError, match=message):
        read_annotations(write(tmp_path, GT | {"annotations": [first, second | change, third]}))


def test_scores_that_are_no_shares(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    annotations = read_annotations(write(tmp_path, GT, "gt.json"))
    read_detections(write(tmp_path, [FOUND | {"score": score} for score in (0, 1)]), annotations)
    assert not caplog.messages
    found = read_detections(write(tmp_path, [FOUND, FOUND | {"score": 95}, FOUND | {"score": -1}]), annotations)
    assert found.scores.tolist() == [0.5, 95, -1]
    assert "detection 2 has score 95, expected scores from 0 to 1, 2 are not" in caplog.text


@pytest.mark.parametrize("content", ["[" * 100_000, f"[{'9' * 5000}]"])
def test_json_that_harms(content: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"file.json: broken JSON"):
        read_annotations(write(tmp_path, content))


def test_the_largest_ids_and_images(tmp_path: Path) -> None:
    last = 2**53
    content = GT | {"images": [{"id": last, "file_name": "a.jpg", "height": 2**31 - 1, "width": 10}]}
    truth = [{"id": last, "image_id": last, "category_id": last, "bbox": [1, 2, 3, 4]}]
    annotations = read_annotations(
        write(tmp_path, content | {"annotations": truth, "categories": [{"id": last, "name": "x"}]})
    )
    found = read_detections(write(tmp_path, [FOUND | {"image_id": last, "category_id": last}]), annotations)
    summary = CocoEvaluation(annotations.ground_truth, found, annotations.category_ids).summary
    assert summary["AP"] == pytest.approx(1)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.json: no such file, expected COCO annotations"):
        read_annotations(tmp_path / "none.json")
    annotations = read_annotations(write(tmp_path, GT))
    with pytest.raises(UserError, match=r"none.json: no such file, expected detections"):
        read_detections(tmp_path / "none.json", annotations)
    (tmp_path / "bytes").write_bytes(b"\xff[")
    with pytest.raises(UserError, match="not a text file"):
        read_detections(tmp_path / "bytes", annotations)
