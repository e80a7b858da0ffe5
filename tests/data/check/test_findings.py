from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.check.broken import (
    COCO,
    COCO_FAULTS,
    YOLO_FAULTS,
    broken_coco,
    broken_yolo,
    picture,
    sound_coco,
    sound_yolo,
    write,
)
from yolo.data.check.findings import Finding, find, repeated_boxes
from yolo.data.check.pictures import look_at
from yolo.data.check.surveys import survey_split
from yolo.data.encrypted_file import ImageCipher
from yolo.data.encrypted_loader import EncryptedImageLoader
from yolo.data.keys import EncryptionKey, SecretStr
from yolo.data.loaders import DefaultImageLoader
from yolo.data.options import DataOptions
from yolo.data.source import read_split
from yolo.errors import UserError

LOADER = DefaultImageLoader()


def findings(options: DataOptions) -> list[Finding]:
    surveys = [survey_split(options, split, LOADER) for split in ("train", "val")]
    return find(surveys, {survey.split: look_at(survey.images, LOADER) for survey in surveys})


def counts(options: DataOptions) -> dict[tuple[str, str], int]:
    return {(entry.split, entry.kind): entry.count for entry in findings(options)}


def test_sound_datasets_have_no_findings(tmp_path: Path) -> None:
    assert findings(DataOptions(format="yolo", root=str(sound_yolo(tmp_path / "yolo")))) == []
    assert findings(DataOptions(format="coco", root=str(sound_coco(tmp_path / "coco")), **COCO)) == []


def test_every_fault_of_yolo_files_is_counted(tmp_path: Path) -> None:
    assert counts(DataOptions(format="yolo", root=str(broken_yolo(tmp_path)))) == YOLO_FAULTS


def test_every_fault_of_coco_files_is_counted(tmp_path: Path) -> None:
    assert counts(DataOptions(format="coco", root=str(broken_coco(tmp_path)), **COCO)) == COCO_FAULTS


def test_every_place_is_kept(tmp_path: Path) -> None:
    root = sound_yolo(tmp_path)
    for path in (root / "labels/train").iterdir():
        path.unlink()
    (root / "labels/train/00.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (only,) = findings(DataOptions(format="yolo", root=str(root)))
    assert only.count == len(set(only.places)) == 11


def test_places_are_named(tmp_path: Path) -> None:
    found = findings(DataOptions(format="yolo", root=str(broken_yolo(tmp_path))))
    places = {(entry.split, entry.kind): entry.places for entry in found}
    assert places["train", "unknown classes"] == [
        f"{tmp_path}/labels/train/05.txt:4: class 7, but there are 2 classes (0 to 1)"
    ]
    assert places["train", "duplicate images"] == [
        f"{tmp_path}/images/train/copy.png is {tmp_path}/images/train/07.png"
    ]
    assert (
        f"{tmp_path}/images/val/leak2.png is {tmp_path}/images/train/09.png"
        in places["train, val", "images in both splits"]
    )
    severities = {entry.kind: entry.severity for entry in found}
    assert severities["empty label files"] == severities["near-duplicate images"] == "warning"
    assert severities["boxes without area"] == severities["images in both splits"] == "error"


@pytest.mark.parametrize(
    "line", ["spoon", "9 0.5 0.5 0.5 0.5", "0 0.5 0.5 0 0.5", "0 1.5 0.5 0.5 0.5", "0 0.5", "\xff"]
)
def test_what_training_refuses_is_an_error(line: str, tmp_path: Path) -> None:
    options = DataOptions(format="yolo", root=str(sound_yolo(tmp_path)))
    (tmp_path / "labels/train/01.txt").write_text(line, encoding="latin-1")
    with pytest.raises(UserError):
        read_split(options, "train", LOADER)
    (only,) = findings(options)
    assert (only.split, only.severity, only.count) == ("train", "error", 1)


def test_one_image_folder_for_two_annotation_files(tmp_path: Path) -> None:
    """An image is a stranger only when no split lists it."""
    sound_coco(tmp_path)
    for path in list((tmp_path / "val").iterdir()):
        path.rename(tmp_path / "train" / f"v{path.name}")
    file = tmp_path / "val.json"
    file.write_text(file.read_text().replace('"file_name": "', '"file_name": "v'))
    options = DataOptions(format="coco", root=str(tmp_path), **{**COCO, "val_images": "train"})
    assert counts(options) == {}
    write(tmp_path / "train/z.png", picture(77))
    assert counts(options) == {("train", "images that no annotation file lists"): 1}


def test_repeated_boxes_are_those_of_one_class(tmp_path: Path) -> None:
    root = sound_yolo(tmp_path)
    box = "0.5 0.5 0.5 0.5"
    (root / "labels/train/00.txt").write_text(f"0 {box}\n1 {box}\n0 {box}\n0 {box}\n")
    survey = survey_split(DataOptions(format="yolo", root=str(root)), "train", LOADER)
    assert repeated_boxes(survey.images[0]) == [2, 3]


def test_encrypted_images_are_checked_like_plain_ones(tmp_path: Path) -> None:
    key = bytes(range(32))
    cipher = ImageCipher(EncryptionKey(key))
    loader = EncryptedImageLoader(encryption_key=SecretStr(key.hex()))
    for options in (
        DataOptions(format="yolo", root=str(sound_yolo(tmp_path / "yolo"))),
        DataOptions(format="coco", root=str(sound_coco(tmp_path / "coco")), **COCO),
    ):
        for path in list(Path(options.root).rglob("*.png")):
            path.with_name(f"{path.name}.enc").write_bytes(cipher.encrypt(path.read_bytes()))
            path.unlink()
        surveys = [survey_split(options, split, loader) for split in ("train", "val")]
        assert find(surveys, {survey.split: look_at(survey.images, loader) for survey in surveys}) == []
        assert [survey.listed for survey in surveys] == [12, 10]
