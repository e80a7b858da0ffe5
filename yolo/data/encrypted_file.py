"""The content of `.enc` files: one image, encrypted.

Ours is authenticated: magic, version, key check and nonce, then the image under AES-256-GCM, whose tag covers all of
it. The key is derived from the user's. The older layout, which is only read, is a 16-byte IV and the image under
AES-256-CBC with PKCS7 padding and the user's key as it is: nothing there tells damage, or another key, from content.
"""

from __future__ import annotations

import functools
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from yolo.data.keys import EncryptionKey
from yolo.errors import UserError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"YOLO.ENC"
VERSION = 1

_PURPOSE, _CHECK_PURPOSE = b"yolo encrypted image 1", b"yolo encrypted image 1 check"
_HEADER = struct.Struct(">8sB8s12s")  # magic, version, key check, nonce
_TAG, _BLOCK = 16, 16


class ImageCipher:
    """Encrypts and decrypts images with one key; picklable, printed without the key."""

    def __init__(self, key: EncryptionKey) -> None:
        self.key = key

    def __reduce__(self) -> tuple[type[ImageCipher], tuple[EncryptionKey]]:
        return ImageCipher, (self.key,)

    @functools.cached_property
    def _gcm(self) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self.key.derive(_PURPOSE))

    @functools.cached_property
    def _check(self) -> bytes:
        """Tells keys apart and says nothing about them."""
        return self.key.derive(_CHECK_PURPOSE)[:8]

    def encrypt(self, image: bytes) -> bytes:
        """The content of an `.enc` file that holds the encoded `image`; each call gives another."""
        nonce = os.urandom(12)
        header = _HEADER.pack(MAGIC, VERSION, self._check, nonce)
        return header + self._gcm.encrypt(nonce, image, header)

    def decrypt(self, content: bytes, path: Path) -> bytes:
        """The encoded image in the `content` of an `.enc` file of either layout; `path` is named in errors.

        Raises:
            UserError: Another key, damage, or no encrypted image at all.
        """
        from cryptography.exceptions import InvalidTag

        if is_old(content):
            return self._decrypt_old(content, path)
        if len(content) < _HEADER.size + _TAG:
            raise UserError(f"{path}: truncated, an encrypted image has more than {len(content)} bytes")
        header, sealed = content[: _HEADER.size], content[_HEADER.size :]
        _, version, check, nonce = _HEADER.unpack(header)
        if version != VERSION:
            raise UserError(f"{path}: encrypted image of version {version}, expected {VERSION}; or it is damaged")
        try:
            return self._gcm.decrypt(nonce, sealed, header)
        except InvalidTag as error:
            if check != self._check and not self._opens(nonce, sealed):
                raise UserError(f"{path}: encrypted with another key") from error
            raise UserError(f"{path}: damaged or changed since it was encrypted") from error

    def _opens(self, nonce: bytes, sealed: bytes) -> bool:
        """Whether the key is right after all, and only the key check in the header is damaged."""
        from cryptography.exceptions import InvalidTag

        try:
            self._gcm.decrypt(nonce, sealed, _HEADER.pack(MAGIC, VERSION, self._check, nonce))
        except InvalidTag:
            return False
        return True

    def _decrypt_old(self, content: bytes, path: Path) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.algorithms import AES256
        from cryptography.hazmat.primitives.ciphers.modes import CBC
        from cryptography.hazmat.primitives.padding import PKCS7

        if len(content) < 2 * _BLOCK or len(content) % _BLOCK:
            what = f"{len(content)} bytes, which neither begin as an encrypted image nor are whole blocks of AES"
            raise UserError(f"{path}: {what if content else 'an empty file'}, expected an encrypted image")
        decryptor = Cipher(AES256(self.key.secret), CBC(content[:_BLOCK])).decryptor()
        padded = decryptor.update(content[_BLOCK:]) + decryptor.finalize()
        unpadder = PKCS7(8 * _BLOCK).unpadder()
        try:
            return unpadder.update(padded) + unpadder.finalize()
        except ValueError as error:
            raise UserError(f"{path}: encrypted with another key, or damaged (old layout, AES-256-CBC)") from error


def is_old(content: bytes) -> bool:
    """Whether `content` is not in our layout, and so can only be in the old one."""
    return not content.startswith(MAGIC)
