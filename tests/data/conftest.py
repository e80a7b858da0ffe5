from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

Writer = Callable[..., Path]


@pytest.fixture
def write_image(tmp_path: Path) -> Writer:
    """Write a random image of (h, w) below tmp_path."""

    def write(name: str, size: tuple[int, int] = (40, 60)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(name)).integers(0, 256, (*size, 3), np.uint8)
        assert cv2.imwrite(str(path), cv2.GaussianBlur(pixels, (9, 9), 0))
        return path

    return write


@pytest.fixture
def coco(tmp_path: Path, write_image: Writer) -> Callable[..., Path]:
    """A COCO dataset of two images and three annotations, parts of it replaced; returns the JSON file."""

    def write(**changes: Any) -> Path:
        document: dict[str, Any] = {
            "images": [
                {"id": 7, "file_name": "b.jpg", "width": 60, "height": 40},
                {"id": 3, "file_name": "a.jpg", "width": 50, "height": 30},
            ],
            "annotations": [
                {"id": 1, "image_id": 3, "category_id": 90, "bbox": [1.5, 2, 10, 20], "area": 123.5, "iscrowd": 0},
                {"id": 2, "image_id": 3, "category_id": 4, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 1},
                {"id": 5, "image_id": 7, "category_id": 4, "bbox": [30, 10, 40, 5]},
            ],
            "categories": [{"id": 90, "name": "cat"}, {"id": 4, "name": "dog"}],
        }
        write_image("images/a.jpg", (30, 50))
        write_image("images/b.jpg", (40, 60))
        path = tmp_path / "ann.json"
        path.write_text(json.dumps({**document, **changes}))
        return path

    return write


@pytest.fixture
def yolo(tmp_path: Path, write_image: Writer) -> Callable[..., Path]:
    """A YOLO dataset of three images (one of them background); returns its root."""

    def write(label: str = "1 0.5 0.5 0.2 0.4\n", config: str | None = "names: [cat, dog]\n") -> Path:
        for split in ("train", "val"):
            write_image(f"images/{split}/a.jpg", (30, 50))
            write_image(f"images/{split}/b.PNG", (40, 60))
            write_image(f"images/{split}/c.jpg", (40, 60))
            labels = tmp_path / "labels" / split
            labels.mkdir(parents=True, exist_ok=True)
            (labels / "a.txt").write_text(label)
            (labels / "b.txt").write_text("0 0.25 0.5 0.5 1\n\n1 0.1 0.1 0.4 0.1\n")
        if config is not None:
            (tmp_path / "data.yaml").write_text(config)
        return tmp_path

    return write
