from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from yolo.data.options import AugmentOptions, DataOptions, SourceOptions, Split
from yolo.errors import UserError

# The interface that existing configurations rely on.
SEED_DEFAULTS = {
    "format": "coco",
    "root": "data/coco",
    "train_images": None,
    "val_ann": None,
    "train_split": None,
    "batch_size": 16,
    "num_workers": 8,
    "pin_memory": True,
    "prefetch_factor": 4,
    "mosaic_prob": 1.0,
    "hsv_h": 0.015,
    "hsv_s": 0.7,
    "hsv_v": 0.4,
    "degrees": 0.0,
    "translate": 0.1,
    "scale": 0.9,
    "shear": 0.0,
    "perspective": 0.0,
    "flip_lr": 0.5,
    "flip_ud": 0.0,
    "close_mosaic_epochs": 15,
}


def test_defaults() -> None:
    options = dataclasses.asdict(DataOptions())
    assert {name: options[name] for name in SEED_DEFAULTS} == SEED_DEFAULTS


def test_every_option_belongs_to_one_group() -> None:
    names = [field.name for group in (SourceOptions, AugmentOptions) for field in dataclasses.fields(group)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ({"mosaic_prob": 1.5}, "data.mosaic_prob is 1.5, expected a value between 0 and 1"),
        ({"scale": 1.0}, "data.scale is 1.0, expected a value between 0 and 0.99"),
        ({"batch_size": 0}, "data.batch_size is 0, expected a value at least 1"),
        ({"num_workers": -1}, "data.num_workers is -1, expected a value at least 0"),
        ({"shear": 60.0}, "data.shear is 60.0, expected a value between 0 and 44"),
        ({"hsv_h": float("nan")}, "data.hsv_h is nan, expected a value between 0 and 1"),
    ],
)
def test_a_value_out_of_range_is_named(option: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        DataOptions(**option)


@pytest.mark.parametrize("split", ["train", "val"])
def test_places_of_a_split(split: Split) -> None:
    named = {f"{split}_{what}": what for what in ("images", "ann", "labels", "split")}
    options = DataOptions(root="r", **named)
    assert options.places(split) == ("images", "ann", "labels", Path("r/split"))
    assert options.places("val" if split == "train" else "train") == (None,) * 4
