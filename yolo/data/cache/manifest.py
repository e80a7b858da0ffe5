"""What an archive of a cache says of itself: a tar of `manifest.json`, which says what follows, and the data file.

An archive may come from anybody, so that names from it never become paths before they are checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from yolo.data.cache.compression import CHUNK
from yolo.data.cache.header import DATA_FILE

MANIFEST = "manifest.json"
BLOCK = 512
"""What tar pads files to."""
RATIO = 200
"""An archive that unpacks to more than this many times its size is taken for a bomb."""

_HARMLESS = 64 << 20  # unless it is no more than this
_FORMAT = "yolo cache archive"
_VERSION = 1
_FOLDER_NAME = re.compile(r"\.yolo_cache_[A-Za-z0-9._-]{1,100}")

Tick = Callable[[], None]
"""Called after each MiB."""


@dataclass(frozen=True)
class Manifest:
    """What an archive holds."""

    folder: str
    """Name of the cache's folder."""
    data_bytes: int
    """Of its data file."""
    sha256: str

    def pack(self) -> bytes:
        """JSON."""
        member = {"name": DATA_FILE, "bytes": self.data_bytes, "sha256": self.sha256}
        document = {"format": _FORMAT, "version": _VERSION, "folder": self.folder, "members": [member]}
        return json.dumps(document, indent=1).encode()

    @classmethod
    def unpack(cls, packed: bytes) -> Manifest:
        """What `pack` gave; ValueError says what is wrong."""
        try:
            return _parse(json.loads(packed))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError("not JSON") from error
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def mebibytes(count: int) -> int:
    """How often a tick comes for so many bytes."""
    return -(-count // CHUNK)


def most_bytes(archive_bytes: int) -> int:
    """How much an archive of this size may unpack to."""
    return max(RATIO * archive_bytes, _HARMLESS)


def folder_at_fault(name: str) -> str | None:
    """Why a folder of this name cannot be in an archive, None if it can."""
    if name.endswith((".partial", ".lock")):
        return "such a name is for caches that are being built"
    if not _FOLDER_NAME.fullmatch(name):
        return "expected .yolo_cache_ and at most 100 letters, digits, dots, hyphens and underscores"
    return None


def quoted(value: object) -> str:
    """What stands in an archive, for a sentence: short, and nothing that a terminal would obey."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _parse(document: Any) -> Manifest:
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise ValueError(f"expected the format {_FORMAT!r}")
    if document.get("version") != _VERSION or document["version"] is True:
        raise ValueError(f"version {quoted(document.get('version'))}, this program reads {_VERSION}")
    if set(document) != {"format", "version", "folder", "members"}:
        raise ValueError(f"has the keys {quoted(sorted(document))}")
    folder, members = document["folder"], document["members"]
    reason = folder_at_fault(folder) if isinstance(folder, str) else "expected text"
    if reason:
        raise ValueError(f"the folder is {quoted(folder)}, {reason}")
    if not isinstance(members, list) or len(members) != 1:
        raise ValueError(f"expected a list of one member, {DATA_FILE}")
    return Manifest(folder, *_parse_member(members[0]))


def _parse_member(document: Any) -> tuple[int, str]:
    if not isinstance(document, dict) or set(document) != {"name", "bytes", "sha256"}:
        raise ValueError("a member has other keys than name, bytes and sha256")
    name, count, digest = document["name"], document["bytes"], document["sha256"]
    if name != DATA_FILE:
        raise ValueError(f"lists the member {quoted(name)}, expected {DATA_FILE}")
    if type(count) is not int or not 0 < count < 1 << 60:
        raise ValueError(f"{name} has {quoted(count)} bytes, expected a number above 0")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"{name} has the sha256 {quoted(digest)}, expected 64 hexadecimal digits")
    return count, digest
