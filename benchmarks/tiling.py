"""Detection through windows against plain inference and windows with NMS alone, by COCO's metrics.

    python benchmarks/tiling.py CHECKPOINT FOLDER [--split val] [--tile 640] [--overlap 0.2] [--grid 4] [--scale 2]

FOLDER is a dataset in YOLO format whose images have one size. Two kinds of large pictures are made of them: mosaics of
GRID x GRID images, whose objects are as small as in training but many on the borders of windows; and single images
enlarged SCALE times, whose objects are larger than the overlap or than a window.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from yolo import tiling
from yolo.boxes.convert import xyxy_to_xywh
from yolo.boxes.nms import NMSOptions, suppress
from yolo.data.annotations import AnnotatedImage
from yolo.data.loaders import DefaultImageLoader
from yolo.data.options import DataOptions
from yolo.data.source import read_split
from yolo.detector import Detector
from yolo.evaluation.evaluator import Evaluator
from yolo.inference import letterboxed, to_network_input

Pictures = list[tuple[np.ndarray, AnnotatedImage]]


def record(index: int, image: np.ndarray, boxes: np.ndarray, classes: np.ndarray) -> AnnotatedImage:
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1).astype(np.float64)
    size = (image.shape[0], image.shape[1])
    return AnnotatedImage(
        path=Path(f"{index}"), image_id=index, size=size, boxes=boxes, classes=classes,
        crowd=np.zeros(len(classes), bool), areas=areas,
    )  # fmt: skip


def mosaics(records: list[AnnotatedImage], grid: int, count: int) -> Pictures:
    loader, rng, pictures = DefaultImageLoader(), np.random.default_rng(0), []
    height, width = records[0].size
    chosen = [r for r in records if r.size == (height, width)]
    for index in range(count):
        canvas, boxes, classes = np.zeros((grid * height, grid * width, 3), np.uint8), [], []
        for place, i in enumerate(rng.choice(len(chosen), grid * grid, replace=len(chosen) < grid * grid)):
            y, x = height * (place // grid), width * (place % grid)
            canvas[y : y + height, x : x + width] = loader(chosen[i].path)
            boxes.append(chosen[i].boxes + np.array([x, y, x, y], np.float32))
            classes.append(chosen[i].classes)
        pictures.append((canvas, record(index, canvas, np.concatenate(boxes), np.concatenate(classes))))
    return pictures


def enlarged(records: list[AnnotatedImage], scale: float, count: int) -> Pictures:
    loader, pictures = DefaultImageLoader(), []
    for index, source in enumerate(records[:count]):
        image = np.asarray(cv2.resize(np.asarray(loader(source.path)), None, fx=scale, fy=scale), np.uint8)
        pictures.append((image, record(index, image, source.boxes * np.float32(scale), source.classes)))
    return pictures


def nms_alone(detector: Detector, image: np.ndarray, windows: tiling.Tiling, options: NMSOptions) -> torch.Tensor:
    """What tiled inference is without the whole picture and without regard to borders."""
    found = []
    mode, size = detector.card.letterbox, detector.image_size
    for x1, y1, x2, y2 in windows.windows(*image.shape[:2]).tolist():
        boxed = letterboxed([image[y1:y2, x1:x2]], size, mode).to(detector.device)
        maps, *_ = detector.model(to_network_input(boxed))
        (decoded,) = detector.model.decode(maps)
        part = tiling._candidates(decoded, [x1, y1, x2, y2], options.confidence, mode, size)
        part[:, :4] = xyxy_to_xywh(part[:, :4])
        found.append(part)
    return suppress(torch.cat(found).T, options)[0]


def variants(detector: Detector, windows: tiling.Tiling) -> Iterator[tuple[str, Callable[[np.ndarray], torch.Tensor]]]:
    mode, size, model = detector.card.letterbox, detector.image_size, detector.model
    options = NMSOptions(0.25, 0.65, 3000)
    plain = tiling.Tiling(1 << 30)
    yield "plain", lambda image: tiling.detect_tiled(model, image, plain, options, mode, size)
    yield "windows, NMS alone", lambda image: nms_alone(detector, image, windows, options)
    yield "windows as here", lambda image: tiling.detect_tiled(model, image, windows, options, mode, size)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--tile", type=int, default=640)
    parser.add_argument("--overlap", type=float, default=0.2)
    parser.add_argument("--grid", type=int, default=4)
    parser.add_argument("--scale", type=float, default=2)
    parser.add_argument("--pictures", type=int, default=24, help="enlarged ones, and a twelfth of it mosaics")
    args = parser.parse_args()
    records = read_split(DataOptions(format="yolo", root=str(args.folder)), args.split, DefaultImageLoader()).images
    detector = Detector.load(args.checkpoint)
    kinds = {
        f"mosaics {args.grid} x {args.grid}": mosaics(records, args.grid, -(-args.pictures // 12)),
        f"enlarged {args.scale:g} times": enlarged(records, args.scale, args.pictures),
    }
    for kind, pictures in kinds.items():
        print(f"{kind}, {pictures[0][0].shape[1]} x {pictures[0][0].shape[0]} pixels")
        for name, find in variants(detector, tiling.Tiling(args.tile, args.overlap)):
            evaluator = Evaluator(detector.card.category_ids, detector.class_names, 0.25)
            for image, annotated in pictures:
                evaluator.update([annotated], [find(image)])
            metrics = evaluator.compute().as_dict()
            shown = (f"{label} {metrics[label]:.3f}" for label in ("mAP", "mAP50", "precision", "recall", "f1"))
            print(f"  {name:<20}", *shown)


if __name__ == "__main__":
    main()
