"""Reading images from a cache against reading files: `python benchmarks/cache.py --root coco128 [--size 640]`.

One thread; in each turn all variants read every image once, one after the other, so that other work on the machine
slows them alike. Prints medians over the turns: images per second, and the ratio to plain files in the same turn; then
what encryption and LZ4 add to the time and to the space, and what a process's first pass over values in clear takes
more than the later ones, since it checks their digests.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
from jsonargparse.typing import SecretStr

from yolo.data.cache.use import CacheUse
from yolo.data.loaders import DefaultImageLoader
from yolo.data.options import DataOptions
from yolo.data.pixels import LoadedPixels, PixelSource
from yolo.data.source import read_split

VARIANTS: dict[str, dict[str, Any]] = {
    "jpeg": {"cache_format": "jpeg"},
    "jpeg encrypted": {"cache_format": "jpeg", "cache_encrypt": True},
    "raw": {"cache_format": "raw"},
    "raw encrypted": {"cache_format": "raw", "cache_encrypt": True},
    "raw lz4": {"cache_format": "raw", "cache_lz4": True},
}


def read_all(source: PixelSource, count: int) -> Callable[[], None]:
    def run() -> None:
        for index in range(count):
            # A view of the file costs nothing yet: add up every pixel as whoever uses it would read them.
            cv2.sumElems(source(index))

    return run


def anew(use: CacheUse, count: int) -> Callable[[], None]:
    """The pass of a process that has just opened the cache."""
    opened = use.open_alone()
    opened.read("train")
    return read_all(opened.pixels("train"), count)


def seconds(action: Callable[[], None]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("YOLO_TEST_DATA", "data")) / "coco128"
    parser.add_argument("--root", default=str(default), help="a YOLO dataset with images in images/train")
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--original", action="store_true", help="keep images in their original size")
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    cv2.setNumThreads(0)

    plain = DataOptions(
        format="yolo", root=args.root, train_images="images/train", cache_images="ram",
        encryption_key=SecretStr("ab" * 32), cache_resize_images=not args.original,
    )  # fmt: skip
    loader = DefaultImageLoader()
    split = read_split(plain, "train", loader)
    count = len(split.images)
    actions = {"plain files": read_all(LoadedPixels(split.images, loader), count)}
    sizes = {}
    uses: dict[str, CacheUse] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in VARIANTS.items():
            given = replace(plain, cache_dir=str(Path(folder) / name), **options)
            use = CacheUse(given, (args.size, args.size), loader, seed=0)
            with contextlib.redirect_stdout(io.StringIO()):
                opened = use.ensure({"train": split})
            sizes[name] = opened.cache.file_size
            actions[name] = read_all(opened.pixels("train"), count)
            if not given.cache_encrypt:
                uses[f"{name}, first"] = use
                actions[f"{name}, first"] = actions[name]
        times: dict[str, list[float]] = {name: [] for name in actions}
        for turn in range(args.repeats + 1):
            for name, action in actions.items():
                elapsed = seconds(anew(uses[name], count) if name in uses else action)
                if turn:
                    times[name].append(elapsed)

    def ratio(name: str, base: str) -> float:
        return statistics.median(b / a for a, b in zip(times[name], times[base], strict=True))

    print(f"{count} images, {'original size' if args.original else args.size}, one thread")
    for name, all_seconds in times.items():
        size = f", {sizes[name] / count / 1024:.0f} KiB per image" if name in sizes else ""
        rate = count / statistics.median(all_seconds)
        print(f"{name + ':':<16}{rate:>8,.0f} images/s, {ratio(name, 'plain files'):.1f}x plain files{size}")
    print(f"encryption adds to the time of jpeg {1 / ratio('jpeg encrypted', 'jpeg') - 1:+.1%}", end=", ")
    print(f"of raw {1 / ratio('raw encrypted', 'raw') - 1:+.0%}")
    added = ", ".join(f"{ratio(name.split(',')[0], name):.2f}x {name.split(',')[0]}" for name in uses)
    print(f"a first pass takes {added}")
    saved = 1 - sizes["raw lz4"] / sizes["raw"]
    print(f"LZ4 saves {saved:.0%} of the space of raw and takes {1 / ratio('raw lz4', 'raw'):.1f}x its time")


if __name__ == "__main__":
    main()
