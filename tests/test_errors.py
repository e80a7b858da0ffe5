from __future__ import annotations

import pickle

from yolo.errors import UserError


def test_survives_the_way_out_of_a_worker_process() -> None:
    assert str(pickle.loads(pickle.dumps(UserError("a.txt:3: four numbers")))) == "a.txt:3: four numbers"
