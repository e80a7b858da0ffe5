"""What a cache is made of, and what makes it stale."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from yolo.boxes.letterbox import Letterbox
from yolo.data.annotations import AnnotatedSet
from yolo.data.cache.codec import Codec
from yolo.data.options import DataOptions
from yolo.data.packing import pack


@dataclass(frozen=True)
class SplitSpec:
    """One split: its images and labels by hash."""

    images: int
    files: str
    """Of path, size and time of every image file."""
    labels: str
    """Of everything that was read from annotation files, as packed."""
    objects: int
    labelled: int
    """Images with at least one object."""


@dataclass(frozen=True)
class CacheSpec:
    """Everything that the content of a cache depends on, and the JPEG quality, which may differ."""

    dataset_format: str
    size: tuple[int, int] | None
    """Height and width of the input that larger images are shrunk for; None for the original size."""
    fraction: float
    seed: int
    """Draws the fraction; 0 when all images are taken."""
    cache_format: Literal["jpeg", "raw"]
    lz4: bool
    jpeg_quality: int
    encrypted: bool
    loader: str
    """`loaders.identity` of the loader."""
    splits: Mapping[str, SplitSpec]

    @property
    def codec(self) -> Codec:
        """How the images are written."""
        return Codec(self.cache_format, self.lz4, self.jpeg_quality)

    def document(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> CacheSpec:
        """What `document` gave."""
        fields = dict(document)
        splits = {name: SplitSpec(**split) for name, split in fields.pop("splits").items()}
        size = fields.pop("size")
        return cls(**fields, size=tuple(size) if size else None, splits=splits)


def stored_size(size: tuple[int, int], target: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width that a cache keeps an image of `size` in: shrunk to what the input shows of it, never enlarged.

    The letterbox of the stored image is then the one of the original, without a further resize.
    """
    box = Letterbox(size, target) if target else None
    return box.size if box and box.scale < 1 else size


def cache_name(options: DataOptions, image_size: tuple[int, int]) -> str:
    """The name of a cache's folder, from the size (height, width) and fraction of its images."""
    size = f"{image_size[1]}x{image_size[0]}" if options.cache_resize_images else "orig"
    return f".yolo_cache_{size}_f{float(options.data_fraction)}"


def describe_split(split: AnnotatedSet, options: DataOptions) -> SplitSpec:
    """Hashes and counts of one split."""
    root = Path(options.root)
    files = hashlib.blake2b(digest_size=16)
    if options.format == "shapes":
        files.update(f"{options.shapes_size} {options.shapes_seed}".encode())
    for image in split.images:
        status = None if options.format == "shapes" else os.stat(image.path)  # noqa: PTH116 (half the time)
        entry = (os.path.relpath(image.path, root), status and (status.st_size, status.st_mtime_ns))
        files.update(repr(entry).encode())
    labels = hashlib.blake2b(pack(split, root), digest_size=16)
    counts = [len(image.boxes) for image in split.images]
    return SplitSpec(len(counts), files.hexdigest(), labels.hexdigest(), sum(counts), sum(map(bool, counts)))


def differences(found: CacheSpec, wanted: CacheSpec) -> list[str]:
    """Why the cache `found` cannot be used as the cache `wanted`; splits that are not wanted do not count."""
    reasons = []
    if found.encrypted != wanted.encrypted:
        reasons.append(encryption_changed(found.encrypted))
    if found.dataset_format != wanted.dataset_format:
        reasons.append(f"dataset format changed ({found.dataset_format} -> {wanted.dataset_format})")
    if (found.size, found.fraction, found.seed) != (wanted.size, wanted.fraction, wanted.seed):
        reasons.append("settings changed (size/fraction)")
    if (found.cache_format, found.lz4) != (wanted.cache_format, wanted.lz4):
        reasons.append(f"format changed ({_format(found)} -> {_format(wanted)})")
    if found.loader != wanted.loader:
        reasons.append(f"image loader changed ({found.loader or 'ours'} -> {wanted.loader or 'ours'})")
    return reasons + _split_differences(found.splits, wanted.splits)


def encryption_changed(encrypted: bool) -> str:
    """The reason, when the cache was `encrypted` and no longer should be, or the other way round."""
    names = ("encrypted", "unencrypted") if encrypted else ("unencrypted", "encrypted")
    return f"encryption changed ({' -> '.join(names)})"


def _split_differences(found: Mapping[str, SplitSpec], wanted: Mapping[str, SplitSpec]) -> list[str]:
    if not set(wanted) <= set(found):
        return [f"splits changed ({', '.join(found)} -> {', '.join(wanted)})"]
    pairs = [(found[name], split) for name, split in wanted.items()]
    before, after = (sum(pair[i].images for pair in pairs) for i in (0, 1))
    if before != after:
        return [f"image count changed ({before:,} -> {after:,})"]
    if any(a.files != b.files for a, b in pairs):
        return ["image files changed"]
    return ["labels changed"] if any(a.labels != b.labels for a, b in pairs) else []


def _format(spec: CacheSpec) -> str:
    return f"{spec.cache_format} + lz4" if spec.lz4 else spec.cache_format
