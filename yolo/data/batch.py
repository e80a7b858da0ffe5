"""Samples (NumPy) and batches (torch)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    colour_gains: NDArray[np.float64] | None = None
    """[3] factors of hue, saturation and value that are still to be applied, on the device; None for none."""


@dataclass
class Batch:
    """What the training loop gets (contract 2)."""

    images: torch.Tensor
    """uint8 [B, 3, H, W] RGB, stored channels-last; scaling to 0..1 happens on the device."""
    targets: torch.Tensor
    """float32 [M, 6]: image index in the batch, class, x1, y1, x2, y2 in pixels of the batch's images."""
    records: list[AnnotatedImage]
    """B originals: id, path, size and annotations in original pixels."""

    colour_gains: torch.Tensor | None = None
    """float32 [B, 3] factors of hue, saturation and value that are still to be applied to the images; None for none."""

    def to(self, device: torch.device | str, **kwargs: Any) -> Batch:
        """A copy with all tensors on `device`; `kwargs` go to `Tensor.to`."""
        return self._each_tensor(lambda tensor: tensor.to(device, **kwargs))

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory (called by the DataLoader)."""
        return self._each_tensor(torch.Tensor.pin_memory)

    def _each_tensor(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        gains = None if self.colour_gains is None else change(self.colour_gains)
        return Batch(change(self.images), change(self.targets), self.records, gains)

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
    gains = [sample.colour_gains for sample in samples if sample.colour_gains is not None]
    return Batch(
        images,
        torch.from_numpy(np.concatenate(rows)),
        [sample.record for sample in samples],
        torch.from_numpy(np.stack(gains)).float() if gains else None,
    )
