from __future__ import annotations

import logging
import warnings

from yolo.lightning_output import quiet


def test_banners_are_silenced_and_warnings_kept() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quiet()
        warnings.warn("The 'train_dataloader' does not have many workers which may be a bottleneck", stacklevel=1)
        warnings.warn("something that matters", stacklevel=1)
    assert [str(w.message) for w in caught] == ["something that matters"]
    assert logging.getLogger("lightning.pytorch.utilities.rank_zero").getEffectiveLevel() >= logging.WARNING
