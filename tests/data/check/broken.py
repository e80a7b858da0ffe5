"""Datasets with known faults."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolo.data.loaders import Image

SIZE = (60, 80)


def picture(seed: int, size: tuple[int, int] = SIZE) -> Image:
    """A smooth random image, unlike that of any other seed."""
    cells = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(cv2.resize(cells, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def page(seed: int, *, form: bool = False) -> Image:
    """A white page, 850 x 1100, of a fixed layout: few lines of random words under a heading, or a filled-in form."""
    draws = np.random.default_rng(seed)
    image = np.full((1100, 850, 3), 255, np.uint8)

    def line(y: int, x: int, end: int) -> None:
        while True:
            word = "".join(draws.choice(list("abcdefghijklmnopqrstuvwxyz"), draws.integers(2, 10)))
            width = cv2.getTextSize(word, cv2.FONT_HERSHEY_SIMPLEX, 0.7, 1)[0][0]
            if x + width > end:
                return
            cv2.putText(image, word, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 1, cv2.LINE_AA)
            x += width + 12

    if form:
        for y in range(120, 1000, 75):
            cv2.rectangle(image, (250, y - 25), (770, y + 10), (0, 0, 0), 1)
            line(y, 80, 240)
            line(y, 260, int(draws.integers(350, 700)))
    else:
        cv2.rectangle(image, (80, 60), (500, 90), (40, 60, 160), -1)
        for y in range(200, 330, 26):
            line(y, 80, 770)
    return image


def write(path: Path, image: Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def sound_yolo(root: Path) -> Path:
    """Twelve training and ten validation images, each with an object of both classes."""
    for first, split, count in ((0, "train", 12), (100, "val", 10)):
        (root / "labels" / split).mkdir(parents=True)
        for number in range(count):
            write(root / "images" / split / f"{number:02d}.png", picture(first + number))
            (root / "labels" / split / f"{number:02d}.txt").write_text("0 0.5 0.5 0.5 0.5\n1 0.2 0.3 0.2 0.2\n")
    (root / "data.yaml").write_text("names: [cat, dog]\n")
    return root


YOLO_FAULTS = {
    ("train", "unreadable images"): 2,
    ("train", "images without labels"): 1,
    ("train", "empty label files"): 2,
    ("train", "labels without image"): 1,
    ("train", "malformed lines"): 2,
    ("train", "unknown classes"): 1,
    ("train", "coordinates outside 0..1"): 1,
    ("train", "boxes without area"): 2,
    ("train", "duplicate boxes"): 2,
    ("train", "duplicate images"): 1,
    ("train", "near-duplicate images"): 1,
    ("train", "images that share a label file"): 1,
    ("val", "labels without image"): 2,
    ("val", "unreadable label files"): 1,
    ("train, val", "images in both splits"): 2,
    ("train, val", "near-duplicates across splits"): 1,
}


def broken_yolo(root: Path) -> Path:
    """A sound dataset with YOLO_FAULTS."""
    sound_yolo(root)
    images, labels = root / "images/train", root / "labels/train"
    (images / "00.png").write_bytes(b"no image")
    whole = (images / "01.png").read_bytes()
    (images / "01.png").write_bytes(whole[: len(whole) // 2])
    (labels / "02.txt").unlink()
    (labels / "03.txt").write_text("")
    (labels / "04.txt").write_text("\n \n")
    (labels / "nowhere.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    good = "0 0.5 0.5 0.5 0.5\n"
    (labels / "05.txt").write_text(f"0 0.5 0.5\nspoon\n{good}7 0.5 0.5 0.5 0.5\n0 0.5 1.5 0.5 0.5\n")
    (labels / "06.txt").write_text(f"0 0.5 0.5 0 0.5\n{good}1 0.5 0.5 0.5 0\n{good}{good}1 0.5 0.5 0.5 0.5\n")
    shutil.copy(images / "07.png", images / "copy.png")
    write(images / "resized.jpg", cv2.resize(picture(8), (120, 90)))
    shutil.copy(labels / "07.txt", labels / "copy.txt")
    shutil.copy(labels / "07.txt", labels / "resized.txt")
    write(images / "11.bmp", picture(60))
    shutil.copy(images / "07.png", root / "images/val/leak.png")
    shutil.copy(images / "09.png", root / "images/val/leak2.png")
    write(root / "images/val/leak3.jpg", picture(10))
    for name in ("leak", "leak2", "leak3", "ghost", "ghoul"):
        (root / "labels/val" / f"{name}.txt").write_text(good)
    (root / "labels/val/00.txt").write_bytes(b"\xff\xfe0 1")
    return root


def sound_coco(root: Path) -> Path:
    """Twelve training and ten validation images, each with an object of both classes."""
    for first, split, count in ((0, "train", 12), (100, "val", 10)):
        images, annotations = [], []
        for number in range(count):
            write(root / split / f"{number:02d}.png", picture(first + number))
            images.append({"id": number, "file_name": f"{number:02d}.png", "height": SIZE[0], "width": SIZE[1]})
            for category, box in ((1, [20, 15, 40, 30]), (5, [8, 12, 16, 12])):
                row = {"id": len(annotations), "image_id": number, "category_id": category, "bbox": box, "iscrowd": 0}
                annotations.append(row)
        categories = [{"id": 1, "name": "cat"}, {"id": 5, "name": "dog"}]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{split}.json").write_text(json.dumps(document))
    return root


COCO = {"train_images": "train", "val_images": "val", "train_ann": "train.json", "val_ann": "val.json"}

COCO_FAULTS = {
    ("train", "unreadable images"): 1,
    ("train", "missing images"): 1,
    ("train", "images of another size than annotated"): 1,
    ("train", "images that no annotation file lists"): 2,
    ("train", "images without labels"): 1,
    ("train", "malformed image entries"): 1,
    ("train", "repeated image ids"): 1,
    ("train", "repeated annotation ids"): 1,
    ("train", "labels without image"): 2,
    ("train", "unknown classes"): 1,
    ("train", "malformed boxes"): 2,
    ("train", "boxes without area"): 1,
    ("train", "boxes outside the image"): 1,
    ("train", "boxes over the border"): 1,
    ("train", "duplicate boxes"): 1,
}


def broken_coco(root: Path) -> Path:
    """A sound dataset with COCO_FAULTS."""
    sound_coco(root)
    file = root / "train.json"
    document: dict[str, Any] = json.loads(file.read_text())
    images, rows = document["images"], document["annotations"]
    (root / "train/00.png").write_bytes(b"no image")
    (root / "train/01.png").unlink()
    write(root / "train/02.png", picture(2, (30, 40)))
    write(root / "train/extra.png", picture(50))
    write(root / "train/extra2.png", picture(51))
    rows[:] = [row for row in rows if row["image_id"] != 3]
    images.append({"id": 50, "file_name": "a.png", "width": 0, "height": 5})
    images.append({"id": 4, "file_name": "04.png", "width": SIZE[1], "height": SIZE[0]})

    def add(number: int, **changes: Any) -> None:
        rows.append({"id": number, "image_id": 4, "category_id": 1, "bbox": [1, 1, 9, 9], "iscrowd": 0} | changes)

    add(0)
    add(100, image_id=77)
    add(101, image_id="4")
    add(102, category_id=3)
    add(103, bbox=[1, 1, -2, 3])
    add(104, bbox=[1, 1, 2])
    add(105, bbox=[1, 1, 0, 3])
    add(106, bbox=[200, 1, 10, 3])
    add(107, bbox=[50, 1, 40, 30])
    add(108, bbox=[50, 40, 30, 20], image_id=5)
    add(109, bbox=[50, 40, 30, 20], image_id=5)
    file.write_text(json.dumps(document))
    return root
