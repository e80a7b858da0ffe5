from __future__ import annotations

from pathlib import Path

import pytest

from tests.export.tflite_files import needs_tflite, small_file
from yolo.export.xnnpack import operators

pytestmark = [needs_tflite, pytest.mark.slow]


def test_what_xnnpack_takes(tmp_path: Path) -> None:
    found, outside = operators(small_file("split", "int8").at(tmp_path))
    assert dict(found) == dict(small_file("split", "int8").written.operators)
    assert found["CONV_2D"] == 16
    assert not outside


def test_what_xnnpack_lacks(tmp_path: Path) -> None:
    found, outside = operators(small_file("split", "int8", xnnpack_optimize=False).at(tmp_path))
    assert found["AVERAGE_POOL_2D"] == outside["AVERAGE_POOL_2D"] == 3
    assert dict(outside) == {"AVERAGE_POOL_2D": 3, "RESIZE_NEAREST_NEIGHBOR": 1}
