"""The map-style dataset: from an index to a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from yolo.boxes.letterbox import Letterbox, LetterboxMode
from yolo.data.annotations import AnnotatedImage
from yolo.data.augment.pipeline import AugmentPipeline
from yolo.data.batch import Sample
from yolo.data.pixels import PixelSource
from yolo.data.sampler import TrainingItem


class DetectionDataset(Dataset[Sample]):
    """Samples of one split.

    With a pipeline, items are `TrainingItem`s and augmented; without one, items are indices and letterboxed, or left
    as they are.

    Args:
        records: The annotated images.
        pixels: Their pixels.
        image_size: Height and width of the samples; None, without a pipeline, for those of each image.
        letterbox: Where an image of another shape sits inside the sample.
        pipeline: The augmentation, or None.
        mosaic_until: The epoch from which on there are no compositions of several images; None for never.
    """

    def __init__(
        self,
        records: Sequence[AnnotatedImage],
        pixels: PixelSource,
        image_size: tuple[int, int] | None,
        letterbox: LetterboxMode = "center",
        *,
        pipeline: AugmentPipeline | None = None,
        mosaic_until: int | None = None,
    ) -> None:
        self.records = records
        self.pixels = pixels
        self.image_size = image_size
        self.letterbox = letterbox
        self.pipeline = pipeline
        self.mosaic_until = mosaic_until

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, item: int | TrainingItem) -> Sample:
        if isinstance(item, TrainingItem):
            if self.pipeline is None:
                raise ValueError(f"item {item} asks for augmentation, but this dataset has no pipeline")
            mosaic = self.mosaic_until is None or item.epoch < self.mosaic_until
            return self.pipeline(self, item, mosaic=mosaic)
        sample = self.read(item)
        if self.image_size is None:
            return sample
        height, width = sample.image.shape[:2]
        box = Letterbox((height, width), self.image_size, self.letterbox)
        boxes = np.asarray(box.to_target(sample.boxes), np.float32)
        return Sample(box.apply(sample.image), boxes, sample.classes, sample.record)

    def read(self, index: int) -> Sample:
        """Image `index` and its objects, crowds left out, in pixels of the image as the source keeps it."""
        record = self.records[index]
        image = self.pixels(index)
        boxes, classes = record.objects
        height, width = image.shape[:2]
        if (height, width) != record.size:
            scale_y, scale_x = height / record.size[0], width / record.size[1]
            boxes = boxes * np.array([scale_x, scale_y, scale_x, scale_y], np.float32)
        return Sample(image, boxes, classes, record)
