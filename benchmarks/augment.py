"""How fast samples are made: `python benchmarks/augment.py --yardstick FILE --images DIR --labels DIR`.

The yardstick is a file with `load(images_dir, labels_dir) -> (images, rows)` and `ClassicMosaic(images, rows, size)`, a
plain mosaic pipeline: images are uint8 RGB arrays, rows [N, 5] of class and normalised box as in a YOLO label file.
One process, one thread; all rows of a table take turns, so that other work on the machine slows them alike. Ratios are
of medians and of means. Three tables:

- decoded images in memory, against the yardstick, which has no MixUp;
- the same in batches of 16 that are collated, so that 16 samples are alive, as in a worker;
- from files, with the default options, in what one of 1, 2 or 8 workers gets of an epoch of 2048 images (those given,
  repeated, since a buffer would else hold them all), against files without a buffer.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch

from yolo.data.annotations import AnnotatedImage
from yolo.data.augment.pipeline import AugmentPipeline
from yolo.data.batch import Sample, collate
from yolo.data.dataset import DetectionDataset
from yolo.data.loaders import DefaultImageLoader
from yolo.data.options import AugmentOptions, DataOptions
from yolo.data.pixels import BufferedPixels, LoadedPixels, PixelSource
from yolo.data.sampler import EpochSampler, TrainingItem

Step = Callable[[int], object]
BATCH = 16
EPOCH = 2048


class InMemory:
    """Decoded images."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self.images = images

    def __call__(self, index: int) -> np.ndarray:
        return self.images[index]


class Counted:
    """Another source, and how often it was asked."""

    def __init__(self, source: PixelSource) -> None:
        self.source = source
        self.count = 0

    def __call__(self, index: int) -> np.ndarray:
        self.count += 1
        return self.source(index)


def epochs(images: int, pool: int, workers: int = 1) -> Iterator[TrainingItem]:
    """Items in the order in which the first of some workers sees them, without end."""
    sampler = EpochSampler(images, seed=0, pool_size=pool)
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        for position, item in enumerate(sampler):
            if position // BATCH % workers == 0:
                yield item


def samples(
    records: list[AnnotatedImage], pixels: PixelSource, size: int, options: AugmentOptions, workers: int = 1
) -> Callable[[int], Sample]:
    """Makes the next sample at each call."""
    run = AugmentPipeline(options, (size, size), seed=0)
    dataset = DetectionDataset(records, pixels, (size, size), pipeline=run)
    items = epochs(len(records), options.mosaic_pool, workers)
    return lambda _: dataset[next(items)]


def in_memory(records: list[AnnotatedImage], images: list[np.ndarray], yardstick: Step, size: int) -> dict[str, Step]:
    pixels = InMemory(images)

    def row(**options: object) -> Step:
        return samples(records, pixels, size, AugmentOptions(**options))  # type: ignore[arg-type]

    return {
        "yardstick": yardstick,
        "exact": row(mixup_prob=0),
        "fast": row(mixup_prob=0, colour="fast"),
        "device": row(mixup_prob=0, colour="device"),
        "exact, with mixup (default)": row(),
        "fast, with mixup": row(colour="fast"),
        "device, with mixup": row(colour="device"),
        "exact, nine tiles": row(mixup_prob=0, mosaic_9_prob=1.0),
        "exact, 10 degrees": row(mixup_prob=0, degrees=10.0),
    }


def in_batches(records: list[AnnotatedImage], images: list[np.ndarray], classic: Step, size: int) -> dict[str, Step]:
    def stacked(number: int) -> object:
        drawn: list[Any] = [classic(number * BATCH + i) for i in range(BATCH)]
        targets = [np.column_stack([np.full(len(names), i), names, boxes]) for i, (_, names, boxes) in enumerate(drawn)]
        return np.stack([image for image, _, _ in drawn]), np.concatenate(targets)

    def row(**options: object) -> Step:
        draw = samples(records, InMemory(images), size, AugmentOptions(mixup_prob=0, **options))  # type: ignore[arg-type]
        return lambda number: collate([draw(number) for _ in range(BATCH)])

    return {"yardstick": stacked, "exact": row(), "fast": row(colour="fast"), "device": row(colour="device")}


def from_files(records: list[AnnotatedImage], size: int, count: int) -> None:
    records = (records * math.ceil(EPOCH / len(records)))[:EPOCH]
    capacity = DataOptions().image_buffer_mb << 20
    rows: dict[str, Step] = {}
    sources: dict[str, Counted] = {}
    for workers in (0, 1, 2, 8):
        name = f"buffer, {workers} worker{'s'[: workers > 1]}" if workers else "no buffer"
        sources[name] = files = Counted(LoadedPixels(records, DefaultImageLoader()))
        pixels = BufferedPixels(files, capacity) if workers else files
        rows[name] = samples(records, pixels, size, AugmentOptions(), workers or 1)
    show(f"{EPOCH} files, default options", rows, count, "no buffer")
    for name, source in sources.items():
        print(f"  {name:30s} {source.count / count:7.2f} files decoded per sample")


def in_turns(rows: dict[str, Step], count: int) -> dict[str, list[float]]:
    """CPU seconds of `count` calls of each row, the rows one after the other, in another order each time."""
    times: dict[str, list[float]] = {name: [] for name in rows}
    names = list(rows)
    for number in range(count):
        # What a row leaves behind in caches and in the allocator is not always for the same next one to bear.
        random.Random(number).shuffle(names)
        for name in names:
            start = time.process_time()
            rows[name](number)
            times[name].append(time.process_time() - start)
    return times


def show(title: str, rows: dict[str, Step], count: int, base: str, batch: int = 1) -> None:
    """Time `count` samples of each row, which makes `batch` of them at each call, and print a table."""
    times = in_turns(rows, count // batch)
    print(f"{title}, {count} samples each, speed against {base!r}:")
    for name, elapsed in times.items():
        columns = [
            f"{how} {1e3 * centre(elapsed) / batch:7.2f} ms {centre(times[base]) / centre(elapsed):5.2f} x"
            for how, centre in (("median", statistics.median), ("mean", statistics.mean))
        ]
        print(f"  {name:30s} {'    '.join(columns)}")


def load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path}: no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def annotate(folder: Path, images: list[np.ndarray], rows: list[np.ndarray]) -> list[AnnotatedImage]:
    """The yardstick's images and labels as this program knows them."""
    records = []
    for number, (path, image, labels) in enumerate(zip(sorted(folder.glob("*.jpg")), images, rows, strict=False)):
        height, width = image.shape[:2]
        centre, half = labels[:, 1:3], labels[:, 3:5] / 2
        boxes = np.concatenate([centre - half, centre + half], 1) * np.array([width, height] * 2, np.float32)
        classes, crowd, areas = labels[:, 0].astype(np.int64), np.zeros(len(boxes), bool), np.ones(len(boxes))
        records.append(AnnotatedImage(path, number, (height, width), boxes, classes, crowd, areas))
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yardstick", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--samples", type=int, default=384)
    args = parser.parse_args()

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    yardstick = load_module(args.yardstick)
    images, rows = yardstick.load(args.images, args.labels)
    records = annotate(args.images, images, rows)
    classic = yardstick.ClassicMosaic(images, rows, args.size)

    def next_classic(number: int) -> object:
        return classic(number % len(images))

    title = f"{len(images)} images in memory, {args.size} x {args.size}"
    show(title, in_memory(records, images, next_classic, args.size), args.samples, "yardstick")
    batches = in_batches(records, images, next_classic, args.size)
    show(f"{title}, with collate", batches, args.samples, "yardstick", BATCH)
    from_files(records, args.size, args.samples)


if __name__ == "__main__":
    main()
