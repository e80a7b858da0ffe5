"""Images that the ranges of an INT8 file come from."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
