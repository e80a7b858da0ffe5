"""Colour variation on the CPU. A recolouring takes an image and, optionally, the array that shall hold the result."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo.data.options import AugmentOptions, BBoxMosaicOptions

Image = NDArray[np.uint8]
Gains = NDArray[np.float64]
Recolour = Callable[[Image, Image | None], Image]

_HUES = np.arange(180)


def random_gains(rng: np.random.Generator, options: AugmentOptions | BBoxMosaicOptions) -> Gains:
    """Factors [3] for hue, saturation and value, each uniform in 1 +- its option."""
    return 1 + rng.uniform(-1, 1, 3) * (options.hsv_h, options.hsv_s, options.hsv_v)


def recolouring(gains: Gains, how: Literal["exact", "fast"]) -> Recolour | None:
    """What multiplies hue, saturation and value by `gains` [3]; None when that changes nothing."""
    if (gains == 1).all():
        return None
    return partial(_EXACT_OR_FAST[how], gains)


def apply_hsv(gains: Gains, image: Image, out: Image | None = None) -> Image:
    """Multiply hue (cyclic), saturation and value (saturating) of an RGB image [H, W, 3] by `gains` [3]."""
    hue_gain, saturation_gain, value_gain = gains.tolist()
    # OpenCV keeps hue in 0..179 for uint8. One table, and two scalings, which are three times as fast as tables.
    table = np.zeros(256, np.uint8)
    table[:180] = _HUES * hue_gain % 180
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hue, saturation, value = cv2.split(hsv)
    cv2.LUT(hue, table, hue)
    cv2.convertScaleAbs(saturation, saturation, saturation_gain)
    cv2.convertScaleAbs(value, value, value_gain)
    return cv2.cvtColor(cv2.merge((hue, saturation, value), hsv), cv2.COLOR_HSV2RGB, out)  # type: ignore[return-value]


def apply_sv(gains: Gains, image: Image, out: Image | None = None) -> Image:
    """Multiply saturation and value of an RGB image [H, W, 3] by `gains` [3] and leave its hue alone.

    A channel is c = value * (1 - saturation * k), where k depends on the hue alone. With both scaled it becomes
    gv * (gs * c + (1 - gs) * value): no other colour space is needed. Differs from `apply_hsv` where saturation or
    value leave their range.
    """
    _, saturation, value = gains.tolist()
    red, green, blue = cv2.split(image)
    largest = cv2.cvtColor(cv2.max(cv2.max(red, green, red), blue, red), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, value * saturation, largest, value * (1 - saturation), 0, out)  # type: ignore[return-value]


_EXACT_OR_FAST = {"exact": apply_hsv, "fast": apply_sv}
