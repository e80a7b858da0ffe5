from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import pytest

from tests.conftest import assert_user_error, run_yolo
from tests.data.check.broken import COCO, COCO_FAULTS, YOLO_FAULTS, broken_coco, broken_yolo, sound_coco, sound_yolo
from yolo.data.keys import VARIABLE

COCO_FLAGS = [f"--data.{name}={value}" for name, value in COCO.items()]


def counts(output: str) -> dict[tuple[str, str], int]:
    return {(entry["split"], entry["kind"]): entry["count"] for entry in json.loads(output)["findings"]}


def test_a_sound_dataset(tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in sound_yolo(tmp_path / "yolo").rglob("*")}
    done = run_yolo("check-data", "--data.format=yolo", f"--data.root={tmp_path}/yolo", "--strict", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "errors: 0, warnings: 0" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "yolo").rglob("*")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["yolo"]


def test_a_broken_yolo_dataset(tmp_path: Path) -> None:
    root = broken_yolo(tmp_path / "yolo")
    done = run_yolo("check-data", "--data.format=yolo", f"--data.root={root}", "--json", "-o", tmp_path / "out")
    assert done.returncode == 1
    # Bad labels leave fewer objects: hotcoco's remarks on them come on top.
    assert YOLO_FAULTS.items() <= counts(done.stdout).items()
    splits = json.loads(done.stdout)["splits"]
    assert (splits["train"]["images"], splits["val"]["images"]) == (15, 13)
    assert cv2.imread(str(tmp_path / "out/sheet.jpg")).shape[1] == 1920


def test_a_broken_coco_dataset(tmp_path: Path) -> None:
    root = broken_coco(tmp_path)
    done = run_yolo("check-data", "--data.format=coco", f"--data.root={root}", *COCO_FLAGS, "--json")
    assert done.returncode == 1
    assert COCO_FAULTS.items() <= counts(done.stdout).items()


def test_warnings_count_when_strict(tmp_path: Path) -> None:
    root = sound_coco(tmp_path)
    (root / "extra.txt").write_text("00\n01\n02\n")  # three objects of each class are few
    arguments = ["check-data", "--data.format=coco", f"--data.root={root}", *COCO_FLAGS, "--data.val_split=extra.txt"]
    done = run_yolo(*arguments)
    assert done.returncode == 0
    assert "warning: val: classes with fewer than 10 objects: 2" in done.stdout
    assert run_yolo(*arguments, "--strict").returncode == 1


def test_config_and_drawn_images(tmp_path: Path) -> None:
    arguments = ["--config=quickstart", "--data.shapes_train=20", "--data.shapes_val=9"]
    done = run_yolo("check-data", *arguments, "-o", tmp_path)
    assert done.returncode == 0, done.stdout
    sheet = cv2.imread(str(tmp_path / "sheet.jpg"))
    assert sheet.shape == (1920, 1920, 3)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--data.root=/no/such"], "/no/such: no such dataset folder"),
        (["--data.format=yolo", "--data.root={root}", "--data.train_images=x"], "no such image folder"),
        (["--config=none.yaml"], "no config file 'none.yaml'"),
        (["--data.root={root}", "--data.cache_only=true"], "data.cache_only is true"),
    ],
)
def test_wrong_input(arguments: list[str], fragment: str, tmp_path: Path) -> None:
    sound_yolo(tmp_path)
    done = run_yolo("check-data", *(argument.format(root=tmp_path) for argument in arguments))
    assert_user_error(done, fragment)


def test_train_alone(tmp_path: Path) -> None:
    root = sound_yolo(tmp_path / "yolo")
    shutil.rmtree(root / "images/val")
    done = run_yolo("check-data", "--data.format=yolo", f"--data.root={root}", "--strict")
    assert done.returncode == 0, done.stdout
    assert f"note: no val split: there is no {root}/images/val" in done.stdout
    (root / "images/train").rename(root / "images/val")
    (root / "labels/val").rename(root / "labels/x")
    (root / "labels/train").rename(root / "labels/val")
    done = run_yolo("check-data", "--data.format=yolo", f"--data.root={root}", "--json", "-o", tmp_path / "out")
    assert json.loads(done.stdout)["notes"] == [f"no train split: there is no {root}/images/train"]
    assert list(json.loads(done.stdout)["splits"]) == ["val"]
    assert (tmp_path / "out/sheet.jpg").is_file()


def test_no_pictures_into_the_dataset(tmp_path: Path) -> None:
    root = sound_yolo(tmp_path)
    done = run_yolo("check-data", "--data.format=yolo", f"--data.root={root}", "-o", root / "images/train/check")
    assert_user_error(done, "--output lies in the dataset folder")
    assert not list(root.rglob("sheet.jpg"))


def test_clear_pictures_of_encrypted_images_are_spoken_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "ab" * 32)
    root = sound_yolo(tmp_path / "yolo")
    command = ["check-data", "--data.format=yolo", f"--data.root={root}", "--json"]
    loader = "--data.image_loader=yolo.data.encrypted_loader.EncryptedImageLoader"
    sentence = "the drawn copies of encrypted images are not encrypted"
    for options, said in ((["-o", tmp_path / "a"], False), ([loader], False), ([loader, "-o", tmp_path / "b"], True)):
        done = run_yolo(*command, *options)
        assert (sentence in done.stderr) == said
        assert json.loads(done.stdout)["passed"]
    assert (tmp_path / "b/sheet.jpg").is_file()


@pytest.mark.slow
def test_sample_data(test_data: Path) -> None:
    done = run_yolo("check-data", "--data.format=yolo", f"--data.root={test_data / 'bccd'}", "--json")
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    assert [report["splits"][split]["objects"] for split in ("train", "val")] == [2804, 1137]
    # Two pictures of the same cells, in and out of focus.
    assert counts(done.stdout) == {("train, val", "near-duplicates across splits"): 1}
    done = run_yolo("check-data", "--data.format=yolo", f"--data.root={test_data / 'coco128'}", "--json")
    assert done.returncode == 1
    assert counts(done.stdout)["train, val", "images in both splits"] == 128  # its val is its train
