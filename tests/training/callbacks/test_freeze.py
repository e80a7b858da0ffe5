from __future__ import annotations

import gc
import hashlib
import re
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn

from tests.conftest import TINY_FIT, V9_T, assert_user_error, run_yolo
from tests.models.test_checkpoint import TinyNetwork
from tests.processes import launch_yolo
from tests.training.test_module import data, fit
from yolo.errors import UserError
from yolo.models.detection_model import DetectionModel, Maps
from yolo.models.registry import build_model
from yolo.training.callbacks.ema import TRAINING_WEIGHTS_KEY, EMACallback
from yolo.training.callbacks.freeze import FreezeCallback, Freezer, select_parts
from yolo.training.module import YOLOModule
from yolo.training.options import FreezeOptions

HERE = "tests.training.callbacks.test_freeze"
NETWORK = f"{HERE}.WithBackbone"


def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, stride, stride), nn.BatchNorm2d(outputs), nn.SiLU())


class WithBackbone(DetectionModel):
    """Small, with BN and biases in the backbone and behind it; negative zeros are what half precision leaves behind."""

    def __init__(self, num_classes: int, negative_zeros: int = 0) -> None:
        super().__init__(num_classes, strides=(8, 16))
        self.bins = nn.Parameter(torch.arange(4.0), requires_grad=False)  # type: ignore[assignment, misc]
        self.backbone = nn.Sequential(block(3, 8, 4), block(8, 8, 2))
        self.neck = block(8, 8, 2)
        self.levels = nn.ModuleList(nn.Conv2d(8, 4 * 4 + num_classes, 1) for _ in self.strides)
        with torch.no_grad():
            self.backbone[0][0].weight.flatten()[:negative_zeros] = -0.0

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        fine = self.backbone(images)
        return ([self.levels[0](fine), self.levels[1](self.neck(fine))],)


class Recorder(Callback):
    """Digest of every tensor of the network when training starts and after each epoch; counts in the optimiser."""

    digests: ClassVar[list[dict[str, str]]] = []
    optimised: ClassVar[list[dict[str, list[str]]]] = []

    def on_train_start(self, trainer, pl_module) -> None:
        self.digests[:], self.optimised[:] = [], []
        self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        self.digests.append({name: digest(tensor) for name, tensor in pl_module.model.state_dict().items()})
        names = {id(p): name for name, p in pl_module.model.named_parameters()}
        groups = trainer.optimizers[0].param_groups
        self.optimised.append({group["name"]: [names[id(p)] for p in group["params"]] for group in groups})


def digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def changed(one: dict[str, str], other: dict[str, str]) -> set[str]:
    return {name for name in one if one[name] != other[name]}


@pytest.mark.slow
def test_backbone_stands_still_for_an_epoch_then_trains(tmp_path: Path) -> None:
    done = run_yolo(
        *TINY_FIT, V9_T, "--model.freeze_backbone=true", "--model.freeze_until_epoch=1", "--checkpoint.save_top_k=9",
        f"--trainer.callbacks+={HERE}.Recorder", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"^frozen: \d+ tensors with [\d,]+ of [\d,]+ parameters, until epoch 2 starts$", done.stdout, re.M)
    start, first, second = Recorder.digests
    backbone = {name for name in start if name.startswith("backbone.")}
    assert any("running_mean" in name for name in backbone)
    assert any("num_batches_tracked" in name for name in backbone)
    trained = {name for name in start if not name.endswith("bins")}
    assert changed(start, first) == trained - backbone
    assert changed(first, second) == trained
    (kept,) = (tmp_path / "runs/quickstart/version_0/checkpoints").glob("epoch001-*.ckpt")
    stored = torch.load(kept, weights_only=True)
    for weights in (stored["state_dict"], stored[TRAINING_WEIGHTS_KEY]):
        assert {name: digest(weights[f"model.{name}"]) for name in backbone} == {name: start[name] for name in backbone}
    before, _, after = Recorder.optimised
    model = build_model("v9-t", 5)
    assert sorted(name for names in before.values() for name in names) == sorted(
        name for name, p in model.named_parameters() if p.requires_grad
    )
    assert before == after
    assert all(
        group.startswith("backbone.") == name.startswith("backbone.") for group in after for name in after[group]
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lion", "muon"])
def test_what_is_frozen_stays_to_the_bit(optimizer: str) -> None:
    module = YOLOModule(
        NETWORK, network_args={"negative_zeros": 3}, image_size=64, optimizer=optimizer, weight_decay=0.5,
        learning_rate=1e-3, freeze_layers=["backbone.0", "neck.[1]"],
    )  # fmt: skip
    ema = EMACallback(decay=0.99, tau=1.0)
    fit(module, data(), max_epochs=3, callbacks=[ema, FreezeCallback(module.options), Recorder()])
    start, last = Recorder.digests[0], Recorder.digests[-1]
    frozen = {name for name in start if name.startswith(("backbone.0.", "neck.1.")) or name == "bins"}
    assert len(frozen) == 2 + 5 + 5 + 1
    assert changed(start, last) == set(start) - frozen
    averaged = {name: digest(tensor) for name, tensor in ema._average.items()}
    assert {name for name in averaged if averaged[name] == start[name]} == frozen & set(averaged)
    assert not module.model.neck[1].training
    assert module.model.backbone[1][1].training


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lion"])
def test_thawed_parameters_have_the_rate_of_their_group(optimizer: str) -> None:
    options = {"freeze_backbone": True, "freeze_until_epoch": 1, "optimizer": optimizer, "weight_decay": 0.5}
    module = YOLOModule(NETWORK, image_size=64, backbone_lr_scale=0.0, **options)
    fit(module, data(), max_epochs=2, callbacks=[Recorder()])
    moved = changed(Recorder.digests[1], Recorder.digests[2])
    assert {name.rpartition(".")[2] for name in moved if name.startswith("backbone.")} == {
        "running_mean", "running_var", "num_batches_tracked",
    }  # fmt: skip
    other = YOLOModule(NETWORK, image_size=64, **options)
    fit(other, data(), max_epochs=2, callbacks=[Recorder()])
    assert changed(Recorder.digests[1], Recorder.digests[2]) == set(Recorder.digests[0]) - {"bins"}
    assert not other.model.bins.requires_grad


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lion"])
def test_resumed_run_ends_where_the_straight_run_ends(optimizer: str, tmp_path: Path) -> None:
    options = [
        *TINY_FIT, f"--model.model_config={NETWORK}", f"--model.optimizer={optimizer}", "--model.warmup_epochs=1",
        "--model.freeze_backbone=true", "--model.freeze_until_epoch=2", "--trainer.max_epochs=4",
        "--checkpoint.save_top_k=9",
    ]  # fmt: skip
    straight = run_yolo(*options, cwd=tmp_path)
    assert straight.returncode == 0, straight.stderr
    run = tmp_path / "runs" / "quickstart"
    wanted = torch.load(run / "version_0/checkpoints/last.ckpt", weights_only=True)
    for epoch in (1, 2, 3):  # before, at and after the thaw
        (checkpoint,) = (run / "version_0/checkpoints").glob(f"epoch00{epoch}-*.ckpt")
        resumed = run_yolo(*options, f"--ckpt_path={checkpoint}", cwd=tmp_path)
        assert resumed.returncode == 0, resumed.stderr
        assert ("frozen: " in resumed.stdout) == (epoch < 2)
        found = torch.load(run / f"version_{epoch}/checkpoints/last.ckpt", weights_only=True)
        for key in ("state_dict", TRAINING_WEIGHTS_KEY):
            torch.testing.assert_close(found[key], wanted[key], rtol=0, atol=0)
        (optimised,), (expected,) = found["optimizer_states"], wanted["optimizer_states"]
        torch.testing.assert_close(optimised["state"], expected["state"], rtol=0, atol=0)
        assert optimised["param_groups"] == expected["param_groups"]


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (["--model.freeze_layers=[backbone.0, stem*]"], ["'stem*' matches no module", "backbone, neck, levels"]),
        (['--model.freeze_layers=["*.2"]'], ["'*.2' matches no module with parameters"]),  # activations
        (['--model.freeze_layers=["*"]'], ["no parameter to train"]),
        (["--model.freeze_backbone=true", "--model.freeze_layers=[neck, levels]"], ["no parameter to train"]),
        (["--model.freeze_until_epoch=-1"], ["freeze_until_epoch is -1"]),
    ],
)
def test_wrong_input(options: list[str], fragments: list[str], tmp_path: Path) -> None:
    assert_user_error(run_yolo(*TINY_FIT, f"--model.model_config={NETWORK}", *options, cwd=tmp_path), *fragments)


def test_a_network_without_backbone_is_refused() -> None:
    with pytest.raises(UserError, match="TinyNetwork has no backbone"):
        select_parts(TinyNetwork(2), FreezeOptions(freeze_backbone=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v9-t", "v9-e"])
def test_the_backbone_is_what_has_the_backbones_rate(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, 3)
    assert select_parts(model, FreezeOptions(freeze_backbone=True)) == model.backbone_modules()
    assert select_parts(model, FreezeOptions()) == []
    (head,) = select_parts(model, FreezeOptions(freeze_layers=["head"]))
    assert head is model.head


def test_freezer_alone() -> None:
    trainer = SimpleNamespace(strategy=SingleDeviceStrategy())
    model = WithBackbone(2)
    freezer = Freezer([model.backbone, model.backbone[0], model])
    assert len(freezer.parameters) == 4 * 3 + 2 * 2
    assert len(freezer.norms) == 3
    model.backbone[1][1].eval()  # somebody's choice: not ours to undo
    freezer = Freezer([model.backbone])
    model(torch.rand(2, 3, 64, 64))[0][0].sum().backward()
    freezer.hold(trainer, True)  # type: ignore[arg-type]
    assert not model.backbone(torch.rand(2, 3, 64, 64)).requires_grad  # nothing to go back through
    assert all(p.grad is None for p in model.backbone.parameters())
    assert model.levels[0].weight.grad is not None
    model.train()
    freezer.hold(trainer, True)  # type: ignore[arg-type]
    assert not model.backbone[0][1].training
    freezer.hold(trainer, False)  # type: ignore[arg-type]
    assert model.backbone[0][1].training
    assert all(p.requires_grad for p in model.backbone.parameters())
    model.backbone[0][1].eval()
    freezer.hold(trainer, False)  # type: ignore[arg-type]
    assert not model.backbone[0][1].training  # thawing what is not frozen does nothing


class RanksAgree(Callback):
    """After each epoch all processes must hold the same weights; says on rank 0 what moved."""

    def on_fit_start(self, trainer: Trainer, pl_module) -> None:
        trainer.strategy.model.broadcast_buffers = False  # what somebody sets on DDP's wrapper
        self.first = weakref.ref(trainer.strategy.model)

    def on_train_start(self, trainer: Trainer, pl_module) -> None:
        self.start = {name: p.clone() for name, p in pl_module.model.named_parameters()}

    def on_train_epoch_end(self, trainer: Trainer, pl_module) -> None:
        for name, weight in pl_module.model.named_parameters():
            everywhere = pl_module.all_gather(weight.detach())  # [processes, ...]
            assert torch.equal(everywhere[0], everywhere[1]), f"{name} differs between the processes"
        assert not trainer.strategy.model.broadcast_buffers
        gc.collect()
        assert self.first() is None, "the first wrapper, with its copies of the gradients, is still there"
        if trainer.is_global_zero:
            moved = {
                n.split(".")[0] for n, p in pl_module.model.named_parameters() if not torch.equal(self.start[n], p)
            }
            print(f"moved by epoch {trainer.current_epoch + 1}: {' '.join(sorted(moved))}")


@pytest.mark.slow
def test_two_processes_freeze_and_thaw_alike(tmp_path: Path) -> None:
    done = launch_yolo(
        *TINY_FIT, f"--model.model_config={NETWORK}", "--model.freeze_backbone=true",
        "--model.freeze_until_epoch=1", "--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=4",
        f"--trainer.callbacks+={HERE}.RanksAgree", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.findall(r"moved by epoch \d: .*", done.stdout) == [
        "moved by epoch 1: levels neck",
        "moved by epoch 2: backbone levels neck",
    ]
    assert done.stdout.count("frozen: ") == 1
