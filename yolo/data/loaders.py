"""Image loaders: from a path to RGB pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, TypeAlias

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from yolo.errors import UserError

Image: TypeAlias = NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

_EXIF_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # values of it that swap height and width


class ImageLoader(ABC):
    """Base of all loaders, ours and users' (`--data.image_loader.class_path`); picklable, since workers get a copy."""

    suffixes: frozenset[str] = IMAGE_SUFFIXES
    """Endings, in lower case, of the files that this loader reads: what a folder is searched for."""

    @abstractmethod
    def __call__(self, path: Path) -> Image | PIL.Image.Image:
        """The image at `path`, RGB, EXIF orientation applied: uint8 [H, W, 3] or a PIL image.

        Raises:
            UserError: The file is missing or is no readable, complete image.
        """

    def image_size(self, path: Path) -> tuple[int, int]:
        """Height and width of what a call would deliver; from the header alone where the file is a usual image."""
        return image_size(path) if path.suffix.lower() in IMAGE_SUFFIXES else load_image(self, path).shape[:2]


class DefaultImageLoader(ImageLoader):
    """OpenCV: as fast as any decoder here to a few percent, and no extra dependency."""

    def __call__(self, path: Path) -> Image:  # noqa: D102 (the base says it)
        return decode_image(read_bytes(path), path)


def load_image(loader: ImageLoader, path: Path) -> Image:
    """What `loader` reads from `path`, as uint8 [H, W, 3]; a loader that delivers something else is a UserError."""
    loaded = loader(path)
    image = np.asarray(loaded.convert("RGB") if isinstance(loaded, PIL.Image.Image) else loaded)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(
            f"{path}: {type(loader).__name__} delivers an array {image.dtype} {list(image.shape)}, "
            "expected uint8 [height, width, 3] or a PIL image"
        )
    return image


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


def image_size(file: Path | IO[bytes], path: Path | None = None) -> tuple[int, int]:
    """Height and width of an image file as the decoder will deliver them, from the header alone.

    Args:
        file: The file, or its content.
        path: What an error names, when `file` is its content.

    Raises:
        UserError: The file is missing or no image.
    """
    name = path or file
    try:
        with PIL.Image.open(file) as image:
            width, height = image.size
            # Asked only if the header has EXIF data: `getexif` decodes a PNG without, and OpenCV does not turn TIFFs.
            turned = "exif" in image.info and image.getexif().get(_EXIF_ORIENTATION) in _TURNED
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such image file") from error
    except (OSError, PIL.UnidentifiedImageError, PIL.Image.DecompressionBombError, SyntaxError) as error:
        raise UserError(f"{name}: not an image that can be read ({error})") from error
    return (width, height) if turned else (height, width)
