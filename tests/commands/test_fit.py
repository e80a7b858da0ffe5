from __future__ import annotations

import csv
import re
import socket
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch

from tests.conftest import TINY_FIT, V9_T, Run, assert_user_error, run_yolo
from tests.processes import SMALL
from tests.tiny_dataset import write_dataset
from tests.training.test_module import TINY
from yolo.models.checkpoint import CARD_KEY, NetworkSpec, load_model
from yolo.training.callbacks.ema import TRAINING_WEIGHTS_KEY


def test_run_folder(tiny_run: Run) -> None:
    names = {path.relative_to(tiny_run.folder).as_posix() for path in tiny_run.folder.rglob("*")}
    assert {"metrics.csv", "config.yaml", "predictions.jpg", "checkpoints/best.ckpt", "checkpoints/last.ckpt"} <= names
    assert "report.html" in names
    assert any(re.fullmatch(r"checkpoints/epoch\d{3}-mAP\d\.\d{4}\.ckpt", name) for name in names)
    sheet = cv2.imread(str(tiny_run.folder / "predictions.jpg"))
    assert sheet.shape == (3 * 320, 4 * 320, 3)  # nine images, four in a row


def test_metrics_file(tiny_run: Run) -> None:
    rows = list(csv.DictReader((tiny_run.folder / "metrics.csv").open()))
    validated = [row for row in rows if row["val/mAP"]]
    assert len(validated) == 2
    columns = {f"val/{name}" for name in ("mAP", "mAP50", "mAP75", "AR100", "precision", "recall", "f1")}
    assert columns | {"train/box", "train/cls", "train/dfl"} <= set(rows[0])


def test_output_says_what_happened(tiny_run: Run) -> None:
    assert f"{SMALL}, 5 classes, 24 training and 9 validation images at 64 x 64" in tiny_run.output
    assert re.search(r"epoch 2/2  box \d+\.\d+  cls \d+\.\d+  dfl \d+\.\d+  mAP \d\.\d{4}", tiny_run.output)
    assert "best.ckpt" in tiny_run.output


def test_best_checkpoint_holds_the_average(tiny_run: Run) -> None:
    stored = torch.load(tiny_run.best, weights_only=True)
    name = "model.stem.conv.weight"
    assert not torch.equal(stored["state_dict"][name], stored[TRAINING_WEIGHTS_KEY][name])
    model, card = load_model(tiny_run.best)
    assert torch.equal(model.stem.conv.weight, stored["state_dict"][name])
    assert card.class_names == tuple(stored[CARD_KEY]["class_names"])
    assert card.config["data"]["format"] == "shapes"


@pytest.mark.slow
def test_resumed_run_ends_where_the_straight_run_ends(tmp_path: Path) -> None:
    options = ["--trainer.max_epochs=3", "--model.lr_scheduler=step", "--model.step_size=2", "--model.warmup_epochs=1"]
    options += ["--checkpoint.save_top_k=9", "--data.shapes_train=16"]
    straight = run_yolo(*TINY_FIT, *options, cwd=tmp_path)
    assert straight.returncode == 0, straight.stderr
    run = tmp_path / "runs" / "quickstart"
    (halfway,) = (run / "version_0" / "checkpoints").glob("epoch002-*.ckpt")
    resumed = run_yolo(*TINY_FIT, *options, f"--ckpt_path={halfway}", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    a, b = (torch.load(run / f"version_{i}" / "checkpoints" / "last.ckpt", weights_only=True) for i in (0, 1))
    for key in ("state_dict", TRAINING_WEIGHTS_KEY):
        for name, tensor in a[key].items():
            assert torch.equal(tensor, b[key][name]), name


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (["--model.model_config=v9-x"], ["unknown model 'v9-x'", "v9-t, v9-s, v9-m, v9-c, v9-e"]),
        (["--model.image_size=100"], ["100 x 100", "multiples of 32"]),
        (["--model.nonsense=1"], ["nonsense"]),
        (["--data.format=coco", "--data.root=/no/such/place"], ["/no/such/place"]),
        (["--data.format=yolo", "--data.root=/no/such/place"], ["/no/such/place"]),
        (["--model.num_classes=7"], ["num_classes is 7", "5 classes"]),
        (["--ckpt_path=none.ckpt"], ["none.ckpt", "no such checkpoint"]),
        (["--ckpt_path=last"], ["ckpt_path last", "no */checkpoints/last.ckpt in runs/quickstart"]),
        (["--ckpt_path=last", "--checkpoint.dirpath=here"], ["ckpt_path last", "no last.ckpt in here"]),
        (["--ckpt_path=last", "--trainer.max_steps=9"], ["max_steps with --ckpt_path"]),
        (["--checkpoint.every_n_steps=0"], ["every_n_steps is 0", "at least 1"]),
        (["--data.data_fraction=0"], ["data_fraction is 0", "between"]),
        (["--trainer.logger=false"], ["logger=false", "without a folder"]),
        (["--trainer.limit_val_batches=0"], ["limit_val_batches=0"]),
        (["--trainer.val_check_interval=0.5"], ["val_check_interval is 0.5", "check_val_every_n_epoch"]),
        (["--trainer.check_val_every_n_epoch=9"], ["check_val_every_n_epoch is 9", "2 epochs"]),
        (["--early_stopping.monitor=val/map"], ["'val/map' is not logged", "val/mAP50"]),
        (["--trainer.precision=bf16-true"], ["precision is bf16-true", "bf16-mixed"]),
        (["--trainer.devices=0"], ["devices='0'"]),
        (["--trainer.strategy=nonsense"], ["invalid strategy name", "nonsense"]),
        (["--model.learning_rate=-1"], ["learning_rate is -1", "above 0"]),
        (["--model.step_size=0"], ["step_size is 0"]),
        (["--model.nms_iou_threshold=65"], ["nms_iou_threshold is 65", "between 0 and 1"]),
        ([V9_T, "--model.class_width=-1"], ["cannot be built"]),
        (["--model.model_config=./net.py"], ["./net.py", "cannot be imported"]),
        (["--config=nowhere"], ["'nowhere'", "default", "quickstart"]),
    ],
)
def test_wrong_input(options: list[str], fragments: list[str], tmp_path: Path) -> None:
    assert_user_error(run_yolo(*TINY_FIT, *options, cwd=tmp_path), *fragments)


@pytest.mark.slow
def test_the_average_follows_the_training_weights_through_a_real_fit(tmp_path: Path) -> None:
    # decay 0 makes the average the weights themselves: any update that misses them would show.
    done = run_yolo(*TINY_FIT, V9_T, "--ema.decay=0", "--trainer.max_epochs=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    stored = torch.load(tmp_path / "runs/quickstart/version_0/checkpoints/last.ckpt", weights_only=True)
    start = NetworkSpec("v9-t").build(5).state_dict()
    moved = 0
    for name, tensor in stored["state_dict"].items():
        torch.testing.assert_close(tensor, stored[TRAINING_WEIGHTS_KEY][name], rtol=1e-6, atol=1e-7)  # but for rounding
        moved += not torch.equal(tensor, start[name.removeprefix("model.")])
    assert moved > 500


def _four_numbers(root: Path) -> None:
    (root / "labels/train/1.txt").write_text("0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5\n")


def _class_7(root: Path) -> None:
    (root / "labels/train/2.txt").write_text("7 0.5 0.5 0.5 0.5\n")


def _empty_folder(root: Path) -> None:
    for path in (root / "images/train").iterdir():
        path.unlink()


def _truncated_image(root: Path) -> None:
    for path in (root / "images/train").iterdir():
        path.write_bytes(path.read_bytes()[:-300])


def _no_image(root: Path) -> None:
    for path in (root / "images/train").iterdir():
        path.write_bytes(b"not an image")


def _missing_image(root: Path) -> None:
    (root / "images/train/3.jpg").unlink()
    (root / "images/train.txt").write_text("images/train/3.jpg\n")
    (root / "data.yaml").write_text("train: images/train.txt\nval: images/val\nnames: [a, b]\n")


@pytest.mark.parametrize(
    ("damage", "fragments"),
    [
        (_four_numbers, ["labels/train/1.txt:2", "class cx cy w h", "'0 0.5 0.5 0.5'"]),
        (_class_7, ["labels/train/2.txt:1", "class 7", "2 classes"]),
        (_empty_folder, ["images/train", "no images"]),
        (_truncated_image, [".jpg", "not a complete image"]),  # found by a worker process
        (_no_image, [".jpg", "not an image"]),
        (_missing_image, ["train.txt:1", "3.jpg"]),
    ],
)
def test_wrong_data(damage: Callable[[Path], None], fragments: list[str], tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    write_dataset(root)
    damage(root)
    done = run_yolo(
        *TINY_FIT, "--data.format=yolo", f"--data.root={root}", "--data.num_workers=2",
        "--data.batch_size=2", cwd=tmp_path,
    )  # fmt: skip
    assert_user_error(done, *fragments)


@pytest.mark.slow
def test_bad_labels_are_skipped_and_counted_on_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "dataset"
    write_dataset(root)
    _four_numbers(root)
    done = run_yolo(
        *TINY_FIT, f"--model.model_config={TINY}", "--data.format=yolo", f"--data.root={root}", "--data.batch_size=2",
        "--data.on_bad_label=skip", "--trainer.max_epochs=1", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "skipped bad labels: 1 malformed lines" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lion", "muon"])
def test_reduced_precision(precision: str, optimizer: str, tmp_path: Path) -> None:
    options = [f"--model.model_config={TINY}", f"--model.optimizer={optimizer}", f"--trainer.precision={precision}"]
    done = run_yolo(*TINY_FIT, *options, "--trainer.max_epochs=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_nothing_is_downloaded_or_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise AssertionError(f"connection to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    done = run_yolo(*TINY_FIT, f"--model.model_config={TINY}", "--trainer.max_epochs=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_resuming_with_another_optimiser_is_refused(tiny_run: Run, tmp_path: Path) -> None:
    done = run_yolo(*TINY_FIT, "--model.optimizer=sgd", f"--ckpt_path={tiny_run.best}", cwd=tmp_path)
    assert_user_error(done, "trained with adamw", "--model.optimizer is sgd")


@pytest.mark.slow
def test_a_checkpoint_to_resume_from_gives_no_options(tiny_run: Run, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("from pathlib import Path\nPath('PWNED').touch()\n")
    contents = torch.load(tiny_run.best, weights_only=True)
    contents["hyper_parameters"] = {"model_config": "evil.Net", "learning_rate": 0.5}
    torch.save(contents, tmp_path / "evil.ckpt")
    done = run_yolo(*TINY_FIT, "--ckpt_path=evil.ckpt", "--trainer.max_epochs=3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "PWNED").exists()
    assert "learning_rate: 0.5" not in (tmp_path / "runs/quickstart/version_0/config.yaml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["truncated", "text", "foreign", "without state"])
def test_a_file_that_is_no_checkpoint_to_resume_from(kind: str, tiny_run: Run, tmp_path: Path) -> None:
    path = tmp_path / "some.ckpt"
    if kind == "truncated":
        content = tiny_run.best.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    elif kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "foreign":
        torch.save({"weights": torch.ones(2)}, path)
    else:
        contents = torch.load(tiny_run.best, weights_only=True)
        torch.save({key: contents[key] for key in (CARD_KEY, "state_dict")}, path)
    assert_user_error(run_yolo(*TINY_FIT, "--ckpt_path=some.ckpt", cwd=tmp_path), "some.ckpt")


@pytest.mark.parametrize("seed", ["true", "false"])
def test_a_seed_is_a_number(seed: str) -> None:
    """Lightning's own option takes both, and data and network would then have seeds that nobody named."""
    done = run_yolo("fit", "--config=quickstart", f"--seed_everything={seed}")
    assert_user_error(done, f"seed_everything is {seed.title()}, expected a whole number")
