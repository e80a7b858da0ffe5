from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from yolo.errors import UserError
from yolo.models.checkpoint import CARD_KEY, ModelCard, NetworkSpec, load_model, read_checkpoint
from yolo.models.detection_model import DetectionModel, Maps
from yolo.models.weights.files import read_tensors


class TinyNetwork(DetectionModel):
    """A user's network: one convolution per level."""

    def __init__(self, num_classes: int, width: int = 4) -> None:
        super().__init__(num_classes, strides=(8, 16))
        self.register_buffer("bins", torch.arange(4.0))
        self.width = width
        self.levels = nn.ModuleList(nn.Conv2d(3, 4 * 4 + num_classes, s, stride=s) for s in self.strides)

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        return ([level(images) for level in self.levels],)


CARD = ModelCard(
    network=NetworkSpec("v9-t", class_width=64),
    class_names=("cat", "dog"),
    dataset_names=("c", "d"),
    category_ids=(3, 17),
    image_size=(64, 96),
    letterbox="corner",
    config={"model": {"adamw_betas": (0.9, 0.99)}, "data": {"root": "somewhere"}},
)


def write(path: Path, card: ModelCard, model: nn.Module) -> Path:
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({CARD_KEY: card.to_dict(), "state_dict": weights}, path)
    return path


def test_a_checkpoint_stands_alone(tmp_path: Path) -> None:
    model = CARD.network.build(2).eval()
    loaded, card = load_model(write(tmp_path / "a.ckpt", CARD, model))
    assert card == CARD
    assert not loaded.training
    images = torch.rand(1, 3, 64, 96)
    assert torch.equal(loaded(images)[0][0], model(images)[0][0])


def test_network_by_import_path(tmp_path: Path) -> None:
    spec = NetworkSpec(f"{__name__}.TinyNetwork", args={"width": 9})
    card = ModelCard(spec, ("a",), (1,), (32, 32), "center")
    loaded, _ = load_model(write(tmp_path / "a.ckpt", card, spec.build(1)))
    assert isinstance(loaded, TinyNetwork)
    assert loaded.width == 9
    assert loaded.decode(loaded(torch.rand(1, 3, 32, 32))[0]).shape == (1, 5, 16 + 4)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("v9-q", "unknown model 'v9-q'"),
        ("no.such.Network", "cannot be imported"),
        ("torch.nn.Linear", "is no subclass of"),
        ("os.system", "is no subclass of"),
    ],
)
def test_wrong_networks_are_refused(name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        NetworkSpec(name).build(2)


def test_a_checkpoint_imports_no_module_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_module.py").write_text("from pathlib import Path\nPath('PWNED').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    card = ModelCard(NetworkSpec("evil_module.Net"), ("a",), (1,), (32, 32), "center")
    torch.save({CARD_KEY: card.to_dict(), "state_dict": {}}, "x.ckpt")
    with pytest.raises(UserError, match="name it with --network"):
        load_model("x.ckpt")
    assert not Path("PWNED").exists()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint file"):
        read_checkpoint(tmp_path / "none.ckpt")


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x02}q\x00.", b"PK\x03\x04broken"])
def test_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.ckpt"):
        read_checkpoint(path)


def test_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ckpt", CARD, CARD.network.build(2))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read_checkpoint(path)


def test_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"model": torch.zeros(1)}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match=r"expected a checkpoint written by `yolo fit`, found keys \['model'\]"):
        read_checkpoint(tmp_path / "x.ckpt")


class Attack:
    def __reduce__(self):
        return os.system, ("touch PWNED",)


def test_code_in_a_checkpoint_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({CARD_KEY: CARD.to_dict(), "state_dict": {}, "x": Attack()}, "x.ckpt")
    with pytest.raises(UserError, match="more than tensors"):
        read_checkpoint("x.ckpt")
    assert not Path("PWNED").exists()


@pytest.mark.slow
def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ckpt", CARD, NetworkSpec("v9-s").build(2))
    with pytest.raises(UserError, match="do not fit the network 'v9-t'"):
        load_model(path)


def test_bytes_that_were_changed_are_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ckpt", CARD, CARD.network.build(2))
    damaged = bytearray(path.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 1000] = b"\x01" * 1000
    path.write_bytes(damaged)
    with pytest.raises(UserError, match="not a readable checkpoint: it is damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"state_dict": 3},
        {"state_dict": [1]},
        {"state_dict": {1: torch.ones(1)}},
        {CARD_KEY: 3},
        {CARD_KEY: [1]},
        {CARD_KEY: {"version": 1}},
        {CARD_KEY: {**CARD.to_dict(), "network": 3}},
        {CARD_KEY: {**CARD.to_dict(), "class_names": 3}},
        {CARD_KEY: {**CARD.to_dict(), "more": 3}},
    ],
)
def test_a_checkpoint_of_another_form_is_refused(changes: dict, tmp_path: Path) -> None:
    torch.save({CARD_KEY: CARD.to_dict(), "state_dict": {}} | changes, tmp_path / "x.ckpt")
    for read in (load_model, read_tensors):
        with pytest.raises(UserError, match=r"x\.ckpt: .* `yolo fit` writes"):
            read(tmp_path / "x.ckpt")


def test_a_value_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    torch.save({CARD_KEY: CARD.to_dict(), "state_dict": {"model.a": 3}}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="do not fit the network"):
        load_model(tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="holds no tensors"):
        read_tensors(tmp_path / "x.ckpt")


def test_other_format_version_is_refused(tmp_path: Path) -> None:
    torch.save({CARD_KEY: {**CARD.to_dict(), "version": 99}, "state_dict": {}}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="checkpoint format 99, this program reads format 1"):
        read_checkpoint(tmp_path / "x.ckpt")
