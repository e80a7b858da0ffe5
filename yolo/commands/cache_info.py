"""`yolo cache-info`: what a cache holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo.options import parse_options

_RULE = "─" * 37


@dataclass(frozen=True)
class CacheInfoOptions:
    """Show what a cache holds. Without YOLO_ENCRYPTION_KEY, of an encrypted one only what is in clear."""

    cache_dir: Path
    """Folder of the cache."""
    json: bool = False
    """Print JSON."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse_options(CacheInfoOptions, "cache-info", arguments)
    facts = describe(options.cache_dir)
    print(json.dumps(facts) if options.json else "\n".join(as_lines(facts)))


def describe(folder: Path) -> dict[str, Any]:
    """What can be known of a cache with the key that there is, by name.

    Raises:
        UserError: There is no cache, it is damaged, or the key is not its own.
    """
    from yolo.data.cache.header import DATA_FILE, VERSION, read_header
    from yolo.data.cache.store import open_cache
    from yolo.data.keys import find_key

    header, key = read_header(folder), find_key()
    facts: dict[str, Any] = {
        "path": str(folder),
        "version": header.version,
        "encrypted": header.encrypted,
        "bytes": (folder / DATA_FILE).stat().st_size,
    }
    if header.version != VERSION or (header.encrypted and key is None):
        return facts | {"readable": False}
    cache = open_cache(folder, key)
    spec = cache.spec
    splits = [cache.split(name, Path())[0] for name in spec.splits]
    return facts | {
        "readable": True,
        "format": spec.dataset_format,
        "images": len(cache.index.paths),
        "size": list(spec.size) if spec.size else None,
        "fraction": spec.fraction,
        "cache_format": spec.cache_format,
        "lz4": spec.lz4,
        "jpeg_quality": spec.jpeg_quality if spec.cache_format == "jpeg" else None,
        "classes": list(splits[0].class_names),
        "labels": sum(split.objects for split in spec.splits.values()),
        "splits": {name: split.images for name, split in spec.splits.items()},
    }


def as_lines(facts: dict[str, Any]) -> list[str]:
    """The table."""
    rows = {"Path": facts["path"], "Version": facts["version"]}
    tail = {"Encrypted": "Yes" if facts["encrypted"] else "No"}
    if facts["readable"]:
        rows |= {"Format": facts["format"], "Images": f"{facts['images']:,}", "Size": _size(facts["size"])}
        rows["Fraction"] = f"{facts['fraction']:g}"
        rows["Cache Format"] = _cache_format(facts)
        tail |= {"Classes": f"{len(facts['classes']):,}", "Labels": f"{facts['labels']:,}"}
        tail |= {name.capitalize(): f"{count:,} images" for name, count in facts["splits"].items()}
    tail["Bytes"] = f"{facts['bytes']:,}"
    note = []
    if not facts["readable"]:
        need = "set YOLO_ENCRYPTION_KEY" if facts["encrypted"] else "this version is not known here"
        note = [f"images, size, labels, classes and splits cannot be read: {need}"]
    return as_table("Cache Information", rows | tail, note)


def as_table(title: str, rows: Mapping[str, object], notes: Sequence[str] = ()) -> list[str]:
    """Lines between two rules."""
    listed = [f"{name + ':':<13} {value}" for name, value in rows.items()]
    return [title, _RULE, *(f"  {line}" for line in (*listed, *notes)), _RULE]


def _size(size: list[int] | None) -> str:
    return f"{size[1]}x{size[0]}" if size else "original"


def _cache_format(facts: dict[str, Any]) -> str:
    if facts["cache_format"] == "jpeg":
        return f"jpeg (quality: {facts['jpeg_quality']})"
    return "raw (lz4)" if facts["lz4"] else "raw"
