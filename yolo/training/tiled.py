"""Validation of images through windows (`yolo.tiling`), by the same evaluator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from yolo.data.batch import Batch
from yolo.errors import UserError
from yolo.tiling import Tiling, detect_tiled
from yolo.training.module import YOLOModule


class TiledModule(YOLOModule):
    """A detector that validates images in their own size; its data module gives `whole_images`."""

    tiling: Tiling

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Nothing yet: each window goes to the device by itself."""
        return batch

    def detect(self, batch: Batch) -> list[Tensor]:
        """Detections [K, 6] of each image of a batch, in original pixels."""
        assert self.card is not None
        settings: tuple[Any, ...] = self.tiling, self.nms, self.card.letterbox, self.image_size
        found = []
        for pixels, record in zip(batch.images, batch.records, strict=True):
            image = pixels.permute(1, 2, 0).numpy()
            if image.shape[:2] != record.size:
                raise UserError(
                    f"{record.path}: the cache keeps it at {image.shape[1]} x {image.shape[0]} pixels of "
                    f"{record.size[1]} x {record.size[0]}, --tile needs the original: --data.cache_images=none"
                )
            found.append(detect_tiled(self.model, image, *settings))
        return found
