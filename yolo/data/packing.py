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
_INTEGER = 1 << 63  # ids lie below it, above its negative
MOST_PIXELS = 1 << 30
"""Of an image: OpenCV's limit."""


def pack(split: AnnotatedSet, root: Path) -> bytes:
    """`split` as bytes; paths below `root` become relative to it, so that another machine can have its own."""
    import msgpack

    images = split.images
    document: dict[str, Any] = {
        "paths": [relative_path(image.path, root) for image in images],
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
        ValueError: `data` is not what `pack` makes of a set that a reader accepts; it may come from anybody.
    """
    import msgpack

    try:
        with _no_collection():
            return _build(msgpack.unpackb(data), root)
    except (ValueError, TypeError, KeyError, OverflowError, AttributeError, msgpack.UnpackException) as error:
        raise ValueError("not a packed split") from error  # other sentences might quote it


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
    tables = {name: _table(document[name], dtype, width, counts) for name, dtype, width in _OBJECTS}
    _require_sense(document, tables)
    objects = {name: _rows(table, counts) for name, table in tables.items()}
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
    """What is no array."""
    names, skipped = ("paths", "ids", "sizes", "counts", "class_names", "category_ids"), document["skipped"]
    if not all(isinstance(document[name], list) for name in names):
        raise ValueError("a value where a list should be")
    for kind, values in (
        (str, [*document["paths"], *document["class_names"], *skipped]),
        (int, [*document["ids"], *document["category_ids"], *document["counts"], *skipped.values()]),
        (int, [number for size in document["sizes"] for number in size]),
    ):
        if not all(type(value) is kind for value in values):
            raise ValueError(f"other values than {kind.__name__}")


def _require_sense(document: dict[str, Any], tables: dict[str, NDArray[Any]]) -> None:
    """What readers make sure of, and training and evaluation rely on."""
    sizes, count = np.array(document["sizes"], np.int64).reshape(-1, 2), len(document["class_names"])
    if len(sizes) and (sizes.min() < 1 or sizes.max() > MOST_PIXELS or sizes.prod(1).max() > MOST_PIXELS):
        raise ValueError("a size that no image has")
    if len(document["category_ids"]) != count or len(set(document["category_ids"])) != count:
        raise ValueError("not one category id for each class")
    if any(not -_INTEGER < number < _INTEGER for number in (*document["ids"], *document["category_ids"])):
        raise ValueError("an id that is no 64-bit integer")
    boxes, classes, areas = tables["boxes"], tables["classes"], tables["areas"]
    if not (np.isfinite(boxes).all() and (boxes[:, 2:] >= boxes[:, :2]).all() and np.isfinite(areas).all()):
        raise ValueError("a box that is none")
    if len(classes) and not 0 <= classes.min() <= classes.max() < count:
        raise ValueError("a class without a name")
    if tables["crowd"].view(np.uint8).max(initial=0) > 1:
        raise ValueError("a flag that is neither true nor false")


def relative_path(path: Path, root: Path) -> str:
    """`path` as it is packed: relative to `root` if it lies below it, else absolute."""
    if path.is_relative_to(root):
        return str(path.relative_to(root))
    if ".." in path.parts:
        return str(path.absolute())  # behind a link `a/..` is another place than what `abspath` makes of it
    absolute, top = os.path.abspath(path), os.path.abspath(root)  # noqa: PTH100 (`resolve` would follow links)
    return os.path.relpath(absolute, top) if absolute.startswith(top + os.sep) else absolute


def _table(data: bytes, dtype: Any, width: int, counts: list[int]) -> NDArray[Any]:
    rows: NDArray[Any] = np.frombuffer(data, dtype).copy()  # which may be written to
    if width > 1:
        rows = rows.reshape(-1, width)
    if len(rows) != sum(counts) or min(counts, default=0) < 0:
        raise ValueError(f"{len(rows)} objects instead of {sum(counts)}")
    return rows


def _rows(table: NDArray[Any], counts: list[int]) -> list[NDArray[Any]]:
    ends = list(accumulate(counts))
    # np.split takes five times as long
    return [table[end - count : end] for end, count in zip(ends, counts, strict=True)]
