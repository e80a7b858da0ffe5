"""Images that the ranges of an INT8 file come from."""

from __future__ import annotations

import hashlib
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
