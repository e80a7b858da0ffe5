"""`yolo cache-create`: the cache that `fit` would build, without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from yolo.commands.data_config import parse_data_command
from yolo.data.options import DataOptions, Split
from yolo.errors import require_ranges


@dataclass(frozen=True)
class CacheCreateOptions:
    """Build the image cache of a dataset. What is not given comes from the config."""

    resize: bool | None = None
    """Shrink images that are larger than the network's input."""
    encrypt: bool | None = None
    """Encrypt the cache; the key is in YOLO_ENCRYPTION_KEY or data.encryption_key."""
    cache_format: Literal["jpeg", "raw"] | None = None
    """jpeg, small, or raw, lossless and faster to read."""
    jpeg_quality: int | None = None
    """Quality of jpeg images, 1 to 100."""
    workers: int | None = None
    """Threads; one per core when left out."""
    split: Literal["train", "val", "both"] = "both"
    """What the cache holds; training needs both."""
    sync: bool | None = None
    """Wait for the disk at each step, not only at the end."""
    output_dir: Path | None = None
    """Folder that gets the cache (data.cache_dir)."""
    force: bool = False
    """Build it even if there is one that is up to date."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options, given = parse_data_command("cache-create", CacheCreateOptions, arguments)
    require_ranges(options, {"jpeg_quality": (1, 100), "workers": (1, 100_000)}, "--")
    from yolo.data.cache.use import CacheUse
    from yolo.data.source import choose_loader
    from yolo.data.splits import read_part, require_same_classes

    data = data_options(options, given.options)
    use = CacheUse(data, given.image_size, choose_loader(data, given.image_loader), given.seed)
    names: tuple[Split, ...] = ("train", "val") if options.split == "both" else (options.split,)
    splits = {name: read_part(data, name, use.loader, use.seed) for name in names}
    if options.split == "both":
        require_same_classes(splits["train"], splits["val"])
    found = use.ensure(splits, refresh=options.force)
    spec = found.cache.spec
    if spec.cache_format == "jpeg" and spec.jpeg_quality != data.jpeg_quality:
        print(f"its JPEG quality stays {spec.jpeg_quality}, not {data.jpeg_quality}: --force builds it anew")
    print(f"{use.folder} {'is complete' if found.built else 'is up to date'}")


def data_options(options: CacheCreateOptions, given: DataOptions) -> DataOptions:
    """The data's options with those of the command line over them."""
    changes: dict[str, Any] = {
        "cache_format": options.cache_format,
        "jpeg_quality": options.jpeg_quality,
        "cache_workers": options.workers,
        "cache_dir": str(options.output_dir) if options.output_dir else None,
        "cache_resize_images": options.resize,
        "cache_encrypt": options.encrypt,
        "cache_sync": options.sync,
    }
    given = replace(given, cache_only=False, cache_images="disk")
    return replace(given, **{name: value for name, value in changes.items() if value is not None})
