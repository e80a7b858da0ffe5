"""Each benchmark runs on a tiny input, so that none rots; what it prints means nothing here."""

from __future__ import annotations

import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
import torch

from tests.conftest import Run
from tests.export.learnt_network import learnt_checkpoint
from tests.export.own_dataset import write_own_dataset
from tests.export.random_network import random_checkpoint
from tests.export.tflite_files import SMALL
from tests.tiny_dataset import write_dataset
from yolo import Detector
from yolo.models.checkpoint import allow_network

FOLDER = Path(__file__).parent.parent / "benchmarks"
YARDSTICK = """
import numpy as np

def load(images, labels):
    return [np.zeros((48, 64, 3), np.uint8)] * 4, [np.array([[0, 0.5, 0.5, 0.5, 0.5]])] * 4

class ClassicMosaic:
    def __init__(self, images, rows, size):
        self.size = size

    def __call__(self, index):
        return np.zeros((self.size, self.size, 3), np.uint8), np.zeros(1), np.zeros((1, 4))
"""
ARGUMENTS = {
    "augment": "--yardstick yardstick.py --images data/images/val --labels data/labels/val --size 64 --samples 16",
    "cache": "--root data --size 64 --repeats 1",
    "export": "own/a.ckpt own --opsets 17 --random tests.export.small_network.SmallNetwork",
    "evaluation": "--images 300 --per-image 20 --rounds 1",
    "label_audit": "best.ckpt data --seeds 1",
    "labels": "--images 3 --rounds 1",
    "loaders": "data/images/val --images 1 --turns 1",
    "nms": "--anchors 40 --classes 3 --rounds 1",
    "predict": "best.ckpt data/images/val --images 4 --rounds 1",
    "qat": "own/a.ckpt own/learnt.ckpt own --files onnx --images 2 --num-calibration 4",
    "tflite": "own/a.ckpt own --threads 1 --runs 1 --files fp32 'int8 raw' --num-calibration 4",
    "tiling": "best.ckpt data --tile 64 --grid 2 --pictures 1",
    "train_step": "--size 64 --batch 1 --targets 3 --repeats 1",
}
SLOW = {"evaluation", "export", "labels", "qat", "tflite"}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, tiny_run: Run) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    write_dataset(folder / "data")
    names = list(Detector.load(tiny_run.best).class_names)
    (folder / "data" / "data.yaml").write_text(f"names: {names}")
    (folder / "yardstick.py").write_text(YARDSTICK)
    (folder / "best.ckpt").symlink_to(tiny_run.best)
    (folder / "own").mkdir()
    allow_network(SMALL)
    own = random_checkpoint(folder / "own" / "a.ckpt", SMALL)
    write_own_dataset(folder / "own", own)
    learnt_checkpoint(folder / "own" / "learnt.ckpt", own)
    return folder


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Benchmarks take the threads they want."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def test_every_benchmark_is_here() -> None:
    assert set(ARGUMENTS) == {path.stem for path in FOLDER.glob("*.py")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in ARGUMENTS]
)
def test_benchmark(
    name: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *shlex.split(ARGUMENTS[name])])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert capsys.readouterr().out
