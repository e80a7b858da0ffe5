from __future__ import annotations

from typing import get_args, get_type_hints

from yolo.commands import export
from yolo.export.config import FormatConfig
from yolo.export.formats import FORMATS
from yolo.model_file import RUNTIMES


def test_a_row_for_each_format() -> None:
    assert set(get_args(get_type_hints(export._Common)["format"])) == set(FORMATS)
    for name, entry in FORMATS.items():
        assert callable(entry.module.require), name
        assert callable(entry.module.write), name
        assert issubclass(entry.config, FormatConfig)
        assert entry.module.__name__ == f"yolo.export.{name}"


def test_what_is_written_can_be_run() -> None:
    assert {entry.suffix for entry in FORMATS.values() if entry.suffix} <= set(RUNTIMES)
