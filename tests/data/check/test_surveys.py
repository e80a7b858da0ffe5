from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.check.broken import COCO, sound_coco, sound_yolo
from yolo.data.check.surveys import survey_split
from yolo.data.loaders import DefaultImageLoader
from yolo.data.options import DataOptions
from yolo.data.source import choose_loader
from yolo.errors import UserError


def test_every_format(tmp_path: Path) -> None:
    for options in (
        DataOptions(format="yolo", root=str(sound_yolo(tmp_path / "yolo"))),
        DataOptions(format="coco", root=str(sound_coco(tmp_path / "coco")), **COCO),
        DataOptions(format="shapes", shapes_train=12, shapes_val=10),
    ):
        loader = choose_loader(options, None)
        assert [survey_split(options, split, loader).listed for split in ("train", "val")] == [12, 10]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DataOptions(root="/no/such"), "/no/such: no such dataset folder"),
        (DataOptions(cache_only=True), "data.cache_only is true"),
    ],
)
def test_refusals(options: DataOptions, message: str) -> None:
    with pytest.raises(UserError, match=message):
        survey_split(options, "train", DefaultImageLoader())
