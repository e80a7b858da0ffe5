"""The evaluator against pycocotools on the same synthetic detections: time and memory.

    python benchmarks/evaluation.py [--images 5000] [--per-image 100] [--rounds 2]

Each side runs in a process of its own, in turns. Ours is what every validation does, `Evaluator.compute()` and the
metrics it logs: the twelve numbers, precision, recall and F1; pycocotools gives the twelve numbers. Prints the largest
difference of those, the ratios of the medians, and what everything that dashboard, plots and reports show costs.
Memory is the growth of the peak while evaluating, over what the process holds before.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

CLASSES = 80
SIDES = ("ours", "pycocotools")


def synthetic(images: int, per_image: int) -> tuple[Any, Any]:
    """Ground truth with seven objects per image on average, and detections scattered around them."""
    from yolo.evaluation.coco import Detections, GroundTruth

    rng = np.random.default_rng(0)
    objects = images * 7
    corners = rng.uniform(0, 500, (objects, 2))
    # Records hold float32, so both sides get boxes that are.
    boxes = np.concatenate([corners, corners + rng.uniform(8, 140, (objects, 2))], 1).astype(np.float32).astype(float)
    image_ids, classes = rng.integers(1, images + 1, objects), rng.integers(0, CLASSES, objects)
    by_image = np.argsort(image_ids, kind="stable")
    boxes, image_ids, classes = boxes[by_image], image_ids[by_image], classes[by_image]
    sizes = boxes[:, 2:] - boxes[:, :2]
    records = [{"id": i + 1, "height": 640, "width": 640} for i in range(images)]
    truth = GroundTruth(records, image_ids, classes, boxes, sizes.prod(1), np.zeros(objects, bool))
    source = np.sort(rng.integers(0, objects, images * per_image))
    found = boxes[source] + rng.normal(0, 8, (len(source), 4))
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    return truth, Detections(image_ids[source], classes[source], found, rng.random(len(source)))


def filled_evaluator(truth: Any, found: Any) -> Any:
    """Our evaluator after the last batch."""
    import torch

    from yolo.data.annotations import AnnotatedImage
    from yolo.evaluation.evaluator import Evaluator

    def parts(image_ids: Any, *columns: Any) -> Any:
        edges = np.searchsorted(image_ids, [image["id"] for image in truth.images[1:]])
        return zip(*(np.split(column, edges) for column in columns), strict=True)

    evaluator = Evaluator(range(1, CLASSES + 1))
    objects = parts(truth.image_ids, truth.boxes.astype(np.float32), truth.classes, truth.crowd, truth.areas)
    records = [
        AnnotatedImage(Path(f"{image['id']}.jpg"), image["id"], (640, 640), *columns)
        for image, columns in zip(truth.images, objects, strict=True)
    ]
    rows = np.column_stack([found.boxes, found.scores, found.classes])
    evaluator.update(records, [torch.from_numpy(part) for (part,) in parts(found.image_ids, rows)])
    return evaluator


def run_ours(evaluator: Any, _: Any) -> list[float]:
    from yolo.evaluation.coco import SUMMARY_KEYS

    metrics = evaluator.compute()
    metrics.as_dict()
    run_ours.metrics = metrics  # type: ignore[attr-defined]
    return [metrics.evaluation.summary[key] for key in SUMMARY_KEYS]


def run_pycocotools(truth: Any, found: Any) -> list[float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

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
    return [float(value) for value in result.stats]


def one_side(side: str, images: int, per_image: int) -> dict[str, Any]:
    """Run one side in this process."""
    import pycocotools.cocoeval  # noqa: F401 (imported before the clock starts)

    import yolo.ranks  # noqa: F401

    truth, found = synthetic(images, per_image)
    inputs = (filled_evaluator(truth, found), None) if side == "ours" else (truth, found)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    numbers = (run_ours if side == "ours" else run_pycocotools)(*inputs)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result: dict[str, Any] = {"numbers": numbers, "seconds": seconds, "peak": peak}
    result["megabytes"] = (peak - before) / 1024
    if side == "ours":
        start = time.perf_counter()
        _ = run_ours.metrics.analysis  # type: ignore[attr-defined]
        result["analysis"] = time.perf_counter() - start
    return result


def main() -> None:
    """Run both sides in turns and print their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--per-image", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(one_side(args.side, args.images, args.per_image)))
        return
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    command = [sys.executable, __file__, f"--images={args.images}", f"--per-image={args.per_image}"]
    for _ in range(args.rounds):
        for side in SIDES:
            done = subprocess.run([*command, f"--side={side}"], stdout=subprocess.PIPE, text=True, check=True)
            results[side].append(json.loads(done.stdout))
    ours, theirs = ({key: median(r[key] for r in results[side]) for key in ("seconds", "megabytes")} for side in SIDES)
    numbers = [np.array(results[side][0]["numbers"]) for side in SIDES]
    print(f"{args.images} images x {args.per_image} detections, median of {args.rounds}")
    print(f"largest difference of the twelve numbers: {np.abs(numbers[0] - numbers[1]).max():.1e}")
    print(
        f"time: {ours['seconds']:.2f} s against {theirs['seconds']:.1f} s, 1/{theirs['seconds'] / ours['seconds']:.0f}"
    )
    share = ours["megabytes"] / max(theirs["megabytes"], 1)
    print(f"memory: {ours['megabytes']:.0f} MB against {theirs['megabytes']:.0f} MB, {share:.2f}")
    more = median(result["analysis"] for result in results["ours"])
    print(f"everything that dashboard, plots and reports show: {more:.2f} s more")


if __name__ == "__main__":
    main()
