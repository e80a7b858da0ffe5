from __future__ import annotations

import subprocess
import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import torch

import yolo.peak_memory
from tests.export.random_network import random_checkpoint
from yolo.errors import UserError
from yolo.peak_memory import memory_of

IMAGES = [np.zeros((40, 60, 3), np.uint8)]


@pytest.mark.slow
def test_the_whole_way_of_a_file_counts(tmp_path: Path) -> None:
    path = random_checkpoint(tmp_path / "a.ckpt", "v9-t")
    assert 5e6 < memory_of(path, IMAGES, 1) < 500e6  # its weights are 8 MB
    with pytest.raises(UserError, match=r"none\.ckpt: no such checkpoint file"):
        memory_of(tmp_path / "none.ckpt", IMAGES, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_the_process_that_runs_a_file_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    hold = "block = bytearray(100_000_000); del block; print(flush=True); input()"

    class Elsewhere:
        """A detector that another interpreter runs."""

        def __init__(self) -> None:
            inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
            self.process = subprocess.Popen(
                [sys.executable, "-c", inner], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )

        def __call__(self, image: np.ndarray) -> None:
            assert self.process.stdout is not None
            self.process.stdout.readline()

    elsewhere = Elsewhere()
    monkeypatch.setattr("yolo.detector.Detector.load", lambda *_, **__: elsewhere)
    assert yolo.peak_memory._measure(Path("a"), IMAGES, torch.get_num_threads(), None) > 100e6
    elsewhere.process.communicate(b"\n")


def test_a_process_that_the_system_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    broken: Future[int] = Future()
    broken.set_exception(BrokenProcessPool())
    monkeypatch.setattr(yolo.peak_memory.ProcessPoolExecutor, "submit", lambda *_: broken)
    with pytest.raises(UserError, match=r"a\.ckpt: the process that measured its memory was ended"):
        memory_of(Path("a.ckpt"), IMAGES, 1)
