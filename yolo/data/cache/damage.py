"""Sentences about damage."""

from __future__ import annotations

from pathlib import Path

from yolo.errors import UserError

ANEW = "build the cache anew (--data.cache_refresh=true or yolo cache-create --force)"


def damaged(folder: Path, what: str, reason: str = "") -> UserError:
    """The error that says that `what` (a path or a table, from anybody) is damaged in the cache."""
    return UserError(f"{folder}: {shown(what)} is damaged in the cache{f' ({reason})' if reason else ''}: {ANEW}")


def shown(text: str) -> str:
    """`text` without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
