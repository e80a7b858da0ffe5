from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest

from yolo.errors import UserError, require_ranges


def test_survives_the_way_out_of_a_worker_process() -> None:
    assert str(pickle.loads(pickle.dumps(UserError("a.txt:3: four numbers")))) == "a.txt:3: four numbers"


@pytest.mark.parametrize(("section", "name"), [("--", "--a-b"), ("data.", r"data\.a_b")])
def test_an_option_is_named_as_it_is_given(section: str, name: str) -> None:
    with pytest.raises(UserError, match=f"^{name} is 9, expected a value between 1 and 3"):
        require_ranges(SimpleNamespace(a_b=9), {"a_b": (1, 3)}, section)
