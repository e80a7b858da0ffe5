"""The label cache against reading the labels, in turns, on a synthetic YOLO and a synthetic COCO dataset.

    python benchmarks/labels.py [--images 20000] [--objects 7]

Prints the times and their ratio. Files are in the page cache for both.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NoReturn

import cv2
import numpy as np

from yolo.data.label_cache import cached_split
from yolo.data.loaders import DefaultImageLoader
from yolo.data.options import DataOptions
from yolo.data.source import read_split


def write_yolo(root: Path, images: int, objects: int) -> None:
    rng = np.random.default_rng(0)
    encoded = cv2.imencode(".jpg", rng.integers(0, 256, (48, 64, 3), np.uint8))[1].tobytes()
    for name in ("images/train", "labels/train"):
        (root / name).mkdir(parents=True)
    (root / "data.yaml").write_text(f"names: {[str(i) for i in range(80)]}")
    for i in range(images):
        (root / f"images/train/{i:06d}.jpg").write_bytes(encoded)
        centres, sizes = rng.uniform(0.3, 0.7, (objects, 2)), rng.uniform(0.1, 0.5, (objects, 2))
        rows = np.concatenate([rng.integers(0, 80, (objects, 1)), centres, sizes], 1)
        lines = [f"{row[0]:.0f} {' '.join(f'{v:.6f}' for v in row[1:])}\n" for row in rows]
        (root / f"labels/train/{i:06d}.txt").write_text("".join(lines))


def write_coco(root: Path, images: int, objects: int) -> None:
    rng = np.random.default_rng(0)
    (root / "train2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    records = [{"id": i, "file_name": f"{i:06d}.jpg", "height": 480, "width": 640} for i in range(images)]
    for record in records:
        (root / "train2017" / str(record["file_name"])).touch()
    boxes = rng.uniform(1, 200, (images * objects, 4)).round(2).tolist()
    annotations = [
        {"id": i, "image_id": i % images, "category_id": i % 80, "bbox": box, "area": box[2] * box[3], "iscrowd": 0,
         "segmentation": [[round(v + n, 2) for n in range(6) for v in box]]}
        for i, box in enumerate(boxes)
    ]  # fmt: skip
    categories = [{"id": i, "name": str(i)} for i in range(80)]
    path = root / "annotations/instances_train2017.json"
    path.write_text(json.dumps({"images": records, "annotations": annotations, "categories": categories}))


def measure(options: DataOptions, rounds: int) -> tuple[float, float]:
    loader = DefaultImageLoader()
    cached_split(options, "train", loader, read_split)
    reading, hitting = [], []

    def never(*_: object) -> NoReturn:
        raise SystemExit("the cache was not used (files newer than two seconds?)")

    for _ in range(rounds):
        start = time.perf_counter()
        read_split(options, "train", loader)
        reading.append(time.perf_counter() - start)
        start = time.perf_counter()
        cached_split(options, "train", loader, never)
        hitting.append(time.perf_counter() - start)
    return float(np.median(reading)), float(np.median(hitting))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--objects", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kinds: tuple[tuple[Literal["yolo", "coco"], Callable[[Path, int, int], None]], ...]
        kinds = ("yolo", write_yolo), ("coco", write_coco)
        for name, write in kinds:
            root = Path(folder) / name
            write(root, args.images, args.objects)
            time.sleep(2.1)
            options = DataOptions(format=name, root=str(root), cache_dir=f"{folder}/cache")
            read, hit = measure(options, args.rounds)
            print(f"{name}: read {read:.2f} s, cached {hit:.3f} s, {read / hit:.1f}x ({os.cpu_count()} cores)")


if __name__ == "__main__":
    main()
