"""`yolo qat-finetune`: its options, what it refuses, and a run that is killed and goes on."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.commands.test_resume import assert_same_end
from tests.commands.test_validate import printed
from tests.conftest import assert_user_error, run_yolo
from tests.export.random_network import random_checkpoint
from tests.processes import ROOT, Done, launch_yolo
from tests.quantization.test_network import SMALL
from yolo import Detector
from yolo.cli import COMMANDS
from yolo.commands.qat_finetune import QATOptions, float_card, key_of, run_config, split_arguments
from yolo.errors import UserError
from yolo.models.checkpoint import CARD_KEY, load_model
from yolo.quantization import is_quantized

CLASSES = ("circle", "square", "triangle", "cross", "ring")
DATA = ["--data.shapes_train=44", "--data.shapes_val=8", "--data.shapes_size=64", "--data.num_workers=0",
        "--trainer.accelerator=cpu", "--model.save_metrics_plots=false"]  # fmt: skip
SHORT = ["--batch-size=8", "--num-calibration=4", "--network", SMALL, *DATA]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the small network in float, whose run trained on the embedded dataset."""
    path = random_checkpoint(tmp_path_factory.mktemp("trained") / "float.ckpt", SMALL, classes=len(CLASSES))
    contents = torch.load(path, weights_only=True)
    contents[CARD_KEY].update(class_names=CLASSES, dataset_names=CLASSES)
    contents[CARD_KEY]["config"]["model"]["optimizer"] = "sgd"
    torch.save(contents, path)
    return path


def finetune(folder: Path, checkpoint: Path, *options: str) -> Done:
    return run_yolo("qat-finetune", "-c", checkpoint, *SHORT, *options, cwd=folder)


@pytest.fixture(scope="module")
def straight(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of four epochs with a teacher, whose ranges are held after two."""
    folder = tmp_path_factory.mktemp("straight")
    done = finetune(folder, trained, *FOUR)
    assert done.returncode == 0, done.stderr
    return folder / "runs/qat/version_0"


FOUR = ["--epochs=4", "--freeze-bn-after=2", "--distill=1.0", "--lr=0.001", "--trainer.log_every_n_steps=1"]


def test_options_become_the_config_of_a_run(trained: Path, tmp_path: Path) -> None:
    options = QATOptions(
        trained, epochs=7, lr=0.002, batch_size=3, backend="x86", freeze_bn_after=4, val_every=2,
        output=tmp_path / "out", calibration_images=tmp_path, num_calibration=9, keep_float="head.*, stem,",
        distill=0.5,
    )  # fmt: skip
    config = run_config(options, [], float_card(trained))
    model, trainer = config["model"], config["trainer"]
    assert (model["optimizer"], model["learning_rate"], model["warmup_epochs"]) == ("adamw", 0.002, 0.0)
    assert model["weight_path"] == str(trained)
    assert model["network_args"]["keep_float"] == ["head.*", "stem"]
    assert (trainer["max_epochs"], trainer["check_val_every_n_epoch"], trainer["precision"]) == (7, 2, "32-true")
    assert trainer["logger"]["init_args"] == {"save_dir": str(tmp_path), "name": "out"}
    assert trainer["callbacks"][0]["init_args"] == {
        "freeze_after": 4, "calibration_images": str(tmp_path), "num_calibration": 9, "distill": 0.5,
        "teacher": str(trained),
    }  # fmt: skip
    assert (config["data"]["format"], config["data"]["batch_size"], config["data"]["letterbox"]) == (
        "shapes", 3, "center",
    )  # fmt: skip
    # All names of --backend give one recipe.
    others = [run_config(QATOptions(trained, backend=name), [], float_card(trained)) for name in ("fbgemm", "qnnpack")]
    assert others[0] == others[1]


def test_another_dataset(trained: Path, tmp_path: Path) -> None:
    contents = torch.load(trained, weights_only=True)
    contents[CARD_KEY]["config"]["data"] = {"format": "yolo", "root": "first", "train_split": "a.txt", "flip_lr": 0.1}
    contents[CARD_KEY]["config"]["trainer"]["image_loader"] = "yolo.data.encrypted_loader.EncryptedImageLoader"
    torch.save(contents, tmp_path / "a.ckpt")
    card = float_card(tmp_path / "a.ckpt")
    options = QATOptions(tmp_path / "a.ckpt")
    same = run_config(options, [], card)["data"]
    assert (same["root"], same["train_split"], same["flip_lr"]) == ("first", "a.txt", 0.1)
    assert same["image_loader"] == {"class_path": "yolo.data.encrypted_loader.EncryptedImageLoader"}
    other = run_config(options, ["--data.root", "second", "--data.image_loader=null"], card)["data"]
    assert "train_split" not in other
    assert "image_loader" not in other
    assert other["flip_lr"] == 0.1
    (tmp_path / "data.yaml").write_text("data:\n  root: third\n  format: coco\n  batch_size: 99\nmodel:\n  box_x: 1\n")
    third = run_config(QATOptions(tmp_path / "a.ckpt", config=tmp_path / "data.yaml"), [], card)["data"]
    assert (third["root"], third["format"], third["batch_size"]) == ("third", "coco", 16)
    assert "train_split" not in third


def test_whose_options_are_whose() -> None:
    own, others = split_arguments(
        ["-c", "a.ckpt", "-oruns.2/x", "--data.root", "some.where", "--lr", "1e-3", "--trainer.devices=2",
         "--keep-float=head.box.*", "--ckpt_path=last", "--model.momentum", "-1"]
    )  # fmt: skip
    assert own == ["-c", "a.ckpt", "-oruns.2/x", "--lr", "1e-3", "--keep-float=head.box.*", "--ckpt-path=last"]
    assert others == ["--data.root", "some.where", "--trainer.devices=2", "--model.momentum", "-1"]
    assert "qat-finetune" in COMMANDS
    for given in (["--data.encryption_key", "a=b"], ["--data.encryption_key=a=b"]):
        assert key_of(["--data.root=x", *given, "--model.momentum=1"]) == given
    assert key_of(["--data.root=x"]) == []


@pytest.mark.slow
def test_a_run_leaves_a_checkpoint_that_stands_alone(straight: Path, trained: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader((straight / "metrics.csv").open()))
    assert f"<dd>{SMALL} in INT8</dd>" in (straight / "report.html").read_text()
    assert [float(row["train/distill"]) > 0 for row in rows if row["train/distill"]] == [True] * 4
    best = straight / "checkpoints/best.ckpt"
    moved = tmp_path / "moved.ckpt"
    moved.write_bytes(best.read_bytes())
    network, card = load_model(moved)
    assert is_quantized(network)
    assert card.class_names == CLASSES
    done = run_yolo("validate", "-c", moved, *DATA[:4], "-o", tmp_path / "measured")
    assert done.returncode == 0, done.stderr
    logged = max(float(row["val/mAP"]) for row in rows if row["val/mAP"])
    assert printed(done.stdout)["AP50-95"] == pytest.approx(logged, abs=1e-6)
    picture = tmp_path / "pictures/a.png"
    picture.parent.mkdir()
    from PIL import Image

    Image.new("RGB", (90, 60), (200, 30, 30)).save(picture)
    done = run_yolo("predict", "-c", moved, "-s", picture, "-o", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    quantised, in_float = (Detector.load(path, device="cpu")(picture, confidence=0.0) for path in (moved, trained))
    assert len(quantised.scores)
    assert not torch.equal(torch.as_tensor(quantised.scores[:5]), torch.as_tensor(in_float.scores[:5]))


@pytest.mark.slow
def test_killed_in_mid_epoch_and_resumed(straight: Path, trained: Path, tmp_path: Path) -> None:
    """Bit for bit the straight run: weights, average, ranges, optimiser, order of the images, logged numbers."""
    aim = {"name": "SIGKILL", "epoch": 3, "batch": 3}
    callback = ["--trainer.callbacks+=tests.commands.interruption.SignalAt"]
    callback += [f"--trainer.callbacks.{name}={value}" for name, value in aim.items()]
    options = [*SHORT, *FOUR, *callback, "--checkpoint.every_n_steps=2"]
    killed = launch_yolo("qat-finetune", "-c", trained, *options, cwd=tmp_path)
    assert killed.returncode == -9, killed.stderr
    runs = tmp_path / "runs/qat"
    done = finetune(tmp_path, trained, *FOUR, "--ckpt_path", "last")
    assert done.returncode == 0, done.stderr
    assert "resumed in epoch 3 after 2 of 5 batches, at step 12" in done.stdout
    assert_same_end(straight, runs / "version_0", runs / "version_1")
    # The same through the config that the run left.
    (runs / "version_1").rename(tmp_path / "done")
    done = run_yolo("fit", "--config", runs / "version_0/config.yaml", "--trainer.callbacks", json.dumps(_listed(runs)),
                    "--checkpoint.every_n_steps=null", "--ckpt_path=last", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_same_end(straight, runs / "version_0", runs / "version_1")


def _listed(runs: Path) -> list[dict[str, Any]]:
    """The callbacks of the interrupted run without the one that interrupts."""
    config = yaml.safe_load((runs / "version_0/config.yaml").read_text())
    return [item for item in config["trainer"]["callbacks"] if "SignalAt" not in item["class_path"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model.model_config=v9-s"], "--model.model_config comes from --checkpoint"),
        (["--model.image_size=96"], "--model.image_size comes from --checkpoint"),
        (["--calibration-images=nowhere"], "--calibration-images is nowhere, which is no folder"),
        (["--num-calibration=0"], "--num-calibration is 0, expected a value at least 1"),
        (["--keep-float=head.nothing"], "--keep-float head.nothing matches no part of the network"),
        (["--trainer.precision=bf16-mixed"], "INT8 is simulated in 32-true"),
        (["--trainer.callbacks=null"], "QATCallback finds, and --trainer.callbacks has none"),
        (["--backend=onednn"], "--backend"),
        (["--epochs=0"], "--epochs is 0"),
        (["--val-every=30"], "--val-every is 30, but there are only 20 epochs"),
        (["--lr=0"], "--lr is 0"),
        (["--config=nowhere.yaml"], "nowhere.yaml"),
        (["--data.letterbox=corner"], "data.letterbox is 'corner', the checkpoint was trained with 'center'"),
    ],
)
def test_what_is_refused(options: list[str], sentence: str, trained: Path, tmp_path: Path) -> None:
    assert_user_error(finetune(tmp_path, trained, *options), sentence)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_checkpoints_that_are_refused(straight: Path, trained: Path, tmp_path: Path) -> None:
    quantised = straight / "checkpoints/best.ckpt"
    assert_user_error(finetune(tmp_path, quantised), "best.ckpt, whose network is quantised already", "--ckpt_path")
    assert_user_error(finetune(tmp_path, tmp_path / "none.ckpt"), "none.ckpt: no such checkpoint")
    resume = finetune(tmp_path, trained, f"--ckpt_path={trained}")
    assert_user_error(resume, "holds no state to resume from")
    other = finetune(tmp_path, trained, "--keep-float=stem", f"--ckpt_path={quantised}")
    assert_user_error(other, "in INT8 with keep_float [], the run is for", "with keep_float ['stem']")
    contents = torch.load(trained, weights_only=True)
    contents[CARD_KEY].update(dataset_names=("a", "b"), class_names=("a", "b"))
    torch.save(contents, tmp_path / "two.ckpt")
    assert_user_error(finetune(tmp_path, tmp_path / "two.ckpt"), "classes")
    (tmp_path / "empty").mkdir()
    assert_user_error(finetune(tmp_path, trained, "--calibration-images=empty"), "empty: no images in this folder")


def test_a_network_of_ones_own_must_be_named(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "strange.py").write_text("raise SystemExit('imported on a checkpoint's word')")
    monkeypatch.syspath_prepend(str(tmp_path))
    contents = torch.load(trained, weights_only=True)
    contents[CARD_KEY]["network"]["name"] = "strange.Network"
    torch.save(contents, tmp_path / "a.ckpt")
    done = run_yolo("qat-finetune", "-c", tmp_path / "a.ckpt", cwd=tmp_path)
    assert_user_error(done, "strange.Network", "--network")


@pytest.mark.slow
def test_a_teacher_that_is_gone_when_the_run_goes_on(straight: Path, trained: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((straight / "config.yaml").read_text())
    config["trainer"]["callbacks"][0]["init_args"]["teacher"] = "moved.ckpt"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    resume = ["--trainer.max_epochs=5", f"--ckpt_path={straight / 'checkpoints/last.ckpt'}"]
    done = run_yolo("fit", "--config", tmp_path / "config.yaml", *resume, cwd=tmp_path)
    assert_user_error(done, "moved.ckpt: no such checkpoint file")


@pytest.mark.slow
def test_without_its_packages(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; sys.modules['torchao'] = None\n"
        f"from yolo.cli import main; main(['qat-finetune', '-c', {str(trained)!r}, '--network', {SMALL!r}])"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert_user_error(Done(done.returncode, done.stdout, done.stderr), "torchao", "pip install 'yolo[tflite]'")
    found = importlib.util.find_spec
    hidden = "litert_torch"
    monkeypatch.setattr("yolo.export.tflite.find_spec", lambda name: None if name == hidden else found(name))
    done = finetune(tmp_path, trained, "--export-tflite")
    assert_user_error(done, "litert-torch", "pip install 'yolo[tflite]'")
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UserError, match="--freeze-bn-after is -1"):
        QATOptions(trained, freeze_bn_after=-1)
