from __future__ import annotations

from pathlib import Path

import pytest

from tests.export.random_network import random_checkpoint
from tests.runtime.records import record
from tests.runtime.tensorflow_environment import write_folder
from tests.runtime.test_onnx import write_model
from yolo.errors import UserError
from yolo.model_file import device_for, is_exported, open_model, read_card, require_size
from yolo.models.gelan import GELAN
from yolo.runtime.network import ExportedNetwork


def test_checkpoints_and_exported_files(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(tmp_path / "a.ckpt", "v9-t")
    exported = write_model(tmp_path / "a.ONNX", record().to_json())
    for path, kind, classes in ((checkpoint, GELAN, 3), (exported, ExportedNetwork, 2)):
        model, card = open_model(path)
        assert type(model) is kind
        assert card == read_card(str(path))
        assert len(card.class_names) == model.num_classes == classes


def test_what_is_not_there(tmp_path: Path) -> None:
    for name, sentence in (("a.ckpt", "no such checkpoint file"), ("a.onnx", "no such file")):
        for read in (open_model, read_card):
            with pytest.raises(UserError, match=f"{name}: {sentence}"):
                read(tmp_path / name)


def test_folders_are_saved_models(tmp_path: Path) -> None:
    for name in ("model", "model.onnx"):  # whatever they are called
        assert read_card(write_folder(tmp_path / name, record().to_json())) == record().card
    with pytest.raises(UserError, match=r"a folder without saved_model\.pb"):
        open_model(tmp_path)


def test_exported_files_have_one_size(tmp_path: Path) -> None:
    require_size(open_model(random_checkpoint(tmp_path / "a.ckpt", "v9-t"))[0], (640, 640))
    exported = open_model(write_model(tmp_path / "a.onnx", record().to_json()))[0]
    require_size(exported, (64, 96))
    with pytest.raises(UserError, match="made for images of 64 x 96"):
        require_size(exported, (96, 64))


def test_exported_files_run_on_the_cpu() -> None:
    assert [device_for("a.ckpt", device) for device in ("auto", "cuda", "mps")] == ["auto", "cuda", "mps"]
    assert [device_for(Path("a.ONNX"), device) for device in ("auto", "cpu")] == ["cpu", "cpu"]
    for device in ("cuda", "cuda:1", "mps"):
        with pytest.raises(UserError, match=rf"device {device} was asked for, but a\.onnx runs on the CPU"):
            device_for("a.onnx", device)
    assert not is_exported("best.ckpt")
    assert not is_exported("best")
