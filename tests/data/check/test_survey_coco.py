from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.data.check.broken import COCO, SIZE, broken_coco, sound_coco
from yolo.data.check.survey_coco import survey_coco
from yolo.data.loaders import DefaultImageLoader
from yolo.data.options import DataOptions
from yolo.data.source import read_split
from yolo.errors import UserError

LOADER = DefaultImageLoader()


def test_keeps_what_training_keeps(tmp_path: Path) -> None:
    sound_coco(tmp_path)
    file = tmp_path / "train.json"
    document = json.loads(file.read_text())
    for number, box in enumerate(([1, 1, 0, 3], [-5, 1, 10, 10], [90, 1, 2, 2], [1, 1, -2, 2])):
        document["annotations"].append({"id": 900 + number, "image_id": 3, "category_id": 5, "bbox": box})
    file.write_text(json.dumps(document))
    options = DataOptions(format="coco", root=str(tmp_path), on_bad_label="skip", **COCO)
    survey, read = survey_coco(options, "train", LOADER), read_split(options, "train", LOADER)
    for ours, theirs in zip(survey.images, read.images, strict=True):
        assert (ours.path, ours.image_id, ours.size) == (theirs.path, theirs.image_id, theirs.size)
        for name in ("boxes", "classes", "crowd", "areas"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name))
    assert {kind: len(places) for kind, places in survey.faults.items()} == read.skipped
    assert (survey.class_names, survey.category_ids) == (("cat", "dog"), (1, 5))


def test_missing_images_are_listed_but_not_looked_at(tmp_path: Path) -> None:
    survey = survey_coco(DataOptions(format="coco", root=str(broken_coco(tmp_path)), **COCO), "train", LOADER)
    assert (survey.listed, len(survey.images)) == (12, 11)
    assert all(image.size == SIZE for image in survey.images)
    assert {path.name for path in survey.strangers} == {"extra.png", "extra2.png"}


def test_split_file(tmp_path: Path) -> None:
    sound_coco(tmp_path)
    (tmp_path / "few.txt").write_text("03\n04\n")
    options = DataOptions(format="coco", root=str(tmp_path), train_split="few.txt", **COCO)
    survey = survey_coco(options, "train", LOADER)
    assert (survey.listed, survey.faults, survey.strangers) == (2, {}, frozenset())


@pytest.mark.parametrize(
    ("changes", "content", "message"),
    [
        ({"train_images": "nowhere"}, None, "nowhere: no such image folder"),
        ({"train_ann": "none.json"}, None, "none.json: no such file"),
        ({}, "{", "broken JSON"),
        ({}, '{"images": [], "annotations": [], "categories": []}', "no categories"),
    ],
)
def test_without_a_split_there_is_nothing_to_look_at(
    changes: dict[str, str], content: str | None, message: str, tmp_path: Path
) -> None:
    sound_coco(tmp_path)
    if content is not None:
        (tmp_path / "train.json").write_text(content)
    with pytest.raises(UserError, match=message):
        survey_coco(DataOptions(format="coco", root=str(tmp_path), **(COCO | changes)), "train", LOADER)
