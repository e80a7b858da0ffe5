from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.export.random_network import card_of, randomise
from tests.models.test_checkpoint import TinyNetwork
from yolo.boxes.decode import decode_maps
from yolo.export.parity import random_images
from yolo.models.detection_model import DetectionModel
from yolo.models.exportable import ExportableModel, HeadApart, SiLU, replace_silu
from yolo.models.registry import build_model
from yolo.runtime.metadata import ExportRecord

SIZE = (64, 96)


@pytest.fixture(scope="module")
def network() -> DetectionModel:
    return randomise(build_model("v9-t", 3))


def reference(model: DetectionModel, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.decode(model(images)[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v9-t", pytest.param("v9-e", marks=pytest.mark.slow), "own"])
def test_every_form_says_what_the_network_says(name: str) -> None:
    """v9-e has all the parts that v9-t lacks; a network of one's own has no head to take apart."""
    model = TinyNetwork(3).eval() if name == "own" else randomise(build_model(name, 3))
    images = random_images(2, SIZE)
    wanted = reference(model.deploy(), images)
    with torch.no_grad():
        (full,) = ExportableModel(model, SIZE, "full")(images)
        boxes, scores = ExportableModel(model, SIZE, "split")(images)
        raw = ExportableModel(model, SIZE, "raw")(images)
    torch.testing.assert_close(full, wanted, atol=0.05, rtol=1e-5)  # v9-e is deep, rounding grows in it
    torch.testing.assert_close(full[:, 4:], wanted[:, 4:], atol=1e-4, rtol=0)
    assert torch.equal(torch.cat([boxes, scores], 1), full)
    maps = [torch.cat(pair, 1) for pair in zip(raw[::2], raw[1::2], strict=True)]
    torch.testing.assert_close(decode_maps(maps, model.strides, model.bins), full, atol=1e-3, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["full", "split", "raw"])
def test_record_has_the_shapes_of_the_outputs(network: DetectionModel, form: Any) -> None:
    exportable = ExportableModel(network, SIZE, form)
    record = ExportRecord.of(exportable, "v9-t", card_of("v9-t", 3, (64, 64)), batch=None)
    shapes = [tuple(output.shape[1:]) for output in exportable(torch.rand(1, 3, *SIZE))]
    assert list(record.outputs.values()) == shapes
    assert (record.image_size, record.levels, record.strides) == (SIZE, ((8, 12), (4, 6), (2, 3)), (8, 16, 32))
    assert (record.batch, record.form, record.class_names[2]) == (None, form, "class 2")
    assert record.parameters == sum(p.numel() for p in network.deploy().parameters())
    assert record.bins == tuple(range(16))


def test_logits_leave_the_head_apart(network: DetectionModel) -> None:
    exportable = ExportableModel(network, SIZE, "raw")
    assert isinstance(exportable.network.head, HeadApart)
    assert [out.shape[1] for out in exportable(torch.rand(1, 3, *SIZE))] == [64, 3] * 3
    assert not isinstance(network.head, HeadApart)  # the network itself is as it was


def test_silu_is_two_operators(network: DetectionModel) -> None:
    exportable = ExportableModel(network, SIZE, "full")
    kinds = {type(part) for part in exportable.modules()}
    assert SiLU in kinds
    assert not kinds & {nn.SiLU, nn.BatchNorm2d}
    x = torch.linspace(-9, 9, 101)
    stack = nn.Sequential(nn.SiLU(), nn.Sequential(nn.SiLU()))
    wanted = stack(x)
    replace_silu(stack)
    torch.testing.assert_close(stack(x), wanted)


def test_half_precision_decodes_in_float32(network: DetectionModel) -> None:
    exportable = ExportableModel(network, SIZE, "full").half_precision()
    images = torch.rand(1, 3, *SIZE)
    (found,) = exportable(images.half())
    assert found.dtype == torch.float32
    wanted = reference(network, images)
    assert 0 < (found - wanted)[:, 4:].abs().max() < 0.02
    assert (found - wanted)[:, :4].abs().max() < 2
