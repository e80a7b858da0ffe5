"""Images that the ranges of an INT8 file come from."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolo.boxes.letterbox import Letterbox, LetterboxMode
from yolo.data.dataset import DetectionDataset
from yolo.data.encrypted_loader import EncryptedImageLoader
from yolo.data.image_files import is_encrypted, readable_suffixes, without_twins
from yolo.data.loaders import Image, ImageLoader, load_image
from yolo.errors import UserError

if TYPE_CHECKING:
    from yolo.data.datamodule import YOLODataModule

FEW = 100
"""Fewer images than this are warned about."""


@dataclass(frozen=True)
class Calibration:
    """Letterboxed images, read anew each time that they are gone through, so that memory holds one.

    Attributes:
        source: where they come from, in words.
        readers: each gives an image of the network's size, uint8 [H, W, 3] RGB.
    """

    source: str
    readers: Sequence[Callable[[], NDArray[np.uint8]]]

    def __len__(self) -> int:
        return len(self.readers)

    def pixels(self) -> Iterator[NDArray[np.uint8]]:
        """Each image, uint8 [H, W, 3] RGB."""
        return (read() for read in self.readers)

    def __iter__(self) -> Iterator[Tensor]:
        """Each image as the network takes it, float32 [1, 3, H, W] in 0..1."""
        for pixels in self.pixels():
            yield torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255

    def digest(self) -> str:
        """SHA-256 over all pixels in order. UserError when an image cannot be read."""
        digest = hashlib.sha256()
        for pixels in self.pixels():
            digest.update(np.ascontiguousarray(pixels).data)
        return digest.hexdigest()


def choose_spread(classes: Sequence[NDArray[np.int64]], number: int, seed: int = 0) -> list[int]:
    """At most `number` images in which every class occurs as evenly as the data allow.

    Each time the class that the fewest chosen images have gets another one, of two such classes the one that is rarer
    in the data; images without objects come last. A smaller number gives the beginning of what a larger one gives.

    Args:
        classes: of each image, those of its objects, repeated or not.
        number: of images.
        seed: of the order in which the images of a class come.

    Returns:
        Positions, in the order of choice.
    """
    order = np.random.default_rng(seed).permutation(len(classes))
    kinds = [np.unique(of_image).tolist() for of_image in classes]
    waiting: dict[int, deque[int]] = defaultdict(deque)
    for image in order.tolist():
        for kind in kinds[image]:
            waiting[kind].append(image)
    totals = {kind: len(images) for kind, images in waiting.items()}
    counts = dict.fromkeys(waiting, 0)
    chosen: dict[int, None] = {}  # a set that keeps its order
    while waiting and len(chosen) < number:
        kind = min(waiting, key=lambda kind: (counts[kind], totals[kind], kind))
        image = waiting[kind].popleft()
        if not waiting[kind]:
            del waiting[kind]
        if image not in chosen:
            chosen[image] = None
            for found in kinds[image]:
                counts[found] += 1
    empty = [image for image in order.tolist() if not kinds[image]]
    return [*chosen, *empty][:number]


def folder_images(
    folder: Path, number: int, size: tuple[int, int], letterbox: LetterboxMode, flag: str
) -> list[Callable[[], Image]]:
    """Readers of at most `number` images of a folder, evenly spread, each letterboxed to uint8 [H, W, 3] RGB.

    UserError, which names the flag, when there are none; a reader raises one when its image cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"{flag} is {folder}, which is no folder")
    suffixes = readable_suffixes()
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    paths = without_twins(path for path in files if path.suffix.lower() in suffixes and not path.is_dir())
    if not paths:
        encrypted = sum(map(is_encrypted, files))
        hint = f"; {encrypted} encrypted (.enc): set YOLO_ENCRYPTION_KEY to read them" if encrypted else ""
        raise UserError(
            f"{flag} is {folder}: no images in this folder (looked for {', '.join(sorted(suffixes))}){hint}"
        )
    loader = EncryptedImageLoader()
    return [partial(_read, loader, path, size, letterbox) for path in spread(paths, number)]


def _read(loader: ImageLoader, path: Path, size: tuple[int, int], letterbox: LetterboxMode) -> Image:
    image = load_image(loader, path)
    return Letterbox(image.shape[:2], size, letterbox).apply(image)


def training_images(
    datamodule: YOLODataModule, number: int, size: tuple[int, int], letterbox: LetterboxMode
) -> Calibration:
    """At most `number` training images, spread over the classes, as training reads them."""
    datamodule.setup("train")
    assert datamodule.train is not None
    records = datamodule.train.images
    seen = DetectionDataset(records, datamodule.pixels("train"), size, letterbox)
    chosen = choose_spread([record.objects[1] for record in records], number)
    source = f"{len(chosen)} of {len(records)} training images"
    return Calibration(source, [partial(_letterboxed, seen, position) for position in chosen])


def _letterboxed(seen: DetectionDataset, position: int) -> Image:
    return seen[position].image


def spread(items: Sequence[Any], number: int) -> list[Any]:
    """At most `number` of the items, evenly spaced, the first among them."""
    return [items[i * len(items) // number] for i in range(number)] if len(items) > number else list(items)
