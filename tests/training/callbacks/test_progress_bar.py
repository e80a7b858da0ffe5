from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import TQDMProgressBar

from tests.conftest import TINY_FIT, run_yolo
from tests.terminal import Terminal, screen
from tests.training.test_module import TINY
from yolo.commands.fit import make_cli
from yolo.lightning_output import console_of, print_line
from yolo.training.callbacks import YOLOProgressBar
from yolo.training.loss_meter import LossMeter

FIT = [*TINY_FIT, f"--model.model_config={TINY}"]


class Run:
    """A training of 10 steps per epoch, told to the callback by hand."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, bar: YOLOProgressBar | None = None
    ) -> None:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setattr(sys, "stdout", stream)
        self.bar = bar or YOLOProgressBar(refreshes_per_second=1e9)
        epoch_loop = SimpleNamespace(
            batch_progress=SimpleNamespace(current=SimpleNamespace(ready=0)), _should_check_val_epoch=lambda: True
        )
        self.trainer = SimpleNamespace(
            current_epoch=0, max_epochs=3, max_steps=-1, num_training_batches=10, num_val_batches=[4], global_step=0,
            world_size=2, is_global_zero=True, is_last_batch=False, sanity_checking=False,
            fit_loop=SimpleNamespace(epoch_loop=epoch_loop, restarting=False), progress_bar_callback=self.bar,
        )  # fmt: skip
        self.module = SimpleNamespace(
            losses=LossMeter(), schedule=lambda step: SimpleNamespace(lr=0.01 * (step + 1), bias_lr=9.0)
        )
        self.bar.setup(self.trainer, self.module, "fit")

    def start(self) -> None:
        self.bar.on_train_start(self.trainer, self.module)
        self.bar.on_train_epoch_start(self.trainer, self.module)

    def step(self, loss: float = 1.5, images: int = 8) -> None:
        self.module.losses.update({name: torch.tensor(loss) for name in ("box", "cls", "dfl")}, images)
        self.trainer.global_step += 1
        time.sleep(0.001)
        self.bar.on_train_batch_end(self.trainer, self.module, None, SimpleNamespace(records=[None] * images), 0)


def test_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    run = Run(monkeypatch, terminal)
    run.start()
    for loss in (1.0, 2.0):
        run.step(loss)
    first, second = terminal.screen[-2:]
    assert first.startswith("epoch 1/3 ")
    assert " 2/10 " in first
    assert re.search(r"[\d,]+ images/s  0:00:00 left, run 0:00:00$", first)
    assert second == "box 1.500  cls 1.500  dfl 1.500  lr 0.02"  # means so far; the rate of the step that was
    run.bar.on_validation_start(run.trainer, run.module)
    run.bar.on_validation_batch_end(run.trainer, run.module)
    assert terminal.screen[-2].startswith("epoch 1/3 validation ")
    assert terminal.screen[-2].endswith(" 1/4")
    run.bar.on_validation_epoch_end(run.trainer, run.module)
    assert terminal.screen[-2].endswith(" 4/4")
    run.bar.on_validation_end(run.trainer, run.module)
    run.bar.on_train_end(run.trainer, run.module)
    assert terminal.screen == []  # nothing is left behind
    assert "\x1b[?25h" in terminal.getvalue()[-40:]  # the cursor is back


def test_images_of_all_processes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, Terminal())
    run.start()
    monkeypatch.setattr(run.bar._clock, "_now", lambda: run.bar._clock._started + 2.0)
    run.step(images=8)
    assert run.bar._clock.images_per_second == 8  # 8 on each of 2 processes in 2 seconds


def test_printed_lines_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    run = Run(monkeypatch, terminal)
    run.start()
    for number in range(5):
        run.step()
        print_line(run.trainer, f"line {number} [bold]as it is[/bold]")
        print(f"plain {number}")
        run.step()
    run.bar.teardown(run.trainer, run.module, "fit")
    wanted = [part for n in range(5) for part in (f"line {n} [bold]as it is[/bold]", f"plain {n}")]
    assert terminal.screen == wanted
    assert console_of(run.trainer).file is terminal


@pytest.mark.parametrize("kind", ["no terminal", "dumb", "disabled", "other rank"])
def test_says_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO() if kind == "no terminal" else Terminal()
    run = Run(monkeypatch, stream)
    if kind == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    if kind == "disabled":
        run.bar.disable()
    if kind == "other rank":
        run.trainer.is_global_zero = False
        run.bar.setup(run.trainer, run.module, "fit")
    run.start()
    run.step()
    run.bar.on_validation_start(run.trainer, run.module)
    run.bar.on_validation_batch_end(run.trainer, run.module)
    run.bar.on_validation_end(run.trainer, run.module)
    run.bar.on_exception(run.trainer, run.module, KeyboardInterrupt())
    assert stream.getvalue() == ""


def test_losses_are_read_when_it_draws_and_not_at_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, Terminal(), YOLOProgressBar(refreshes_per_second=0.001))
    read = []
    run.module.losses.own_means = lambda: read.append(1) or {"box": 1.0}
    run.start()
    for _ in range(50):
        run.step()
    assert len(read) == 1
    run.trainer.is_last_batch = True
    run.step()
    assert len(read) == 2


def bars(*options: str) -> list[type]:
    cli = make_cli([*FIT[1:], *options], run=False)
    return [type(c) for c in cli.trainer.callbacks if "ProgressBar" in type(c).__name__]


@pytest.mark.slow
def test_fit_has_one_bar_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bars() == [YOLOProgressBar]
    ours = "--trainer.callbacks=yolo.training.callbacks.YOLOProgressBar"
    assert bars(ours) == [YOLOProgressBar]
    assert bars("--trainer.callbacks=lightning.pytorch.callbacks.TQDMProgressBar") == [TQDMProgressBar]
    assert bars("--trainer.enable_progress_bar=false") == []
    assert bars(ours, "--trainer.enable_progress_bar=false") == []


@pytest.mark.slow
def test_on_a_real_terminal_and_without_one(tmp_path: Path) -> None:
    main, side = pty.openpty()
    bar = "--trainer.callbacks=yolo.training.callbacks.YOLOProgressBar"
    options = [bar, "--trainer.callbacks.refreshes_per_second=1000"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "200", "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        [sys.executable, "-m", "yolo", *FIT, *options], cwd=tmp_path, stdout=side, stderr=side, stdin=side,
        env=environment,
    )  # fmt: skip
    os.close(side)
    shown = b""
    while True:
        try:
            data = os.read(main, 65536)
        except OSError:  # the other side is closed
            break
        if not data:
            break
        shown += data
    os.close(main)
    assert process.wait() == 0, shown.decode()
    text = shown.decode()
    assert re.search(r"epoch 1/2 .*3/3.* images/s", text)
    assert "epoch 2/2 validation" in text
    lines = screen(text)
    assert not any("images/s" in line or "validation " in line for line in lines if "classes" not in line)
    assert [bool(re.match(rf"epoch {n}/2  box [\d.]+  cls .*best", line)) for n, line in enumerate(lines[1:3], 1)]
    assert lines[1].startswith("epoch 1/2  box ")
    assert lines[2].startswith("epoch 2/2  box ")
    assert lines[3].startswith("quickstart version_0: epoch ")  # the dashboard of the best
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is back
    piped = run_yolo(*FIT, *options, cwd=tmp_path)
    assert piped.returncode == 0
    assert "\x1b" not in piped.stdout + piped.stderr
    assert "images/s" not in piped.stdout + piped.stderr
