"""How fast samples are made: `python benchmarks/augment.py --yardstick FILE --images DIR --labels DIR`.

The yardstick is a file with `load(images_dir, labels_dir) -> (images, rows)` and `ClassicMosaic(images, rows, size)`, a
plain mosaic pipeline: images are uint8 RGB arrays, rows [N, 5] of class and normalised box as in a YOLO label file.
One process, one thread; all rows of a table take turns, so that other work on the machine slows them alike; ratios are
of medians. Two tables:

- decoded images in memory, against the yardstick, which has no MixUp;
- from files, in the order of an epoch, against plain files without a buffer.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import torch

from yolo.data.annotations import AnnotatedImage
from yolo.data.augment.pipeline import AugmentPipeline
from yolo.data.dataset import DetectionDataset
from yolo.data.loaders import DefaultImageLoader
from yolo.data.options import AugmentOptions
from yolo.data.pixels import BufferedPixels, LoadedPixels, PixelSource
from yolo.data.sampler import EpochSampler, TrainingItem

Step = Callable[[int], object]


class InMemory:
    """Decoded images."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self.images = images

    def __call__(self, index: int) -> np.ndarray:
        return self.images[index]


class Epochs:
    """Items in the order in which training sees them, without end."""

    def __init__(self, images: int, pool: int) -> None:
        self.sampler = EpochSampler(images, seed=0, pool_size=pool)
        self.items = self._endless()

    def _endless(self) -> Iterator[TrainingItem]:
        epoch = 0
        while True:
            self.sampler.set_epoch(epoch)
            yield from self.sampler
            epoch += 1


def samples(records: list[AnnotatedImage], pixels: PixelSource, size: int, options: AugmentOptions) -> Step:
    """Makes the next sample at each call."""
    run = AugmentPipeline(options, (size, size), seed=0)
    dataset = DetectionDataset(records, pixels, (size, size), pipeline=run)
    items = Epochs(len(records), options.mosaic_pool).items
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


def from_files(records: list[AnnotatedImage], images: list[np.ndarray], size: int) -> dict[str, Step]:
    files = LoadedPixels(records, DefaultImageLoader())
    options = AugmentOptions()
    # For as many images as partners come from, by far not for all.
    capacity = options.mosaic_pool * sum(image.nbytes for image in images) // len(images)
    return {
        "plain files": samples(records, files, size, options),
        "plain files with buffer": samples(records, BufferedPixels(files, capacity), size, options),
    }


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


def show(title: str, rows: dict[str, Step], count: int, base: str) -> None:
    times = in_turns(rows, count)
    # The median says nothing where one sample in two finds its images in memory and the other does not.
    centre = statistics.median if base == "yardstick" else statistics.mean
    print(f"{title}, {count} samples each, speed against {base!r}:")
    for name, elapsed in times.items():
        print(f"  {name:30s} {1e3 * centre(elapsed):7.2f} ms   {centre(times[base]) / centre(elapsed):5.2f} x")


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
    memory = in_memory(records, images, lambda number: classic(number % len(images)), args.size)
    show(f"{len(images)} images in memory, {args.size} x {args.size}", memory, args.samples, "yardstick")
    files = from_files(records, images, args.size)
    show("From files, default options", files, args.samples, "plain files")


if __name__ == "__main__":
    main()
