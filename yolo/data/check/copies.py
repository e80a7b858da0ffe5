"""Images that are there twice, in a split or in both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from yolo.data.check.pictures import Picture

_BANDS = 8
_BITS = 16
NEAR = _BANDS - 1
"""Bits of 128 by which the fingerprints of near-duplicates differ at most. Copies at quality 30, half the size or
another brightness differ by 0 to 6 bits on COCO and BCCD, different images of COCO by 33 and more. With that few, at
least one of the eight bands of 16 bits is equal, so that only images which share one need to be compared."""


@dataclass(frozen=True)
class Copy:
    """Image `image` shows what the earlier image `original` shows; both are positions in the list looked at."""

    image: int
    original: int


def exact_copies(pictures: Sequence[Picture]) -> list[Copy]:
    """Images with the same pixels as an earlier one; those that cannot be read are left out."""
    first: dict[bytes, int] = {}
    return [
        Copy(position, first[picture.digest])
        for position, picture in enumerate(pictures)
        if picture.digest and first.setdefault(picture.digest, position) != position
    ]


def near_copies(pictures: Sequence[Picture]) -> list[Copy]:
    """Images that look like an earlier one without having the same pixels."""
    originals: dict[tuple[int, int], list[int]] = defaultdict(list)
    seen: set[bytes] = set()
    copies = []
    for position, picture in enumerate(pictures):
        if picture.fingerprint is None or picture.digest in seen:
            continue
        seen.add(picture.digest)
        bands = list(_bands(picture.fingerprint))
        near = next((i for band in bands for i in originals[band] if _differ(pictures[i], picture) <= NEAR), None)
        if near is not None:
            copies.append(Copy(position, near))
            continue  # compared through its original, so that a film of one scene costs one comparison an image
        for band in bands:
            originals[band].append(position)
    return copies


def _bands(fingerprint: int) -> Iterator[tuple[int, int]]:
    for band in range(_BANDS):
        yield band, fingerprint >> band * _BITS & (1 << _BITS) - 1


def _differ(one: Picture, other: Picture) -> int:
    assert one.fingerprint is not None
    assert other.fingerprint is not None
    return (one.fingerprint ^ other.fingerprint).bit_count()
