from __future__ import annotations

import json
import os
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.conftest import assert_user_error, run_yolo
from tests.export.random_network import random_checkpoint
from tests.runtime.records import record
from yolo import Detector, environments
from yolo.errors import UserError
from yolo.export import rknn
from yolo.export.config import Source
from yolo.export.parity import random_images
from yolo.export.rknn import RknnConfig, require, text_in_file, write
from yolo.model_file import open_model
from yolo.models.exportable import ExportableModel
from yolo.quantization.calibration import Calibration
from yolo.runtime.metadata import ExportRecord
from yolo.runtime.rknn import simulation_of

needs_toolkit = [
    pytest.mark.slow,
    pytest.mark.skipif("YOLO_RKNN_PYTHON" not in os.environ, reason="YOLO_RKNN_PYTHON names no rknn-toolkit2"),
]


def test_numbers_of_a_file() -> None:
    assert (RknnConfig().numbers, RknnConfig().output_form) == ("int8", "raw")
    assert RknnConfig(quantization="fp16", target_platform="rk3566").numbers == "fp16"


def test_float_edges_are_for_chips_that_have_float() -> None:
    assert RknnConfig().has_float_edges
    assert not RknnConfig(float_edges=False).has_float_edges
    assert not RknnConfig(target_platform="rv1106").has_float_edges


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"target_platform": "rk9999"}, "--target-platform is rk9999, expected one of rk3588, rk3576,"),
        ({"target_platform": "rv1103", "quantization": "fp16"}, "is fp16, but rv1103 has INT8 alone"),
        ({"quantization": "fp32"}, "--quantization is fp32, Rknn files are int8, fp16"),
        ({"form": "full"}, "--form is full, Rknn files have raw"),
    ],
)
def test_impossible_options(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        RknnConfig(**options)


def test_options_of_the_command(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(tmp_path / "a.ckpt", "v9-t")
    for arguments, sentence in [
        (["--target-platform=rk3588"], "--target-platform is an option of --format rknn, which is onnx"),
        (["--format=rknn", "--xnnpack-optimize"], "--xnnpack-optimize is an option of --format tflite, which is rknn"),
        (["--format=rknn", "--opset=13"], "--opset is an option of --format onnx, which is rknn"),
        (["--format=rknn", "-o", "a.onnx"], "--output is a.onnx, expected a name that ends in .rknn"),
    ]:
        assert_user_error(run_yolo("export", "-c", checkpoint, *arguments), sentence)


def test_without_the_toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.delenv("YOLO_RKNN_PYTHON", raising=False)
    find_spec = environments.find_spec
    monkeypatch.setattr(environments, "find_spec", lambda name: None if name == "rknn" else find_spec(name))
    with pytest.raises(UserError, match=r"RKNN needs rknn .*: bash scripts/setup_rknn_export.sh makes it"):
        require(RknnConfig())


def test_text_in_a_file_has_a_limit() -> None:
    known = json.loads(text_in_file(record()))
    assert (known["strides"], known["class_names"]) == ([16, 32], ["a", "b"])
    many = record(class_names=tuple(f"a name {i}" for i in range(200)))
    assert len(many.to_json()) > rknn.LONGEST >= len(text_in_file(many))
    assert "class_names" not in json.loads(text_in_file(many))
    with pytest.raises(UserError, match="1023 characters"):
        text_in_file(record(bins=tuple(map(float, range(300)))))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint and the INT8 file of it."""
    folder = tmp_path_factory.mktemp("rknn")
    checkpoint = random_checkpoint(folder / "a.ckpt", "v9-t")
    (folder / "pictures").mkdir()
    for index, image in enumerate(random_images(8, (64, 64))):
        cv2.imwrite(str(folder / "pictures" / f"{index}.png"), (255 * image).byte().permute(1, 2, 0).numpy())
    done = run_yolo("export", "-c", checkpoint, "-f", "rknn", "--calibration-images=pictures", "--images=pictures",
                    cwd=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "cosine" in done.stdout
    return checkpoint, folder / "a.rknn"


@pytest.mark.usefixtures("pair")
class TestWithTheToolkit:
    pytestmark = needs_toolkit

    def test_a_file_runs_like_its_checkpoint(self, pair: tuple[Path, Path]) -> None:
        checkpoint, path = pair
        kept = ["a.ckpt", "a.rknn", "a.rknn.json", "a.rknn.simulation", "pictures"]
        assert sorted(entry.name for entry in path.parent.iterdir()) == kept
        assert path.read_bytes()[:4] == b"RKNN"
        file, model = (open_model(name)[0] for name in (path, checkpoint))
        images = random_images(3, (64, 64), seed=5)
        wanted, found, swapped = (
            network.decode(network(given)[0])[:, 4:]
            for network, given in ((model, images), (file, images), (file, images.flip(1)))
        )
        assert (found - wanted).abs().mean() < 0.005
        assert (swapped - wanted).abs().mean() > 0.015  # it matters which channel is red
        assert len(torch.unique(found)) > 50
        assert len(Detector.load(path, device="cpu")(np.zeros((40, 90, 3), np.uint8), confidence=0.01)) > 0

    def test_nothing_says_where_it_was_made(self, pair: tuple[Path, Path]) -> None:
        with zipfile.ZipFile(simulation_of(pair[1])) as packed:
            contents = {name: packed.read(name) for name in packed.namelist()}
        for name, content in {**contents, "the file": pair[1].read_bytes()}.items():
            for place in (tempfile.gettempdir(), str(Path.home()), str(environments.ROOT)):
                assert f"{place}/".encode() not in content, name

    def test_maps_that_are_too_far_from_the_float_networks(
        self, pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model, card = open_model(pair[0])
        exportable = ExportableModel(model, (64, 64), "raw")
        noise = [(255 * image).byte().permute(1, 2, 0).numpy() for image in random_images(2, (64, 64))]
        source = Source(
            exportable,
            ExportRecord.of(exportable, "v9-t", card, quantization="int8"),
            Calibration("noise", [lambda p=p: p for p in noise]),
        )
        monkeypatch.setattr(rknn, "INTEGER_COSINE", 1.0)  # which 8 bits cannot reach
        written = write(source, RknnConfig(target_platform="rv1106"), tmp_path / "a.rknn")
        assert [failure.partition(":")[0] for failure in written.failures] == list(source.record.outputs)
        assert "at least 1.0 is asked" in written.failures[0]
        assert "all in 8 bits" in written.notes[1]

    def test_a_float16_file(self, pair: tuple[Path, Path], tmp_path: Path) -> None:
        done = run_yolo("export", "-c", pair[0], "-f", "rknn", "-q", "fp16", "-o", tmp_path / "h.rknn")
        assert done.returncode == 0, done.stderr
        network, _ = open_model(tmp_path / "h.rknn")
        images = random_images(1, (64, 64), seed=5)
        found, wanted = (model.decode(model(images)[0]) for model in (network, open_model(pair[0])[0]))
        assert torch.allclose(found[:, 4:], wanted[:, 4:], atol=5e-3)
        assert not torch.allclose(found[:, 4:], wanted[:, 4:], atol=1e-6)

    def test_the_archive_builds_the_very_file(self, pair: tuple[Path, Path], tmp_path: Path) -> None:
        """All its bytes but in a few places, where addresses of the compiler's memory differ from build to build."""
        with zipfile.ZipFile(simulation_of(pair[1])) as packed:
            packed.extractall(tmp_path)
        build = "import sys; from rknn_build import *; built(read_settings()).export_rknn(sys.argv[1])"
        python, environment = os.environ["YOLO_RKNN_PYTHON"], {"PYTHONPATH": str(environments.WORKERS)}
        for name in ("one.rknn", "two.rknn"):
            subprocess.run([python, "-c", build, name], cwd=tmp_path, env=environment, capture_output=True, check=True)
        files = (pair[1], tmp_path / "one.rknn", tmp_path / "two.rknn")
        exported, one, two = (np.frombuffer(file.read_bytes(), np.uint8) for file in files)
        addresses = np.zeros(len(one), bool)
        for position in np.flatnonzero(one != two):
            addresses[max(position - 4096, 0) : position + 4096] = True
        assert addresses.mean() < 0.02
        assert (exported == one)[~addresses].all()
