from __future__ import annotations

import random

from yolo.data.check.copies import NEAR, Copy, exact_copies, near_copies
from yolo.data.check.pictures import Picture


def pictures(*fingerprints: int | None) -> list[Picture]:
    return [Picture((1, 1), bytes([position]), value) for position, value in enumerate(fingerprints)]


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


def test_blank_and_identical_images_are_no_near_copies() -> None:
    same = Picture((1, 1), b"same", 5)
    assert near_copies([same, same, *pictures(None, None)]) == []


def test_a_film_of_one_scene_is_quick() -> None:
    found = near_copies([Picture((1, 1), position.to_bytes(4, "big"), 1 << position % 7) for position in range(50_000)])
    assert len(found) == 49_999
