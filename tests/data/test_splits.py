from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tests.data.cache.secret_dataset import write_secret_dataset
from yolo.data.loaders import DefaultImageLoader
from yolo.data.options import DataOptions
from yolo.data.splits import read_part, require_same_classes
from yolo.errors import UserError


def test_a_part_of_a_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_secret_dataset(tmp_path)
    options = DataOptions(format="yolo", root=str(tmp_path))
    loader = DefaultImageLoader()
    assert len(read_part(options, "train", loader, 0).images) == 12
    with caplog.at_level(logging.WARNING):
        part = read_part(replace(options, data_fraction=0.5), "train", loader, 0)
    assert caplog.messages == [f"data_fraction: {len(part.images)} of 12 train images remain"]


def test_splits_must_have_the_same_classes(tmp_path: Path) -> None:
    write_secret_dataset(tmp_path)
    options = DataOptions(format="yolo", root=str(tmp_path))
    val = read_part(options, "val", DefaultImageLoader(), 0)
    require_same_classes(val, val)
    with pytest.raises(UserError, match="other classes than the training data"):
        require_same_classes(val, replace(val, class_names=("a",)))
