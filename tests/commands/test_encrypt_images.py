from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Run, assert_user_error, run_yolo
from tests.tiny_dataset import write_dataset
from yolo.commands.encrypt_images import find_images
from yolo.data.encrypted_file import ImageCipher
from yolo.data.keys import VARIABLE, require_key
from yolo.errors import UserError

KEY = "0123456789abcdef" * 4
NETWORK = "--model.model_config=tests.models.test_checkpoint.TinyNetwork"
LOADER = "--data.image_loader=yolo.data.encrypted_loader.EncryptedImageLoader"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "plain")
    return tmp_path / "plain"


@pytest.fixture
def encrypted(dataset: Path, tmp_path: Path) -> Path:
    """The dataset with nothing but encrypted images."""
    folder = tmp_path / "secret"
    done = run_yolo("encrypt-images", "--source", dataset / "images", "--output", folder / "images")
    assert done.returncode == 0, done.stderr
    for name in ("labels", "annotations"):
        shutil.copytree(dataset / name, folder / name)
    shutil.copy(dataset / "data.yaml", folder)
    return folder


def test_keeps_the_tree_and_the_originals(dataset: Path, tmp_path: Path) -> None:
    (dataset / "images/val/notes.txt").write_text("no image")
    before = {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()}
    done = run_yolo("encrypt-images", "--source", dataset / "images", "--output", tmp_path / "out", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert f"left out: {dataset / 'images/val/notes.txt'}" in done.stdout
    assert "12 images encrypted (" in done.stdout
    assert "1 files left out" in done.stdout
    written = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert [path.relative_to(tmp_path / "out").as_posix() for path in written][:2] == [
        "test/0.jpg.enc",
        "test/1.jpg.enc",
    ]
    cipher = ImageCipher(require_key("x"))
    for path in written:
        original = dataset / "images" / path.relative_to(tmp_path / "out").with_suffix("")
        assert cipher.decrypt(path.read_bytes(), path) == before[original]
    assert before == {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()}


def test_a_single_image(dataset: Path, tmp_path: Path) -> None:
    done = run_yolo("encrypt-images", "--source", dataset / "images/val/0.jpg", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0.jpg.enc"]


def test_existing_files_are_replaced_by_force_alone(dataset: Path, tmp_path: Path) -> None:
    command = ["encrypt-images", "--source", dataset / "images", "--output", tmp_path / "out"]
    (tmp_path / "out/train").mkdir(parents=True)
    there = tmp_path / "out/train/2.jpg.enc"
    there.write_text("mine")
    assert_user_error(run_yolo(*command), str(there), "exists already and is not", "(1 of 12)", "--force")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [there]
    assert run_yolo(*command, "--force").returncode == 0
    assert there.read_bytes() != b"mine"


def test_an_interrupted_run_goes_on(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = dataset / "images/val/9.jpg"
    bad.symlink_to("nowhere.jpg")
    command = ["encrypt-images", "--source", dataset / "images", "--output", tmp_path / "out"]
    assert_user_error(run_yolo(*command, "--workers=1"), "9.jpg")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.enc")}
    assert 0 < len(before) <= 12
    bad.unlink()
    done = run_yolo(*command)
    assert done.returncode == 0, done.stderr
    assert f"{12 - len(before)} images encrypted" in done.stdout
    assert f"already encrypted: {len(before)}" in done.stdout
    assert before.items() <= {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.enc")}.items()

    changed = dataset / "images/train/2.jpg"
    shutil.copy(dataset / "images/train/1.jpg", changed)
    assert_user_error(run_yolo(*command), f"2.jpg.enc: exists already and is not {changed} encrypted", "(1 of 12)")
    assert run_yolo(*command, "--force").returncode == 0
    monkeypatch.setenv(VARIABLE, "ff" * 32)
    assert_user_error(run_yolo(*command), "with this key (12 of 12)")


def test_nothing_is_written_into_the_source(dataset: Path) -> None:
    for output in (dataset / "images", dataset / "images/secret", dataset / "images/../images"):
        done = run_yolo("encrypt-images", "--source", dataset / "images", "--output", output)
        assert_user_error(done, str(output), "--output lies in the source")
    done = run_yolo("encrypt-images", "--source", dataset / "images/val/0.jpg", "--output", dataset / "images/val")
    assert_user_error(done, "--output lies in the source")
    assert not list(dataset.rglob("*.enc"))


def test_wrong_input(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, out = dataset / "images", tmp_path / "out"
    out.write_text("a file")
    assert_user_error(run_yolo("encrypt-images", "--source", images, "--output", out), "--output is a file")
    assert_user_error(
        run_yolo("encrypt-images", "--source", tmp_path / "no", "--output", out), "no such image or folder"
    )
    done = run_yolo("encrypt-images", "--source", images, "--output", tmp_path / "o", "--workers", "0")
    assert_user_error(done, "--workers is 0")
    monkeypatch.setenv(VARIABLE, "short")
    assert_user_error(run_yolo("encrypt-images", "--source", images, "--output", tmp_path / "o"), "64 hexadecimal")
    monkeypatch.delenv(VARIABLE)
    done = run_yolo("encrypt-images", "--source", images, "--output", tmp_path / "o")
    assert_user_error(done, "there is no key")
    assert "data.encryption_key" not in done.stderr
    assert not (tmp_path / "o").exists()


def test_an_unreadable_image_stops_and_leaves_no_partial_file(dataset: Path, tmp_path: Path) -> None:
    (dataset / "images/train/9.jpg").symlink_to("nowhere.jpg")
    done = run_yolo("encrypt-images", "--source", dataset / "images", "--output", tmp_path / "out", "--workers", "1")
    assert_user_error(done, "9.jpg", "No such file")
    cipher = ImageCipher(require_key("x"))
    for path in (tmp_path / "out").rglob("*.*"):
        assert path.suffix == ".enc"
        cipher.decrypt(path.read_bytes(), path)


def test_find_images(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", ".hidden.jpg", "c.txt", "deep/d.webp", "e.jpg.enc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    images, others = find_images(tmp_path)
    assert [path.name for path in images] == ["a.png", "b.JPG", "d.webp"]
    assert [path.name for path in others] == [".hidden.jpg", "c.txt", "e.jpg.enc"]
    with pytest.raises(UserError, match=r"c\.txt: no images, expected files ending in"):
        find_images(tmp_path / "c.txt")


@pytest.mark.slow
def test_encrypted_images_predict_as_plain_ones(
    tiny_run: Run, dataset: Path, encrypted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    command = ["predict", "--checkpoint", tiny_run.best, "--conf", "0.001", "--save-json"]
    for name, folder in (("plain", dataset), ("secret", encrypted)):
        out = tmp_path / f"out-{name}"
        done = run_yolo(*command, "--source", folder / "images/val", "--output", out)
        assert done.returncode == 0, done.stderr
        assert ("drawn copies of encrypted images are not encrypted" in done.stdout) == (name == "secret")
        assert sorted(path.name for path in out.iterdir()) == [
            *(f"{i}.jpg" for i in range(4)), "predicted.txt", "predictions.json"
        ]  # fmt: skip
        entries = json.loads((out / "predictions.json").read_text())
        found[name] = [(entry["size"], entry["detections"]) for entry in entries]
    assert found["plain"] == found["secret"]
    one = encrypted / "images/val/0.jpg.enc"
    done = run_yolo(*command, "--source", one, "--output", tmp_path / "one", "--no-draw")
    assert json.loads((tmp_path / "one/predictions.json").read_text())[0]["detections"] == found["plain"][0][1]
    monkeypatch.delenv(VARIABLE)
    done = run_yolo(*command, "--source", one)
    assert_user_error(done, str(one), "there is no key")
    assert "data.encryption_key" not in done.stderr
    assert_user_error(run_yolo(*command, "--source", one.parent), "no images in this folder", "4 encrypted", VARIABLE)


def key_in(folder: Path) -> list[Path]:
    forms = [KEY.encode(), KEY.upper().encode(), bytes.fromhex(KEY)]
    return [p for p in folder.rglob("*") if p.is_file() and any(form in p.read_bytes() for form in forms)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "workers"),
    [
        ([LOADER], 0),
        ([LOADER, f"--data.encryption_key={KEY}"], 1),
        ([LOADER, f"--data.image_loader.init_args.encryption_key={KEY}"], 1),
    ],
    ids=["variable", "option", "argument"],
)
def test_encrypted_images_train_as_plain_ones(
    dataset: Path, encrypted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: list[str], workers: int
) -> None:
    if len(key) > 1:
        monkeypatch.delenv(VARIABLE)
    fit = [
        "fit", "--config=default", NETWORK, "--data.format=yolo",
        "--model.image_size=64", "--trainer.max_epochs=1", "--data.batch_size=2", f"--data.num_workers={workers}",
        "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--model.save_metrics_plots=false",
    ]  # fmt: skip
    lines = []
    for name, options in (("plain", []), ("secret", key)):
        (tmp_path / f"run-{name}").mkdir()
        done = run_yolo(*fit, f"--data.root={tmp_path / name}", *options, cwd=tmp_path / f"run-{name}")
        assert done.returncode == 0, done.stderr
        lines.append((tmp_path / f"run-{name}/runs/default/version_0/metrics.csv").read_text())
        assert KEY not in done.stdout + done.stderr
    assert lines[0] == lines[1]
    run = tmp_path / "run-secret/runs/default/version_0"
    assert not key_in(run)
    assert "EncryptedImageLoader" in (run / "config.yaml").read_text()
    # What the run saved has no key, and needs the variable.
    monkeypatch.setenv(VARIABLE, KEY)
    for options in ([], [f"--config={run / 'config.yaml'}"]):
        measured = run_yolo("validate", "--checkpoint", run / "checkpoints/best.ckpt", *options, "--workers=0",
                            cwd=tmp_path)  # fmt: skip
        assert measured.returncode == 0, measured.stderr
    resumed = ["fit", f"--config={run / 'config.yaml'}", "--ckpt_path=last", "--trainer.max_epochs=2"]
    done = run_yolo(*resumed, cwd=tmp_path / "run-secret")
    assert done.returncode == 0, done.stderr
    monkeypatch.delenv(VARIABLE)
    assert_user_error(run_yolo("validate", "--checkpoint", run / "checkpoints/best.ckpt"), "there is no key")


def test_coco_trains_on_encrypted_images(encrypted: Path, tmp_path: Path) -> None:
    done = run_yolo(
        "fit", "--config=default", NETWORK, LOADER,
        f"--data.root={encrypted}", "--data.train_images=images/train", "--data.val_images=images/val",
        "--data.train_ann=annotations/train.json", "--data.val_ann=annotations/val.json", "--model.image_size=64",
        "--trainer.max_epochs=1", "--data.batch_size=2", "--data.num_workers=0", "--trainer.accelerator=cpu",
        "--model.save_metrics_plots=false", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
