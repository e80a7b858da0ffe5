from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY_FIT, V9_T, assert_user_error, run_yolo
from tests.models.test_checkpoint import TinyNetwork
from tests.models.weights.official import official, save_official
from yolo.models.checkpoint import load_model, read_checkpoint
from yolo.models.weights import download
from yolo.models.weights.load import load_network

TINY = "tests.models.test_checkpoint.TinyNetwork"
STILL = ["--model.learning_rate=1e-12", "--model.warmup_bias_lr=0", "--trainer.limit_train_batches=1"]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_official(official("v9-t", class_width=80).half(), tmp_path_factory.mktemp("weights") / "t.pt")


@pytest.mark.slow
def test_a_run_starts_from_the_file_and_its_checkpoint_stands_alone(published: Path, tmp_path: Path) -> None:
    done = run_yolo(*TINY_FIT, V9_T, *STILL, f"--model.weight_path={published}", "--trainer.max_epochs=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("weights: ") == 1
    assert "(v9-t, naming gelan, without auxiliary branch, 80 classes, class width 80)" in done.stdout
    assert "  skipped     6 tensors" in done.stdout
    assert "and 427 more" in done.stdout
    run = tmp_path / "runs" / "quickstart" / "version_0"
    report = (run / "weights.txt").read_text().splitlines()
    assert sum(line.startswith("    auxiliary.") for line in report) == 433
    best, card = load_model(run / "checkpoints" / "best.ckpt")
    assert card.network.class_width == 80
    _, started, loaded = load_network(card.network, len(card.class_names), published)
    found, expected = best.state_dict(), started.state_dict()
    for name in loaded.loaded:
        if name.endswith("weight") and "bn" not in name:
            torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_the_checkpoint_wins_when_resuming_and_the_file_is_not_needed(published: Path, tmp_path: Path) -> None:
    options = [*TINY_FIT, V9_T, "--trainer.limit_train_batches=1", f"--model.weight_path={published}"]
    done = run_yolo(*options, "--trainer.max_epochs=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last = tmp_path / "runs" / "quickstart" / "version_0" / "checkpoints" / "last.ckpt"
    step = read_checkpoint(last)["global_step"]
    gone = published.rename(published.with_name("moved.pt"))
    try:
        without = run_yolo(*options, "--trainer.max_epochs=2", "--trainer.logger.init_args.version=9", cwd=tmp_path)
        done = run_yolo(*options, "--trainer.max_epochs=2", f"--ckpt_path={last}", cwd=tmp_path)
    finally:
        gone.rename(published)
    assert_user_error(without, f"{published}: no such file of weights")
    assert done.returncode == 0, done.stderr
    assert "weights: " not in done.stdout
    assert not last.parents[2].joinpath("version_9").exists()
    resumed = read_checkpoint(last.parents[2] / "version_1" / "checkpoints" / "last.ckpt")
    assert resumed["global_step"] == 2 * step
    assert resumed["yolo_card"]["network"]["class_width"] == 80


@pytest.mark.slow
def test_true_takes_the_published_file(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(download, "BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setitem(download.SHA256, "yolov9-t-converted.pt", hashlib.sha256(published.read_bytes()).hexdigest())
    options = [*TINY_FIT, V9_T, "--trainer.limit_train_batches=1", "--trainer.max_epochs=1", "--model.weight_path=true"]
    place = tmp_path / "yolo" / "weights" / "yolov9-t-converted.pt"
    assert_user_error(run_yolo(*options, cwd=tmp_path), "could not be downloaded", f"put the file at {place}")
    place.write_bytes(published.read_bytes())
    done = run_yolo(*options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"weights: {place} (v9-t" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("value", ["null", "false"])
def test_from_scratch(value: str, tmp_path: Path) -> None:
    options = [f"--model.model_config={TINY}", "--trainer.max_epochs=1", f"--model.weight_path={value}"]
    done = run_yolo(*TINY_FIT, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "weights: " not in done.stdout


@pytest.mark.slow
def test_a_network_of_ones_own_starts_from_its_own_checkpoint(tmp_path: Path) -> None:
    torch.save(TinyNetwork(5).state_dict(), tmp_path / "own.pt")
    options = [f"--model.model_config={TINY}", "--trainer.max_epochs=1", "--model.weight_path=own.pt"]
    done = run_yolo(*TINY_FIT, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "weights: own.pt (network of its own, naming ours)" in done.stdout
    assert "  loaded      5 tensors" in done.stdout
    done = run_yolo(*TINY_FIT, options[0], "--model.weight_path=true", cwd=tmp_path)
    assert_user_error(done, "no published weights of tests.models.test_checkpoint.TinyNetwork")


def test_weights_of_another_network_end_the_run(published: Path, tmp_path: Path) -> None:
    done = run_yolo(*TINY_FIT, "--model.model_config=v9-s", f"--model.weight_path={published}", cwd=tmp_path)
    assert_user_error(done, "holds weights of v9-t", "no use to v9-s")
