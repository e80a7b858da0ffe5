from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo.boxes.letterbox import Letterbox
from yolo.data.cache.spec import CacheSpec, SplitSpec, cache_name, differences, stored_size
from yolo.data.options import DataOptions

TRAIN = SplitSpec(images=100, files="a", labels="b", objects=9, labelled=8)
SPEC = CacheSpec("yolo", (64, 96), 1.0, 0, "jpeg", False, 95, False, "m.Loader", {"train": TRAIN, "val": TRAIN})


def test_a_spec_survives_json() -> None:
    assert CacheSpec.from_document(json.loads(json.dumps(SPEC.document()))) == SPEC
    original = replace(SPEC, size=None)
    assert CacheSpec.from_document(json.loads(json.dumps(original.document()))) == original


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": None}, "settings changed (size/fraction)"),
        ({"fraction": 0.5}, "settings changed (size/fraction)"),
        ({"seed": 3}, "settings changed (size/fraction)"),
        ({"encrypted": True}, "encryption changed (unencrypted -> encrypted)"),
        ({"cache_format": "raw"}, "format changed (jpeg -> raw)"),
        ({"cache_format": "raw", "lz4": True}, "format changed (jpeg -> raw + lz4)"),
        ({"dataset_format": "coco"}, "dataset format changed (yolo -> coco)"),
        ({"loader": "m.Other"}, "image loader changed (m.Loader -> m.Other)"),
        ({"loader": ""}, "image loader changed (m.Loader -> ours)"),
        ({"splits": {"train": replace(TRAIN, images=1117), "val": TRAIN}}, "image count changed (200 -> 1,217)"),
        ({"splits": {"val": replace(TRAIN, files="c", labels="d")}}, "image files changed"),
        ({"splits": {"val": replace(TRAIN, labels="d")}}, "labels changed"),
        ({"splits": {"test": TRAIN}}, "splits changed (train, val -> test)"),
    ],
)
def test_what_changed_is_said(changes: dict[str, Any], message: str) -> None:
    assert differences(SPEC, replace(SPEC, **changes)) == [message]


def test_what_does_not_matter() -> None:
    assert differences(SPEC, replace(SPEC, jpeg_quality=50)) == []
    assert differences(SPEC, replace(SPEC, splits={"val": TRAIN})) == []


SIDES = st.integers(1, 3000)


@given(SIDES, SIDES, st.integers(32, 1300), st.integers(32, 1300))
def test_a_stored_image_is_not_resized_again(height: int, width: int, rows: int, columns: int) -> None:
    size, target = (height, width), (rows, columns)
    stored, whole = stored_size(size, target), Letterbox(size, target)
    again = Letterbox(stored, target)
    assert (again.size, again.offset) == (whole.size, whole.offset)
    if whole.scale < 1:
        assert stored == whole.size
    else:
        assert stored == size
    assert stored_size(size, None) == size


def test_names() -> None:
    assert cache_name(DataOptions(), (320, 640)) == ".yolo_cache_640x320_f1.0"
    assert cache_name(DataOptions(cache_resize_images=False, data_fraction=0.5), (320, 640)) == ".yolo_cache_orig_f0.5"
