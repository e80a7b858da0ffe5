"""`yolo cache-verify`: whether everything in a cache is as it was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo.options import parse_options

_RULE = "─" * 37


@dataclass(frozen=True)
class CacheVerifyOptions:
    """Read everything in a cache and name what is damaged. Exit status 1 when something is, 0 when nothing is. An
    encrypted cache needs YOLO_ENCRYPTION_KEY."""

    cache_dir: Path
    """Folder of the cache."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse_options(CacheVerifyOptions, "cache-verify", arguments)
    from yolo.data.cache.verify import verify_cache
    from yolo.data.keys import find_key

    found = verify_cache(options.cache_dir, find_key())
    print("Cache Verification", _RULE, sep="\n")
    rows = {"Path": options.cache_dir, "Images": f"{found.images:,}", "Checked": f"{found.checked:,}"}
    rows |= {"Bytes": f"{found.bytes:,}", "Damages": f"{len(found.damages):,}"}
    for name, value in rows.items():
        print(f"  {name + ':':<13} {value}")
    print(_RULE)
    for sentence in found.damages:
        print(sentence)
    print("intact" if found.intact else "damaged")
    raise SystemExit(0 if found.intact else 1)
