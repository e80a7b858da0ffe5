from __future__ import annotations

from yolo.data.check.survey import Faults


def test_faults_stop_at_none() -> None:
    faults = Faults()
    faults.add("malformed lines", "a.txt:1 is wrong")
    faults.count("boxes without area", "a.txt:2 is empty")
    faults.add("malformed lines", "b.txt:1 is wrong")
    assert faults.found == {
        "malformed lines": ["a.txt:1 is wrong", "b.txt:1 is wrong"],
        "boxes without area": ["a.txt:2 is empty"],
    }
