"""Every command and every block of Python in the docs runs, on small data."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Run, run_yolo
from tests.export.own_dataset import write_own_dataset
from tests.export.random_network import random_checkpoint
from tests.export.tflite_files import SMALL as SMALL_NETWORK
from tests.models.weights.official import official, save_official
from tests.processes import SMALL as SMALL_RUN
from tests.processes import launch_yolo
from tests.runtime.tensorflow_environment import MISSING
from tests.tiny_dataset import write_dataset
from yolo import cli
from yolo.commands.predict_video import video_copy
from yolo.models.checkpoint import allow_network

ROOT = Path(__file__).parent.parent
DOCS = [ROOT / "README.md", ROOT / "HOWTO.md", ROOT / "training-experiment" / "README.md"]
SMALL = ["--model.image_size=64", "--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--data.batch_size=2",
         "--data.num_workers=0", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
         "--model.save_metrics_plots=false"]  # fmt: skip
NETWORK = """
import torch
from yolo.models.detection_model import DetectionModel

class MyNetwork(DetectionModel):
    def __init__(self, num_classes, width):
        super().__init__(num_classes, strides=(16, 32))
        self.register_buffer("bins", torch.arange(4.0))
        self.stem = torch.nn.Conv2d(3, width, 16, stride=16)
        self.fine = torch.nn.Conv2d(width, 16 + num_classes, 1)
        self.coarse = torch.nn.Conv2d(width, 16 + num_classes, 2, stride=2)

    def forward(self, images):
        x = self.stem(images)
        return ([self.fine(x), self.coarse(x)],)
"""


def indented_blocks(text: str) -> list[str]:
    """Commands of the indented blocks, continuation lines joined."""
    lines = re.findall(r"^    (\S.*|    \S.*)$", text, re.MULTILINE)
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [line.strip() for line in joined.splitlines()]


COMMANDS = [
    (path.name, line) for path in DOCS for line in indented_blocks(path.read_text()) if line.startswith("yolo ")
]
STANDALONE = ("python tools/", "python scripts/")
TOOLS = [line for path in DOCS for line in indented_blocks(path.read_text()) if line.startswith(STANDALONE)]
PYTHON = [(p.name, block) for p in DOCS for block in re.findall(r"```python\n(.*?)```", p.read_text(), re.DOTALL)]


@pytest.fixture(scope="module")
def key() -> Iterator[None]:
    """A key for what the docs encrypt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_ENCRYPTION_KEY", "0123456789abcdef" * 4)
        yield


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, tiny_run: Run, key: None) -> Path:
    """A folder in which the paths of the docs exist."""
    folder = tmp_path_factory.mktemp("docs")
    for dataset in ("path/to/dataset", "bccd"):
        write_dataset(folder / dataset)
    shutil.copytree(ROOT / "training-experiment", folder / "training-experiment")
    (folder / "my_package.py").write_text(NETWORK)
    save_official(official("v9-t", class_width=80).half(), folder / "yolov9-t-converted.pt")
    run_yolo("encrypt-images", "--source=path/to/dataset/images", "--output=path/to/encrypted/images", cwd=folder)
    shutil.copytree(folder / "path/to/dataset/labels", folder / "path/to/encrypted/labels")
    shutil.copy(folder / "path/to/dataset/data.yaml", folder / "path/to/encrypted/data.yaml")
    run_yolo("cache-create", "--data.root=path/to/dataset", "--data.format=yolo", "--output-dir=caches",
             "--cache-format=raw", cwd=folder)  # fmt: skip
    run_yolo("cache-export", "--cache-dir=caches/.yolo_cache_640x640_f1.0", "--output=cache.tar.zst", cwd=folder)
    for name in ("folder", "image_or_folder"):
        shutil.copytree(folder / "path/to/dataset/images/val", folder / name)
    shutil.copy(folder / "folder" / "0.jpg", folder / "image.jpg")
    shutil.copytree(folder / "folder", folder / "datasets/one/images")
    with video_copy(folder / "video.mp4", 10.0) as add:
        add(np.zeros((48, 64, 3), np.uint8))
    done = run_yolo("fit", "--config=default", "--data.format=yolo", "--data.root=path/to/dataset", *SMALL,
                    f"--model.model_config={SMALL_RUN}", cwd=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("best.ckpt", "other.ckpt"):
        shutil.copy(folder / "runs/default/version_0/checkpoints/best.ckpt", folder / name)
    done = run_yolo("export", "-c", "best.ckpt", cwd=folder)
    assert done.returncode == 0, done.stderr
    # A network that is good at something, and small.
    allow_network(SMALL_NETWORK)
    random_checkpoint(folder / "detector.ckpt", SMALL_NETWORK)
    write_own_dataset(folder / "path/to/its/dataset", folder / "detector.ckpt")
    done = run_yolo(
        "fit",
        "--config=small-dataset",
        "--config=training-experiment/bccd-yolo.yaml",
        *SMALL,
        f"--model.model_config={SMALL_RUN}",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    poison = ["--trainer.callbacks=tests.training.callbacks.poison.PoisonedTarget", "--trainer.callbacks.step=1"]
    done = run_yolo("fit", "--config=default", "--data.format=yolo", "--data.root=path/to/dataset", *SMALL,
                    f"--model.model_config={SMALL_RUN}", *poison, cwd=folder)  # fmt: skip
    assert done.returncode == 2, done.stderr
    # A run that went wrong, found where the docs look for it.
    shutil.move(folder / "runs/default/version_1/non_finite", folder / "runs/default/version_0/non_finite")
    (folder / "path/to/dataset/some.txt").write_text("0\n")
    done = run_yolo("validate", "-c", "best.ckpt", "--workers=0", "-o", "measured", cwd=folder)
    assert done.returncode == 0, done.stderr
    shutil.copy(folder / "measured/ground_truth.json", folder / "annotations.json")
    for name in ("detections.json", "others.json"):
        shutil.copy(folder / "measured/predictions.json", folder / name)
    return folder


def small_fit(line: str) -> list[str]:
    """Options that make a `fit` of the docs small, and its network, unless that must have parts that the line names."""
    options = [*SMALL]
    if "--model.network_args" not in line:
        has_parts = any(option in line for option in ("freeze", "weight_path"))
        options.append(f"--model.model_config={'v9-t' if has_parts else SMALL_RUN}")
    if "--ckpt_path" in line:
        options.append("--trainer.max_epochs=2")
    if "quickstart" in line:
        options += ["--data.shapes_train=8", "--data.shapes_val=4"]
    if "cache_only" in line:
        options.append("--model.image_size=640")  # the size of the cache
    return options


def small(line: str) -> list[str]:
    """Options that make any line of the docs quick, or possible a second time."""
    command = line.split()[1]
    if command == "fit":
        return small_fit(line)
    if (command == "export" and "--data." in line) or (command == "sensitivity" and "--map" in line):
        return ["--data.num_workers=0"]  # each would import everything anew
    if command == "qat-finetune":
        return ["--epochs=1", "--num-calibration=2", *SMALL[2:3], *SMALL[4:]]
    if command == "benchmark" or (command == "validate" and "--devices" in line):
        return [f"--network={SMALL_RUN}"]  # they measure in processes of their own
    return ["--force"] if command in ("encrypt-images", "cache-export") else []


@pytest.mark.slow
@pytest.mark.parametrize(("document", "line"), COMMANDS, ids=[line[:60] for _, line in COMMANDS])
def test_command(document: str, line: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "rknn" in line and "YOLO_RKNN_PYTHON" not in os.environ:
        pytest.skip("rknn-toolkit2 needs an environment of its own, which YOLO_RKNN_PYTHON would name")
    if "saved_model" in line and MISSING:
        pytest.skip(MISSING)
    monkeypatch.syspath_prepend(str(workplace))
    run = launch_yolo if "devices" in line else run_yolo
    done = run(*shlex.split(line, comments=True)[1:], *small(line), cwd=workplace)
    expected = 1 if line.startswith("yolo replay") else 0  # 1 says that the step is not finite, which it is
    assert done.returncode == expected, f"{document}: {line}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("line", TOOLS)
def test_tool(line: str, workplace: Path) -> None:
    _, script, *arguments = shlex.split(line)
    done = subprocess.run([sys.executable, ROOT / script, *arguments], cwd=workplace, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("document", "block"), PYTHON)
def test_python(document: str, block: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    exec(compile(block, document, "exec"), {})


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in (*DOCS, ROOT / "CONTRIBUTING.md"):
        assert set(re.findall(r"^    make (\w+)", path.read_text(), re.MULTILINE)) <= targets, path
    assert "make test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.slow
def test_options_named_in_the_docs_exist() -> None:
    helps = "".join(run_yolo(name, "--help").stdout for name in cli.COMMANDS)
    for path in DOCS:
        for option in set(re.findall(r"`(--[\w.-]+)", path.read_text())):
            assert f"{option}" in helps or option in ("--help",), f"{path.name}: {option}"


@pytest.mark.slow
def test_parameter_table_is_what_info_prints() -> None:
    rows = re.findall(r"^\| (v9-\w) \| ([\d,]+) \| ([\d.]+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(rows) == 5
    for name, parameters, gflops in rows:
        profile = json.loads(run_yolo("info", name, "--json").stdout)
        assert profile["deploy_params"] == int(parameters.replace(",", ""))
        assert f"{profile['deploy_gflops']:.2f}" == gflops
