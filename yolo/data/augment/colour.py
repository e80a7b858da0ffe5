"""Colour variation."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo.data.options import AugmentOptions


def random_gains(rng: np.random.Generator, options: AugmentOptions) -> NDArray[np.float64]:
    """Factors [3] for hue, saturation and value, each uniform in 1 +- its option."""
    return 1 + rng.uniform(-1, 1, 3) * (options.hsv_h, options.hsv_s, options.hsv_v)


def apply_hsv(image: NDArray[np.uint8], gains: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Multiply hue (cyclic), saturation and value (saturating) of an RGB image [H, W, 3] by `gains` [3]."""
    if (gains == 1).all():
        return image
    levels = np.arange(256)[:, None] * gains
    # OpenCV keeps hue in 0..179 for uint8.
    table = np.concatenate([levels[:, :1] % 180, levels[:, 1:].clip(0, 255)], 1).astype(np.uint8)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    return cv2.cvtColor(cv2.LUT(hsv, table[None]), cv2.COLOR_HSV2RGB)  # type: ignore[return-value]
