from __future__ import annotations

import hashlib
import logging
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as L
import pytest
import torch

from yolo.data.batch import Batch
from yolo.data.datamodule import YOLODataModule
from yolo.data.sampler import EpochSampler
from yolo.errors import UserError

MakeDataset = Callable[..., Path]
SHAPES: dict[str, Any] = {"format": "shapes", "shapes_train": 10, "shapes_val": 7, "shapes_size": 64}


def shapes(**changes: Any) -> YOLODataModule:
    module = YOLODataModule((64, 96), **{**SHAPES, "batch_size": 4, "num_workers": 0, **changes})
    module.setup("fit")
    return module


def at(module: YOLODataModule, rank: int, world_size: int, max_epochs: int | None = 3) -> YOLODataModule:
    module.trainer = SimpleNamespace(global_rank=rank, world_size=world_size, max_epochs=max_epochs)  # type: ignore[assignment]
    return module


def digest(batch: Batch) -> str:
    ids = repr([record.image_id for record in batch.records]).encode()
    return hashlib.sha256(batch.images.numpy().tobytes() + batch.targets.numpy().tobytes() + ids).hexdigest()


def epochs(module: YOLODataModule, count: int = 2) -> list[str]:
    loader = module.train_dataloader()
    digests = []
    for epoch in range(count):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        digests += [digest(batch) for batch in loader]
    return digests


def test_setup_reads_what_the_stage_needs() -> None:
    module = YOLODataModule(**SHAPES)
    with pytest.raises(RuntimeError, match="call setup"):
        _ = module.class_names
    module.setup("validate")
    assert module.train is None
    assert module.val is not None
    assert module.class_names == ("circle", "square", "triangle", "cross", "ring")
    assert module.category_ids == (0, 1, 2, 3, 4)
    assert module.num_classes == 5
    before = module.val
    module.setup("fit")
    assert module.train is not None
    assert module.val is before


def test_training_batches() -> None:
    loader = shapes().train_dataloader()
    batches = list(loader)
    assert len(loader) == len(batches) == 2, "the incomplete third batch is dropped"
    for batch in batches:
        assert batch.images.shape == (4, 3, 64, 96)
        assert batch.images.dtype == torch.uint8
        assert batch.targets.shape[1] == 6
        assert batch.targets[:, 0].max() < 4


def test_a_training_set_smaller_than_a_batch_is_one_batch() -> None:
    assert [len(batch) for batch in shapes(batch_size=16).train_dataloader()] == [10]


def test_validation_batches_show_each_image_once_in_order() -> None:
    batches = list(shapes().val_dataloader())
    assert [len(batch) for batch in batches] == [4, 3]
    assert [record.image_id for batch in batches for record in batch.records] == list(range(1, 8))


def test_validation_images_in_their_own_size() -> None:
    module = shapes()
    module.whole_images = True
    batches = list(module.val_dataloader())
    assert [tuple(batch.images.shape[2:]) for batch in batches] == [batch.records[0].size for batch in batches]
    assert [len(batch) for batch in batches] == [1] * 7
    assert next(iter(module.train_dataloader())).images.shape == (4, 3, 64, 96)


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_both_splits_without_overlap(world_size: int) -> None:
    for name in ("train_dataloader", "val_dataloader"):
        shares = []
        for rank in range(world_size):
            loader = getattr(at(shapes(batch_size=1), rank, world_size), name)()
            shares.append([record.image_id for batch in loader for record in batch.records])
        together = [i for share in shares for i in share]
        assert len(set(together)) == len(together)
        if name == "val_dataloader":
            assert sorted(together) == list(range(1, 8))
        else:
            assert {len(share) for share in shares} == {10 // world_size}


def test_more_processes_than_images() -> None:
    with pytest.raises(UserError, match="2 training images cannot be shared out among 3 processes"):
        at(shapes(shapes_train=2), 0, 3).train_dataloader()


@pytest.mark.parametrize(
    ("max_epochs", "close", "expected"), [(20, 5, 15), (None, 5, None), (-1, 5, None), (20, 0, None), (3, 15, 0)]
)
def test_last_epochs_without_mosaic(max_epochs: int | None, close: int, expected: int | None) -> None:
    module = at(shapes(close_mosaic_epochs=close), 0, 1, max_epochs)
    assert module.train_dataloader().dataset.mosaic_until == expected  # type: ignore[attr-defined]
    assert module.val_dataloader().dataset.mosaic_until is None  # type: ignore[attr-defined]


def test_without_a_trainer_the_end_is_what_was_said() -> None:
    module = shapes(close_mosaic_epochs=5)
    assert module.train_dataloader().dataset.mosaic_until is None  # type: ignore[attr-defined]
    module.max_epochs = 20
    assert module.train_dataloader().dataset.mosaic_until == 15  # type: ignore[attr-defined]
    assert at(module, 0, 1, 30).train_dataloader().dataset.mosaic_until == 25  # type: ignore[attr-defined]


def test_samples_need_no_validation_data(yolo: MakeDataset) -> None:
    root = yolo()
    module = YOLODataModule((64, 64), format="yolo", root=str(root), val_images="nowhere", num_workers=0, batch_size=1)
    module.setup("train")
    assert module.val is None
    assert next(iter(module.train_dataloader())).images.shape == (1, 3, 64, 64)
    with pytest.raises(UserError, match="nowhere"):
        module.setup("fit")


def test_looking_at_samples_builds_no_cache(tmp_path: Path) -> None:
    cache: dict[str, Any] = {**SHAPES, "cache_images": "disk", "cache_dir": str(tmp_path / "caches"), "num_workers": 0}
    module = YOLODataModule((64, 64), **cache)
    module.setup("train")
    assert not (tmp_path / "caches").exists()
    YOLODataModule((64, 64), **cache).setup("fit")
    module = YOLODataModule((64, 64), **cache)
    module.setup("train")
    assert "Cache" in type(module.pixels("train")).__name__


def test_few_workers_are_spoken_of_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 1024))
    module = shapes(num_workers=128)
    for loader in (module.train_dataloader(), module.val_dataloader(), module.train_dataloader()):
        assert loader.num_workers == 34
    assert len([message for message in caplog.messages if "reducing num_workers" in message]) == 1


def test_a_run_without_any_mosaic_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        at(shapes(), 0, 1, max_epochs=3).train_dataloader()
    assert caplog.messages == ["no mosaic at all: close_mosaic_epochs=15 covers all 3 epochs"]


def test_worker_options() -> None:
    loader = shapes(num_workers=0).train_dataloader()
    assert (loader.persistent_workers, loader.prefetch_factor) == (False, None)
    loader = shapes(num_workers=2, prefetch_factor=3).train_dataloader()
    assert (loader.persistent_workers, loader.prefetch_factor) == (True, 3)


def test_batches_follow_from_the_seed() -> None:
    first = epochs(shapes(seed=1))
    assert epochs(shapes(seed=1)) == first
    assert set(epochs(shapes(seed=2))).isdisjoint(first)
    assert len(set(first)) == len(first)


def test_batches_do_not_depend_on_forked_workers() -> None:
    assert epochs(shapes(num_workers=2, start_method="fork")) == epochs(shapes())


@pytest.mark.slow
def test_batches_do_not_depend_on_spawned_workers() -> None:
    assert epochs(shapes(num_workers=2, start_method="spawn")) == epochs(shapes())


@pytest.mark.slow
def test_spawned_workers_start_without_lightning() -> None:
    """It takes longer than everything else that they import, in each of them."""
    loader = shapes(num_workers=2, start_method="spawn").train_dataloader()
    given = pickle.dumps((loader.dataset, loader.collate_fn, loader.worker_init_fn))
    code = "import pickle, sys; pickle.load(sys.stdin.buffer); print('lightning' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, check=True)
    assert done.stdout.split() == [b"False"]


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_batches_are_not_prepared(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = epochs(shapes(shapes_train=20), count=1)
    module = shapes(shapes_train=20, num_workers=workers, start_method="fork")
    loader = module.train_dataloader()
    sampler = loader.sampler
    assert isinstance(sampler, EpochSampler)
    iterator = iter(loader)  # Lightning has it before the epoch and the place in it are known
    sampler.set_epoch(0)
    sampler.start_at(0, 3 * 4)
    order = [item.index for item in sampler]
    asked: list[int] = []
    pipeline = loader.dataset.pipeline  # type: ignore[attr-defined]
    monkeypatch.setattr(
        loader.dataset, "pipeline", lambda *args, **_: asked.append(args[1].index) or pipeline(*args, **_)
    )
    assert [digest(batch) for batch in iterator] == whole[3:]
    assert asked == ([] if workers else order[: 2 * 4])  # forked workers have lists of their own


@pytest.mark.parametrize("workers", [0, 2])
def test_iterators_leave_the_random_numbers_of_the_training_alone(workers: int) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for loader in (shapes(num_workers=workers).train_dataloader(), shapes(num_workers=workers).val_dataloader()):
        next(iter(loader))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_arrives_as_its_sentence(yolo: MakeDataset, workers: int) -> None:
    root = yolo()
    options: dict[str, Any] = {"format": "yolo", "root": str(root), "batch_size": 1, "num_workers": workers}
    module = YOLODataModule((64, 64), **options)
    module.setup("fit")
    path = root / "images/train/a.jpg"
    path.write_bytes(path.read_bytes()[:-50])
    loader = module.train_dataloader()
    with pytest.raises(UserError) as caught:
        list(loader)
    if workers:
        # As Lightning does. Left to the garbage collector, which finds queues and workers in one cycle, it takes 10 s.
        loader._iterator._shutdown_workers()  # type: ignore[union-attr]
    assert re.fullmatch(
        rf"{re.escape(str(path))}: not a complete image that OpenCV can decode \(\d+ bytes\)", str(caught.value)
    )


def test_validation_classes_must_be_those_of_training(coco: MakeDataset, tmp_path: Path) -> None:
    train = coco()
    other = tmp_path / "other.json"
    options: dict[str, Any] = {"root": str(tmp_path), "train_images": "images", "val_images": "images"}
    for category, expected in (
        ({"id": 90, "name": "lion"}, "other classes than the training data: ('dog', 'lion') instead of ('dog', 'cat')"),
        ({"id": 91, "name": "cat"}, "other category ids than the training data: (4, 91) instead of (4, 90)"),
    ):
        other.write_text(train.read_text().replace('{"id": 90, "name": "cat"}', re.sub("'", '"', repr(category))))
        other.write_text(other.read_text().replace('"category_id": 90', f'"category_id": {category["id"]}'))
        module = YOLODataModule(train_ann=train.name, val_ann=other.name, **options)
        with pytest.raises(UserError, match=re.escape(expected)):
            module.setup("fit")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"seed": -1}, "data.seed is -1, expected 0 or more"),
        ({"image_size": (0, 64)}, "data.image_size is (0, 64), expected a height and a width in pixels"),
        ({"batch_size": 0}, "data.batch_size is 0"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        YOLODataModule(**arguments)


def test_a_start_method_that_the_system_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(UserError, match=r"data\.start_method is fork, this system has spawn"):
        YOLODataModule(start_method="fork")


LEFT_BEHIND = """
import os, subprocess, torch
from yolo.data.datamodule import YOLODataModule
torch.set_num_threads(2)
module = YOLODataModule((64, 64), format="shapes", shapes_train=60, shapes_size=64, batch_size=4, num_workers=2,
                        start_method="fork")
module.setup("fit")
loader = module.train_dataloader()
batches = iter(loader)
next(batches)
for number in ("-INT", "-TERM"):  # to one of the two
    subprocess.run(["kill", number, str(loader._iterator._workers[0].pid)], check=True)
print(len(list(zip(range(9), batches))))
raise SystemExit(7)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill")
def test_workers_outlive_a_signal_to_all_but_not_their_parent() -> None:
    done = subprocess.run([sys.executable, "-c", LEFT_BEHIND], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (7, "9\n"), done.stderr


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_the_dataset_folder_stays_untouched(coco: MakeDataset, yolo: MakeDataset, tmp_path: Path, form: str) -> None:
    coco()
    yolo()
    options: dict[str, Any] = {"train_images": "images", "val_images": "images"} if form == "coco" else {}
    options |= {"train_ann": "ann.json", "val_ann": "ann.json", "format": form, "root": str(tmp_path)}
    entries = sorted(tmp_path.rglob("*"))
    state = snapshot(tmp_path)
    for entry in (tmp_path, *entries):
        entry.chmod(0o555 if entry.is_dir() else 0o444)
    try:
        module = YOLODataModule((64, 64), batch_size=2, num_workers=2, **options)
        module.setup("fit")
        assert len(list(module.train_dataloader())) == 1
        assert len(list(module.val_dataloader())) >= 1
    finally:
        for entry in (tmp_path, *entries):
            entry.chmod(0o755)
    assert snapshot(tmp_path) == state


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest())
        for path in (folder, *sorted(folder.rglob("*")))
    }


class Recorder(L.LightningModule):
    """Learns nothing and notes the batches it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, str]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        assert isinstance(batch, Batch)
        self.seen.append((self.current_epoch, digest(batch)))
        return self.weight.sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        assert isinstance(batch, Batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(tmp_path: Path, max_epochs: int, checkpoint: Path | None = None, stop_after: int | None = None) -> Recorder:
    trainer = L.Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
        limit_train_batches=2,
    )
    recorder = Recorder()
    if stop_after is not None:
        trainer.fit_loop.max_epochs = max_epochs
        trainer.callbacks.append(Stop(stop_after))  # type: ignore[attr-defined]
    trainer.fit(recorder, datamodule=shapes(close_mosaic_epochs=1, num_workers=2), ckpt_path=checkpoint)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    return recorder


class Stop(L.Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epoch


@pytest.mark.slow
def test_lightning_passes_the_epoch_and_resuming_continues_with_it(tmp_path: Path) -> None:
    straight = train(tmp_path, 3).seen
    module = shapes(close_mosaic_epochs=1)
    expected = epochs(at(module, 0, 1), count=3)
    assert [number for _, number in straight] == expected
    assert [epoch for epoch, _ in straight] == [0, 0, 1, 1, 2, 2]
    begun = train(tmp_path, 3, stop_after=2).seen
    assert begun == straight[:4]
    assert train(tmp_path, 3, checkpoint=tmp_path / "last.ckpt").seen == straight[4:]


@pytest.mark.slow
def test_more_epochs_move_the_end_of_the_mosaic_inside_live_workers(tmp_path: Path) -> None:
    two = train(tmp_path, 2).seen
    assert [number for _, number in two] == epochs(at(shapes(close_mosaic_epochs=1), 0, 1, max_epochs=2))
    resumed = train(tmp_path, 4, checkpoint=tmp_path / "last.ckpt").seen
    expected = epochs(at(shapes(close_mosaic_epochs=1), 0, 1, max_epochs=4), count=4)
    assert [number for _, number in resumed] == expected[4:]
    without_end = epochs(at(shapes(close_mosaic_epochs=0), 0, 1), count=4)
    assert [a == b for a, b in zip(expected, without_end, strict=True)] == [True] * 6 + [False] * 2
