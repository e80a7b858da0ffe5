"""Samples (NumPy) and batches (torch)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from yolo.data.annotations import AnnotatedImage


@dataclass(slots=True)
class Sample:
    """One picture and its objects on the way to a batch."""

    image: NDArray[np.uint8]
    """[H, W, 3] RGB."""
    boxes: NDArray[np.float32]
    """[N, 4] xyxy in pixels of `image`."""
    classes: NDArray[np.int64]
    """[N]."""
    record: AnnotatedImage
    """Where it comes from; for a mosaic, the image the sample was asked for."""


@dataclass
class Batch:
    """What the training loop gets (contract 2)."""

    images: torch.Tensor
    """uint8 [B, 3, H, W] RGB, stored channels-last; scaling to 0..1 happens on the device."""
    targets: torch.Tensor
    """float32 [M, 6]: image index in the batch, class, x1, y1, x2, y2 in pixels of the batch's images."""
    records: list[AnnotatedImage]
    """B originals: id, path, size and annotations in original pixels."""

    def to(self, device: torch.device | str, **kwargs: Any) -> Batch:
        """A copy with both tensors on `device`; `kwargs` go to `Tensor.to`."""
        return Batch(self.images.to(device, **kwargs), self.targets.to(device, **kwargs), self.records)

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory (called by the DataLoader)."""
        return Batch(self.images.pin_memory(), self.targets.pin_memory(), self.records)

    def __len__(self) -> int:
        return len(self.records)


def collate(samples: Sequence[Sample]) -> Batch:
    """Put samples of one size together."""
    # A stack of HWC images seen as NCHW is already channels-last, as training wants it: no transpose is paid for.
    images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    rows = [
        np.column_stack([np.full(len(sample.classes), i), sample.classes, sample.boxes]).astype(np.float32)
        for i, sample in enumerate(samples)
    ]
    return Batch(images, torch.from_numpy(np.concatenate(rows)), [sample.record for sample in samples])
