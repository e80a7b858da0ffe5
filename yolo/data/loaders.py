"""Image loaders: from a path to RGB pixels."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, Any, TypeAlias

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from yolo.data.image_files import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from yolo.data.jpeg import REFUSALS, find_decoder, is_usual_jpeg
from yolo.data.keys import SecretStr
from yolo.errors import UserError

Image: TypeAlias = NDArray[np.uint8]

MAPPED_FROM = 1 << 20
"""FastImageLoader maps files larger than this many bytes."""

_EXIF_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # values of it that swap height and width


class ImageLoader(ABC):
    """Base of all loaders, ours and users' (`--data.image_loader.class_path`).

    Picklable, since workers get a copy, and callable from several threads at once.
    """

    suffixes: frozenset[str] = IMAGE_SUFFIXES
    """Endings, in lower case, of the files that this loader reads: what a folder is searched for."""

    @abstractmethod
    def __call__(self, path: Path) -> Image | PIL.Image.Image:
        """The image at `path`, RGB, EXIF orientation applied: uint8 [H, W, 3] or a PIL image.

        Raises:
            UserError: The file is missing or is no readable, complete image.
        """

    def image_size(self, path: Path) -> tuple[int, int]:
        """Height and width of what a call would deliver; from the header alone where the file is a usual image.

        A loader that turns, crops or resizes usual images, or gets them from elsewhere, must override this.
        """
        return image_size(path) if path.suffix.lower() in IMAGE_SUFFIXES else load_image(self, path).shape[:2]

    def with_key(self, key: SecretStr | None) -> ImageLoader:
        """The loader that uses data.encryption_key where it has no key of its own; itself if it needs none."""
        return self


class DefaultImageLoader(ImageLoader):
    """OpenCV: no extra dependency; TurboJPEGLoader is nearly twice as fast on large JPEGs (benchmarks/loaders.py)."""

    def __call__(self, path: Path) -> Image:  # noqa: D102 (the base says it)
        return decode_image(read_bytes(path), path)


class FastImageLoader(ImageLoader):
    """OpenCV on memory-mapped files, which saves copying the bytes of large ones; the pixels are the same.

    Args:
        use_mmap: Map files larger than 1 MiB instead of reading them. Only for files that nobody shortens meanwhile.
    """

    def __init__(self, use_mmap: bool = True) -> None:
        self.use_mmap = use_mmap

    def __call__(self, path: Path) -> Image:  # noqa: D102 (the base says it)
        return decode_image(_map_bytes(path) if self.use_mmap else read_bytes(path), path)


class TurboJPEGLoader(ImageLoader):
    """libjpeg-turbo by simplejpeg or PyTurboJPEG: the pixels that OpenCV delivers.

    Faster by a few percent on small images, by more than half on images of several megapixels (benchmarks/loaders.py).
    What is no usual JPEG (other formats, CMYK, turned by EXIF, truncated) is left to OpenCV.
    """

    def __init__(self) -> None:
        find_decoder()  # says at the start if there is none; not kept, since a worker needs its own

    def __call__(self, path: Path) -> Image:  # noqa: D102 (the base says it)
        data = read_bytes(path)
        if is_usual_jpeg(data):
            with contextlib.suppress(*REFUSALS):  # damage that OpenCV may put up with, and otherwise names
                return find_decoder()(data)
        return decode_image(data, path)


def load_image(loader: ImageLoader, path: Path) -> Image:
    """What `loader` reads from `path`, as uint8 [H, W, 3].

    Raises:
        UserError: The image cannot be read; or the loader fails, or delivers something else, which the sentence says.
    """
    name = type(loader).__name__
    try:
        loaded: Any = loader(path)
        if isinstance(loaded, PIL.Image.Image):
            loaded = pil_to_rgb(loaded, path)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # anything, since the loader may be the user's own code
        raise UserError(f"{path}: {name} raises {_described(error)}") from error
    if not isinstance(loaded, np.ndarray):
        found = f"{type(loaded).__module__}.{type(loaded).__qualname__}".removeprefix("builtins.")
    elif loaded.dtype != np.uint8 or loaded.ndim != 3 or loaded.shape[2] != 3 or not loaded.size:
        found = f"an array {loaded.dtype} {list(loaded.shape)}"
    else:
        return loaded
    raise UserError(f"{path}: {name} delivers {found}, expected uint8 [height, width, 3] or a PIL image")


def pil_to_rgb(image: PIL.Image.Image, name: object) -> Image:
    """A PIL image as uint8 [H, W, 3]; of 16 bits the upper 8, as OpenCV reads them, where PIL would cut off at 255.

    Raises:
        UserError: `name` has 32 bits per pixel in one channel, whose range nobody knows.
    """
    if image.mode.startswith("I;16"):
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise UserError(f"{name}: a PIL image of mode {image.mode} (32 bits), expected 8 or 16 bits per channel")
    return np.asarray(image.convert("RGB"))


def _described(error: Exception) -> str:
    """Type and message of an exception in one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__} ({message})" if message else type(error).__name__


def identity(loader: ImageLoader) -> str:
    """What the pixels of a loader depend on: empty for ours, which all show the same picture; else its class, and a
    hash of its plain settings and of the file that its code is in."""
    kind = type(loader)
    if kind.__module__.startswith("yolo."):
        return ""
    plain = (str, int, float, bool, type(None))
    settings = {name: value for name, value in sorted(vars(loader).items()) if isinstance(value, plain)}
    code = getattr(sys.modules.get(kind.__module__), "__file__", None)
    content = Path(code).read_bytes() if code and Path(code).is_file() else b""
    digest = hashlib.sha256(repr(settings).encode() + content).hexdigest()
    return f"{kind.__module__}.{kind.__qualname__}#{digest[:8]}"


def read_bytes(path: Path) -> NDArray[np.uint8]:
    """The bytes of a file as uint8 [n]; a missing or unreadable file is a UserError."""
    try:
        return np.fromfile(path, np.uint8)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such image file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _map_bytes(path: Path) -> NDArray[np.uint8]:
    """As `read_bytes`, but a large file is mapped; mapping and descriptor end with the last reference to the array."""
    # A folder, a missing file, a file system that cannot map: reading works, or says what is wrong.
    with contextlib.suppress(OSError, ValueError):
        if path.stat().st_size > MAPPED_FROM:
            with path.open("rb") as file:
                return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    return read_bytes(path)


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
