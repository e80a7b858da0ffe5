"""The tables of a cache: all that it holds besides images. Written here, and believed only after they are checked:
a cache in clear may come from anybody, with every digest right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo.data.annotations import AnnotatedSet
from yolo.data.cache.spec import CacheSpec, stored_size
from yolo.data.packing import MOST_PIXELS

_FIRST_TABLE = 1 << 63
_TABLES = ("spec", "index", "train", "val")


def image_key(number: int) -> bytes:
    """The key of an image's value."""
    return number.to_bytes(8, "big")


def table_key(name: str) -> bytes:
    """The key of a table's value: a number that no image reaches, since keys are in clear."""
    return (_FIRST_TABLE + _TABLES.index(name)).to_bytes(8, "big")


SPEC = table_key("spec")
INDEX = table_key("index")


def name_of(key: bytes, paths: Sequence[str]) -> str:
    """What should lie under `key`, as far as the images' `paths` are known."""
    number = int.from_bytes(key, "big")
    if number < _FIRST_TABLE:
        return paths[number] if number < len(paths) else f"image {number}"
    number -= _FIRST_TABLE
    return f"table {_TABLES[number] if number < len(_TABLES) else number!r}"


@dataclass(frozen=True, slots=True)
class Index:
    """Which images there are: number i is the value under image_key(i)."""

    paths: list[str]
    """As in the packed splits: relative to the dataset, or absolute."""
    sizes: NDArray[np.int32]
    """[N, 2] height and width as stored."""

    def pack(self) -> bytes:
        """As bytes."""
        import msgpack

        return msgpack.packb({"paths": self.paths, "sizes": np.asarray(self.sizes, "<i4").tobytes()})


def pack_spec(spec: CacheSpec) -> bytes:
    """The settings as bytes."""
    return json.dumps(spec.document()).encode()


def pack_split(numbers: Sequence[int], packed: bytes) -> bytes:
    """A split: the numbers of its images and its annotations (`packing.pack`)."""
    import msgpack

    return msgpack.packb({"numbers": np.asarray(numbers, "<i8").tobytes(), "annotations": packed})


def read_spec(data: NDArray[np.uint8], *, encrypted: bool) -> CacheSpec:
    """What `pack_spec` gave for a cache that is `encrypted` or not.

    Raises:
        ValueError: It did not give that; so do the next two.
    """
    try:
        spec = CacheSpec.from_document(json.loads(data.tobytes()))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if spec.encrypted != encrypted:
        raise ValueError("the header says otherwise about encryption")
    return spec


def read_index(data: NDArray[np.uint8], spec: CacheSpec) -> Index:
    """What `Index.pack` gave."""
    import msgpack

    try:
        document = msgpack.unpackb(data)
        paths, sizes = document["paths"], np.frombuffer(document["sizes"], "<i4").reshape(-1, 2)
        if set(document) != {"paths", "sizes"} or not isinstance(paths, list):
            raise ValueError("other keys than paths and sizes")
    except (TypeError, KeyError, AttributeError, msgpack.UnpackException) as error:
        raise ValueError(f"other keys or types ({type(error).__name__})") from error
    if not all(type(path) is str for path in paths):
        raise ValueError("paths that are no text")
    if len(paths) != len(sizes):
        raise ValueError(f"{len(sizes)} sizes of {len(paths)} images")
    if len(sizes) and (sizes.min() < 1 or sizes.astype(np.int64).prod(1).max() > MOST_PIXELS):
        raise ValueError("a size that no image has")
    if spec.size and (sizes > spec.size).any():
        raise ValueError("an image that is larger than the settings say")
    return Index(paths, sizes)


def unpack_split(data: NDArray[np.uint8]) -> tuple[NDArray[np.int64], bytes]:
    """What `pack_split` was given."""
    import msgpack

    try:
        document = msgpack.unpackb(data)
        numbers = np.frombuffer(document["numbers"], "<i8")
        annotations = document["annotations"]
    except (TypeError, KeyError, AttributeError, msgpack.UnpackException) as error:
        raise ValueError(f"other keys or types ({type(error).__name__})") from error
    if not isinstance(annotations, bytes):
        raise ValueError("annotations that are no bytes")
    return numbers, annotations


def check_split(name: str, split: AnnotatedSet, numbers: NDArray[np.int64], spec: CacheSpec, index: Index) -> None:
    """Raise ValueError unless the annotations and numbers of a split fit each other, the settings and the images."""
    images, said = split.images, spec.splits[name]
    if len(numbers) != len(images):
        raise ValueError(f"{len(numbers)} numbers of {len(images)} images")
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(index.paths):
        raise ValueError("images that the cache has not")
    counts = [len(image.boxes) for image in images]
    if (said.images, said.objects, said.labelled) != (len(counts), sum(counts), sum(map(bool, counts))):
        raise ValueError("other counts than the settings say")
    # Datasets have few sizes, and a letterbox takes longer than a look into a table.
    stored = {size: stored_size(size, spec.size) for size in {image.size for image in images}}
    expected = np.array([stored[image.size] for image in images], np.int32).reshape(-1, 2)
    if not np.array_equal(index.sizes[numbers], expected):
        raise ValueError("annotations for images of other sizes")
