from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest

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


def test_a_process_that_the_system_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    broken: Future[int] = Future()
    broken.set_exception(BrokenProcessPool())
    monkeypatch.setattr(yolo.peak_memory.ProcessPoolExecutor, "submit", lambda *_: broken)
    with pytest.raises(UserError, match=r"a\.ckpt: the process that measured its memory was ended"):
        memory_of(Path("a.ckpt"), IMAGES, 1)
