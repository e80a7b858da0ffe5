from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.models.weights.official import official, save_official
from yolo.errors import UserError
from yolo.models.registry import build_model
from yolo.models.weights.source import open_own, open_source


@pytest.fixture(scope="module")
def s_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_official(official("v9-s", 7, dual=True), tmp_path_factory.mktemp("s") / "yolov9-s.pt")


@pytest.mark.slow
def test_finds_out_what_a_file_holds(s_file: Path) -> None:
    source = open_source(s_file)
    assert (source.architecture, source.layout) == ("v9-s", "dual")
    assert (source.classes, source.class_width, source.has_auxiliary) == (7, 128, True)
    assert source.unplaced == ()


def test_weights_of_another_architecture_are_refused(s_file: Path) -> None:
    with pytest.raises(UserError, match=r"holds weights of v9-s \(1772 of 1772 tensors fit\), .* no use to v9-t"):
        open_source(s_file, "v9-t")


def test_part_of_a_network_that_fits_two_is_taken_for_the_one_asked_for(tmp_path: Path) -> None:
    shared = ("backbone.stem", "backbone.down3")  # the same in v9-c and v9-e
    tensors = {n: t for n, t in build_model("v9-c", 80).state_dict().items() if n.startswith(shared)}
    torch.save(tensors, tmp_path / "x.pt")
    for name in ("v9-c", "v9-e"):
        source = open_source(tmp_path / "x.pt", name)
        assert source.architecture == name
        assert (source.classes, source.class_width, source.has_auxiliary) == (None, None, False)


def test_names_that_stand_for_nothing_are_kept_apart(tmp_path: Path) -> None:
    tensors = official("v9-t").state_dict() | {"model.23.proto.cv1.weight": torch.ones(1), "extra": torch.ones(1)}
    torch.save({"state_dict": tensors}, tmp_path / "x.pt")
    assert open_source(tmp_path / "x.pt", "v9-t").unplaced == ("model.23.proto.cv1.weight", "extra")


@pytest.mark.parametrize(
    "tensors",
    [
        {"model.0.conv.weight": torch.ones(9, 3), "model.0.bn.weight": torch.ones(16), "model.1.x": torch.ones(1)},
        dict(nn.Linear(2, 2).state_dict()),
    ],
)  # fmt: skip
def test_other_kinds_of_network_are_refused_though_a_few_tensors_fit(tensors: dict, tmp_path: Path) -> None:
    torch.save(tensors, tmp_path / "x.pt")
    some, expected = ", ".join(tensors), "backbone.stem1.conv.weight, backbone.stem1.bn.weight"
    with pytest.raises(UserError, match=rf"only \d of its \d tensors fit v9-t: found {some}, expected {expected}"):
        open_source(tmp_path / "x.pt", "v9-t")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("head.cls.0.2.weight", torch.tensor(1.0)),
        ("head.cls.0.0.conv.weight", torch.tensor(1.0)),
        ("head.cls.0.2.weight", torch.ones(0, 64, 1, 1)),
        ("auxiliary.head.cls.1.2.bias", torch.ones(1, 1)),
    ],
)
def test_a_class_branch_of_another_form_is_refused(name: str, value: torch.Tensor, tmp_path: Path) -> None:
    save_file(build_model("v9-t", 3).state_dict() | {name: value}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=rf"x\.safetensors: {name} has shape {re.escape(str(list(value.shape)))}, exp"):
        open_source(tmp_path / "x.safetensors")


def test_two_tensors_for_one_of_ours_are_refused(tmp_path: Path) -> None:
    name = "backbone.stem1.conv.weight"
    tensors = build_model("v9-t", 3).state_dict()
    torch.save(tensors | {f"model.{name}": tensors[name] + 1}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=f"{name} and model.{name} both stand for {name}"):
        open_source(tmp_path / "x.pt")


def test_a_network_of_ones_own_keeps_its_names(tmp_path: Path) -> None:
    torch.save({"model.0.weight": torch.ones(1)}, tmp_path / "x.pt")
    source = open_own(tmp_path / "x.pt")
    assert list(source.tensors) == ["model.0.weight"]
    assert source.architecture is None
