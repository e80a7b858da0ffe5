"""Image loaders: from a path to RGB pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo.errors import UserError

Image = NDArray[np.uint8]


class ImageLoader(ABC):
    """Base of all loaders, ours and users' (`--data.image_loader.class_path`); picklable, since workers get a copy."""

    @abstractmethod
    def __call__(self, path: Path) -> Image:
        """The image at `path` as uint8 [H, W, 3] RGB, EXIF orientation applied.

        Raises:
            UserError: The file is missing or is no readable, complete image.
        """


class DefaultImageLoader(ImageLoader):
    """OpenCV: as fast as any decoder here to a few percent, and no extra dependency."""

    def __call__(self, path: Path) -> Image:  # noqa: D102 (the base says it)
        return decode_image(read_bytes(path), path)


def read_bytes(path: Path) -> NDArray[np.uint8]:
    """The bytes of a file as uint8 [n]; a missing or unreadable file is a UserError."""
    try:
        return np.fromfile(path, np.uint8)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such image file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def decode_image(data: NDArray[np.uint8], path: Path) -> Image:
    """Decode an encoded image to uint8 [H, W, 3] RGB; `path` is only named in the error.

    From memory because `cv2.imread` fills a truncated JPEG with grey and reports success, and `cv2.imdecode`
    refuses it.
    """
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if data.size else None
    except cv2.error as error:
        raise UserError(f"{path}: OpenCV cannot decode this image ({error.err})") from error
    if image is None:
        raise UserError(f"{path}: not a complete image that OpenCV can decode ({data.size} bytes)")
    return np.asarray(image, np.uint8)
