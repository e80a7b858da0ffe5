"""COCO evaluation against pycocotools on the same synthetic detections, run in turns.

    python benchmarks/evaluation.py [--images 1000] [--per-image 100]

Prints the ratio of times; both sides read the same arrays and give the same twelve numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolo.evaluation.coco import SUMMARY_KEYS, CocoEvaluation, Detections, GroundTruth

CLASSES = 80


def synthetic(images: int, per_image: int) -> tuple[GroundTruth, Detections]:
    rng = np.random.default_rng(0)
    objects = images * 7
    corners = rng.uniform(0, 500, (objects, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(8, 140, (objects, 2))], 1)
    image_ids, classes = rng.integers(1, images + 1, objects), rng.integers(0, CLASSES, objects)
    sizes = boxes[:, 2:] - boxes[:, :2]
    records = [{"id": i + 1, "height": 640, "width": 640} for i in range(images)]
    truth = GroundTruth(records, image_ids, classes, boxes, sizes.prod(1), np.zeros(objects, bool))
    source = rng.integers(0, objects, images * per_image)
    found = boxes[source] + rng.normal(0, 8, (len(source), 4))
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    return truth, Detections(image_ids[source], classes[source], found, rng.random(len(source)))


def run_pycocotools(truth: GroundTruth, found: Detections) -> np.ndarray:
    corner_size = np.concatenate([truth.boxes[:, :2], truth.boxes[:, 2:] - truth.boxes[:, :2]], 1)
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = {
            "images": [dict(image) for image in truth.images],
            "categories": [{"id": c + 1, "name": str(c)} for c in range(CLASSES)],
            "annotations": [
                {"id": i + 1, "image_id": int(m), "category_id": int(c) + 1, "bbox": b, "area": float(a), "iscrowd": 0}
                for i, (m, c, b, a) in enumerate(
                    zip(truth.image_ids, truth.classes, corner_size.tolist(), truth.areas, strict=True)
                )
            ],
        }
        gt.createIndex()
        sizes = found.boxes[:, 2:] - found.boxes[:, :2]
        dt = gt.loadRes(np.column_stack([found.image_ids, found.boxes[:, :2], sizes, found.scores, found.classes + 1]))
        result = COCOeval(gt, dt, "bbox")
        result.evaluate()
        result.accumulate()
        result.summarize()
    return result.stats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--per-image", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    truth, found = synthetic(args.images, args.per_image)
    times: dict[str, list[float]] = {"ours": [], "pycocotools": []}
    for _ in range(args.rounds):
        start = time.perf_counter()
        evaluation = CocoEvaluation(truth, found, range(1, CLASSES + 1))
        ours = [evaluation.summary[k] for k in SUMMARY_KEYS]
        times["ours"].append(time.perf_counter() - start)
        start = time.perf_counter()
        oracle = run_pycocotools(truth, found)
        times["pycocotools"].append(time.perf_counter() - start)
    ratio = np.median(times["pycocotools"]) / np.median(times["ours"])
    print(f"largest difference {np.abs(np.array(ours) - oracle).max():.1e}, {ratio:.0f}x faster than pycocotools")


if __name__ == "__main__":
    main()
