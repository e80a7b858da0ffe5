"""A dataset small enough to write in every test that needs files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np


def write_dataset(root: Path) -> None:
    """Three images per split, in both formats over the same files."""
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        images, labels = root / "images" / split, root / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        entries = []
        for i in range(4):
            cv2.imwrite(str(images / f"{i}.jpg"), rng.integers(0, 255, (48, 64, 3), np.uint8))
            (labels / f"{i}.txt").write_text("0 0.5 0.5 0.5 0.5\n1 0.2 0.3 0.2 0.2\n")
            entries.append({"id": i + 1, "file_name": f"{i}.jpg", "width": 64, "height": 48})
        boxes = [
            {"id": 4 * i + 1, "image_id": i + 1, "category_id": 3, "bbox": [16, 12, 32, 24], "area": 768, "iscrowd": 0}
            for i in range(4)
        ]
        (root / "annotations").mkdir(exist_ok=True)
        categories = [{"id": 3, "name": "a"}, {"id": 8, "name": "b"}]
        content = {"images": entries, "annotations": boxes, "categories": categories}
        (root / "annotations" / f"{split}.json").write_text(json.dumps(content))
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [a, b]\n")
