from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.export.random_network import CONFIG
from tests.runtime.records import record
from tests.runtime.test_onnx import write_model
from yolo.commands.measuring import parse_measuring, parse_with_dataset
from yolo.errors import UserError


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


@dataclass(frozen=True)
class Free:
    """Some command that works without data."""

    checkpoint: Path
    """A checkpoint."""


def test_with_and_without_a_dataset(tiny_run: Run) -> None:
    best = f"--checkpoint={tiny_run.best}"
    assert parse_with_dataset("some", Free, ["--checkpoint=none.ckpt"]) == (Free(Path("none.ckpt")), None)
    options, dataset = parse_with_dataset("some", Free, [best, "--data.root=here", "--data.format=yolo"])
    assert dataset is not None
    assert (options.checkpoint, dataset.options.root, dataset.options.batch_size) == (tiny_run.best, "here", 8)
    with pytest.raises(UserError, match=r"--data.val_split says nothing without a dataset"):
        parse_with_dataset("some", Free, [best, "--data.val_split=some.txt"])


def test_an_exported_file_does_not_know_its_dataset(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    stored = record(config={**CONFIG, "data": {"letterbox": "corner"}})
    file = str(write_model(tmp_path / "a.onnx", stored.to_json()))
    with pytest.raises(UserError, match=r"a\.onnx does not know its dataset.*--config.*--data\.root"):
        parse_measuring("some", Options, [file], "model", positional=["model"])
    given = [file, "--data.root=here", "--data.format=yolo"]
    _, data, _ = parse_measuring("some", Options, given, "model", positional=["model"])
    assert (data.root, data.format, data.letterbox) == ("here", "yolo", "corner")
