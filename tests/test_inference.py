from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from yolo.boxes.letterbox import Letterbox
from yolo.boxes.nms import NMSOptions
from yolo.inference import detect, lay_out, to_network_input
from yolo.models.detection_model import DetectionModel, Maps


class OneBox(DetectionModel):
    """Claims one object at a fixed place of the network's input in every image."""

    def __init__(self, box: list[float]) -> None:
        super().__init__(2, strides=(32,))
        self.register_buffer("bins", torch.arange(16.0))
        self.box = box

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        return ([images.new_zeros(len(images), 66, images.shape[2] // 32, images.shape[3] // 32)],)

    def decode(self, maps: Maps) -> Tensor:
        x1, y1, x2, y2 = self.box
        anchors = maps[0].shape[2] * maps[0].shape[3]
        decoded = torch.zeros(len(maps[0]), 6, anchors)
        decoded[:, :4, 3] = torch.tensor([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])
        decoded[:, 5, 3] = 0.8
        return decoded


def test_boxes_come_back_in_pixels_of_the_original() -> None:
    size, target = (50, 100), (64, 64)
    letterbox = Letterbox(size, target, "center")
    original = np.array([[10.0, 5.0, 90.0, 45.0]])
    network_box = np.asarray(letterbox.to_target(original))[0].tolist()
    images = torch.zeros(2, 3, *target, dtype=torch.uint8)
    found = detect(OneBox(network_box).eval(), images, [size, size], NMSOptions(), "center")
    assert len(found) == 2
    torch.testing.assert_close(found[0], torch.tensor([[10.0, 5.0, 90.0, 45.0, 0.8, 1.0]]))


def test_boxes_are_clipped_to_the_image() -> None:
    images = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    (found,) = detect(OneBox([-20, -20, 90, 90]).eval(), images, [(50, 100)], NMSOptions(), "center")
    assert found[0, :4].tolist() == [0, 0, 100, 50]


def test_pixels_become_fractions_in_the_layout_of_the_weights() -> None:
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    floats = to_network_input(images)
    assert floats.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(floats, images.float() / 255)
    assert to_network_input(images, channels_last=False).is_contiguous()
    convolution = lay_out(torch.nn.Conv2d(3, 4, 3))
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
