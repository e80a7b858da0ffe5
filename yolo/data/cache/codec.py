"""Pixels to the values of a cache and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo.data.loaders import Image

_LZ4_RATIO = 256  # more than its format can reach, so that nobody makes us allocate for nothing


@dataclass(frozen=True)
class Codec:
    """How the images of a cache are written."""

    format: Literal["jpeg", "raw"]
    lz4: bool = False
    """Compress raw pixels."""
    quality: int = 95
    """Of jpeg; reading does not depend on it."""

    def encode(self, image: Image) -> Any:
        """uint8 [H, W, 3] RGB as bytes or uint8 [n]."""
        if self.format == "jpeg":
            bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
            return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
        pixels = np.ascontiguousarray(image).reshape(-1)
        if not self.lz4:
            return pixels
        import lz4.block

        return lz4.block.compress(pixels, store_size=False)

    def decode(self, value: NDArray[np.uint8], size: tuple[int, int]) -> Image:
        """The image of a value, uint8 [H, W, 3] RGB; raw pixels are a view of it.

        Raises:
            ValueError: The value is no image of this size.
        """
        if self.format == "jpeg":
            image = _decode_jpeg(value)
        else:
            pixels = _decompress(value, size[0] * size[1] * 3) if self.lz4 else value
            image = pixels.reshape(*size, 3)
        if image.shape[:2] != size:
            raise ValueError(f"{image.shape[1]} x {image.shape[0]} pixels instead of {size[1]} x {size[0]}")
        return image


def _decode_jpeg(value: NDArray[np.uint8]) -> Image:
    try:
        image = cv2.imdecode(value, cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise ValueError(error.err) from error
    if image is None:
        raise ValueError("no JPEG image")
    return np.asarray(image, np.uint8)


def _decompress(value: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    import lz4.block

    if count > _LZ4_RATIO * len(value):
        raise ValueError("too few bytes for so many pixels")
    try:
        return np.frombuffer(lz4.block.decompress(value, uncompressed_size=count), np.uint8)
    except (lz4.block.LZ4BlockError, OverflowError) as error:
        raise ValueError(str(error)) from error
