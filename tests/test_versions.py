from __future__ import annotations

import numpy as np

from yolo import __version__
from yolo.versions import versions


def test_versions_of_what_is_installed() -> None:
    found = versions(["numpy", "no-such-package"])
    assert list(found) == ["python", "yolo", "numpy"]
    assert (found["yolo"], found["numpy"]) == (__version__, np.__version__)
