from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.export.random_network import card_of, randomise
from yolo.export.config import Source
from yolo.export.cosine import COMPARED, cosines
from yolo.models.exportable import ExportableModel
from yolo.quantization.calibration import Calibration
from yolo.runtime.metadata import ExportRecord
from yolo.runtime.network import ExportedNetwork


@pytest.mark.slow
def test_of_the_same_maps_and_of_others() -> None:
    card = card_of("v9-t", 3, (64, 64))
    exportable = ExportableModel(randomise(card.network.build(3)), (64, 64), "raw")
    record = ExportRecord.of(exportable, "v9-t", card)
    pictures = np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), np.uint8)
    source = Source(exportable, record, Calibration("noise", [lambda p=p: p for p in pictures]))
    runs = 0

    def run(images: np.ndarray) -> list[np.ndarray]:
        nonlocal runs
        runs += 1
        outputs = [output.numpy() for output in exportable(torch.from_numpy(images))]
        return [2 * outputs[0], -outputs[1], *outputs[2:]]

    found = cosines(source, ExportedNetwork(record, run, 0))
    assert list(found) == list(record.outputs)
    assert list(found.values()) == pytest.approx([1, -1, 1, 1, 1, 1])
    assert runs == COMPARED
