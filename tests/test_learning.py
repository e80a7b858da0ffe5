"""A network learns real images by heart: the whole chain from labels to metrics on data nobody made for the test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import run_yolo


@pytest.mark.slow
def test_four_real_images_are_learnt_by_heart(test_data: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in (test_data / "coco128/images/train").iterdir())[:4]
    split = tmp_path / "four.txt"
    split.write_text("\n".join(names))
    steps = 140
    done = run_yolo(
        "fit", "--config=default", "--model.model_config=v9-t", "--model.image_size=192", "--data.format=yolo",
        f"--data.root={test_data / 'coco128'}", f"--data.train_split={split}", f"--data.val_split={split}",
        "--data.batch_size=4", "--data.num_workers=0", "--data.mosaic_prob=0", "--data.scale=0", "--data.translate=0",
        "--data.hsv_h=0", "--data.hsv_s=0", "--data.hsv_v=0", "--data.flip_lr=0", "--model.optimizer=muon",
        "--model.learning_rate=0.02", "--model.warmup_epochs=5", f"--trainer.max_epochs={steps}",
        f"--trainer.check_val_every_n_epoch={steps}", "--trainer.enable_progress_bar=false",
        "--trainer.accelerator=cpu", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(re.search(r"best epoch: .*mAP50 ([\d.]+)", done.stdout)[1]) >= 0.9  # type: ignore[index]
