from __future__ import annotations

import base64
import csv
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger

from tests.conftest import PLOTS, TINY_FIT, assert_user_error, run_yolo
from tests.processes import launch_yolo
from tests.tiny_dataset import write_dataset
from tests.training.test_module import TINY
from yolo.commands.fit import make_cli
from yolo.errors import UserError
from yolo.training.loggers import complete_loggers, flatten, refuse_secrets

KEY = "0123456789abcdef" * 3 + "feedc0dedeadbeef"
API_KEY = "f00dfeed" * 5
FIT = [*TINY_FIT, f"--model.model_config={TINY}"]
WANDB = ["--trainer.logger=lightning.pytorch.loggers.WandbLogger", "--trainer.logger.offline=true"]


def test_tensorboard_writes_into_the_folder_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "a" / "version_0").mkdir(parents=True)
    first, second = complete_loggers(CSVLogger(tmp_path, "a"))
    assert (type(first), type(second)) == (CSVLogger, TensorBoardLogger)
    assert first.log_dir == second.log_dir == str(tmp_path / "a" / "version_1")


def test_without_tensorboard_the_table_is_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert [type(logger) for logger in complete_loggers(CSVLogger(tmp_path))] == [CSVLogger]


def test_the_table_comes_first(tmp_path: Path) -> None:
    board, table = TensorBoardLogger(tmp_path, "a"), CSVLogger(tmp_path, "a")
    assert complete_loggers([board, table]) == [table, board]
    (tmp_path / "a" / "version_0").mkdir(parents=True)  # as the first of them makes it
    assert board.log_dir == table.log_dir
    assert complete_loggers([table]) == [table]


@pytest.mark.parametrize("version", [None, "named"])
def test_a_board_alone_gets_a_table_in_its_folder(version: str | None, tmp_path: Path) -> None:
    board = TensorBoardLogger(tmp_path, "b", version=version)
    table, other = complete_loggers(board, "a")
    assert other is board
    assert isinstance(table, CSVLogger)
    assert table.log_dir == board.log_dir


def test_other_loggers_get_a_numbered_folder_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, name, wanted in ((None, None, "runs/fit"), (".", "cells", "runs/cells"), ("there", None, "there/fit")):
        options = {} if folder is None else {"save_dir": folder}
        table, other = complete_loggers(WandbLogger(offline=True, **options), name)
        assert table.log_dir == f"{wanted}/version_0"
        assert isinstance(other, WandbLogger)
    table, _ = complete_loggers(None)
    assert table.log_dir == "runs/fit/version_0"
    assert complete_loggers(False) is False


def test_options_under_their_names_on_the_command_line() -> None:
    nested = {"data": {"root": "a", "size": [1, 2], "deep": {"x": 1.5}}, "seed": None, "on": True}
    assert flatten(nested) == {"data.root": "a", "data.size": "[1, 2]", "data.deep.x": 1.5, "seed": "None", "on": True}


@pytest.mark.slow
def test_a_key_on_the_command_line_is_refused_with_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [*FIT, *WANDB, f"--data.encryption_key={KEY}"]
    monkeypatch.setattr(sys, "argv", ["yolo", *arguments])
    done = run_yolo(*arguments, cwd=tmp_path)
    assert_user_error(done, "encryption_key", "Weights & Biases", "YOLO_ENCRYPTION_KEY")
    assert KEY not in done.stderr
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    refuse_secrets([CSVLogger(tmp_path)])
    with pytest.raises(UserError):
        refuse_secrets([WandbLogger(offline=True)])


@pytest.mark.parametrize("listed", [False, True])
def test_a_logger_whose_package_is_missing(listed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: (name != "wandb" and find_spec(name, *rest)) or None
    )
    options = ["--trainer.logger+=lightning.pytorch.loggers.WandbLogger"] if listed else WANDB
    done = run_yolo("fit", "--config=quickstart", *options, cwd=tmp_path)
    assert_user_error(done, "WandbLogger", "package wandb", "pip install 'yolo[wandb]'")


@pytest.mark.slow
def test_a_sweep_is_not_told_to_anyone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for options, number in (([], 2), (["--find_lr=true"], 1), ([*WANDB, "--find_lr=true"], 1)):
        trainer = make_cli([*FIT[1:], *options], run=False).trainer
        assert len(trainer.loggers) == number
        assert isinstance(trainer.logger, CSVLogger)


@pytest.mark.slow
def test_tensorboard_has_metrics_options_and_plots(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = run_yolo(*FIT, PLOTS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs/quickstart/version_0"
    assert {"metrics.csv", "config.yaml", "checkpoints", "metrics", "hparams.yaml"} <= {p.name for p in run.iterdir()}
    assert len(list(run.glob("events.out.tfevents.*"))) >= 1
    assert [path.name for path in (tmp_path / "runs/quickstart").iterdir()] == ["version_0"]
    events = EventAccumulator(str(run), size_guidance={"tensors": 0, "images": 0, "scalars": 0}).Reload()
    rows = [row for row in csv.DictReader((run / "metrics.csv").open()) if row["val/mAP"]]
    for name in ("val/mAP", "val/AR100", "val/f1"):
        assert [e.value for e in events.Scalars(name)] == pytest.approx([float(row[name]) for row in rows])
    assert {"train/box", "train/lr", "best/mAP"} <= set(events.Tags()["scalars"]) | {"train/lr"}
    assert events.Scalars("best/mAP")[0].value == pytest.approx(max(float(row["val/mAP"]) for row in rows))
    assert any(tag.startswith("plots/") for tag in events.Tags()["images"])
    assert yaml.safe_load((run / "hparams.yaml").read_text())["model.image_size"] == 64
    assert b"model.image_size" in b"".join(path.read_bytes() for path in run.glob("events.*"))  # the hparams plugin


@pytest.mark.slow
def test_no_key_reaches_any_file_and_wandb_has_metrics_config_and_plots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    for name, value in {"HOME": str(home), "YOLO_ENCRYPTION_KEY": KEY, "WANDB_API_KEY": API_KEY}.items():
        monkeypatch.setenv(name, value)
    loader = {"class_path": "yolo.data.encrypted_loader.EncryptedImageLoader", "init_args": {"encryption_key": KEY}}
    loggers = [
        {"class_path": "lightning.pytorch.loggers.TensorBoardLogger", "init_args": {"save_dir": "runs", "name": "all"}},
        {"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": {"save_dir": "runs", "offline": True}},
    ]
    write_dataset(work / "clear")
    shutil.copytree(work / "clear" / "labels", work / "secret" / "labels")
    shutil.copy(work / "clear" / "data.yaml", work / "secret" / "data.yaml")
    assert run_yolo("encrypt-images", "--source=clear/images", "--output=secret/images", cwd=work).returncode == 0
    data = {"encryption_key": KEY, "image_loader": loader, "format": "yolo", "root": "secret", "cache_images": "disk",
            "cache_encrypt": True, "cache_dir": "caches"}  # fmt: skip
    given = tmp_path / "given.yaml"  # where the key may stand, and which is no file of the run
    given.write_text(yaml.safe_dump({"trainer": {"logger": loggers}, "data": data}))
    arguments = [a for a in FIT if "logger" not in a]
    done = launch_yolo(*arguments, PLOTS, f"--config={given}", "--data.batch_size=2", cwd=work)
    assert done.returncode == 0, done.stderr

    run = work / "runs/all/version_0"
    names = {path.name for path in run.iterdir()}
    assert {"metrics.csv", "config.yaml", "checkpoints", "metrics"} <= names
    assert any(name.startswith("events.out") for name in names)
    (record,) = work.glob("runs/wandb/offline-run-*/run-*.wandb")
    content = record.read_bytes()
    for part in (b"val/mAP", b"train/box", b"best/mAP", b"model.image_size", b"plots/PR_curve"):
        assert part in content, part
    pictures = [path.name for path in record.parent.glob("files/media/images/plots/*.png")]
    assert any(name.startswith("PR_curve") for name in pictures)

    raw = bytes.fromhex(KEY)
    forms = [KEY.encode(), KEY.upper().encode(), raw, base64.b64encode(raw), API_KEY.encode()]
    forms.append(base64.b64encode(KEY.encode())[:60])
    files = [path for folder in (work, home) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 15
    leaks = [path for path in files for form in forms if form in path.read_bytes()]
    assert leaks == []
    assert not any(text in done.stdout + done.stderr for text in (KEY, API_KEY))


@pytest.mark.slow
def test_wandb_alone_leaves_a_whole_run_folder_and_resumes(tmp_path: Path) -> None:
    # In a process of its own: offline mode is an environment variable.
    done = launch_yolo(*FIT, *WANDB, "--trainer.max_epochs=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs/quickstart/version_0"  # the name is the config's
    wanted = {"metrics.csv", "config.yaml", "predictions.jpg", "checkpoints/best.ckpt", "checkpoints/last.ckpt"}
    assert wanted <= {path.relative_to(run).as_posix() for path in run.rglob("*")}
    resumed = launch_yolo(*FIT, *WANDB, "--ckpt_path=last", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed in epoch 2" in resumed.stdout
    assert (tmp_path / "runs/quickstart/version_1/metrics.csv").is_file()


TWO_RUNS = """
import os, sys
from yolo.cli import main

for folder in ("a", "b"):
    os.mkdir(folder)
    os.chdir(folder)
    main(sys.argv[1:])
    assert "WANDB_SERVICE" not in os.environ
    os.chdir("..")
"""


@pytest.mark.slow
def test_two_runs_of_a_process_from_two_folders_keep_their_wandb_records(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    environment.pop("WANDB_SERVICE", None)
    command = [sys.executable, "-c", TWO_RUNS, *FIT, *WANDB, "--trainer.max_epochs=1"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert [len(list((tmp_path / name).rglob("run-*.wandb"))) for name in "ab"] == [1, 1]
