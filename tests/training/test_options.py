from __future__ import annotations

from dataclasses import fields
from typing import Any

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
    others = {"freeze_backbone": True} if name == "freeze_until_epoch" else {}
    for value in [low - 1] + ([high + 1] if high != float("inf") else []):
        with pytest.raises(UserError, match=rf"model\.{name}"):
            ModuleOptions(**{name: value}, **others)


@pytest.mark.parametrize("options", [{"adamw_betas": (2, 3)}, {"lion_betas": (0.9, 1)}, {"freeze_until_epoch": 3}])
def test_what_cannot_train_is_one_sentence(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"model.{next(iter(options))} is"):
        ModuleOptions(**options)
