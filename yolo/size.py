"""Input sizes as people write them."""

from __future__ import annotations

from yolo.errors import UserError

STRIDE = 32
"""Coarsest stride of the networks, which the input's sides must be multiples of."""


def as_size(size: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    """(height, width) from one number or two.

    Raises:
        UserError: unless both are positive multiples of 32.

    Example:
        >>> as_size(320), as_size((320, 640))
        ((320, 320), (320, 640))
    """
    height, width = (size, size) if isinstance(size, int) else size
    if height <= 0 or width <= 0 or height % STRIDE or width % STRIDE:
        raise UserError(f"image size {height} x {width}: height and width must be positive multiples of {STRIDE}")
    return height, width
