"""Quantisation-aware training through `yolo fit` and Lightning: when ranges are found, held, and go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from tests.commands.test_resume import assert_equal, contents
from tests.conftest import assert_user_error, run_yolo
from tests.export.random_network import random_checkpoint
from tests.processes import Done, launch_yolo
from tests.quantization.test_network import SMALL, equal, ranges
from tests.training.test_module import TINY, data
from yolo.errors import UserError
from yolo.models.checkpoint import CARD_KEY, NetworkSpec
from yolo.quantization.calibration import training_images
from yolo.quantization.network import QuantizedNetwork
from yolo.training.callbacks import EMACallback, QATCallback
from yolo.training.callbacks.ema import TRAINING_WEIGHTS_KEY
from yolo.training.module import YOLOModule

SIZE = (64, 64)
CLASSES = ("circle", "square", "triangle", "cross", "ring")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the small network in float, for the embedded dataset."""
    path = random_checkpoint(tmp_path_factory.mktemp("trained") / "a.ckpt", SMALL, classes=len(CLASSES))
    contents = torch.load(path, weights_only=True)
    contents[CARD_KEY].update(class_names=CLASSES, dataset_names=CLASSES)
    torch.save(contents, path)
    return path


class Watch(Callback):
    """The ranges after each epoch and in each validation, and how often the network was calibrated."""

    def __init__(self) -> None:
        self.after_epochs: list[dict[str, Tensor]] = []
        self.in_validation: list[dict[str, Tensor]] = []
        self.calibrated = 0

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        self.trainer = trainer

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        before = pl_module.model.calibrate

        def count(images: Any) -> None:
            self.calibrated += 1
            before(images)

        pl_module.model.calibrate = count

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.after_epochs.append(ranges(pl_module.model))

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.in_validation.append(ranges(pl_module.model))

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        assert equal(ranges(pl_module.model), self.in_validation[-1])


def fit(module: YOLOModule, callbacks: list[Callback], ckpt_path: Path | None = None, **kwargs: Any) -> Trainer:
    datamodule = kwargs.pop("datamodule", None) or data()
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, callbacks=callbacks, **kwargs,
    )  # fmt: skip
    trainer.fit(module, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def module_of(trained: Path | None, **options: Any) -> YOLOModule:
    spec = QuantizedNetwork.spec(NetworkSpec(SMALL), SIZE)
    options = {"optimizer": "adamw", "learning_rate": 1e-3, "warmup_epochs": 0.0, **options}
    weights = None if trained is None else str(trained)
    return YOLOModule(spec.name, network_args=spec.args, image_size=SIZE, weight_path=weights, **options)


@pytest.mark.slow
def test_ranges_are_found_anew_before_the_first_epochs_and_then_held(trained: Path, tmp_path: Path) -> None:
    watch, module, ema = Watch(), module_of(trained), EMACallback(decay=0.9, tau=5)
    trainer = fit(module, [watch, QATCallback(freeze_after=2, num_calibration=3), ema], max_epochs=4)
    assert watch.calibrated == 2
    first, second, third, fourth = watch.after_epochs
    sanity, *validated = watch.in_validation
    assert equal(sanity, first)  # no step moves them
    assert not equal(first, second)
    assert equal(second, third)
    assert equal(third, fourth)
    assert all(equal(one, other) for one, other in zip(validated, watch.after_epochs, strict=True))
    # Checkpoints have the same ranges beside the averaged weights and beside those of training.
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    contents = torch.load(tmp_path / "a.ckpt", weights_only=True)
    averaged, weights = contents["state_dict"], contents[TRAINING_WEIGHTS_KEY]
    kernel = next(name for name in averaged if name.endswith("stem.conv.weight"))
    assert not torch.equal(averaged[kernel], weights[kernel])
    for name, tensor in second.items():
        assert torch.equal(averaged[f"model.{name}"], tensor), name
        assert torch.equal(weights[f"model.{name}"], tensor), name


@pytest.mark.slow
def test_ranges_are_those_of_the_weights_as_an_epoch_begins(trained: Path) -> None:
    class Recalibrate(Callback):
        """What calibration by the same images gives the weights of the end of the first epoch."""

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 0:
                copy = pl_module.model.deploy()
                QuantizedNetwork.calibrate(copy, training_images(trainer.datamodule, 3, SIZE, "center"))
                self.expected = ranges(copy)

    watch, recalibrate = Watch(), Recalibrate()
    fit(module_of(trained), [watch, recalibrate, QATCallback(num_calibration=3)], max_epochs=2)
    assert equal(watch.after_epochs[1], recalibrate.expected)
    assert not equal(watch.after_epochs[0], recalibrate.expected)


@pytest.mark.slow
@pytest.mark.parametrize(("epochs", "calibrated"), [(1, 0), (2, 1)])
def test_a_resumed_run_calibrates_where_the_straight_one_does(
    trained: Path, tmp_path: Path, epochs: int, calibrated: int
) -> None:
    trainer = fit(module_of(trained), [QATCallback(freeze_after=epochs, num_calibration=3)], max_epochs=1)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    watch, resumed = Watch(), module_of(None)
    fit(resumed, [watch, QATCallback(freeze_after=epochs, num_calibration=3)], tmp_path / "a.ckpt", max_epochs=2)
    assert watch.calibrated == calibrated
    assert equal(watch.after_epochs[-1], ranges(trainer.lightning_module.model)) == (not calibrated)


@pytest.mark.slow
def test_a_folder_that_is_gone_matters_only_while_ranges_are_found_in_it(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.full((64, 64, 3), 90, np.uint8))
    how = {"calibration_images": str(folder)}
    fit(module_of(trained), [QATCallback(**how)], max_epochs=1).save_checkpoint(tmp_path / "a.ckpt")
    folder.rename(tmp_path / "moved")
    fit(module_of(None), [QATCallback(freeze_after=1, **how)], tmp_path / "a.ckpt", max_epochs=2)
    with pytest.raises(UserError, match=r"--calibration-images is .*images, which is no folder"):
        fit(module_of(None), [QATCallback(freeze_after=2, **how)], tmp_path / "a.ckpt", max_epochs=2)


@pytest.mark.slow
def test_held_from_the_start(trained: Path) -> None:
    watch = Watch()
    fit(module_of(trained), [watch, QATCallback(freeze_after=0, num_calibration=3)], max_epochs=2)
    assert watch.calibrated == 1
    assert equal(watch.in_validation[0], watch.after_epochs[-1])


def test_validation_measures_the_simulated_network(trained: Path) -> None:
    module = module_of(trained)
    fit(module, [QATCallback(num_calibration=3)], max_epochs=1, limit_train_batches=1)
    module.eval()
    images = torch.rand(1, 3, *SIZE)
    with torch.no_grad():
        first = module.model(images)[0][0]
        levels = first.unique()
        assert len(levels) <= 2 * 256  # box logits of one scale, class logits of another
        assert len(module.model.in_float()(images)[0][0].unique()) > 600


@pytest.mark.slow
def test_a_teacher_holds_the_network_and_its_term_is_logged(trained: Path) -> None:
    terms = []
    for weight in (0.0, 1.0):
        module = module_of(trained, learning_rate=3e-3)
        teacher = str(trained) if weight else None
        trainer = fit(module, [QATCallback(num_calibration=3, distill=weight, teacher=teacher)], max_epochs=1)
        terms.append(trainer.callback_metrics.get("train/distill"))
        assert not [name for name, _ in module.named_parameters() if "teacher" in name]
        assert not [name for name in module.state_dict() if "distill" in name]
    assert terms[0] is None
    assert terms[1] is not None
    assert terms[1] > 0


@pytest.mark.slow
def test_a_step_that_went_wrong_runs_again_to_the_last_bit(trained: Path, tmp_path: Path) -> None:
    """With the term of the teacher, who is not there any more."""
    teacher = tmp_path / "teacher.ckpt"
    teacher.write_bytes(trained.read_bytes())
    weight = "graph.model.network.deeper.conv.weight"
    callbacks: list[dict[str, Any]] = [
        {"class_path": "yolo.training.callbacks.QATCallback",
         "init_args": {"num_calibration": 3, "distill": 1.0, "teacher": str(teacher)}},
        {"class_path": "tests.training.callbacks.poison.PoisonedGradient", "init_args": {"step": 2, "name": weight}},
    ]  # fmt: skip
    spec = QuantizedNetwork.spec(NetworkSpec(SMALL), SIZE)
    done = run_yolo(
        "fit", "--config=quickstart", f"--model.model_config={spec.name}",
        f"--model.network_args={json.dumps(spec.args)}", "--model.image_size=64", f"--model.weight_path={trained}",
        "--data.shapes_train=24", "--data.shapes_val=9", "--data.batch_size=8", "--data.num_workers=0",
        "--trainer.max_epochs=1", "--trainer.accelerator=cpu", f"--trainer.callbacks={json.dumps(callbacks)}",
        cwd=tmp_path,
    )  # fmt: skip
    assert_user_error(done, "the gradient is not finite at epoch 1, step 2", "distill")
    teacher.unlink()
    (bundle,) = tmp_path.rglob("non_finite/*.pt")
    done = run_yolo("replay", bundle, "--json", "--network", SMALL)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["same"]
    assert shown["losses"]["distill"] == shown["recorded"]["distill"] > 0


@pytest.mark.slow
def test_what_cannot_be_trained_so(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trains quantised networks, --model.model_config is"):
        fit(YOLOModule(TINY, image_size=SIZE), [QATCallback()], max_epochs=1)
    with pytest.raises(UserError, match="precision is bf16-mixed, but INT8 is simulated in 32-true"):
        fit(module_of(trained), [QATCallback()], max_epochs=1, precision="bf16-mixed")
    with pytest.raises(UserError, match="distils from a teacher, but has none"):
        QATCallback(distill=1.0)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"--calibration-images is .*empty: no images in this folder"):
        fit(module_of(trained), [QATCallback(calibration_images=str(empty))], max_epochs=1)
    with pytest.raises(UserError, match=r"data.letterbox is 'corner', the checkpoint was trained with 'center'"):
        fit(module_of(trained), [QATCallback()], max_epochs=1, datamodule=data(letterbox="corner"))
    with pytest.raises(UserError, match=r"gone.ckpt: no such checkpoint"):
        fit(module_of(trained), [QATCallback(distill=1.0, teacher=str(tmp_path / "gone.ckpt"))], max_epochs=1)


def test_a_checkpoint_of_other_classes(trained: Path, tmp_path: Path) -> None:
    contents = torch.load(trained, weights_only=True)
    contents[CARD_KEY].update(dataset_names=("a", "b", "c", "d", "e"))
    torch.save(contents, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"the checkpoint 5 \(a, b, c, d, e, ...\); they must be the same"):
        fit(module_of(tmp_path / "a.ckpt"), [QATCallback()], max_epochs=1)


@pytest.mark.slow
def test_resuming_from_a_run_in_float(trained: Path, tmp_path: Path) -> None:
    trainer = fit(YOLOModule(SMALL, image_size=SIZE), [], max_epochs=1, limit_train_batches=1)
    trainer.save_checkpoint(tmp_path / "float.ckpt")
    with pytest.raises(
        UserError, match=r"the checkpoint holds the network .*SmallNetwork, the run is for .*SmallNetwork in INT8"
    ):
        fit(module_of(None), [QATCallback()], tmp_path / "float.ckpt", max_epochs=2)


class RangesOfRanks(Callback):
    """Writes the ranges of this process after each step."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step:
            torch.save(ranges(pl_module.model), self.folder / f"{trainer.global_step}-{trainer.global_rank}.pt")


def finetune_by_two(trained: Path, folder: Path, *options: str) -> Done:
    """Two epochs of three steps by two processes, which write their ranges after each step into the folder."""
    return launch_yolo(
        "qat-finetune", "-c", trained, "--network", SMALL, "--epochs=2", "--freeze-bn-after=2", "--batch-size=4",
        "--data.format=shapes", "--data.shapes_train=24", "--data.shapes_val=4", "--data.shapes_size=64",
        "--data.num_workers=0", "--num-calibration=3", "--trainer.devices=2", "--trainer.strategy=ddp",
        "--trainer.accelerator=cpu", "--trainer.callbacks+=tests.training.callbacks.test_qat.RangesOfRanks",
        f"--trainer.callbacks.folder={folder}", *options, cwd=folder,
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_have_one_set_of_ranges_and_resume_in_mid_epoch(trained: Path, tmp_path: Path) -> None:
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    straight.mkdir(), stopped.mkdir()
    done = finetune_by_two(trained, straight)
    assert done.returncode == 0, done.stderr
    steps = [[torch.load(straight / f"{step}-{rank}.pt") for rank in (0, 1)] for step in range(1, 6)]
    assert all(equal(*step) for step in steps)
    (one, two, three, four, five) = (first for first, _ in steps)
    assert equal(one, two)
    assert not equal(two, three)
    assert equal(three, four)
    assert equal(four, five)
    # Stopped in the second epoch, which began with new ranges, and resumed.
    signal = "--trainer.callbacks+=tests.commands.interruption.SignalAt"
    aim = [f"--trainer.callbacks.{name}={value}" for name, value in {"name": "SIGTERM", "epoch": 2, "batch": 1}.items()]
    done = finetune_by_two(trained, stopped, signal, *aim)
    assert done.returncode == 143, done.stderr
    assert "stopped by SIGTERM at epoch 2, step 5" in done.stdout
    done = finetune_by_two(trained, stopped, "--ckpt_path=last")
    assert done.returncode == 0, done.stderr
    assert "resumed in epoch 2 after 2 of 3 batches, at step 5" in done.stdout
    ends = (straight / "runs/qat/version_0", stopped / "runs/qat/version_1")
    assert_equal(*(contents(run) for run in ends))
