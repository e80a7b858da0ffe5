from __future__ import annotations

import pytest

from yolo.errors import UserError
from yolo.size import as_size, size_option


def test_one_number_or_two() -> None:
    assert as_size(320) == (320, 320)
    assert as_size([320, 640]) == (320, 640)


@pytest.mark.parametrize("size", [0, -32, 100, (320, 100)])
def test_others_are_refused(size) -> None:
    with pytest.raises(UserError, match="multiples of 32"):
        as_size(size)


def test_what_an_option_was_given() -> None:
    assert size_option(320) == size_option([320]) == (320, 320)
    assert size_option((320, 640)) == (320, 640)
    with pytest.raises(UserError, match="--size has 3 numbers, expected one, or height and width"):
        size_option([320, 320, 320])
    with pytest.raises(UserError, match="multiples of 32"):
        size_option([100])
