from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.export.own_dataset import own_checkpoint, write_own_dataset
from yolo.commands.export import parse
from yolo.commands.export_job import RANDOM_IMAGES, prepare_export
from yolo.errors import UserError


@pytest.mark.slow
def test_what_files_are_compared_on(tmp_path: Path) -> None:
    checkpoint = own_checkpoint(tmp_path)
    job = prepare_export(*parse(["-c", str(checkpoint)]))
    assert (job.source, job.images.shape) == ("random images", (RANDOM_IMAGES, 3, 64, 64))
    assert (job.measured, job.calibration, job.device) == (None, None, "cpu")
    data = write_own_dataset(tmp_path / "data", checkpoint, images=2)
    job = prepare_export(*parse(["-c", str(checkpoint), *data, "--size", "32", "64"]))
    assert (job.source, job.images.shape) == ("validation images", (2, 3, 32, 64))
    assert job.measured is not None
    assert job.measured.module.image_size == job.image_size == (32, 64)
    pictures = f"--images={tmp_path / 'data/images/train'}"
    job = prepare_export(*parse(["-c", str(checkpoint), *data, pictures]))
    first = cv2.imread(str(tmp_path / "data/images/train/00.png"))[..., ::-1]
    assert job.source == "images of --images"
    assert torch.equal(job.images[0], torch.from_numpy(np.ascontiguousarray(first)).permute(2, 0, 1) / 255)


@pytest.mark.slow
def test_data_without_objects_measure_nothing(tmp_path: Path) -> None:
    checkpoint = own_checkpoint(tmp_path)
    data = write_own_dataset(tmp_path / "data", checkpoint, images=1)
    for label in (tmp_path / "data/labels/val").iterdir():
        label.write_text("")
    with pytest.raises(UserError, match="the validation split has no objects"):
        prepare_export(*parse(["-c", str(checkpoint), *data]))
