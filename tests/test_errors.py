from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest

from yolo.errors import UserError, require_ranges


def test_survives_the_way_out_of_a_worker_process() -> None:
    assert str(pickle.loads(pickle.dumps(UserError("a.txt:3: four numbers")))) == "a.txt:3: four numbers"


def test_flags_are_named_as_they_are_typed() -> None:
    options = SimpleNamespace(num_samples=0)
    with pytest.raises(UserError, match="--num-samples is 0, expected a value between 1 and 2"):
        require_ranges(options, {"num_samples": (1, 2)}, "--")
    with pytest.raises(UserError, match=r"data\.num_samples is 0"):
        require_ranges(options, {"num_samples": (1, 2)}, "data.")
