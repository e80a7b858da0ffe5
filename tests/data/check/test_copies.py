from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.data.check.broken import page, picture
from yolo.data.check.copies import NEAR, Copy, exact_copies, near_copies
from yolo.data.check.pictures import Fingerprint, Picture, fingerprint
from yolo.data.loaders import Image

ALL_CLEAR = (1 << 128) - 1
DETAIL = bytes([100] * 1024)


def pictures(*bits: int | None, clear: int = ALL_CLEAR, detail: bytes = DETAIL) -> list[Picture]:
    prints = [None if value is None else Fingerprint(value, clear, detail) for value in bits]
    return [Picture((1, 1), position.to_bytes(4, "big"), value) for position, value in enumerate(prints)]


def photographed(images: list[Image]) -> list[Picture]:
    return [Picture(i.shape[:2], n.to_bytes(4, "big"), fingerprint(i)) for n, i in enumerate(images)]


def compressed(image: Image) -> Image:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def halved(image: Image) -> Image:
    height, width = image.shape[:2]
    return np.asarray(cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8)


def test_exact_copies_are_of_the_first() -> None:
    found = exact_copies([Picture(digest=digest) for digest in (b"a", b"b", b"", b"a", b"", b"a")])
    assert found == [Copy(3, 0), Copy(5, 0)]


def test_near_copies_at_every_distance() -> None:
    draws = random.Random(0)
    for distance in range(12):
        original = draws.getrandbits(128)
        changed = original
        for bit in draws.sample(range(128), distance):
            changed ^= 1 << bit
        expected = [Copy(1, 0)] if distance <= NEAR else []
        assert near_copies(pictures(original, changed)) == expected, distance


def test_comparisons_of_flat_cells_do_not_count() -> None:
    clear = ALL_CLEAR >> 64
    assert near_copies(pictures(0, (1 << 128) - (1 << 64), clear=clear)) == [Copy(1, 0)]
    assert near_copies(pictures(0, 0, clear=0)) == []


def test_the_same_layout_with_other_details_is_no_copy() -> None:
    one, other = pictures(3, detail=DETAIL), pictures(3, detail=bytes([100, 156] * 512))
    assert near_copies([*one, Picture((1, 1), b"other", other[0].fingerprint)]) == []


def test_blank_and_identical_images_are_no_near_copies() -> None:
    same = pictures(5)[0]
    assert near_copies([same, same, *pictures(None, None)]) == []


def test_a_film_of_one_scene_is_quick() -> None:
    found = near_copies(pictures(*(1 << position % 7 for position in range(20_000))))
    assert len(found) == 19_999


def test_the_search_is_not_quadratic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that share all bands and have nothing else in common."""
    asked: list[None] = []
    monkeypatch.setattr("yolo.data.check.copies._alike", lambda *_: asked.append(None))
    assert near_copies(pictures(*[0] * 2000)) == []
    assert len(asked) <= 2000 * 100


@pytest.mark.slow
@pytest.mark.parametrize(("form", "count"), [(False, 300), (True, 100)])
def test_pages_of_one_layout_are_no_copies(form: bool, count: int) -> None:
    pages = [page(seed, form=form) for seed in range(count)]
    assert near_copies(photographed(pages)) == []


@pytest.mark.parametrize("change", [compressed, halved])
def test_copies_of_pages_are_found(change: Callable[[Image], Image]) -> None:
    pages = [page(seed) for seed in range(20)]
    assert near_copies(photographed([*pages, *map(change, pages)])) == [Copy(20 + n, n) for n in range(20)]


@pytest.mark.slow
@pytest.mark.parametrize("change", [compressed, halved])
def test_copies_of_photographs_are_found(change: Callable[[Image], Image], test_data: Path) -> None:
    files = sorted((test_data / "coco128").rglob("*.jpg"))
    images = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]
    assert near_copies(photographed([*images, *map(change, images)])) == [Copy(128 + n, n) for n in range(128)]


def test_smooth_images_are_unlike_each_other() -> None:
    images = [picture(seed, (240, 320)) for seed in range(40)]
    assert near_copies(photographed(images)) == []
    assert all(one.fingerprint != other.fingerprint for one, other in pairwise(photographed(images)))
