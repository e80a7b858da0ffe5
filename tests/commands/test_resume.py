"""A run that is interrupted anywhere and resumed ends where the straight run ends, bit for bit."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import assert_user_error, run_yolo
from tests.processes import Done, launch_yolo

pytestmark = pytest.mark.slow

LAST = Path("checkpoints/last.ckpt")
EPOCHS = "--trainer.max_epochs=6"
FIT = [
    "fit", "--config=quickstart", "--model.model_config=tests.commands.interruption.Forgetful", "--model.image_size=64",
    "--data.shapes_train=44", "--data.shapes_val=12", "--data.shapes_size=64", "--data.batch_size=8",
    "--data.close_mosaic_epochs=2", "--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1", EPOCHS,
    "--model.save_metrics_plots=false",
]  # fmt: skip
# Five batches of eight in an epoch; four images are left over.
WORKERS = {
    "no worker": ["--data.num_workers=0"],
    "forked workers": ["--data.num_workers=2", "--data.start_method=fork"],
    "spawned workers": ["--data.num_workers=2", "--data.start_method=spawn"],
}
ACCUMULATE = "--trainer.accumulate_grad_batches=2"
workers = pytest.mark.parametrize("workers", WORKERS.values(), ids=WORKERS)


def runs(folder: Path) -> Path:
    return folder / "runs" / "quickstart"


def fit(folder: Path, *options: str) -> Done:
    """`yolo fit` in this process."""
    done = run_yolo(*FIT, *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done


def signal_at(signal: str, epoch: int, batch: int, **where: bool) -> list[str]:
    """Options for a signal to the process at a batch (counted from 0) of an epoch (from 1)."""
    aim = {"name": signal, "epoch": epoch, "batch": batch, **where}
    callback = ["--trainer.callbacks=tests.commands.interruption.SignalAt"]
    return callback + [f"--trainer.callbacks.{name}={value}" for name, value in aim.items()]


def interrupted_fit(
    folder: Path, signal: str, epoch: int, batch: int, *options: str, fresh: bool = False, **where: bool
) -> Done:
    """`yolo fit` in a process of its own, which gets a signal."""
    return launch_yolo(*FIT, *signal_at(signal, epoch, batch, **where), *options, cwd=folder, fresh=fresh)


def straight(options: list[str]) -> Callable[[pytest.TempPathFactory], Path]:
    @pytest.fixture(scope="module")
    def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("straight")
        fit(folder, "--data.num_workers=0", "--checkpoint.save_top_k=9", *options)
        return runs(folder) / "version_0"

    return run


straight_run = straight([])
straight_accumulated_run = straight([ACCUMULATE])


def assert_equal(a: Any, b: Any, path: str = "") -> None:
    """Equality of nested containers, tensors by every bit."""
    assert type(a) is type(b), path
    if isinstance(a, dict):
        assert list(a) == list(b), path
        for key in a:
            assert_equal(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{path}/{i}")
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, path
        assert torch.equal(a, b), path
    else:
        assert a == b, path


def contents(run: Path) -> dict[str, Any]:
    """The last checkpoint, but for what may differ: places, how many epochs are kept, and Lightning's counters."""
    stored = torch.load(run / LAST, weights_only=True)
    for state in stored["callbacks"].values():
        state.pop("folder", None)
        state.pop("kept", None)
    for key in ("loops", "yolo_card"):
        del stored[key]
    return stored


def rows(*folders: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv; later runs replace what earlier ones logged of the same steps."""
    merged: dict[tuple[str, ...], dict[str, str]] = {}
    for folder in folders:
        logged = list(csv.DictReader((folder / "metrics.csv").open()))
        filled = {
            (r["epoch"], r["step"], *(k for k, v in r.items() if v)): {k: v for k, v in r.items() if v} for r in logged
        }
        assert len(filled) == len(logged), f"{folder}: a row is there twice"
        merged |= filled
    return sorted(merged.values(), key=lambda row: (int(row["epoch"]), int(row["step"]), len(row), *row))


def assert_same_end(straight_run: Path, *parts: Path) -> None:
    assert_equal(contents(straight_run), contents(parts[-1]))
    assert rows(straight_run) == rows(*parts)


@workers
def test_resumed_between_epochs(workers: list[str], straight_run: Path, tmp_path: Path) -> None:
    (third,) = straight_run.glob("checkpoints/epoch003-*.ckpt")
    done = fit(tmp_path, *workers, f"--ckpt_path={third}")
    assert "resumed in epoch 4, at step 15" in done.stdout
    assert len(rows(runs(tmp_path) / "version_0")) == 3 * (5 + 2)
    assert_same_end(straight_run, straight_run, runs(tmp_path) / "version_0")


def test_killed_in_the_middle_of_epoch_4(straight_run: Path, tmp_path: Path) -> None:
    killed = interrupted_fit(tmp_path, "SIGKILL", 4, 2, *WORKERS["spawned workers"])  # which end by themselves
    assert killed.returncode == -9
    done = fit(tmp_path, "--data.num_workers=0", "--ckpt_path=last")
    assert "resumed in epoch 4, at step 15" in done.stdout
    assert_same_end(straight_run, *(runs(tmp_path) / f"version_{i}" for i in (0, 1)))


def test_killed_with_a_checkpoint_every_two_steps(straight_run: Path, tmp_path: Path) -> None:
    options = ["--data.num_workers=2", "--checkpoint.every_n_steps=2"]
    killed = interrupted_fit(tmp_path, "SIGKILL", 4, 4, *options)
    assert killed.returncode == -9
    done = fit(tmp_path, *options, "--ckpt_path=last")
    assert "resumed in epoch 4 after 3 of 5 batches, at step 18" in done.stdout
    assert_same_end(straight_run, *(runs(tmp_path) / f"version_{i}" for i in (0, 1)))


@workers
def test_terminated_in_the_middle_of_epoch_4(workers: list[str], straight_run: Path, tmp_path: Path) -> None:
    # The whole group, as systemd and SLURM do: the workers must live until the checkpoint is written.
    stopped = interrupted_fit(tmp_path, "SIGTERM", 4, 1, *workers, group=True, fresh=True)
    assert stopped.returncode == 143, stopped.stderr
    assert "Traceback" not in stopped.stderr
    said = re.search(r"^stopped by SIGTERM at epoch 4, step 17; resume with: yolo (fit .*)$", stopped.stdout, re.M)
    assert said, stopped.stdout
    assert said[1] == (
        "fit --config runs/quickstart/version_0/config.yaml --ckpt_path runs/quickstart/version_0/checkpoints/last.ckpt"
    )
    done = run_yolo(*said[1].split(), "--trainer.callbacks=null", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resumed in epoch 4 after 2 of 5 batches, at step 17" in done.stdout
    assert_same_end(straight_run, *(runs(tmp_path) / f"version_{i}" for i in (0, 1)))


def test_interrupted_at_the_first_batch(straight_run: Path, tmp_path: Path) -> None:
    stopped = interrupted_fit(tmp_path, "SIGINT", 1, 0, "--data.num_workers=2")
    assert stopped.returncode == 130, stopped.stderr
    assert "stopped by SIGINT at epoch 1" in stopped.stdout
    done = fit(tmp_path, "--data.num_workers=2", "--ckpt_path=last")
    assert "resumed in epoch 1 after 1 of 5 batches, at step 1" in done.stdout
    assert_same_end(straight_run, *(runs(tmp_path) / f"version_{i}" for i in (0, 1)))


@pytest.mark.parametrize(
    ("epoch", "batch", "validation", "resumed"),
    [
        (4, 4, False, "resumed in epoch 4 after 5 of 5 batches, at step 20"),  # the last batch
        (4, 1, True, "resumed in epoch 4 after 5 of 5 batches, at step 20"),
        (1, 0, True, "resumed in epoch 1 after 5 of 5 batches, at step 5"),
    ],
)
def test_stopped_elsewhere(
    epoch: int, batch: int, validation: bool, resumed: str, straight_run: Path, tmp_path: Path
) -> None:
    stopped = interrupted_fit(tmp_path, "SIGTERM", epoch, batch, "--data.num_workers=2", validation=validation)
    assert stopped.returncode == 143, stopped.stderr
    assert f"stopped by SIGTERM at epoch {epoch}" in stopped.stdout
    done = fit(tmp_path, "--data.num_workers=2", "--ckpt_path=last")
    assert resumed in done.stdout
    assert_same_end(straight_run, *(runs(tmp_path) / f"version_{i}" for i in (0, 1)))


TWO = ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.num_workers=0", "--data.batch_size=4"]


@pytest.mark.parametrize(
    ("signal", "batch", "options", "status", "said"),
    [
        ("SIGTERM", 0, ["--data.num_workers=0"], 143, "stopped by SIGTERM before the first step"),
        ("SIGTERM", 1, ["--data.num_workers=0"], 143, "stopped by SIGTERM before the first step"),
        ("SIGINT", 0, ["--data.num_workers=0"], 130, "stopped by SIGINT at once"),
        ("SIGTERM", 0, TWO, 143, "stopped by SIGTERM before the first step"),
        ("SIGTERM", 1, TWO, 143, "stopped by SIGTERM before the first step"),
        ("SIGINT", 0, TWO, 130, "stopped by SIGINT at once"),
    ],
)
def test_a_signal_before_the_first_step(
    signal: str, batch: int, options: list[str], status: int, said: str, tmp_path: Path
) -> None:
    stopped = interrupted_fit(tmp_path, signal, 0, batch, *options, group=options is TWO)
    assert stopped.returncode == status, stopped.stderr
    assert stopped.stdout.count(said) == 1, stopped.stdout
    assert "Traceback" not in stopped.stderr
    assert not list(tmp_path.rglob("*.ckpt"))


NEVER = "SIGTERM", 9, 0
ONE_EPOCH = "--trainer.max_epochs=1"


@pytest.fixture(scope="module")
def straight_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two processes that nothing interrupts."""
    folder = tmp_path_factory.mktemp("pair")
    assert interrupted_fit(folder, *NEVER, *TWO, ONE_EPOCH).returncode == 0
    return runs(folder) / "version_0"


@pytest.mark.parametrize(("group", "rank"), [(True, 0), (False, 1)])
def test_two_processes_stop_at_the_same_step_and_go_on_from_there(
    group: bool, rank: int, straight_pair: Path, tmp_path: Path
) -> None:
    stopped = interrupted_fit(tmp_path, "SIGTERM", 1, 1, *TWO, ONE_EPOCH, group=group, rank=rank)
    assert stopped.returncode == 143, stopped.stderr
    assert stopped.stdout.count("stopped by SIGTERM at epoch 1, step 2; resume with") == 1, stopped.stdout
    assert "Traceback" not in stopped.stderr
    done = interrupted_fit(tmp_path, *NEVER, *TWO, ONE_EPOCH, "--ckpt_path=last")
    assert "resumed in epoch 1 after 2 of 5 batches, at step 2" in done.stdout, done.stderr
    assert_equal(*(contents(run)["state_dict"] for run in (straight_pair, runs(tmp_path) / "version_1")))


def test_a_process_that_is_killed_from_outside_is_spoken_for(tmp_path: Path) -> None:
    done = interrupted_fit(tmp_path, "SIGKILL", 1, 1, *TWO, rank=1)
    assert_user_error(done, "process 1 was ended by SIGKILL", "--data.num_workers (0)")


def test_a_signal_in_the_last_validation_lets_the_run_be_resumed_too(straight_run: Path, tmp_path: Path) -> None:
    stopped = interrupted_fit(tmp_path, "SIGTERM", 6, 0, "--data.num_workers=0", validation=True)
    assert stopped.returncode == 143, stopped.stderr
    fit(tmp_path, "--data.num_workers=0", "--ckpt_path=last")
    assert_same_end(straight_run, *(runs(tmp_path) / f"version_{i}" for i in (0, 1)))


@pytest.mark.parametrize(("batch", "stands"), [(0, 2), (1, 2), (2, 4)])
def test_accumulated_gradients_are_not_lost(
    batch: int, stands: int, straight_accumulated_run: Path, tmp_path: Path
) -> None:
    options = ["--data.num_workers=2", ACCUMULATE]
    stopped = interrupted_fit(tmp_path, "SIGTERM", 4, batch, *options)
    assert stopped.returncode == 143, stopped.stderr
    done = fit(tmp_path, *options, "--ckpt_path=last")
    assert f"resumed in epoch 4 after {stands} of 5 batches, at step {9 + stands // 2}" in done.stdout
    assert_same_end(straight_accumulated_run, *(runs(tmp_path) / f"version_{i}" for i in (0, 1)))


def test_more_epochs_on_the_command_line(straight_run: Path, tmp_path: Path) -> None:
    (third,) = straight_run.glob("checkpoints/epoch003-*.ckpt")
    done = run_yolo(*FIT, "--data.num_workers=0", "--trainer.max_epochs=6", f"--ckpt_path={third}", cwd=tmp_path)
    assert "max_epochs was" not in done.stdout
    done = run_yolo(*FIT, "--data.num_workers=0", "--trainer.max_epochs=7", f"--ckpt_path={third}", cwd=tmp_path)
    assert "max_epochs was 6 and is 7: the cosine schedule is recomputed over 35 instead of 30 steps" in done.stdout
    assert "epoch 7/7" in done.stdout


def test_the_metrics_of_a_folder_used_again_are_kept(tmp_path: Path) -> None:
    again = ["--data.num_workers=0", "--trainer.logger.init_args.version=0"]
    fit(tmp_path, *again, "--trainer.max_epochs=1")
    folder = runs(tmp_path) / "version_0"
    before = (folder / "metrics.csv").read_text()
    fit(tmp_path, *again, "--trainer.max_epochs=2", "--ckpt_path=last")
    assert (folder / "metrics-1.csv").read_text() == before
    assert {row["epoch"] for row in rows(folder)} == {"1"}


def test_changed_options_hold_and_are_said(straight_run: Path, tmp_path: Path) -> None:
    changed = ["--model.weight_decay=0.5", "--model.backbone_lr_scale=0.25", "--model.adamw_betas=[0.5, 0.6]"]
    fit(tmp_path, "--data.num_workers=0", "--trainer.max_epochs=1")
    done = fit(tmp_path, "--data.num_workers=0", "--trainer.max_epochs=2", "--ckpt_path=last", *changed)
    line = next(line for line in done.stdout.splitlines() if line.startswith("options that differ"))
    assert "--model.weight_decay=0.5 (was 0.0005)" in line
    assert "--model.backbone_lr_scale=0.25 (was 1.0)" in line
    groups = contents(runs(tmp_path) / "version_1")["optimizer_states"][0]["param_groups"]
    for group in groups:
        assert group["weight_decay"] == (0.5 if group["role"] == "weight" else 0)
        assert group["lr_scale"] == (0.25 if group["name"].startswith("backbone") else 1)
        assert tuple(group["betas"]) == (0.5, 0.6)


def test_nothing_left_to_train(straight_run: Path, tmp_path: Path) -> None:
    for epochs in (6, 4):
        options = ["--data.num_workers=0", f"--trainer.max_epochs={epochs}", f"--ckpt_path={straight_run / LAST}"]
        assert_user_error(run_yolo(*FIT, *options, cwd=tmp_path), "6 epochs done", f"max_epochs is {epochs}")


@pytest.mark.parametrize("content", [b"", b"half", None])
def test_a_last_checkpoint_that_is_none(content: bytes | None, straight_run: Path, tmp_path: Path) -> None:
    whole = (straight_run / LAST).read_bytes()
    path = runs(tmp_path) / "version_0" / LAST
    path.parent.mkdir(parents=True)
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    done = run_yolo(*FIT, "--ckpt_path=last", cwd=tmp_path)
    assert_user_error(done, f"version_0/{LAST}", "not a readable checkpoint")
