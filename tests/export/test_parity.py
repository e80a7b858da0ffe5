from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.export.random_network import card_of, randomise
from yolo.boxes.nms import NMSOptions
from yolo.export.parity import (
    BARS,
    JITTER,
    WIDEST,
    Bars,
    Conversion,
    Networks,
    Parity,
    Stage,
    Trial,
    bars_for,
    compare_stages,
    count_missed,
    jittered,
    random_images,
)
from yolo.models.detection_model import DetectionModel
from yolo.models.exportable import ExportableModel
from yolo.models.registry import build_model
from yolo.runtime.metadata import ExportRecord
from yolo.runtime.network import ExportedNetwork

SIZE = (64, 64)
OPTIONS = NMSOptions(confidence=0.05)


@pytest.fixture(scope="module")
def network() -> DetectionModel:
    return randomise(build_model("v9-t", 3))


def parity(
    network: DetectionModel, spoil: Callable[[np.ndarray], np.ndarray], batch: int | None = None, form: str = "full"
) -> Parity:
    """Of a "file" that is torch itself, with one of its outputs spoiled."""
    exportable = ExportableModel(network, SIZE, form)  # type: ignore[arg-type]
    record = ExportRecord.of(exportable, "v9-t", card_of("v9-t", 3, SIZE), batch=batch)

    def run(images: np.ndarray) -> list[np.ndarray]:
        outputs = [output.numpy() for output in exportable(torch.from_numpy(images))]
        return [spoil(outputs[0]), *outputs[1:]]

    file = ExportedNetwork(record, run, 1)
    return compare_stages(Networks(network, exportable, file), Trial(random_images(6, SIZE), "random images", OPTIONS))


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


def test_what_is_no_number_fails(network: DetectionModel) -> None:
    def spoil(output: np.ndarray) -> np.ndarray:
        output[:, 0, 0] = np.nan
        return output

    assert any("boxes or scores are not finite" in failure for failure in parity(network, spoil, batch=1).failures)


def test_missed_detections() -> None:
    options, bars = NMSOptions(confidence=0.25, max_detections=3), BARS["fp32"]
    rows = torch.tensor([[0, 0, 10, 10, 0.9, 0], [20, 0, 30, 10, 0.8, 1], [40, 0, 50, 10, 0.25005, 0.0]])
    assert count_missed(rows, rows, options, bars) == (2, 0)  # the last could fall below the threshold
    assert count_missed(rows, rows[:0], options, bars) == (2, 2)
    assert count_missed(rows[:0], rows, options, bars) == (0, 0)
    for column, change in ((0, 0.05), (4, 0.001), (5, 1.0)):
        other = rows.clone()
        other[0, column] += change
        assert count_missed(rows, other, options, bars) == (2, 1)
    full = replace(options, max_detections=2)
    assert count_missed(rows[:2], rows[:2], full, bars) == (1, 0)  # the last place may go to another


def test_noise_of_the_network_itself_widens_the_bars() -> None:
    def noise(boxes: float, scores: float = 0.0, missed: int = 0) -> Stage:
        return Stage("noise", boxes, 0.0, 0.0, scores, 0.0, 100, missed)

    assert bars_for("fp32", noise(1e-3, 1e-5)) == BARS["fp32"]
    assert bars_for("fp32", noise(0.1, 1e-3, 2)) == Bars(
        *(pytest.approx(value) for value in (0.3, 3e-3, 0.6, 3e-3, 0.06))
    )
    assert bars_for("fp32", noise(50, 0.5, 90)) == WIDEST
    assert bars_for("fp32", noise(float("nan"), float("nan"))) == BARS["fp32"]
    assert bars_for("fp16", noise(50)).boxes == BARS["fp16"].boxes
    assert bars_for("fp32", replace(noise(0), detections=0)) == BARS["fp32"]


class Coarse(nn.Module):
    """Outputs of an exportable model, rounded."""

    def __init__(self, exportable: ExportableModel) -> None:
        super().__init__()
        self.exportable = exportable

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple((16 * output).round() / 16 for output in self.exportable(images))


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


def test_a_file_that_says_nothing_finite_fails() -> None:
    stage = Stage("file", 1.0, 0.1, 0.1, 0.1, 0.01, 5, 0)
    assert Conversion(stage, stage).failures == []
    assert len(Conversion(replace(stage, scores_mean=float("nan")), stage).failures) == 1
    (failure,) = Conversion(replace(stage, boxes_best=0.4), stage).failures
    assert failure.startswith("file: best boxes differ by 0.4 pixels on average from the quantised network, which")


def test_images_and_choices() -> None:
    images = random_images(2, (64, 96))
    assert images.shape == (2, 3, 64, 96)
    assert images.min() >= 0
    assert images.max() <= 1
    assert torch.equal(images, random_images(2, (64, 96)))
    assert images.std() > 0.1
    assert 0.9 * JITTER < (jittered(images) / images - 1).abs().max() < 1.2 * JITTER
    assert random_images(1, (16, 16)).shape == (1, 3, 16, 16)
