from __future__ import annotations

import csv
from pathlib import Path

import cv2
import pytest
import torch

from tests.conftest import TINY_FIT, Run, assert_user_error, run_yolo
from tests.tiny_dataset import write_dataset


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset of files and a checkpoint of a detector that sees nothing."""
    folder = tmp_path_factory.mktemp("audited")
    write_dataset(folder / "dataset")
    data = ["--data.format=yolo", f"--data.root={folder / 'dataset'}", "--trainer.max_epochs=1"]
    network = "--model.model_config=tests.models.test_checkpoint.TinyNetwork"
    done = run_yolo(*TINY_FIT, *data, "--data.close_mosaic_epochs=0", network, cwd=folder)
    assert done.returncode == 0, done.stderr
    checkpoint = folder / "runs/quickstart/version_0/checkpoints/best.ckpt"
    contents = torch.load(checkpoint, weights_only=True)
    for name, tensor in contents["state_dict"].items():
        if name.endswith("bias"):
            tensor.fill_(-30.0)
        elif tensor.dtype.is_floating_point:
            tensor.zero_()
    torch.save(contents, checkpoint)
    return folder / "dataset", checkpoint


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "audit.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_writes_what_it_finds(files: tuple[Path, Path], tmp_path: Path) -> None:
    dataset, checkpoint = files
    done = run_yolo("audit-labels", "--checkpoint", checkpoint, "--output=nothing", cwd=tmp_path)
    assert done.stdout.startswith("4 images, 8 labels: nothing"), done.stderr
    assert rows(tmp_path / "nothing") == []
    done = run_yolo(
        "audit-labels", "--checkpoint", checkpoint, "--output=out", "--min-certainty=0", "--top=3", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 images, 8 labels: 8 spurious")
    found = rows(tmp_path / "out")
    assert [row["rank"] for row in found] == [str(number) for number in range(1, 9)]
    assert {row["label_file"] for row in found} == {str(dataset / f"labels/val/{i}.txt") for i in range(4)}
    assert {row["label"] for row in found} == {"1", "2"}
    second = next(row for row in found if row["label"] == "2")
    assert (second["label_class"], second["x1"], second["y2"]) == ("b", "6.40", "19.20")
    sheet = cv2.imread(str(tmp_path / "out" / "spurious.jpg"))
    assert sheet.shape == (400, 1200, 3)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["audit.csv", "spurious.jpg"]


@pytest.mark.parametrize(
    "data",
    [
        [],
        ["--data.train_images=images/train", "--data.train_labels=labels/test"],
        ["--data.format=coco", "--data.train_images=images/train", "--data.train_ann=annotations/train.json"],
    ],
)
def test_training_split(files: tuple[Path, Path], tmp_path: Path, data: list[str]) -> None:
    dataset, checkpoint = files
    where = [f"--data.root={dataset}", *data] if data else []
    arguments = ["--checkpoint", checkpoint, "--split=train", "--no-pictures", "--min-certainty=0", *where]
    done = run_yolo("audit-labels", *arguments, cwd=tmp_path)
    if "--data.format=coco" in data:
        assert done.returncode == 0, done.stderr
        assert {row["label_file"] for row in rows(tmp_path / "audit")} == {str(dataset / "annotations/train.json")}
        assert {row["label"] for row in rows(tmp_path / "audit")} == {"1", "5", "9", "13"}
        return
    assert done.returncode == 0, done.stderr
    folder = "test" if data else "train"
    assert {Path(row["label_file"]).parent for row in rows(tmp_path / "audit")} == {dataset / "labels" / folder}
    assert not list((tmp_path / "audit").glob("*.jpg"))


def test_no_pictures_of_encrypted_images_unless_asked(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, checkpoint = files
    monkeypatch.setenv("YOLO_ENCRYPTION_KEY", "0123456789abcdef" * 4)
    root = tmp_path / "secret"
    assert run_yolo("encrypt-images", f"--source={dataset}/images", f"--output={root}/images").returncode == 0
    (root / "data.yaml").write_text((dataset / "data.yaml").read_text())
    (root / "labels").symlink_to(dataset / "labels")
    arguments = [
        "--checkpoint", checkpoint, "--min-certainty=0", f"--data.root={root}", "--data.format=yolo",
        "--data.image_loader=yolo.data.encrypted_loader.EncryptedImageLoader",
    ]  # fmt: skip
    done = run_yolo("audit-labels", *arguments, "--output=a", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["audit.csv"]
    done = run_yolo("audit-labels", *arguments, "--output=b", "--pictures", cwd=tmp_path)
    assert "not encrypted" in done.stderr
    assert (tmp_path / "b" / "spurious.jpg").is_file()


def test_embedded_dataset(tiny_run: Run, tmp_path: Path) -> None:
    done = run_yolo("audit-labels", "--checkpoint", tiny_run.best, "--min-certainty=0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {row["label_file"] for row in rows(tmp_path / "audit")} == {""}


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--checkpoint=none.ckpt"], ["none.ckpt", "no such checkpoint file"]),
        (["--checkpoint={checkpoint}", "--output={dataset}/audit"], ["--output lies in the dataset folder"]),
        (["--checkpoint={checkpoint}", "--min-certainty=30"], ["--min-certainty is 30.0", "between 0 and 1"]),
        (["--checkpoint={checkpoint}", "--split=test"], ["split"]),
        (["--checkpoint={checkpoint}", "--data.cache_only=true"], ["data.cache_only"]),
        (["--checkpoint={checkpoint}", "--split=train", "--data.format=shapes"], ["embedded dataset has none"]),
        (["--checkpoint={checkpoint}", "--split=train", "--data.train_images=no"], ["no such image folder"]),
    ],
)
def test_wrong_input(files: tuple[Path, Path], tmp_path: Path, arguments: list[str], fragments: list[str]) -> None:
    dataset, checkpoint = files
    filled = [argument.format(checkpoint=checkpoint, dataset=dataset) for argument in arguments]
    assert_user_error(run_yolo("audit-labels", *filled, cwd=tmp_path), *fragments)
    assert not list(tmp_path.iterdir())
