"""How values are stored: encrypted and authenticated, or in clear with a digest."""

from __future__ import annotations

import os
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 8  # of the key of a value, with which its stored form begins

_NONCE = 12
_TAG = 16
_DIGEST = 16


class SealError(ValueError):
    """A value is not the one that was stored under its key.

    `belongs_to` is the key that it was stored under when it is intact, None when it is damaged.
    """

    def __init__(self, belongs_to: bytes | None) -> None:
        super().__init__("damaged" if belongs_to is None else f"stored under {belongs_to.hex()}")
        self.belongs_to = belongs_to


class Seal(Protocol):
    """Values to their stored form and back."""

    overhead: int
    """Bytes that the stored form has more than the value."""

    def close(self, key: bytes, value: Any) -> bytes:
        """The stored form of `value` (bytes or uint8 [n]) under `key` (KEY_BYTES long)."""

    def open(self, key: bytes, stored: memoryview, *, check: bool = True) -> NDArray[np.uint8]:
        """The value, uint8 [n]; where it lies in clear, a read-only view, and not checked unless asked for.

        Raises:
            SealError: The value is damaged, or another one's.
        """


class DigestSeal:
    """key + digest + value: finds damage, keeps no secret."""

    overhead = KEY_BYTES + _DIGEST

    def __init__(self, cache_id: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._mac = AESGCM(cache_id)

    def close(self, key: bytes, value: Any) -> bytes:  # noqa: D102 (the protocol says it)
        return b"".join((key, self._digest(key, value), value))

    def open(self, key: bytes, stored: memoryview, *, check: bool = True) -> NDArray[np.uint8]:  # noqa: D102
        if len(stored) < self.overhead:
            raise SealError(None)
        value = stored[self.overhead :]
        if check:
            written = bytes(stored[:KEY_BYTES])
            intact = self._digest(written, value) == stored[KEY_BYTES : self.overhead]
            if not intact or written != key:
                raise SealError(written if intact else None)
        return np.frombuffer(value, np.uint8)

    def _digest(self, key: bytes, value: Any) -> bytes:
        # GMAC, under a key that is no secret: as good a checksum as any hash here, and 20 times as fast.
        return self._mac.encrypt(key.rjust(_NONCE, b"\0"), b"", value)


class AESSeal:
    """key + nonce + AES-256-GCM of the value, whose associated data are the cache's id and the value's key: what is
    changed, moved to another key or taken from another cache does not open.

    A nonce is 96 random bits; one key is good for 2^32 values.
    """

    overhead = KEY_BYTES + _NONCE + _TAG

    def __init__(self, secret: bytes, cache_id: bytes) -> None:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(secret)
        self._failed = InvalidTag
        self.cache_id = cache_id

    def close(self, key: bytes, value: Any) -> bytes:  # noqa: D102 (the protocol says it)
        nonce = os.urandom(_NONCE)
        return b"".join((key, nonce, self._cipher.encrypt(nonce, value, self.cache_id + key)))

    def open(self, key: bytes, stored: memoryview, *, check: bool = True) -> NDArray[np.uint8]:  # noqa: D102
        if len(stored) < self.overhead:
            raise SealError(None)
        value = self._decrypt(key, stored)
        written = bytes(stored[:KEY_BYTES])
        if value is None:
            raise SealError(written if written != key and self._decrypt(written, stored) is not None else None)
        if written != key:
            raise SealError(None)
        value.flags.writeable = False
        return value

    def _decrypt(self, key: bytes, stored: memoryview) -> NDArray[np.uint8] | None:
        value = np.empty(len(stored) - self.overhead, np.uint8)
        nonce, text = stored[KEY_BYTES : KEY_BYTES + _NONCE], stored[KEY_BYTES + _NONCE :]
        try:
            self._cipher.decrypt_into(nonce, text, self.cache_id + key, value.data)
        except self._failed:
            return None
        return value
