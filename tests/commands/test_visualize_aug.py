from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import assert_user_error, run_yolo
from tests.tiny_dataset import write_dataset
from yolo.commands.data_config import parse_data_command
from yolo.commands.visualize_aug import VisualizeOptions, training_items
from yolo.data.batch import collate

SHAPES = ["--data.format=shapes", "--data.shapes_train=20", "--data.shapes_val=2", "--size=64"]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "dataset")
    return tmp_path / "dataset"


@pytest.mark.parametrize("extra", [["--size=64"], ["--size", "64", "96", "--data.degrees=20", "--seed=3"]])
@pytest.mark.parametrize("epoch", [0, 2])
def test_samples_are_byte_for_byte_those_of_a_training_batch(extra: list[str], epoch: int) -> None:
    arguments = [*SHAPES, *extra, "--data.num_workers=0", "--data.batch_size=5"]
    _, data = parse_data_command("visualize-aug", VisualizeOptions, arguments)
    _, dataset, items = training_items(data, epoch)
    ours = collate([dataset[item] for item in items])

    module = data.datamodule()
    module.setup("fit")
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    batches = list(loader)
    assert len(batches) == 4
    assert np.array_equal(np.concatenate([batch.images.numpy() for batch in batches]), ours.images.numpy())
    for number, batch in enumerate(batches):
        rows = ours.targets[(ours.targets[:, 0] // 5) == number].clone()
        rows[:, 0] -= 5 * number
        assert np.array_equal(rows.numpy(), batch.targets.numpy())


def test_the_last_epochs_have_no_mosaic(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("trainer: {max_epochs: 20}\ndata: {close_mosaic_epochs: 5}\n")
    _, data = parse_data_command("visualize-aug", VisualizeOptions, [*SHAPES, "--config", str(config)])
    assert training_items(data, 0)[1].mosaic_until == 15
    _, data = parse_data_command("visualize-aug", VisualizeOptions, SHAPES)
    assert training_items(data, 0)[1].mosaic_until is None


def test_pictures_of_chosen_images(dataset: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    done = run_yolo(
        "visualize-aug", "--data.format=yolo", f"--data.root={dataset}", "--size=96", "--indices", "0, 3",
        "--show-original", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "4 pictures in aug_viz"
    names = ["aug_0000.jpg", "aug_0003.jpg", "orig_0000.jpg", "orig_0003.jpg"]
    assert sorted(path.name for path in (tmp_path / "aug_viz").iterdir()) == names
    assert cv2.imread(str(tmp_path / "aug_viz/aug_0003.jpg")).shape == (96, 96, 3)
    assert cv2.imread(str(tmp_path / "aug_viz/orig_0003.jpg")).shape == (48, 64, 3)
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before


def test_train_alone_and_not_into_the_dataset(dataset: Path, tmp_path: Path) -> None:
    shutil.rmtree(dataset / "images/val")
    command = ["visualize-aug", "--data.format=yolo", f"--data.root={dataset}", "--size=64", "-n=1"]
    done = run_yolo(*command, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"1 picture in {tmp_path}/out\n"
    for output in (dataset / "images/train", dataset / "new"):
        assert_user_error(run_yolo(*command, "-o", output), "--output lies in the dataset folder")
    assert not list(dataset.rglob("aug_*"))


def test_an_image_named_twice_is_drawn_once(tmp_path: Path) -> None:
    done = run_yolo("visualize-aug", *SHAPES, "--indices=3,0,3", "-o", tmp_path)
    assert done.stdout.startswith("2 pictures in")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["aug_0000.jpg", "aug_0003.jpg"]


def test_clear_pictures_of_encrypted_images_are_spoken_of(dataset: Path, tmp_path: Path) -> None:
    command = ["visualize-aug", "--data.format=yolo", f"--data.root={dataset}", "--size=64", "-n=1"]
    sentence = "the drawn copies of encrypted images are not encrypted\n"
    for number, options in enumerate(
        ([], ["--data.image_loader=yolo.data.encrypted_loader.EncryptedImageLoader"], ["--data.cache_encrypt=true"])
    ):
        done = run_yolo(*command, *options, "-o", tmp_path / str(number))
        assert done.stdout.startswith(sentence) == bool(options), done.stdout
        assert len(list((tmp_path / str(number)).iterdir())) == 1


def test_coco_format_draws_the_same_images(dataset: Path, tmp_path: Path) -> None:
    done = run_yolo(
        "visualize-aug", "--data.format=coco", f"--data.root={dataset}", "--data.train_images=images/train",
        "--data.val_images=images/val", "--data.train_ann=annotations/train.json",
        "--data.val_ann=annotations/val.json", "--size=64", "-n", "2", "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_grid_of_four_columns(tmp_path: Path) -> None:
    done = run_yolo("visualize-aug", *SHAPES, "-n", "6", "--grid", "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["grid.jpg"]
    assert cv2.imread(str(tmp_path / "grid.jpg")).shape == (128, 256, 3)


def test_a_seed_is_reproducible(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        done = run_yolo("visualize-aug", *SHAPES, "-n=2", "--grid", f"--seed={seed}", "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
    first, again, other = ((tmp_path / name / "grid.jpg").read_bytes() for name in "abc")
    assert first == again != other


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--indices=0,twenty"], "--indices has 'twenty', expected numbers from 0 to 19"),
        (["--indices=20"], "--indices has '20'"),
        (["-n", "0"], "--num-samples is 0"),
        (["--epoch=-1"], "--epoch is -1"),
        (["--data.format=coco", "--data.root=/no/such"], "/no/such"),
    ],
)
def test_wrong_input(arguments: list[str], fragment: str, tmp_path: Path) -> None:
    done = run_yolo("visualize-aug", *SHAPES, *arguments, "-o", tmp_path / "out")
    assert_user_error(done, fragment)
    assert not (tmp_path / "out").exists()
