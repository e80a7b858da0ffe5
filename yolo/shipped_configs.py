"""Configs that ship with the package, found by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from yolo.errors import UserError

PACKAGE = Path(__file__).parent


def config_folder() -> Path:
    """`configs/` inside the installed package, or beside it in a working copy."""
    installed = PACKAGE / "configs"
    return installed if installed.is_dir() else PACKAGE.parent / "configs"


def find_config(name: str) -> Path:
    """The file `name`, or the shipped config called `name`. UserError lists the shipped ones."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = {file.stem: file for file in sorted(config_folder().glob("*.yaml"))}
    if name not in shipped:
        raise UserError(f"no config file {name!r}, and none of that name ships; there are {', '.join(shipped)}")
    return shipped[name]


def resolve_configs(arguments: Sequence[str]) -> list[str]:
    """The same arguments with the value of each `--config` (or `-c`) resolved to a file."""
    resolved = list(arguments)
    for position, item in enumerate(resolved):
        flag, equals, value = item.partition("=")
        if flag not in ("--config", "-c"):
            continue
        if equals:
            resolved[position] = f"{flag}={find_config(value)}"
        elif position + 1 < len(resolved):
            resolved[position + 1] = str(find_config(resolved[position + 1]))
    return resolved
