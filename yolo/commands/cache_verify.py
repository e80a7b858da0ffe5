"""`yolo cache-verify`: whether everything in a cache is as it was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo.commands.cache_info import as_table
from yolo.options import parse_options


@dataclass(frozen=True)
class CacheVerifyOptions:
    """Read everything in a cache and name what is damaged. Exit status 1 when something is, 0 when nothing is. An
    encrypted cache needs YOLO_ENCRYPTION_KEY."""

    cache_dir: Path
    """Folder of the cache."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse_options(CacheVerifyOptions, "cache-verify", arguments)
    from yolo.data.cache.header import read_header
    from yolo.data.cache.verify import verify_cache
    from yolo.data.keys import find_key

    found = verify_cache(options.cache_dir, find_key())
    encrypted = "Yes" if read_header(options.cache_dir).encrypted else "No"
    rows = {"Path": options.cache_dir, "Images": f"{found.images:,}", "Checked": f"{found.checked:,}"}
    rows |= {"Encrypted": encrypted, "Bytes": f"{found.bytes:,}", "Damages": f"{len(found.damages):,}"}
    print(*as_table("Cache Verification", rows), sep="\n")
    for sentence in found.damages:
        print(sentence)
    print("intact" if found.intact else "damaged")
    raise SystemExit(0 if found.intact else 1)
