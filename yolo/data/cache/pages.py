"""Whether a data file's tree of pages is sound.

LMDB believes what the pages between the values say; a flipped bit there would make it read beyond the end of the
file, which ends the process. So the tree is walked before LMDB opens the file: a few hundredths of the pages, since
values lie on pages of their own. The values prove themselves (seal.py).

Layout (LMDB 0.9, little-endian 64-bit): two meta pages, of which the one with the larger transaction number counts;
pages begin with a header of 16 bytes and the offsets of their nodes; a node is 8 bytes of sizes and flags, a key, and
its value or the number of the value's first page.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

META_BYTES = 152  # of a meta page that count

_HEADER = 16
_MAGIC = (0xBEEFC0DE, 1)
_BRANCH, _LEAF = 1, 2
_MAX_DEPTH = 32
_PAGE_SIZES = tuple(1 << power for power in range(9, 17))


class DamagedPagesError(ValueError):
    """The tree of pages is not sound."""


@dataclass(frozen=True)
class Tree:
    """What the meta page that counts says."""

    page_size: int
    last_page: int
    depth: int
    root: int
    transaction: int

    @property
    def bytes(self) -> int:
        """Size that the file has at least."""
        return (self.last_page + 1) * self.page_size


def read_tree(descriptor: int) -> Tree:
    """The tree of the open file.

    Raises:
        DamagedPagesError: The file does not begin with two meta pages.
    """
    first = _meta(os.pread(descriptor, META_BYTES, 0))
    second = _meta(os.pread(descriptor, META_BYTES, first.page_size))
    if first.page_size != second.page_size:
        raise DamagedPagesError("page sizes differ")
    return second if first.transaction < second.transaction else first


def check_tree(descriptor: int, tree: Tree) -> None:
    """Walk the tree of the open file, which is complete.

    Raises:
        DamagedPagesError: Something leads out of a page or out of the file.
    """
    pages, seen = [tree.root], 0
    for level in range(tree.depth):
        leaf = level == tree.depth - 1
        below: list[int] = []
        seen += len(pages)
        if seen > tree.last_page:
            raise DamagedPagesError("more pages than the file has")
        for number in pages:
            below += _check_page(descriptor, tree, number, leaf=leaf)
        pages = below


def _meta(content: bytes) -> Tree:
    if len(content) < META_BYTES or struct.unpack_from("<II", content, _HEADER) != _MAGIC:
        raise DamagedPagesError("no meta page")
    (page_size,) = struct.unpack_from("<I", content, 40)
    flags, depth = struct.unpack_from("<HH", content, 92)
    root, last_page, transaction = struct.unpack_from("<QQQ", content, 128)
    if page_size not in _PAGE_SIZES or flags or depth > _MAX_DEPTH or last_page > 1 << 48:
        raise DamagedPagesError("a meta page says what cannot be")
    return Tree(page_size, last_page, depth, root, transaction)


def _check_page(descriptor: int, tree: Tree, number: int, *, leaf: bool) -> list[int]:
    """Check one page; the pages that a branch leads to."""
    if not 2 <= number <= tree.last_page:
        raise DamagedPagesError(f"page {number} is not in the file")
    content = os.pread(descriptor, tree.page_size, number * tree.page_size)
    own, _, flags, lower, upper = struct.unpack_from("<QHHHH", content)
    count = (lower - _HEADER) // 2
    if own != number or flags != (_LEAF if leaf else _BRANCH) or not _HEADER <= lower <= upper <= tree.page_size:
        raise DamagedPagesError(f"page {number} has a wrong header")
    if count < (1 if leaf else 2):
        raise DamagedPagesError(f"page {number} is empty")
    page = np.frombuffer(content, np.uint8)
    offsets = page.view("<u2")[_HEADER // 2 : lower // 2].astype(np.int64)
    if (offsets % 2).any() or offsets.min() < upper or offsets.max() + 8 > tree.page_size:
        raise DamagedPagesError(f"page {number} has nodes outside of it")
    low, high, kind, key = (page.view("<u2")[offsets // 2 + field].astype(np.int64) for field in range(4))
    ends = offsets + 8 + key
    if leaf:
        _check_leaf(tree, page, kind, ends, low + (high << 16))
        return []
    if ends.max() > tree.page_size:
        raise DamagedPagesError(f"page {number} has keys outside of it")
    return (low + (high << 16) + (kind << 32)).tolist()


def _check_leaf(tree: Tree, page: NDArray[np.uint8], kind: Any, ends: Any, sizes: Any) -> None:
    elsewhere = kind == 1
    if (kind > 1).any() or (ends + np.where(elsewhere, 8, sizes) > tree.page_size).any():
        raise DamagedPagesError("values outside of their page")
    places = page[ends[elsewhere][:, None] + np.arange(8)].reshape(-1, 8).copy().view("<u8").reshape(-1)
    # The number of a page is checked first, so that its product with the page size cannot overflow.
    if (places < 2).any() or (places > tree.last_page).any():
        raise DamagedPagesError("values outside of the file")
    if (places.astype(np.int64) * tree.page_size + _HEADER + sizes[elsewhere] > tree.bytes).any():
        raise DamagedPagesError("values that end outside of the file")
