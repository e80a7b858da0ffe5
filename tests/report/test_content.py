from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from tests.report.small_report import metrics
from yolo.report.content import CONFIDENTIAL, ReportContent


def test_little_is_needed_and_nothing_changes() -> None:
    content = ReportContent("title", metrics(1), None)
    assert (content.without_pictures, content.training, dict(content.facts)) == (CONFIDENTIAL, None, {})
    with pytest.raises(FrozenInstanceError):
        content.title = "other"  # type: ignore[misc]
