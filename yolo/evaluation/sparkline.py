"""A curve in one line of characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_LEVELS = "_.-=+*#"


def sparkline(values: Sequence[float], *, ascii_only: bool = False) -> str:
    """One character per value, lowest to highest of them; a space for NaN and for COCO's -1 (not defined).

    Values that are all the same are in the middle.
    """
    levels = ASCII_LEVELS if ascii_only else BLOCKS
    known = defined(values)
    if not known:
        return " " * len(values)
    low, span = min(known), max(known) - min(known)

    def level(value: float) -> str:
        if not is_defined(value):
            return " "
        share = (value - low) / span if span > 0 else 0.5
        return levels[min(int(share * len(levels)), len(levels) - 1)]

    return "".join(map(level, values))


def is_defined(value: float) -> bool:
    """Whether a figure says something: neither NaN nor COCO's -1."""
    return not math.isnan(value) and value >= 0


def defined(values: Sequence[float]) -> list[float]:
    """The values that are neither NaN nor COCO's -1."""
    return [value for value in values if is_defined(value)]
