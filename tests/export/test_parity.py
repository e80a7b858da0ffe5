from __future__ import annotations

import copy
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.export.random_network import card_of, randomise
from tests.export.small_network import SmallNetwork
from tests.export.tflite_files import SMALL
from yolo.boxes.nms import NMSOptions
from yolo.export.bars import BARS
from yolo.export.parity import JITTER, Networks, Parity, Trial, compare_stages, jittered, random_images
from yolo.forms import Quantization
from yolo.models.checkpoint import NetworkSpec
from yolo.models.detection_model import DetectionModel
from yolo.models.exportable import ExportableModel
from yolo.models.registry import build_model
from yolo.quantization.network import QuantizedNetwork
from yolo.runtime.metadata import ExportRecord
from yolo.runtime.network import ExportedNetwork

SIZE = (64, 64)
OPTIONS = NMSOptions(confidence=0.05)


@pytest.fixture(scope="module")
def network() -> DetectionModel:
    return randomise(build_model("v9-t", 3))


def parity(
    network: DetectionModel,
    spoil: Callable[[np.ndarray], np.ndarray],
    batch: int | None = None,
    form: str = "full",
    quantization: Quantization = "fp32",
) -> Parity:
    """Of a "file" that is torch itself, with one of its outputs spoiled."""
    exportable = ExportableModel(network, SIZE, form)  # type: ignore[arg-type]
    card = card_of("v9-t", 3, SIZE)
    record = ExportRecord.of(exportable, "v9-t", card, batch=batch, quantization=quantization)

    def run(images: np.ndarray) -> list[np.ndarray]:
        outputs = [output.numpy() for output in exportable(torch.from_numpy(images))]
        return [spoil(outputs[0]), *outputs[1:]]

    file = ExportedNetwork(record, run, 1)
    return compare_stages(Networks(network, exportable, file), Trial(random_images(6, SIZE), "random images", OPTIONS))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["full", "split", "raw"])
def test_a_faithful_file_passes(network: DetectionModel, form: str) -> None:
    found = parity(network, lambda output: output, form=form)
    assert found.failures == []
    assert [stage.name for stage in found.stages] == ["torch, deployed", "file, batch 1", "file, batch 5"]
    assert [stage.name for stage in parity(network, lambda output: output, batch=1).stages][1:] == ["file, batch 1"]
    assert all(stage.detections > 5 for stage in found.stages)
    assert all(stage.boxes_mean <= stage.boxes < 1e-2 for stage in found.stages)
    assert found.to_dict()["failures"] == []


def test_half_precision_has_bars_of_its_own(network: DetectionModel) -> None:
    exportable = ExportableModel(network, SIZE, "raw").half_precision()
    record = ExportRecord.of(exportable, "v9-t", card_of("v9-t", 3, SIZE), quantization="fp16")

    def run(images: np.ndarray) -> list[np.ndarray]:
        return [output.numpy() for output in exportable(torch.from_numpy(images).half())]

    file = ExportedNetwork(record, run, 1)
    found = compare_stages(Networks(network, exportable, file), Trial(random_images(2, SIZE), "random images", OPTIONS))
    assert found.failures == []
    assert found.stages[0].boxes > BARS["fp32"].boxes  # those of float32 would refuse it


def test_a_box_of_one_anchor(network: DetectionModel) -> None:
    def spoil(output: np.ndarray) -> np.ndarray:
        output[-1, 2, 7] += 0.02
        return output

    assert parity(network, spoil, batch=1).failures == ["file, batch 1: boxes differ by 0.02 pixels (0.01 are allowed)"]


def test_all_scores_of_one_level(network: DetectionModel) -> None:
    def spoil(output: np.ndarray) -> np.ndarray:
        output[:, 4:] = output[:, 4:].round()
        return output

    failures = parity(network, spoil, batch=1).failures
    assert any("scores differ" in failure for failure in failures)
    assert any("detections differ" in failure for failure in failures)


@pytest.mark.slow
def test_a_file_of_8_bit_weights(network: DetectionModel) -> None:
    def spoil(output: np.ndarray) -> np.ndarray:
        output[:, 2:4] += 3
        output[:, 4:] *= 0.9
        return output

    assert parity(network, lambda output: output, batch=1, quantization="dynamic").failures == []
    boxes, scores = parity(network, spoil, batch=1, quantization="dynamic").failures
    assert boxes == "file, batch 1: best boxes differ by 1.5 pixels on average (1 are allowed)"
    assert re.fullmatch(r"file, batch 1: scores differ by 0\.\d+ on average \(0.015 is allowed\)", scores)


def test_what_is_no_number_fails(network: DetectionModel) -> None:
    def spoil(output: np.ndarray) -> np.ndarray:
        output[:, 0, 0] = np.nan
        return output

    assert any("boxes or scores are not finite" in failure for failure in parity(network, spoil, batch=1).failures)


class Coarse(nn.Module):
    """Outputs of an exportable model, rounded."""

    def __init__(self, exportable: ExportableModel) -> None:
        super().__init__()
        self.exportable = exportable

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple((16 * output).round() / 16 for output in self.exportable(images))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "fragments"),
    [
        (lambda output: output, []),
        (lambda output: output + 0.01, []),
        (lambda output: -output, ["boxes differ by", "scores differ by"]),
        (lambda output: 0 * output + 1, ["boxes differ by", "scores differ by", "all scores are the same"]),
    ],
)
def test_an_int8_file_against_the_quantised_network(
    network: DetectionModel, spoil: Callable[[np.ndarray], np.ndarray], fragments: list[str]
) -> None:
    exportable = ExportableModel(network, SIZE, "raw")
    record = ExportRecord.of(exportable, "v9-t", card_of("v9-t", 3, SIZE), quantization="int8")
    quantized = Coarse(exportable)

    def run(images: np.ndarray) -> list[np.ndarray]:
        return [spoil(output.numpy()) for output in quantized(torch.from_numpy(images))]

    networks = Networks(network, exportable, ExportedNetwork(record, run, 1), quantized)
    found = compare_stages(networks, Trial(random_images(2, SIZE), "random images", OPTIONS))
    assert [stage.name for stage in found.stages] == ["torch, deployed", "torch, quantised", "file, batch 1"]
    assert found.conversion is not None
    assert found.conversion.quantized == found.stages[1]
    for fragment in fragments:
        assert any(failure.startswith("file, ") and fragment in failure for failure in found.failures), found.failures
    assert len(found.conversion.failures) == min(len(fragments), 2)
    assert (found.failures == []) == (not fragments)


@pytest.mark.slow
def test_a_file_of_learnt_ranges_against_its_network() -> None:
    """That computes in INT8 itself; what its rounding costs is measured against its weights in float."""
    base = randomise(SmallNetwork(3))
    network = QuantizedNetwork.started_from(base, QuantizedNetwork.spec(NetworkSpec(SMALL), SIZE).args)
    network.calibrate(random_images(4, SIZE).split(1))
    network.eval()
    good = parity(network, lambda output: output, batch=1, form="raw", quantization="int8")
    assert [stage.name for stage in good.stages] == ["torch, deployed", "file, batch 1"]
    assert good.failures == []
    assert good.conversion is not None
    assert good.conversion.file == good.stages[1]
    assert good.conversion.file.boxes == 0
    assert 0 < good.conversion.quantized.boxes_mean < 10
    assert good.conversion.quantized.name == "torch, deployed, against float"
    bad = parity(network, lambda output: -output, batch=1, form="raw", quantization="int8")
    assert any("from the quantised network" in failure for failure in bad.failures), bad.failures


def test_images_and_choices() -> None:
    images = random_images(2, (64, 96))
    assert images.shape == (2, 3, 64, 96)
    assert images.min() >= 0
    assert images.max() <= 1
    assert torch.equal(images, random_images(2, (64, 96)))
    assert images.std() > 0.1
    assert 0.9 * JITTER < (jittered(images) / images - 1).abs().max() < 1.2 * JITTER
    assert random_images(1, (16, 16)).shape == (1, 3, 16, 16)


@pytest.mark.slow
def test_a_deployed_network_is_judged_by_its_own_numbers(network: DetectionModel) -> None:
    """Fusing must not change what is computed in float, whatever the numbers of the file."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        for name, weight in other.named_parameters():
            if name.endswith("bias") and ".box." in name:
                weight += torch.linspace(0, 0.1, len(weight))
    exportable = ExportableModel(other, SIZE, "raw")
    record = ExportRecord.of(exportable, "v9-t", card_of("v9-t", 3, SIZE), quantization="int8")

    def run(images: np.ndarray) -> list[np.ndarray]:
        return [output.numpy() for output in exportable(torch.from_numpy(images))]

    networks = Networks(network, exportable, ExportedNetwork(record, run, 1))
    failures = compare_stages(networks, Trial(random_images(2, SIZE), "random images", OPTIONS)).failures
    assert failures[0].startswith("torch, deployed: boxes differ by")
    assert {failure.partition(":")[0] for failure in failures} == {"torch, deployed"}
