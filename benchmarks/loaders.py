"""How fast the image loaders decode: `python benchmarks/loaders.py FOLDER [FOLDER ...] [--images 64 --turns 9]`.

One row per loader: images per second against the default loader's, on the images of each folder as they are, and on
copies enlarged to files of more than 1 MiB, which FastImageLoader maps. Medians over turns, in which all loaders
read the files one after the other in random order, of CPU time on one thread; files come from the system's page cache.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from jsonargparse.typing import SecretStr

from yolo.data import jpeg
from yolo.data.encrypted_file import ImageCipher
from yolo.data.encrypted_loader import EncryptedImageLoader
from yolo.data.image_files import IMAGE_SUFFIXES
from yolo.data.keys import EncryptionKey
from yolo.data.loaders import (
    DefaultImageLoader,
    FastImageLoader,
    ImageLoader,
    decode_image,
    load_image,
    read_bytes,
)

SECRET = os.urandom(32)


class Turbo(ImageLoader):
    """TurboJPEGLoader with one decoder or the other."""

    def __init__(self, find: Callable[[], jpeg.Decoder]) -> None:
        self.decode = find()

    def __call__(self, path: Path) -> np.ndarray:
        data = read_bytes(path)
        return self.decode(data) if jpeg.is_usual_jpeg(data) else decode_image(data, path)


def variants() -> dict[str, tuple[ImageLoader, str]]:
    """Row -> loader and suffix of the file that it reads."""
    encrypted = functools.partial(EncryptedImageLoader, encryption_key=SecretStr(SECRET.hex()))
    try:
        second = {"TurboJPEGLoader, PyTurboJPEG": (Turbo(jpeg._pyturbojpeg), "")}
    except RuntimeError:  # its library is not installed
        second = {}
    return {
        "DefaultImageLoader": (DefaultImageLoader(), ""),
        "FastImageLoader": (FastImageLoader(), ""),
        "FastImageLoader, use_mmap false": (FastImageLoader(use_mmap=False), ""),
        "TurboJPEGLoader, simplejpeg": (Turbo(jpeg._simplejpeg), ""),
        **second,
        "EncryptedImageLoader, .enc": (encrypted(), ".enc"),
        "EncryptedImageLoader by PIL, .enc": (encrypted(use_opencv=False), ".enc"),
    }


def seconds(loader: ImageLoader, files: list[Path]) -> float:
    """CPU seconds; the first image is read twice, since it meets the memory that the last loader left."""
    load_image(loader, files[0])
    start = time.process_time()
    for path in files:
        load_image(loader, path)
    return time.process_time() - start


def measure(files: list[Path], turns: int) -> dict[str, list[float]]:
    """Seconds of each row in each turn."""
    rows = variants()
    times: dict[str, list[float]] = {name: [] for name in rows}
    order, shuffle = list(rows), random.Random(0).shuffle
    for _ in range(turns):
        shuffle(order)
        for name in order:
            loader, suffix = rows[name]
            times[name].append(seconds(loader, [path.with_name(path.name + suffix) for path in files]))
    return times


def prepare(files: list[Path], folder: Path, *, enlarge: bool) -> list[Path]:
    """Copies with an encrypted one beside each."""
    cipher = ImageCipher(EncryptionKey(SECRET))
    copies: list[Path] = []
    for path in files:
        content = path.read_bytes()
        if enlarge:
            image = cv2.resize(np.asarray(cv2.imread(str(path))), (3000, 2250), interpolation=cv2.INTER_CUBIC)
            content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 97])[1].tobytes()
        copy = folder / f"{len(copies)}{path.suffix}"
        copy.write_bytes(content)
        copy.with_name(f"{copy.name}.enc").write_bytes(cipher.encrypt(content))
        copies.append(copy)
    return copies


def report(title: str, files: list[Path], turns: int) -> None:
    times = measure(files, turns)
    size = statistics.mean(path.stat().st_size for path in files) / 1e3
    print(f"\n{title}: {len(files)} images of {size:.0f} kB, default loader = 1.00")
    for name, row in times.items():
        ratio = statistics.median(base / own for base, own in zip(times["DefaultImageLoader"], row, strict=True))
        print(f"  {name:<36}{ratio:5.2f}   ({len(files) / statistics.median(row):.0f} images/s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0] if __doc__ else "")
    parser.add_argument("folders", type=Path, nargs="+", help="folders of images")
    parser.add_argument("--images", type=int, default=64, help="images of each folder")
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    for folder in options.folders:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)[: options.images]
        for enlarge in (False, True):
            with tempfile.TemporaryDirectory() as place:
                copies = prepare(files[:: 8 if enlarge else 1], Path(place), enlarge=enlarge)
                report(f"{folder}{', enlarged' if enlarge else ''}", copies, options.turns)


if __name__ == "__main__":
    main()
