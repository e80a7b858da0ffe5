"""Decoding every image of a dataset, to see whether it can be read and which images are the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo.data.annotations import AnnotatedImage
from yolo.data.loaders import Image, ImageLoader, load_image
from yolo.errors import UserError

_GRID = 9
_DETAIL = 32
_CLEAR = 2.0
"""Grey levels from which on two cells, or a cell and those around it, differ for a reason and not by compression."""
_FLAT = 3.0
"""Grey levels that a thumbnail must vary by to have a fingerprint: a blank image resembles every other one."""
_SOFT = 4.0
"""Grey levels by which half the strength of a detail is reached: no heavy line may outweigh all letters of a page."""
_STRONGEST = 127
CLEAR_DETAIL = round(_STRONGEST * _CLEAR / np.hypot(_CLEAR, _SOFT))
"""Strength from which on a detail is one."""


class Fingerprint(NamedTuple):
    """What images are compared by."""

    bits: int
    """128 comparisons of neighbouring cells, few of which differ between an image and a copy of another size or
    quality."""
    clear: int
    """128 bits: 1 where these cells differ by more than compression may change."""
    detail: bytes
    """How much each of 32 x 32 cells is brighter than those around it, int8 from -127 to 127."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What is left of a decoded image."""

    size: tuple[int, int] = (0, 0)
    """Height and width in pixels."""
    digest: bytes = b""
    """The same for the same pixels, whatever the file around them."""
    fingerprint: Fingerprint | None = None
    """None for a blank image."""
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


def fingerprint(image: Image) -> Fingerprint | None:
    """Whether each cell of a 9 x 9 grid of grey values is brighter than its right and its lower neighbour, and details.

    A difference hash: size and compression hardly change it, light and contrast little as long as nothing is cut off at
    black or white. A strongly brightened copy may look like another image.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_GRID, _GRID), interpolation=cv2.INTER_AREA).astype(np.float32)
    if small.std() < _FLAT:
        return None
    corner = small[:-1, :-1]
    differences = np.concatenate([corner - small[:-1, 1:], corner - small[1:, :-1]], None)
    cells = cv2.resize(grey, (_DETAIL, _DETAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
    local = cells - cv2.blur(cells, (3, 3))
    detail = np.rint(_STRONGEST * local / np.hypot(local, _SOFT)).astype(np.int8)
    return Fingerprint(_number(differences > 0), _number(np.abs(differences) >= _CLEAR), detail.tobytes())


def _number(bits: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
