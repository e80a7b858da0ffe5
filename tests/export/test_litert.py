from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.export.tflite_files import SIZE, needs_tflite, small_file, small_network
from yolo.errors import UserError
from yolo.export.litert import ChannelsLast, WithOutputs, convert, smaller_weights
from yolo.models.exportable import ExportableModel, RawOutputs
from yolo.runtime.tflite import open_interpreter


@pytest.mark.parametrize("form", ["split", "raw"])
def test_layout_of_inputs_and_outputs(form) -> None:
    exportable = ExportableModel(small_network(), SIZE, form)
    images = torch.rand(1, 3, *SIZE)
    wanted = exportable(images)
    found = ChannelsLast(WithOutputs(RawOutputs(exportable), exportable))(images.permute(0, 2, 3, 1))
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one.permute(0, 3, 1, 2) if form == "raw" else one, other)


class Determinant(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.linalg.slogdet(images.permute(0, 3, 1, 2)[:, :, :4, :4])[1]


@needs_tflite
def test_operators_that_litert_lacks(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="LiteRT cannot express the network: "):
        convert(Determinant(), (8, 8), quantized=False)


@needs_tflite
@pytest.mark.slow
def test_converts_quietly(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = convert(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), (8, 8), quantized=False)
    smaller = smaller_weights(small_file().content, "fp16")
    assert capfd.readouterr() == ("", "")
    (tmp_path / "a.tflite").write_bytes(content)
    assert open_interpreter(tmp_path / "a.tflite").get_input_details()[0]["shape"].tolist() == [1, 8, 8, 3]
    assert len(smaller) < 0.75 * len(small_file().content)
    assert "LITERT_TORCH_SHOW_PROGRESS" in os.environ
