from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from yolo.commands.measure_options import MeasureOptions, NetworkOptions
from yolo.errors import UserError


@dataclass(frozen=True)
class Other(NetworkOptions):
    """Of another command, with an option of its own."""

    sheets: int = 3


def test_options_of_another_command() -> None:
    found = MeasureOptions.of(Other(iou=0.6, device="cpu"), checkpoint=Path("a.ckpt"), device="auto")
    assert found == MeasureOptions(Path("a.ckpt"), iou=0.6, device="auto")


def test_windows() -> None:
    assert MeasureOptions(Path("a.ckpt")).tiling is None
    tiling = MeasureOptions(Path("a.ckpt"), tile=64, overlap=0.5).tiling
    assert tiling is not None
    with pytest.raises(UserError, match="--overlap"):
        MeasureOptions(Path("a.ckpt"), overlap=0.5)
