from __future__ import annotations

from pathlib import Path

import msgpack
import numpy as np
import pytest

from yolo.data.annotations import AnnotatedImage, AnnotatedSet
from yolo.data.packing import pack, unpack


def split(root: Path, counts: tuple[int, ...] = (2, 0, 3)) -> AnnotatedSet:
    rng = np.random.default_rng(0)
    images = [
        AnnotatedImage(
            root / "images" / f"{i}.jpg", 10 * i, (20 + i, 30),
            np.sort(rng.random((n, 4), np.float32)), rng.integers(0, 3, n), rng.random(n) < 0.5, rng.random(n),
        )
        for i, n in enumerate(counts)
    ]  # fmt: skip
    return AnnotatedSet(images, ("a", "b", "ü"), (1, 5, 9), {"malformed lines": 2})


def assert_same(one: AnnotatedSet, other: AnnotatedSet) -> None:
    assert (one.class_names, one.category_ids, one.skipped) == (other.class_names, other.category_ids, other.skipped)
    assert len(one.images) == len(other.images)
    for a, b in zip(one.images, other.images, strict=True):
        assert (a.path, a.image_id, a.size) == (b.path, b.image_id, b.size)
        for name in ("boxes", "classes", "crowd", "areas"):
            x, y = getattr(a, name), getattr(b, name)
            assert x.dtype == y.dtype
            assert x.shape == y.shape
            assert np.array_equal(x, y)


@pytest.mark.parametrize("counts", [(2, 0, 3), (0,), (0, 0), (4,)])
def test_a_split_comes_back_to_the_bit(tmp_path: Path, counts: tuple[int, ...]) -> None:
    assert_same(unpack(pack(split(tmp_path, counts), tmp_path), tmp_path), split(tmp_path, counts))


def test_paths_follow_the_root(tmp_path: Path) -> None:
    data = pack(split(tmp_path), tmp_path)
    assert str(tmp_path).encode() not in data
    assert unpack(data, Path("/elsewhere")).images[0].path == Path("/elsewhere/images/0.jpg")


def test_paths_outside_the_root_stay(tmp_path: Path) -> None:
    data = pack(split(tmp_path), tmp_path / "other")
    assert unpack(data, Path("/elsewhere")).images[0].path == tmp_path / "images" / "0.jpg"


def test_damage_is_a_value_error(tmp_path: Path) -> None:
    data = pack(split(tmp_path), tmp_path)
    document = msgpack.unpackb(data)
    wrong = [data[:-1], data[:40], b"", b"\xc1", b"\x05", data + b"x"]
    for name in document:
        wrong.append(msgpack.packb(document | {name: None}))
        wrong.append(msgpack.packb({k: v for k, v in document.items() if k != name}))
    wrong.append(msgpack.packb(document | {"boxes": document["boxes"][16:]}))
    # Well formed, and nothing that a reader lets through.
    wrong += [
        msgpack.packb(document | changes)
        for changes in (
            {"boxes": np.full((5, 4), np.nan, np.float32).tobytes()},
            {"boxes": np.tile(np.float32([9, 0, 8, 1]), 5).tobytes()},
            {"classes": np.full(5, 3).tobytes()},
            {"classes": np.full(5, -1).tobytes()},
            {"areas": np.full(5, np.inf).tobytes()},
            {"crowd": b"\5" * 5},
            {"sizes": [[0, 30]] * 3},
            {"sizes": [[1 << 20, 1 << 20]] * 3},
            {"sizes": [[(1 << 64) - 1, 1]] * 3},
            {"category_ids": [1, 5]},
            {"category_ids": [1, 5, 5]},
            {"class_names": "abc"},
            {"ids": [1 << 63, 1, 2]},
        )
    ]
    wrong.append(b"\x91" * 5000 + b"\xc0")
    for bad in wrong:
        with pytest.raises(ValueError, match="not a packed split"):
            unpack(bad, tmp_path)
