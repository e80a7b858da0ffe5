from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.data.check.broken import COCO, sound_coco, sound_yolo
from yolo.data.check.surveys import image_folder, survey_split, survey_splits
from yolo.data.loaders import DefaultImageLoader
from yolo.data.options import DataOptions
from yolo.data.source import choose_loader
from yolo.errors import UserError


def test_every_format(tmp_path: Path) -> None:
    for options in (
        DataOptions(format="yolo", root=str(sound_yolo(tmp_path / "yolo"))),
        DataOptions(format="coco", root=str(sound_coco(tmp_path / "coco")), **COCO),
        DataOptions(format="shapes", shapes_train=12, shapes_val=10),
    ):
        loader = choose_loader(options, None)
        assert [survey_split(options, split, loader).listed for split in ("train", "val")] == [12, 10]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DataOptions(root="/no/such"), "/no/such: no such dataset folder"),
        (DataOptions(cache_only=True), "data.cache_only is true"),
    ],
)
def test_refusals(options: DataOptions, message: str) -> None:
    with pytest.raises(UserError, match=message):
        survey_split(options, "train", DefaultImageLoader())
    with pytest.raises(UserError, match=message):
        survey_splits(options, DefaultImageLoader())


def splits_of(options: DataOptions) -> tuple[list[str], list[str]]:
    surveys, notes = survey_splits(options, DefaultImageLoader())
    return [survey.split for survey in surveys], notes


@pytest.mark.parametrize(("gone", "left"), [("val", "train"), ("train", "val")])
def test_a_missing_split_is_a_note(gone: str, left: str, tmp_path: Path) -> None:
    options = DataOptions(format="yolo", root=str(sound_yolo(tmp_path)))
    assert splits_of(options) == (["train", "val"], [])
    shutil.rmtree(tmp_path / "images" / gone)
    assert splits_of(options) == ([left], [f"no {gone} split: there is no {tmp_path}/images/{gone}"])
    (tmp_path / "data.yaml").write_text(f"{gone}: pictures/{gone}\nnames: [cat, dog]\n")
    assert splits_of(options) == ([left], [f"no {gone} split: there is no {tmp_path}/pictures/{gone}"])
    shutil.rmtree(tmp_path / "images")
    with pytest.raises(UserError, match=r"there is neither .*train \(train\) nor .*val \(val\)"):
        splits_of(options)


def test_a_missing_split_of_coco(tmp_path: Path) -> None:
    root = sound_coco(tmp_path)
    given = {"train_images": "train", "train_ann": "train.json"}
    options = DataOptions(format="coco", root=str(root), **given)
    assert splits_of(options) == (["train"], [f"no val split: there is no {root}/val2017"])
    (root / "val").rename(root / "val2017")  # half of a split is a fault
    with pytest.raises(UserError, match=r"instances_val2017\.json: no such file"):
        splits_of(options)


@pytest.mark.parametrize("named", ["val_images", "val_labels", "val_split"])
def test_a_split_that_options_speak_of_must_be_there(named: str, tmp_path: Path) -> None:
    root = sound_yolo(tmp_path)
    shutil.rmtree(root / "images/val")
    with pytest.raises(UserError, match="no such image folder or list file"):
        splits_of(DataOptions(format="yolo", root=str(root), **{named: "nowhere"}))


def test_image_folders(tmp_path: Path) -> None:
    assert image_folder(DataOptions(root="r", val_images="v"), "val") == Path("r/v")
    assert image_folder(DataOptions(root="r"), "train") == Path("r/train2017")
    (tmp_path / "data.yaml").write_text("names: [a]\nval: there\n")
    assert image_folder(DataOptions(format="yolo", root=str(tmp_path)), "val") == tmp_path / "there"
