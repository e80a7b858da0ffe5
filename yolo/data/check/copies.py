"""Images that are there twice, in a split or in both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from yolo.data.check.pictures import CLEAR_DETAIL, Fingerprint, Picture

_BANDS = 8
_BITS = 16
NEAR = _BANDS - 1
"""Clear comparisons of 128 in which near-duplicates differ at most. Copies at quality 30 or half the size differ in
0 to 2 of them on COCO and BCCD, and in 7 of all at most, so that one of the eight bands of 16 is equal and only images
which share one need to be compared. Different images of COCO differ in 33 and more."""

_CONTENT = 4
"""Clear comparisons that a band needs: one of flat cells is equal in images that have nothing else in common."""

_CROWD = 100
"""Images that a band is compared with at most, the earliest: what hundreds share is a layout, not a picture."""

ALIKE = 0.8
"""Least correlation of the clear details of near-duplicates. Copies at quality 30 or half the size have 0.98 and more,
other images of COCO 0.3 and less; the same cells in and out of focus 0.87."""

ALIKE_PAGES = 0.975
"""The same for pages, which share their layout: other text in one form has up to 0.95, a copy 0.98 and more."""

_PAGE = 0.25
"""Share of cells without a clear detail in either image from which on two images are pages."""


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
        near = next((i for i in _candidates(bands, originals) if _alike(pictures[i], picture)), None)
        if near is not None:
            copies.append(Copy(position, near))
            continue  # compared through its original, so that a film of one scene costs one comparison an image
        for band in bands:
            if len(originals[band]) < _CROWD:
                originals[band].append(position)
    return copies


def _bands(fingerprint: Fingerprint) -> Iterator[tuple[int, int]]:
    """Number and bits of the bands that show something."""
    mask = (1 << _BITS) - 1
    for band in range(_BANDS):
        if (fingerprint.clear >> band * _BITS & mask).bit_count() >= _CONTENT:
            yield band, fingerprint.bits >> band * _BITS & mask


def _candidates(bands: Iterable[tuple[int, int]], originals: Mapping[tuple[int, int], list[int]]) -> Iterator[int]:
    """The originals that share a band, each once."""
    tried: set[int] = set()
    for band in bands:
        for position in originals.get(band, ()):
            if position not in tried:
                tried.add(position)
                yield position


def _alike(one: Picture, other: Picture) -> bool:
    """Whether two images differ in few comparisons and agree in their details."""
    assert one.fingerprint is not None
    assert other.fingerprint is not None
    first, second = one.fingerprint, other.fingerprint
    if ((first.bits ^ second.bits) & (first.clear | second.clear)).bit_count() > NEAR:
        return False
    ours, theirs = (np.frombuffer(each.detail, np.int8).astype(np.float32) for each in (first, second))
    clear = np.maximum(np.abs(ours), np.abs(theirs)) >= CLEAR_DETAIL
    product = np.linalg.norm(ours[clear]) * np.linalg.norm(theirs[clear])
    least = ALIKE_PAGES if clear.mean() < 1 - _PAGE else ALIKE
    return bool(ours[clear] @ theirs[clear] >= least * product)
