from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from yolo.data.annotations import AnnotatedImage, AnnotatedSet
from yolo.data.datamodule import YOLODataModule
from yolo.data.fraction import take_fraction
from yolo.errors import UserError


def dataset(*first_classes: int | None) -> AnnotatedSet:
    """Images whose first object is of the given class, None for no object; the second object is of class 9."""
    images = []
    for i, first in enumerate(first_classes):
        classes = [] if first is None else [first, 9]
        images.append(
            AnnotatedImage(
                Path(f"{i}.jpg"), i + 1, (10, 10), np.zeros((len(classes), 4), np.float32),
                np.asarray(classes, np.int64), np.zeros(len(classes), bool), np.ones(len(classes)),
            )
        )  # fmt: skip
    return AnnotatedSet(images, tuple("abcdefghij"), tuple(range(10)))


MIXED = dataset(*([0] * 40 + [None] * 20 + [1] * 10 + [2]))


def ids(split: AnnotatedSet) -> list[int]:
    return [image.image_id for image in split.images]


def strata(split: AnnotatedSet) -> Counter[int | None]:
    return Counter(int(image.classes[0]) if len(image.classes) else None for image in split.images)


def test_every_stratum_is_cut_by_the_same_fraction_and_keeps_one_image() -> None:
    assert strata(take_fraction(MIXED, 0.5, seed=0)) == {0: 20, None: 10, 1: 5, 2: 1}
    assert strata(take_fraction(MIXED, 0.1, seed=0)) == {0: 4, None: 2, 1: 1, 2: 1}
    assert strata(take_fraction(MIXED, 0.001, seed=0)) == {0: 1, None: 1, 1: 1, 2: 1}


def test_all_of_it() -> None:
    whole = take_fraction(MIXED, 1.0, seed=0)
    assert ids(whole) == ids(MIXED)
    assert (whole.class_names, whole.category_ids) == (MIXED.class_names, MIXED.category_ids)


def test_the_draw_follows_from_the_seed_and_small_is_part_of_large() -> None:
    first = ids(take_fraction(MIXED, 0.3, seed=1))
    assert ids(take_fraction(MIXED, 0.3, seed=1)) == first == sorted(first)
    assert ids(take_fraction(MIXED, 0.3, seed=2)) != first
    assert set(first) < set(ids(take_fraction(MIXED, 0.6, seed=1)))


def test_the_data_module_cuts_both_splits_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    module = YOLODataModule(format="shapes", shapes_train=60, shapes_val=30, data_fraction=0.2, seed=3)
    module.setup("fit")
    assert module.train is not None
    assert module.val is not None
    assert 8 <= len(module.train.images) <= 16
    assert 4 <= len(module.val.images) <= 9
    assert caplog.messages == [
        f"data_fraction: {len(module.train.images)} of 60 train images remain",
        f"data_fraction: {len(module.val.images)} of 30 val images remain",
    ]


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.5])
def test_what_is_no_fraction(fraction: float) -> None:
    with pytest.raises(UserError, match=f"data.data_fraction is {fraction}, expected a value between"):
        YOLODataModule(data_fraction=fraction)
