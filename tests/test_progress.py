from __future__ import annotations

import re
import sys

import pytest

from yolo import progress as module
from yolo.progress import progress


def test_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", -1.0)
    with progress("caching", 2, "images") as advance:
        advance()
        advance()
    first, second, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"caching: 1 of 2 images, [\d,]+/s, 0 s left", first)
    assert second.startswith("caching: 2 of 2 images")
    assert re.fullmatch(r"caching: 2 images in \d\.\d s, [\d,]+/s", last)


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with progress("caching", 3, "images") as advance:
        for _ in range(3):
            advance()
    out = capsys.readouterr().out
    assert "caching" in out
    assert "3/3" in out
    assert "images/s" in out


def test_an_error_goes_through() -> None:
    with pytest.raises(KeyError), progress("caching", 3, "images"):
        raise KeyError
