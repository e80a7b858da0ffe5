from __future__ import annotations

from dataclasses import fields

import pytest

from yolo.errors import UserError
from yolo.training.options import _RANGES, ModuleOptions


def test_every_range_is_of_an_option_and_holds_its_default() -> None:
    names = {field.name for field in fields(ModuleOptions)}
    assert set(_RANGES) <= names
    ModuleOptions()


@pytest.mark.parametrize("name", sorted(_RANGES))
def test_a_value_out_of_range_is_one_sentence(name: str) -> None:
    low, high = _RANGES[name]
    for value in [low - 1] + ([high + 1] if high != float("inf") else []):
        with pytest.raises(UserError, match=rf"model\.{name}"):
            ModuleOptions(**{name: value})
