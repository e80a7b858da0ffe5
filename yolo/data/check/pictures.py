"""Decoding every image of a dataset, to see whether it can be read and which images are the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from yolo.data.annotations import AnnotatedImage
from yolo.data.loaders import Image, ImageLoader, load_image
from yolo.errors import UserError

_GRID = 9
_FLAT = 3.0
"""Grey levels that a thumbnail must vary by to have a fingerprint: a blank image resembles every other one."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What is left of a decoded image."""

    size: tuple[int, int] = (0, 0)
    """Height and width in pixels."""
    digest: bytes = b""
    """The same for the same pixels, whatever the file around them."""
    fingerprint: int | None = None
    """128 bits, few of which differ between an image and its copy at another size or quality; None for a blank one."""
    error: str = ""
    """Why the image cannot be read."""


def look_at(
    images: Sequence[AnnotatedImage], loader: ImageLoader, advance: Callable[[], object] = lambda: None
) -> list[Picture]:
    """Decode all images, on all cores; `advance` is called after each."""

    def look(image: AnnotatedImage) -> Picture:
        try:
            pixels = load_image(loader, image.path)
        except UserError as error:
            return Picture(error=str(error))
        finally:
            advance()
        digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16, salt=_salt(pixels)).digest()
        return Picture((pixels.shape[0], pixels.shape[1]), digest, fingerprint(pixels))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(look, images))


def _salt(pixels: Image) -> bytes:
    return b"".join(side.to_bytes(8, "big") for side in pixels.shape[:2])


def fingerprint(image: Image) -> int | None:
    """Whether each cell of a 9 x 9 grid of grey values is brighter than its right and its lower neighbour, as 128 bits.

    A difference hash: brightness, contrast, size and compression hardly change it.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_GRID, _GRID), interpolation=cv2.INTER_AREA).astype(np.float32)
    if small.std() < _FLAT:
        return None
    right = small[:-1, :-1] > small[:-1, 1:]
    below = small[:-1, :-1] > small[1:, :-1]
    return int.from_bytes(np.packbits(np.concatenate([right, below], None)).tobytes(), "big")
