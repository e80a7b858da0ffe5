from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import cv2
import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from tests.conftest import TINY_FIT, assert_user_error, run_yolo
from tests.training.test_module import TINY, data
from yolo.training.callbacks import EMACallback
from yolo.training.lr_finder import HIGHEST, LOWEST, find_learning_rate, smoothed, suggest, write_plot
from yolo.training.module import YOLOModule

RUN = Path("runs/quickstart/version_0")


class Watched(YOLOModule):
    """Keeps the weights it started with and the rates of every update."""

    def configure_model(self) -> None:
        super().configure_model()
        self.start = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.rates: list[dict[str, float]] = []
        self.trained: set[str] = set()

    def on_before_optimizer_step(self, optimizer) -> None:
        super().on_before_optimizer_step(optimizer)
        self.rates.append({group["name"]: group["lr"] for group in optimizer.param_groups})
        self.trained |= {name for name, p in self.model.named_parameters() if p.grad is not None}


def trainer(folder: Path, *callbacks: Callback) -> Trainer:
    return Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, max_epochs=2,
        enable_model_summary=False, use_distributed_sampler=False, default_root_dir=folder, callbacks=[*callbacks],
    )  # fmt: skip


@pytest.mark.slow
def test_the_sweep_sets_every_rate_and_leaves_the_weights_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Watched(TINY, image_size=64, head_lr_scale=0.5, warmup_epochs=5.0)
    ema = EMACallback()
    suggestion = find_learning_rate(trainer(tmp_path, ema), module, data())
    assert LOWEST < suggestion < HIGHEST
    rows = list(csv.DictReader((tmp_path / "lr_find.csv").open()))
    swept = [float(row["learning_rate"]) for row in rows]
    assert any(suggestion == pytest.approx(lr) for lr in swept)
    assert len(module.rates) == len(swept) > 20  # twelve images are three steps: more than the run's two epochs
    for rates, lr in zip(module.rates, swept, strict=True):
        assert rates == {"head.bias": pytest.approx(lr / 2), "head.weight": pytest.approx(lr / 2)}
    assert swept == sorted(swept)
    for name, tensor in module.model.state_dict().items():
        assert torch.equal(tensor, module.start[name]), name
    assert ema.updates == 0
    assert {path.name for path in tmp_path.rglob("*")} == {"lr_find.csv", "lr_find.png"}


@pytest.mark.slow
def test_command_line(tmp_path: Path) -> None:
    done = run_yolo(*TINY_FIT, f"--model.model_config={TINY}", "--find_lr=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = re.search(r"suggested learning rate: (\S+), where", done.stdout)
    assert found
    assert f"--model.learning_rate={found[1]}\n" in done.stdout
    assert "epoch 1/2" not in done.stdout
    left = {path.relative_to(tmp_path / RUN).as_posix() for path in (tmp_path / RUN).rglob("*")}
    assert left == {"lr_find.csv", "lr_find.png", "config.yaml"}
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert yaml.safe_load((tmp_path / RUN / "config.yaml").read_text())["find_lr"] is False
    assert cv2.imread(str(tmp_path / RUN / "lr_find.png")).shape[2] == 3
    # The saved config trains, with the rate that was suggested.
    done = run_yolo(
        "fit", "--config", RUN / "config.yaml", f"--model.learning_rate={found[1]}", "--trainer.max_epochs=1",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1" in done.stdout


def test_resuming_and_sweeping_exclude_each_other(tmp_path: Path, tiny_run) -> None:
    done = run_yolo(*TINY_FIT, "--find_lr=true", f"--ckpt_path={tiny_run.best}", cwd=tmp_path)
    assert_user_error(done, "--find_lr starts from fresh weights", "--ckpt_path")


@pytest.mark.slow
def test_what_the_config_freezes_is_frozen_in_the_sweep(tmp_path: Path) -> None:
    module = Watched(TINY, image_size=64, freeze_layers=["levels.0"])
    find_learning_rate(trainer(tmp_path), module, data())
    assert module.trained
    assert not {name for name in module.trained if name.startswith("levels.0")}


@pytest.mark.slow
def test_a_sweep_without_finite_losses_suggests_nothing(tmp_path: Path) -> None:
    class Diverged(YOLOModule):
        def training_step(self, batch, batch_index: int) -> Tensor:
            return super().training_step(batch, batch_index) * torch.nan

    with pytest.raises(Exception, match="too few finite losses to suggest a learning rate"):
        find_learning_rate(trainer(tmp_path), Diverged(TINY, image_size=64), data())


def test_the_suggestion_is_where_the_loss_falls_fastest_on_a_logarithmic_axis() -> None:
    rates = [10 ** (-6 + 6 * i / 100) for i in range(100)]
    descent = smoothed([10 / (1 + (rate / 1e-2) ** 2) + 0.1 * (-1) ** i for i, rate in enumerate(rates)])
    assert 0.005 < (suggest(rates, descent) or 0) < 0.02  # the noise at the start counts for nothing
    assert suggest(rates, smoothed([float("nan")] * 100)) is None
    assert suggest(rates[:5], descent[:5]) is None


def test_smoothing_does_not_trail_and_passes_over_what_is_not_finite() -> None:
    step = [10.0] * 50 + [0.0] * 50
    assert smoothed(step)[49] + smoothed(step)[50] == pytest.approx(10.0)
    assert suggest([1.1**i for i in range(100)], smoothed(step)) == pytest.approx(1.1**49.5, rel=0.06)
    step[20], step[70] = float("inf"), float("nan")
    found = smoothed(step)
    assert [i for i, value in enumerate(found) if value != value] == [20, 70]
    assert found[:19] == pytest.approx([10.0] * 19)


def test_the_plot_marks_the_suggestion(tmp_path: Path) -> None:
    rates, losses = [1e-4, 1e-3, 1e-2], [3.0, 1.0, 9.0]
    write_plot(tmp_path / "a.png", rates, losses, losses, 1e-3)
    write_plot(tmp_path / "b.png", rates, losses, losses, None)
    a, b = (cv2.imread(str(tmp_path / name)).astype(int) for name in ("a.png", "b.png"))
    assert ((a[..., 2] - a[..., 0]) > 100).sum() > 100 > ((b[..., 2] - b[..., 0]) > 100).sum()


def test_what_follows_an_explosion_does_not_count() -> None:
    rates = [10 ** (-6 + 0.06 * i) for i in range(100)]
    falling = [5 - 3 / (1 + math.exp(-(i - 40) / 4)) for i in range(70)]
    explosion = [1e6] * 15 + [10.0] * 15
    suggestion = suggest(rates, falling + explosion)
    assert suggestion is not None
    assert rates[36] < suggestion < rates[44]
