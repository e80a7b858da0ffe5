"""An annotated split as bytes, for caches: msgpack, which can hold data and nothing else."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo.data.annotations import AnnotatedImage, AnnotatedSet

# Columns of the table of objects: name, type, numbers per object.
_OBJECTS = (("boxes", np.float32, 4), ("classes", np.int64, 1), ("crowd", np.bool_, 1), ("areas", np.float64, 1))


def pack(split: AnnotatedSet, root: Path) -> bytes:
    """`split` as bytes; paths below `root` become relative to it, so that another machine can have its own."""
    import msgpack

    images = split.images
    document: dict[str, Any] = {
        "paths": [_relative(image.path, root) for image in images],
        "ids": [image.image_id for image in images],
        "sizes": [image.size for image in images],
        "counts": [len(image.boxes) for image in images],
        "class_names": split.class_names,
        "category_ids": split.category_ids,
        "skipped": split.skipped,
    }
    for name, dtype, width in _OBJECTS:
        values = [np.asarray(getattr(image, name), dtype).reshape(-1, width) for image in images]
        document[name] = np.concatenate(values).tobytes() if values else b""
    return msgpack.packb(document)


def unpack(data: bytes, root: Path) -> AnnotatedSet:
    """What `pack` was given, with paths below `root`.

    Raises:
        ValueError: `data` is not what `pack` makes.
    """
    import msgpack

    try:
        with _no_collection():
            return _build(msgpack.unpackb(data), root)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, msgpack.UnpackException) as error:
        raise ValueError(f"not a packed split ({error})") from error


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """The garbage collector, which nothing here needs, would take three quarters of the time for 20,000 images."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _build(document: dict[str, Any], root: Path) -> AnnotatedSet:
    _require_types(document)
    counts = document["counts"]
    objects = {name: _split(document[name], dtype, width, counts) for name, dtype, width in _OBJECTS}
    images = [
        AnnotatedImage(
            path=root / path,
            image_id=number,
            size=(height, width),
            boxes=objects["boxes"][i],
            classes=objects["classes"][i],
            crowd=objects["crowd"][i],
            areas=objects["areas"][i],
        )
        for i, (path, number, (height, width)) in enumerate(
            zip(document["paths"], document["ids"], document["sizes"], strict=True)
        )
    ]
    names, categories = tuple(document["class_names"]), tuple(document["category_ids"])
    return AnnotatedSet(images, names, categories, document["skipped"])


def _require_types(document: dict[str, Any]) -> None:
    """What is neither an array nor unpacked from a sequence of the right length below."""
    skipped = document["skipped"]
    for kind, values in (
        (str, [*document["paths"], *document["class_names"], *skipped]),
        (int, [*document["ids"], *document["category_ids"], *document["counts"], *skipped.values()]),
        (int, [number for size in document["sizes"] for number in size]),
    ):
        if not all(type(value) is kind for value in values):
            raise ValueError(f"other values than {kind.__name__}")


def _relative(path: Path, root: Path) -> str:
    if path.is_relative_to(root):
        return str(path.relative_to(root))
    if ".." in path.parts:
        return str(path.absolute())  # behind a link `a/..` is another place than what `abspath` makes of it
    absolute, top = os.path.abspath(path), os.path.abspath(root)  # noqa: PTH100 (`resolve` would follow links)
    return os.path.relpath(absolute, top) if absolute.startswith(top + os.sep) else absolute


def _split(data: bytes, dtype: Any, width: int, counts: list[int]) -> list[NDArray[Any]]:
    rows: NDArray[Any] = np.frombuffer(data, dtype).copy()  # which may be written to
    if width > 1:
        rows = rows.reshape(-1, width)
    if len(rows) != sum(counts) or min(counts, default=0) < 0:
        raise ValueError(f"{len(rows)} objects instead of {sum(counts)}")
    ends = list(accumulate(counts))
    return [
        rows[end - count : end] for end, count in zip(ends, counts, strict=True)
    ]  # np.split takes five times as long
