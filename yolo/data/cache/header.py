"""The only part of a cache that is always in clear: what it takes to open the rest."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from yolo.data.cache.damage import ANEW
from yolo.data.cache.environment import Map, open_map
from yolo.data.cache.seal import AESSeal, DigestSeal, Seal
from yolo.data.keys import EncryptionKey, missing_key
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
        """What `pack` wrote, of another version only that and whether it is encrypted.

        Raises:
            UserError: It is damaged, or nothing that `pack` writes; names `file`.
        """
        checksum, body = stored[:_CHECKSUM], stored[_CHECKSUM:]
        try:
            if checksum != _checksum(body):
                raise ValueError("another checksum")
            return cls._parse(json.loads(body))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError(f"{file}: the header of the cache is damaged: copy it again or {ANEW}") from error

    @classmethod
    def _parse(cls, document: Any) -> CacheHeader:
        version, encrypted = document["version"], document["encrypted"]
        if type(version) is not int or not 0 < version < 1 << 31 or type(encrypted) is not bool:
            raise ValueError("no version, or not whether it is encrypted")
        if version != VERSION:
            return cls(version, b"", encrypted)
        values = [bytes.fromhex(document[name]) for name in ("cache_id", "salt", "key_check")]
        if [len(value) for value in values] != [16, *((16, 32) if encrypted else (0, 0))]:
            raise ValueError("values of other lengths")
        return cls(version, values[0], encrypted, values[1], values[2])

    def is_key(self, key: EncryptionKey) -> bool:
        """Whether the cache was encrypted with `key`."""
        return hmac.compare_digest(self.key_check, _key_check(key, self.salt))

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
            raise missing_key(f"{folder}: the cache is encrypted")
        if not self.is_key(key):
            raise UserError(f"{folder}: wrong key: the cache was encrypted with another one")
        return AESSeal(key.derive(b"yolo cache 1", self.salt), self.cache_id)


def open_header(folder: Path) -> tuple[CacheHeader, Map]:
    """The header of the cache in `folder`, of whatever version, and the map that it was read from.

    Raises:
        UserError: There is no cache, or its file is truncated or damaged.
    """
    file = folder / DATA_FILE
    opened = open_map(file)
    stored = opened.get(HEADER_KEY)
    if stored is None:
        raise UserError(f"{file}: not the data file of a cache, or a damaged one: it has no header")
    return CacheHeader.unpack(bytes(stored), file), opened


def read_header(folder: Path) -> CacheHeader:
    """The header alone."""
    return open_header(folder)[0]


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM).digest()


def _key_check(key: EncryptionKey, salt: bytes) -> bytes:
    return key.derive(b"yolo cache key check 1", salt)
