"""What a cache is made of, and what makes it stale."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from yolo.boxes.letterbox import Letterbox
from yolo.data.annotations import AnnotatedSet
from yolo.data.cache.codec import Codec
from yolo.data.cache.damage import shown
from yolo.data.options import DataOptions
from yolo.data.packing import relative_path

_SIDE = 1 << 20  # of the network's input, beyond any


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
        """What `document` gave; ValueError when it did not give that."""
        _require(document, _FIELDS)
        for split in document["splits"].values():
            _require(split, _SPLIT_FIELDS)
        fields = dict(document)
        splits = {name: SplitSpec(**split) for name, split in fields.pop("splits").items()}
        size = fields.pop("size")
        return cls(**fields, size=tuple(size) if size else None, splits=splits)


def _is_size(value: Any) -> bool:
    return type(value) is list and len(value) == 2 and all(type(side) is int and 0 < side <= _SIDE for side in value)


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_flag(value: Any) -> bool:
    return type(value) is bool


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "dataset_format": lambda value: value in ("coco", "yolo", "shapes"),
    "size": lambda value: value is None or _is_size(value),
    "fraction": lambda value: type(value) in (int, float) and 0 < value <= 1,
    "seed": _is_count,
    "cache_format": lambda value: value in ("jpeg", "raw"),
    "lz4": _is_flag,
    "jpeg_quality": lambda value: type(value) is int and 1 <= value <= 100,
    "encrypted": _is_flag,
    "loader": _is_text,
    "splits": lambda value: isinstance(value, dict) and bool(value) and set(value) <= {"train", "val"},
}
_SPLIT_FIELDS: dict[str, Callable[[Any], bool]] = {
    "images": _is_count,
    "files": _is_text,
    "labels": _is_text,
    "objects": _is_count,
    "labelled": _is_count,
}


def _require(document: Any, fields: Mapping[str, Callable[[Any], bool]]) -> None:
    if not isinstance(document, dict) or set(document) != set(fields):
        raise ValueError("other keys")
    for name, fits in fields.items():
        if not fits(document[name]):
            raise ValueError(f"a value that {name} cannot have")


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


def describe_split(split: AnnotatedSet, packed: bytes, options: DataOptions) -> SplitSpec:
    """Hashes and counts of one split, which is stored as `packed`."""
    root = Path(options.root)
    files = hashlib.blake2b(digest_size=16)
    if options.format == "shapes":
        files.update(f"{options.shapes_size} {options.shapes_seed}".encode())
    for image in split.images:
        status = None if options.format == "shapes" else os.stat(image.path)  # noqa: PTH116 (half the time)
        entry = (relative_path(image.path, root), status and (status.st_size, status.st_mtime_ns))
        files.update(repr(entry).encode())
    labels = hashlib.blake2b(packed, digest_size=16)
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
        reasons.append(f"image loader changed ({shown(found.loader) or 'ours'} -> {wanted.loader or 'ours'})")
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
