from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from yolo import environments
from yolo.environments import Worker

TOOLKIT = """
import contextlib

class Network:
    def init_runtime(self, target):
        return 0

    def inference(self, images, data_format):
        assert data_format == ["nchw"]
        return [images[0], images[0].mean((2, 3))]

def in_words(folder):
    return contextlib.nullcontext()

def require(status):
    assert status == 0

def read_settings():
    return {}

def built(settings):
    return Network()
"""


def test_pixels_reach_the_toolkit_in_its_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rknn_model.py", "channel.py"):
        shutil.copy(environments.WORKERS / name, tmp_path)
    (tmp_path / "rknn_build.py").write_text(TOOLKIT)
    monkeypatch.setattr(environments, "WORKERS", tmp_path)
    worker = Worker(Path(sys.executable), "rknn_model.py", tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 4, 6)).astype(np.float32)
    found = worker([pixels / np.float32(255)])
    worker.close()
    np.testing.assert_allclose(found[0], pixels, atol=1e-4)
    assert found[1].shape == (1, 3)
