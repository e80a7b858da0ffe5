from __future__ import annotations

import numpy as np
import torch

from yolo.export.calibration import Calibration


def test_images_come_one_by_one_and_are_known_by_their_pixels() -> None:
    pictures = [np.full((4, 6, 3), value, np.uint8) for value in (0, 255)]
    pictures[0][0, 1, 2] = 51
    read: list[int] = []

    def reader(index: int) -> np.ndarray:
        read.append(index)
        return pictures[index]

    calibration = Calibration("somewhere", [lambda: reader(0), lambda: reader(1)])
    assert len(calibration) == 2
    images = iter(calibration)
    first = next(images)
    assert read == [0]
    assert (first.dtype, first.shape) == (torch.float32, (1, 3, 4, 6))
    assert first[0, 2, 0, 1] == 51 / 255
    assert first.sum() == first[0, 2, 0, 1]
    assert (next(images) == 1).all()
    digest = calibration.digest()
    assert digest == calibration.digest()
    pictures[1][0, 0, 0] = 254
    assert digest != calibration.digest()
