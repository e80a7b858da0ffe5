from __future__ import annotations

from pathlib import Path

from yolo.data.cache.damage import ANEW, damaged, shown


def test_nothing_that_a_terminal_obeys_is_shown() -> None:
    assert shown("a\x1b[2J\nb\x07\udc80ü \x9b") == r"a\x1b[2J\nb\x07\udc80ü \x9b"
    assert shown("images/ünder 7.png") == "images/ünder 7.png"
    assert str(damaged(Path("c"), "\x07", "why")) == f"c: \\x07 is damaged in the cache (why): {ANEW}"
