"""Input sizes as people write them."""

from __future__ import annotations

from collections.abc import Sequence

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


def size_option(numbers: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) from what `--size` was given: one number, or height and width.

    Raises:
        UserError: more than two numbers, or no multiples of 32.
    """
    if isinstance(numbers, int):
        return as_size(numbers)
    if not 1 <= len(numbers) <= 2:
        raise UserError(f"--size has {len(numbers)} numbers, expected one, or height and width")
    return as_size((numbers[0], numbers[-1]))
