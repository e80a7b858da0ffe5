from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import Run
from yolo.data.annotations import AnnotatedImage
from yolo.data.batch import Batch
from yolo.errors import UserError
from yolo.tiling import Tiling, detect_tiled
from yolo.training.tiled import TiledModule


def one_image(size: tuple[int, int]) -> Batch:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (100, 140, 3), np.uint8))
    empty = np.zeros(0)
    record = AnnotatedImage(Path("a.jpg"), 1, size, empty.reshape(0, 4), empty, empty.astype(bool), empty)
    return Batch(pixels.permute(2, 0, 1)[None], torch.zeros(0, 6), [record])


@pytest.mark.slow
def test_detections_are_those_of_the_tiles(tiny_run: Run) -> None:
    module = TiledModule.from_checkpoint(tiny_run.best, nms_max_detections=50, nms_iou_threshold=1.0)
    module.tiling = Tiling(64)
    batch = one_image((100, 140))
    assert module.transfer_batch_to_device(batch, torch.device("meta"), 0) is batch
    (found,) = module.detect(batch)
    image = batch.images[0].permute(1, 2, 0).numpy()
    expected = detect_tiled(module.model, image, Tiling(64), module.nms, "center", module.image_size)
    assert len(found) > 1
    assert torch.equal(found, expected)


def test_pixels_of_another_size_are_refused(tiny_run: Run) -> None:
    module = TiledModule.from_checkpoint(tiny_run.best)
    module.tiling = Tiling(64)
    with pytest.raises(UserError, match=r"a.jpg: the cache keeps it at 140 x 100 pixels of 280 x 200, --tile needs"):
        module.detect(one_image((200, 280)))
