"""The only part of a cache that is always in clear: what it takes to open the rest."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from yolo.data.cache.environment import open_map
from yolo.data.cache.seal import AESSeal, DigestSeal, Seal
from yolo.data.keys import VARIABLE, EncryptionKey
from yolo.errors import UserError

DATA_FILE = "data.mdb"
VERSION = 1
"""Of the layout of a cache; one with another version is built anew."""
HEADER_KEY = b"header"

_CHECKSUM = 16


@dataclass(frozen=True)
class CacheHeader:
    """Version, identity and encryption of a cache."""

    version: int
    cache_id: bytes
    """16 random bytes, new with each build."""
    encrypted: bool
    salt: bytes = b""
    """16 random bytes that the cache's own key is derived with."""
    key_check: bytes = b""
    """Derived from the key: tells a wrong key from damage, and nothing about the key."""

    @classmethod
    def new(cls, key: EncryptionKey | None) -> CacheHeader:
        """The header of a new cache, encrypted with `key`, or not encrypted."""
        if key is None:
            return cls(VERSION, os.urandom(16), encrypted=False)
        salt = os.urandom(16)
        return cls(VERSION, os.urandom(16), encrypted=True, salt=salt, key_check=_key_check(key, salt))

    def pack(self) -> bytes:
        """A checksum and JSON."""
        fields = {name: value.hex() if isinstance(value, bytes) else value for name, value in asdict(self).items()}
        body = json.dumps(fields).encode()
        return _checksum(body) + body

    @classmethod
    def unpack(cls, stored: bytes, file: Path) -> CacheHeader:
        """What `pack` wrote; UserError names `file` when it is damaged."""
        checksum, body = stored[:_CHECKSUM], stored[_CHECKSUM:]
        if checksum != _checksum(body):
            raise UserError(f"{file}: the header of the cache is damaged: copy it again or build the cache anew")
        fields = json.loads(body)
        hexadecimal = ("cache_id", "salt", "key_check")
        return cls(
            version=fields["version"],
            encrypted=fields["encrypted"],
            **{name: bytes.fromhex(fields[name]) for name in hexadecimal},
        )

    def seal(self, key: EncryptionKey | None, folder: Path) -> Seal:
        """What opens the cache's values.

        Raises:
            UserError: The cache is of another version, or needs a key, or another key.
        """
        if self.version != VERSION:
            raise UserError(f"{folder}: the cache has version {self.version}, this program reads {VERSION}")
        if not self.encrypted:
            return DigestSeal(self.cache_id)
        if key is None:
            raise UserError(
                f"{folder}: the cache is encrypted, and there is no key: set {VARIABLE} (64 hexadecimal digits) "
                "or data.encryption_key"
            )
        if not hmac.compare_digest(self.key_check, _key_check(key, self.salt)):
            raise UserError(f"{folder}: wrong key: the cache was encrypted with another one")
        return AESSeal(key.derive(b"yolo cache 1", self.salt), self.cache_id)


def read_header(folder: Path) -> CacheHeader:
    """The header of the cache in `folder`, of whatever version.

    Raises:
        UserError: There is no cache, or its file is truncated or damaged.
    """
    file = folder / DATA_FILE
    stored = open_map(file).get(HEADER_KEY)
    if stored is None:
        raise UserError(f"{file}: not the data file of a cache, or a damaged one: it has no header")
    return CacheHeader.unpack(bytes(stored), file)


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM).digest()


def _key_check(key: EncryptionKey, salt: bytes) -> bytes:
    return key.derive(b"yolo cache key check 1", salt)
