from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.conftest import Run
from yolo.commands.measuring import parse_measuring


@dataclass(frozen=True)
class Options:
    """Some command."""

    model: Path
    """A checkpoint."""
    number: int = 3
    """A number."""


def test_data_come_from_the_checkpoint_unless_given(tiny_run: Run) -> None:
    best = str(tiny_run.best)
    options, data, loader = parse_measuring("some", Options, [best, "--number=4"], "model", positional=["model"])
    assert (options, loader) == (Options(tiny_run.best, 4), None)
    assert (data.format, data.shapes_val) == ("shapes", 9)
    _, data, _ = parse_measuring("some", Options, [best, "--data.shapes_val=5"], "model", positional=["model"])
    assert (data.shapes_val, data.shapes_train) == (5, 24)
