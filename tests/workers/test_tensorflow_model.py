from __future__ import annotations

import importlib
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from yolo.environments import WORKERS


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(WORKERS))
    return importlib.import_module("tensorflow_model")


def spec(*shape: int | None) -> Any:
    """As TensorFlow has them, of a file of anybody's: without a shape, too."""
    return SimpleNamespace(shape=SimpleNamespace(rank=len(shape) or None, as_list=lambda: list(shape)))


def test_shapes_are_those_expected(script: ModuleType) -> None:
    script.require("outputs", {"b": spec(1, 3, 5), "a": spec(1, 4)}, {"a": [1, 4], "b": [1, 3, 5]})


@pytest.mark.parametrize(
    "specs", [{}, {"a": spec(1, 4)}, {"images": spec(None, 64, 96, 3)}, {"images": spec()}, {"images": spec(1, 64)}]
)
def test_others_end_the_script(script: ModuleType, specs: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match=r"its inputs are {.*}, by its record they are {'images': \[1, 64, 96, 3\]}"):
        script.require("inputs", specs, {"images": [1, 64, 96, 3]})
