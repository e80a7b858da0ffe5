"""Which programs a result was made with."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from yolo import __version__


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of Python, of this program and of those of the packages that are installed, none of which is imported."""
    found = {"python": platform.python_version(), "yolo": __version__}
    for name in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
