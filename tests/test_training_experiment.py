"""The guide's preparation script, on a small copy of the repository it reads."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo.data.loaders import DefaultImageLoader
from yolo.data.options import SourceOptions
from yolo.data.source import read_split

SCRIPT = Path(__file__).parent.parent / "training-experiment" / "prepare_bccd.py"
BOXES = {
    "a": [("WBC", 10, 20, 60, 70), ("RBC", 1, 1, 30, 40)],
    "b": [("Platelets", 5, 5, 9, 11), ("RBC", 40, 40, 40, 60)],  # the second has no width
    "c": [],
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the repository with three images."""
    root = tmp_path / "BCCD_Dataset" / "BCCD"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for (name, boxes), split in zip(BOXES.items(), ("train", "val", "test"), strict=True):
        cv2.imwrite(str(root / "JPEGImages" / f"{name}.jpg"), np.full((80, 100, 3), 90, np.uint8))
        objects = "".join(
            f"<object><name>{label}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
            "</bndbox></object>"
            for label, x1, y1, x2, y2 in boxes
        )
        size = "<size><width>100</width><height>80</height></size>"
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(f"{name}\n")
    return root.parent


def prepare(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True)


def test_both_formats_hold_the_boxes_of_the_source(repository: Path, tmp_path: Path) -> None:
    output = tmp_path / "bccd"
    done = prepare("--source", repository, "--output", output)
    assert done.returncode == 0, done.stderr
    assert "val: 1 images, 1 boxes, 1 without area left out" in done.stdout
    coco = SourceOptions(format="coco", root=str(output), train_images="images/train", val_images="images/val",
                         train_ann="annotations/train.json", val_ann="annotations/val.json")  # fmt: skip
    for options in (SourceOptions(format="yolo", root=str(output)), coco):
        for split, name in (("train", "a"), ("val", "b")):
            found = read_split(options, split, DefaultImageLoader())  # type: ignore[arg-type]
            assert found.class_names == ("RBC", "WBC", "Platelets")
            (image,) = found.images
            assert image.path.stem == name
            assert image.size == (80, 100)
            expected = sorted((found.class_names.index(c), *box) for c, *box in BOXES[name] if box[2] > box[0])
            rows = sorted(np.column_stack([image.classes, image.boxes]).tolist())
            np.testing.assert_allclose(rows, expected, atol=1e-3)
    assert json.loads((output / "annotations" / "test.json").read_text())["annotations"] == []


def test_a_zip_of_the_repository_will_do(repository: Path, tmp_path: Path) -> None:
    archive = tmp_path / "bccd.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in repository.rglob("*"):
            file.write(path, path.relative_to(repository.parent))
    done = prepare("--source", archive, "--output", tmp_path / "bccd")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bccd" / "labels" / "train" / "a.txt").read_text().startswith("1 0.35")


@pytest.mark.parametrize("case", ["missing", "exists", "empty", "not a zip", "class", "missing image", "bad xml"])
def test_wrong_sources_get_one_sentence(case: str, repository: Path, tmp_path: Path) -> None:
    source, output = repository, tmp_path / "bccd"
    if case == "missing":
        source = tmp_path / "nothing"
    elif case == "exists":
        output.mkdir()
    elif case == "empty":
        (source := tmp_path / "empty").mkdir()
    elif case == "not a zip":
        (source := tmp_path / "some.zip").write_text("no")
    elif case == "class":
        file = repository / "BCCD" / "Annotations" / "a.xml"
        file.write_text(file.read_text().replace("WBC", "Dog"))
    elif case == "bad xml":
        (repository / "BCCD" / "Annotations" / "b.xml").write_text("<annotation>")
    else:
        (repository / "BCCD" / "JPEGImages" / "b.jpg").unlink()
    done = prepare("--source", source, "--output", output)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not output.exists() or case == "exists"
    assert not list(tmp_path.glob("*.partial"))


def test_an_unreachable_download_says_what_to_do(tmp_path: Path) -> None:
    code = (
        "import runpy, sys, urllib.request, urllib.error\n"
        "def refuse(*a, **k): raise urllib.error.URLError('no network')\n"
        "urllib.request.urlopen = refuse\n"
        f"sys.argv = ['prepare', '--download', '--output', {str(tmp_path / 'bccd')!r}]\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "give it with --source" in done.stderr
    assert not (tmp_path / "bccd").exists()
