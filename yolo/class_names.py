"""Names of classes from a file, for a network that was trained under other ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from yolo.errors import UserError


def read_class_names(path: Path, trained: Sequence[str]) -> tuple[str, ...]:
    """The names in a file: a JSON list, a JSON object {index: name} or text with a name per line.

    Args:
        path: the file.
        trained: the network's own names; an object may leave indices out, which keep theirs.

    Raises:
        UserError: when it cannot be read or does not fit the number of classes.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file of class names") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: class names must be text in UTF-8") from error
    if not text.startswith(("[", "{")):
        return _listed(path, [line.strip() for line in text.splitlines()], trained)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error
    return _by_index(path, content, trained) if isinstance(content, dict) else _listed(path, content, trained)


def _listed(path: Path, names: list[object], trained: Sequence[str]) -> tuple[str, ...]:
    for index, name in enumerate(names):
        _require_name(path, index, name)
    if len(names) != len(trained):
        raise UserError(f"{path}: {len(names)} class names, but the network has {len(trained)} classes")
    return tuple(map(str, names))


def _by_index(path: Path, content: dict[str, object], trained: Sequence[str]) -> tuple[str, ...]:
    names = list(trained)
    for key, name in content.items():
        if not key.isdecimal() or int(key) >= len(names):
            raise UserError(f"{path}: class index {key!r}, expected a whole number from 0 to {len(names) - 1}")
        _require_name(path, int(key), name)
        names[int(key)] = str(name)
    return tuple(names)


def _require_name(path: Path, index: int, name: object) -> None:
    if not isinstance(name, str) or not name:
        raise UserError(f"{path}: the name of class {index} is {name!r}, expected text")
