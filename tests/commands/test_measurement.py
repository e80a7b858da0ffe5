from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch import Trainer

from tests.conftest import Run
from yolo.commands.measure_options import MeasureOptions
from yolo.commands.measurement import Measurement, measure, prepare, stored_data
from yolo.commands.validate import parse
from yolo.data.options import DataOptions
from yolo.errors import UserError
from yolo.tiling import Tiling, detect_tiled
from yolo.training import tiled


def detections(tiny_run: Run, *arguments: str) -> np.ndarray:
    """[N, 7] of all images, by image id and score."""
    options, data, loader = parse(["-c", str(tiny_run.best), "--device=cpu", "--max-det=20", "--iou=1", *arguments])
    found = measure(options, data, loader).evaluation.detections
    rows = np.column_stack([found.image_ids, found.scores, found.classes, found.boxes])
    return rows[np.lexsort((-found.scores, found.image_ids))]


@pytest.mark.slow
def test_batch_size_and_large_tiles_change_nothing(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    one = detections(tiny_run, "--batch-size=1", "--workers=0")
    assert len(one) == 9 * 20
    for arguments in (["--batch-size=7"], ["--batch-size=1", "--tile=4000"]):
        other = detections(tiny_run, "--workers=0", *arguments)
        np.testing.assert_allclose(other[:, :2], one[:, :2], atol=1e-5)
    seen: list[Tiling] = []

    def spy(*arguments: Any) -> Any:
        seen.append(arguments[2])
        return detect_tiled(*arguments)

    monkeypatch.setattr(tiled, "detect_tiled", spy)
    detections(tiny_run, "--batch-size=1", "--workers=0", "--tile=64")
    assert seen == [Tiling(64)] * 9


@pytest.mark.slow
def test_workers_change_nothing_at_all(tiny_run: Run) -> None:
    for tile in ([], ["--tile=100"]):
        alone = detections(tiny_run, "--batch-size=4", "--workers=0", *tile)
        np.testing.assert_array_equal(detections(tiny_run, "--batch-size=4", "--workers=2", *tile), alone)


def test_settings_say_what_was_measured(tiny_run: Run) -> None:
    options, data, loader = parse(["-c", str(tiny_run.best), "--conf=0.2", "--tile=64", "--size", "96", "64"])
    settings = prepare(options, data, loader).settings()
    assert settings["checkpoint"] == str(tiny_run.best)
    assert (settings["confidence"], settings["image_size"]) == (0.2, [96, 64])
    assert settings["tile"] == {"size": 64, "overlap": 0.2}
    assert settings["data"] == {"root": None, "format": "shapes"}
    assert {"python", "yolo", "torch", "hotcoco"} <= set(settings["versions"])


def test_tiles_need_the_original_pixels(tiny_run: Run, tmp_path: Path) -> None:
    from tests.tiny_dataset import write_dataset
    from yolo.data.datamodule import YOLODataModule

    options, data, loader = parse(["-c", str(tiny_run.best), "--tile=64", "--device=cpu", "--workers=0"])
    prepared = prepare(options, data, loader)
    write_dataset(tmp_path / "set")
    shrunk = YOLODataModule(
        (32, 32), root=str(tmp_path / "set"), format="yolo", cache_images="disk", cache_dir=str(tmp_path), num_workers=0
    )
    shrunk.setup("fit")
    shrunk.whole_images = True
    measured = Measurement(options, prepared.module, shrunk, prepared.trainer)
    (batch, *_) = shrunk.val_dataloader()
    with pytest.raises(UserError, match=r"the cache keeps it at .*--tile needs the original"):
        measured.module.detect(batch)


def test_one_number_or_two_and_a_plain_number(tiny_run: Run) -> None:
    data = DataOptions(format="shapes", shapes_val=2, num_workers=0)
    assert prepare(MeasureOptions(tiny_run.best, size=(64,)), data).module.image_size == (64, 64)
    with pytest.raises(UserError, match="--size has 3 numbers"):
        prepare(MeasureOptions(tiny_run.best, size=(64, 64, 64)), data)
    with pytest.raises(UserError, match="tile size"):
        prepare(MeasureOptions(tiny_run.best, tile=3), data)


def test_the_benchmark_is_of_the_deployed_network(tiny_run: Run) -> None:
    options, data, loader = parse(["-c", str(tiny_run.best), "--device=cpu", "--batch-size=3", "--workers=0"])
    prepared = prepare(options, data, loader)
    figures = prepared.benchmark(warmup=0, runs=2)
    assert [entry.batch for entry in figures.batches] == [1, 3]
    assert figures.parameters < sum(p.numel() for p in prepared.module.model.parameters())
    assert figures.confidence == 0.25
    assert isinstance(prepared.trainer, Trainer)
    assert prepared.run().as_dict()["mAP"] >= 0  # the network measured afterwards is not the fused one


def test_stored_data_of_another_dataset(tiny_run: Run) -> None:
    assert "data_fraction" in stored_data(tiny_run.best, [])
    assert "data_fraction" not in stored_data(tiny_run.best, ["--data.root=elsewhere"])
    assert "data_fraction" not in stored_data(tiny_run.best, ["-c", "run.yaml"])
    assert "data_fraction" in stored_data(tiny_run.best, ["-c", "best.ckpt"], ["--config"])
