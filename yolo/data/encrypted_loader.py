"""The image loader that reads encrypted images beside usual ones."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps

from yolo.data.encrypted_file import ImageCipher, is_old
from yolo.data.image_files import ENCRYPTED_SUFFIX, IMAGE_SUFFIXES, is_encrypted
from yolo.data.keys import OPTION, SecretStr, require_key
from yolo.data.loaders import Image, ImageLoader, decode_image, image_size, pil_to_rgb, read_bytes
from yolo.errors import UserError


class EncryptedImageLoader(ImageLoader):
    """Reads `.enc` files (`yolo encrypt-images`, or AES-256-CBC of older programs) and usual images.

    The key is needed, and checked, when the first encrypted image is read.

    Args:
        use_opencv: Decode by OpenCV; false for PIL, which is slower and differs by rounding.
        encryption_key: 64 hexadecimal digits; null for data.encryption_key, else YOLO_ENCRYPTION_KEY.
    """

    suffixes = IMAGE_SUFFIXES | {ENCRYPTED_SUFFIX}

    def __init__(self, use_opencv: bool = True, encryption_key: SecretStr | None = None) -> None:
        self.use_opencv = use_opencv
        self._key = encryption_key
        self._cipher: ImageCipher | None = None
        self._option: str | None = None

    def with_key(self, key: SecretStr | None) -> EncryptedImageLoader:
        """The same loader with `key`, the value of data.encryption_key, unless it has one of its own."""
        if self._key is not None:
            return self
        keyed = copy.copy(self)
        keyed._key, keyed._cipher, keyed._option = key, None, OPTION
        return keyed

    def __call__(self, path: Path) -> Image:  # noqa: D102 (the base says it)
        if not is_encrypted(path):
            return self._decode(read_bytes(path), path)
        content = read_bytes(path).tobytes()
        image = self._decrypt(content, path)
        try:
            return self._decode(np.frombuffer(image, np.uint8), path)
        except UserError as error:
            raise _with_doubt(error, content) from error

    def image_size(self, path: Path) -> tuple[int, int]:
        """Height and width; an encrypted image is decrypted for them but not decoded."""
        if not is_encrypted(path):
            return super().image_size(path)
        content = read_bytes(path).tobytes()
        try:
            return image_size(io.BytesIO(self._decrypt(content, path)), path)
        except UserError as error:
            raise _with_doubt(error, content) from error

    def _decrypt(self, content: bytes, path: Path) -> bytes:
        if self._cipher is None:
            self._cipher = ImageCipher(require_key(f"{path} is encrypted", self._key, option=self._option))
        return self._cipher.decrypt(content, path)

    def _decode(self, data: Image, path: Path) -> Image:
        return decode_image(data, path) if self.use_opencv else _decode_by_pil(data, path)


def _with_doubt(error: UserError, content: bytes) -> UserError:
    """The error of a decrypted image, with what else it can mean in the old layout."""
    return UserError(f"{error}; or it was encrypted with another key (old layout)") if is_old(content) else error


def _decode_by_pil(data: Image, path: Path) -> Image:
    try:
        with PIL.Image.open(io.BytesIO(data.tobytes())) as image:
            turned = PIL.ImageOps.exif_transpose(image) if "exif" in image.info else image  # as `image_size`
            return pil_to_rgb(turned, path)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a complete image that PIL can decode ({error})") from error
