from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.check.broken import broken_yolo, picture, sound_yolo, write
from yolo.data.check.survey_yolo import survey_yolo
from yolo.data.loaders import DefaultImageLoader
from yolo.data.options import DataOptions
from yolo.data.source import read_split
from yolo.errors import UserError

LOADER = DefaultImageLoader()


def options(root: Path, **changes: str) -> DataOptions:
    return DataOptions(format="yolo", root=str(root), **changes)


def test_keeps_what_training_keeps(tmp_path: Path) -> None:
    """Where no fault stops the reader, both read the same."""
    broken_yolo(tmp_path)
    (tmp_path / "images/train/00.png").unlink()
    file = tmp_path / "labels/train/05.txt"
    file.write_text(file.read_text().replace("7 ", "1 "))
    chosen = options(tmp_path, on_bad_label="skip")
    survey, read = survey_yolo(chosen, "train", LOADER), read_split(chosen, "train", LOADER)
    assert survey.listed == len(read.images)
    for ours, theirs in zip(survey.images, read.images, strict=True):
        assert (ours.path, ours.image_id, ours.size) == (theirs.path, theirs.image_id, theirs.size)
        for name in ("boxes", "classes", "crowd", "areas"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name))
    bad = {kind: len(survey.faults[kind]) for kind in read.skipped}
    assert bad == read.skipped


def test_images_that_cannot_be_opened_are_listed(tmp_path: Path) -> None:
    sound_yolo(tmp_path)
    (tmp_path / "images/val/03.png").write_bytes(b"")
    survey = survey_yolo(options(tmp_path), "val", LOADER)
    assert (survey.listed, len(survey.images)) == (10, 9)


def test_labels_of_images_that_a_split_leaves_out_have_an_image(tmp_path: Path) -> None:
    sound_yolo(tmp_path)
    (tmp_path / "few.txt").write_text("01\n05.png\n")
    survey = survey_yolo(options(tmp_path, train_split="few.txt"), "train", LOADER)
    assert (survey.listed, survey.faults) == (2, {})
    (tmp_path / "labels/train/ghost.txt").write_text("")
    survey = survey_yolo(options(tmp_path, train_split="few.txt"), "train", LOADER)
    assert len(survey.faults["labels without image"]) == 1


def test_nested_folders_and_labels_elsewhere(tmp_path: Path) -> None:
    sound_yolo(tmp_path)
    write(tmp_path / "images/val/night/00.png", picture(300))
    (tmp_path / "labels/val/night").mkdir()
    (tmp_path / "labels/val/night/00.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    assert survey_yolo(options(tmp_path), "val", LOADER).faults == {}
    (tmp_path / "labels").rename(tmp_path / "texts")
    assert survey_yolo(options(tmp_path, val_labels="texts/val"), "val", LOADER).faults == {}
    (tmp_path / "texts/val/day").mkdir()
    (tmp_path / "texts/val/day/00.txt").write_text("")  # 00.png is in other folders
    faults = survey_yolo(options(tmp_path, val_labels="texts/val"), "val", LOADER).faults
    assert faults == {"labels without image": [f"{tmp_path}/texts/val/day/00.txt: no image has this name"]}


def test_a_list_of_images(tmp_path: Path) -> None:
    sound_yolo(tmp_path)
    (tmp_path / "labels/train/list.txt").write_text("no labels\n")
    (tmp_path / "list.txt").write_text("images/train/00.png\nimages/val/00.png\n")
    survey = survey_yolo(options(tmp_path, train_images="list.txt"), "train", LOADER)
    assert (survey.listed, survey.faults) == (2, {})


def test_images_that_share_a_label_file(tmp_path: Path) -> None:
    images = sound_yolo(tmp_path) / "images/train"
    write(images / "03.jpg", picture(300))
    write(images / "new.jpg", picture(301))
    write(images / "new.png", picture(302))  # no label file to share
    write(images / "night/04.png", picture(303))
    faults = survey_yolo(options(tmp_path), "train", LOADER).faults
    assert faults["images that share a label file"] == [
        f"{tmp_path}/labels/train/03.txt: belongs to {images}/03.jpg and {images}/03.png"
    ]


def test_without_a_split_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    sound_yolo(tmp_path)
    with pytest.raises(UserError, match="nowhere: no such image folder"):
        survey_yolo(options(tmp_path, train_images="nowhere"), "train", LOADER)
