"""A dataset full of words that must not be readable in an encrypted cache."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from yolo.data.loaders import DefaultImageLoader, Image

KEY = "0123456789abcdef" * 4
CLASSES = ("quetzalcoatlus", "xylophonist")
COUNTS = {"train": 12, "val": 5}


def write_secret_dataset(root: Path, counts: dict[str, int] = COUNTS, size: tuple[int, int] = (72, 96)) -> None:
    """Images in folders of their own for each split, with labels in both formats; some larger than 64 x 64."""
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        images, labels = root / "images" / split, root / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        (root / "annotations").mkdir(exist_ok=True)
        records, boxes = [], []
        for i in range(count):
            height, width = (size[0] + 2 * i, size[1] - i) if i % 3 else (40, 50)
            pixels = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), np.uint8), (5, 5), 0)
            cv2.imwrite(str(images / f"patient-{split}-{i:03}.png"), pixels)
            (labels / f"patient-{split}-{i:03}.txt").write_text("0 0.5 0.5 0.5 0.5\n1 0.25 0.3 0.2 0.2\n" * (i % 4))
            records.append({"id": 7 * i + 3, "file_name": f"patient-{split}-{i:03}.png", "width": width})
            records[-1]["height"] = height
            for j in range(i % 4):
                box = {"bbox": [3.5 + j, 4.25, 20, 11], "area": 123.5 + j, "iscrowd": int(j == 2)}
                boxes.append({"id": len(boxes) + 1, "image_id": 7 * i + 3, "category_id": 17 if j % 2 else 5, **box})
        categories = [{"id": 5, "name": CLASSES[0]}, {"id": 17, "name": CLASSES[1]}]
        document = {"images": records, "annotations": boxes, "categories": categories}
        (root / "annotations" / f"{split}.json").write_text(json.dumps(document))
    (root / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: [{', '.join(CLASSES)}]\n")


COCO_OPTIONS = {
    "format": "coco",
    "train_images": "images/train",
    "val_images": "images/val",
    "train_ann": "annotations/train.json",
    "val_ann": "annotations/val.json",
}


class CountingLoader(DefaultImageLoader):
    """Counts what it decodes in this process."""

    decoded = 0

    def __call__(self, path: Path) -> Image:
        CountingLoader.decoded += 1
        return super().__call__(path)
