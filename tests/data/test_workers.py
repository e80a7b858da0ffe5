from __future__ import annotations

import resource
import sys

import pytest

from yolo.data.workers import usable_workers


def limit(monkeypatch: pytest.MonkeyPatch, soft: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, soft))


@pytest.mark.parametrize(
    ("soft", "asked", "expected"),
    [(1024, 34, 34), (1024, 35, 34), (1024, 0, 0), (2420, 128, 128), (64, 8, 1), (resource.RLIM_INFINITY, 999, 999)],
)
def test_as_many_as_the_limit_allows(monkeypatch: pytest.MonkeyPatch, soft: int, asked: int, expected: int) -> None:
    limit(monkeypatch, soft)
    assert usable_workers(asked) == expected


def test_the_warning_names_the_limit_needed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    limit(monkeypatch, 1024)
    assert usable_workers(128) == 34
    assert caplog.messages == ["reducing num_workers: 128 -> 34 (ulimit -n = 1024); for 128 workers: ulimit -n 2920"]


def test_nothing_is_reduced_silently_or_warned_about_without_need(caplog: pytest.LogCaptureFixture) -> None:
    assert usable_workers(1) == 1
    assert not caplog.messages


def test_systems_without_such_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert usable_workers(10_000) == 10_000
