from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from yolo.data.augment.device_colour import recolour_batch
from yolo.data.batch import Batch
from yolo.data.datamodule import YOLODataModule
from yolo.errors import UserError
from yolo.inference import to_network_input
from yolo.training.module import YOLOModule
from yolo.training.options import ModuleOptions
from yolo.training.schedule import Schedule

TINY = "tests.models.test_checkpoint.TinyNetwork"


def data(**kwargs) -> YOLODataModule:
    options = {"format": "shapes", "shapes_train": 12, "shapes_val": 4, "batch_size": 4, "num_workers": 0} | kwargs
    return YOLODataModule(image_size=(64, 64), **options)


def fit(module: YOLOModule, datamodule: YOLODataModule, ckpt_path: Path | None = None, **kwargs) -> Trainer:
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=0, **kwargs,
    )  # fmt: skip
    trainer.fit(module, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)
    return trainer


class RateRecorder(Callback):
    """What the optimiser used at each step, read from the optimiser itself; stops after a number of epochs."""

    def __init__(self, stop_after: int) -> None:
        self.stop_after = stop_after
        self.steps: list[tuple[float, float, float]] = []

    def on_train_batch_end(self, trainer, *args) -> None:
        groups = {group["role"]: group for group in trainer.optimizers[0].param_groups}
        self.steps.append((groups["weight"]["lr"], groups["bias"]["lr"], groups["weight"]["momentum"]))

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        trainer.should_stop = trainer.current_epoch + 1 == self.stop_after


@pytest.mark.parametrize("kind", ["cosine", "linear", "step", "one_cycle"])
def test_rates_in_the_optimiser_follow_the_schedule_also_after_resuming(kind: str, tmp_path: Path) -> None:
    options = {"lr_scheduler": kind, "step_size": 4, "warmup_epochs": 2.0}
    schedule = Schedule(ModuleOptions(**options), 0.01, 0.937, steps_per_epoch=2, total_steps=20)
    recorded = []
    for stop_after, checkpoint in ((5, None), (10, tmp_path / "half.ckpt")):
        recorder = RateRecorder(stop_after)
        trainer = fit(
            YOLOModule(TINY, image_size=64, **options), data(shapes_train=8), max_epochs=10, limit_val_batches=0,
            callbacks=[recorder], ckpt_path=checkpoint,
        )  # fmt: skip
        recorded += recorder.steps
        trainer.save_checkpoint(tmp_path / "half.ckpt")
    assert len(recorded) == 20
    for step, rates in enumerate(recorded):
        assert rates == pytest.approx(tuple(schedule(step)), rel=1e-9), step


class SeenBatches(Callback):
    def __init__(self) -> None:
        self.train: list[Batch] = []
        self.val: list[Batch] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.train.append(batch)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0) -> None:
        self.val.append(batch)


def test_colours_left_to_the_device_are_final_before_training_sees_them() -> None:
    seen = SeenBatches()
    fit(YOLOModule(TINY, image_size=64), data(colour="device"), max_epochs=1, callbacks=[seen])
    again = data(colour="device")
    again.setup("fit")
    again.trainer = SimpleNamespace(global_rank=0, world_size=1, max_epochs=1)  # type: ignore[assignment]
    for batch, raw in zip(seen.train, again.train_dataloader(), strict=True):
        assert raw.colour_gains is not None
        assert torch.equal(batch.images, recolour_batch(raw.images, raw.colour_gains))
        assert not torch.equal(batch.images, raw.images)
        assert torch.equal(batch.targets, raw.targets)
        assert batch.colour_gains is None
    for batch, raw in zip(seen.val, again.val_dataloader(), strict=True):
        assert torch.equal(batch.images, raw.images)


def test_the_card_says_what_is_trained() -> None:
    module = YOLOModule(TINY, image_size=(64, 64))
    fit(module, data(letterbox="corner"), max_epochs=1, limit_train_batches=1)
    assert module.card is not None
    assert module.card.network.name == TINY
    assert len(module.card.class_names) == module.model.num_classes
    assert module.card.letterbox == "corner"
    assert module.card.config["data"]["shapes_train"] == 12
    assert module.metrics is not None
    assert len(module.metrics.evaluation.ground_truth.images) == 4


def test_the_schedule_ends_where_max_steps_ends_the_run() -> None:
    module = YOLOModule(TINY, image_size=64, warmup_epochs=2.0)
    fit(module, data(shapes_train=8), max_epochs=500, max_steps=6, limit_val_batches=0)
    assert (module.schedule.steps_per_epoch, module.schedule.total_steps) == (2, 6)
    assert module.schedule(3).lr == pytest.approx(0.01 * module.schedule._curve(3))  # two epochs of warm-up are over
    assert module.schedule(6).lr == pytest.approx(0.0001)


def test_accumulated_batches_are_one_step_of_the_schedule() -> None:
    module = YOLOModule(TINY, image_size=64)
    fit(module, data(shapes_train=12), max_epochs=2, accumulate_grad_batches=2, limit_val_batches=0)
    assert (module.schedule.steps_per_epoch, module.schedule.total_steps) == (2, 4)


def test_unknown_network_fails_before_any_data_is_read() -> None:
    with pytest.raises(UserError, match="unknown model 'v9-x'"):
        YOLOModule("v9-x")


def test_names_can_be_replaced() -> None:
    names = ["a", "b", "c", "d", "e"]
    module = YOLOModule(TINY, image_size=64, class_names=names)
    fit(module, data(), max_epochs=1, limit_train_batches=1, limit_val_batches=1)
    assert module.card is not None
    assert module.card.class_names == tuple(names)
    assert module.card.dataset_names == ("circle", "square", "triangle", "cross", "ring")
    with pytest.raises(UserError, match="class_names has 1 names, the dataset 5 classes"):
        fit(YOLOModule(TINY, image_size=64, class_names=["a"]), data(), max_epochs=1)


def test_number_of_classes_must_agree() -> None:
    with pytest.raises(UserError, match="num_classes is 2, but the dataset has"):
        fit(YOLOModule(TINY, num_classes=2, image_size=64), data(), max_epochs=1)


def test_endless_training_is_refused() -> None:
    with pytest.raises(UserError, match="max_epochs is -1"):
        fit(YOLOModule(TINY, image_size=64), data(), max_epochs=-1, max_steps=3)


def test_resuming_with_another_network_is_refused(tmp_path: Path) -> None:
    module = YOLOModule(TINY, image_size=64)
    trainer = fit(module, data(), max_epochs=1, limit_train_batches=1, limit_val_batches=1)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    other = YOLOModule(TINY, network_args={"width": 5}, image_size=64)
    refusal = r"the checkpoint holds the network .*TinyNetwork with width unset, the run is for .* with width 5"
    with pytest.raises(UserError, match=refusal):
        fit(other, data(), max_epochs=2, ckpt_path=tmp_path / "a.ckpt")
    assert module.card is not None
    with pytest.raises(UserError, match=refusal):  # before anything of the run is touched
        other.continue_from(module.card)
    with pytest.raises(UserError, match=r"was trained with sgd, --model\.optimizer is adamw"):
        YOLOModule(TINY, image_size=64, optimizer="adamw").continue_from(module.card)


def test_loss_is_scaled_by_the_batch_and_logged_unscaled() -> None:
    module = YOLOModule("v9-t", image_size=64)
    datamodule = data()
    datamodule.setup("fit")
    module.trainer = SimpleNamespace(datamodule=datamodule, precision="32-true", max_epochs=1)  # type: ignore[assignment]
    module.configure_model()
    module.model.train()
    batch = next(iter(datamodule.train_dataloader()))
    total = module.training_step(batch, 0)
    logged = module.losses.means()
    torch.manual_seed(0)
    maps, auxiliary = module.model(to_network_input(batch.images))
    alone = [
        module.loss((branch,), batch.targets, module.model.strides, module.model.bins) for branch in (maps, auxiliary)
    ]
    assert sum(logged.values()).item() == pytest.approx(sum(alone[0].parts.values()).item(), rel=1e-4)
    assert total.item() == pytest.approx((alone[0].total + 0.25 * alone[1].total).item(), rel=1e-4)
    assert alone[0].total.item() == pytest.approx(4 * sum(alone[0].parts.values()).item(), rel=1e-4)
