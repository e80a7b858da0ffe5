from __future__ import annotations

import pytest

from yolo.errors import UserError
from yolo.size import as_size


def test_one_number_or_two() -> None:
    assert as_size(320) == (320, 320)
    assert as_size([320, 640]) == (320, 640)


@pytest.mark.parametrize("size", [0, -32, 100, (320, 100)])
def test_others_are_refused(size) -> None:
    with pytest.raises(UserError, match="multiples of 32"):
        as_size(size)
